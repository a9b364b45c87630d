"""Text in a clip, found and read by PP-OCR with the weights of the package rapidocr.

Only what can be read counts: a detector alone takes city lights for text.

Axes: T frames, H W rows and columns.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import ClipView, Column, ViewName, spread
from cogvideox.data.libraries import package_file, rapidocr

MAX_FRAMES = 3
DETECTION_SIDE_PX = 448
"""Of the longer side. Of 15 rendered subtitles of 3 % of the height it finds 15, 384 px 12, 320 px 7; of 4 % 15, 15 and
14. Reading is done at the size of the view."""
MIN_SIDE_PX = 16
"""Smaller frames hold no text."""
MIN_CONFIDENCE = 0.6
MIN_CHARACTERS = 2
"""Letters or digits: edges and lamps are read as single ones."""
BOTTOM_SHARE = 0.2
MODELS = {"Det": "models/PP-OCRv6_det_small.onnx", "Rec": "models/PP-OCRv6_rec_small.onnx"}


@dataclass(frozen=True, kw_only=True, eq=False)
class TextLine:
    """One line that was read."""

    text: str
    confidence: float
    """In [0, 1]."""
    corners_px: NDArray[np.float64]
    """(4, 2) x and y, around the line, within the frame."""

    @property
    def num_characters(self) -> int:
        """Letters and digits of any script."""
        return sum(character.isalnum() for character in self.text)

    @property
    def area_px(self) -> float:
        """Of the box, which may be inclined."""
        x, y = self.corners_px.T
        return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2

    @property
    def height_px(self) -> float:
        """Of the box: its shorter side."""
        first, second, third, _ = self.corners_px
        return float(min(np.hypot(*(second - first)), np.hypot(*(third - second))))

    def share_below(self, y_px: float) -> float:
        """Share of its height that is below a row."""
        top, bottom = self.corners_px[:, 1].min(), self.corners_px[:, 1].max()
        return float(np.clip((bottom - y_px) / max(bottom - top, 1e-9), 0, 1))


class TextOperator:
    """How much of the picture is text, for how long and where: titles, subtitles, pages and screens."""

    name = "text"
    version = 2
    columns = (
        Column(
            name="area",
            unit="share",
            low=0,
            high=1,
            meaning="Share of the picture in lines of text, most of all frames.",
        ),
        Column(name="mean_area", unit="share", low=0, high=1, meaning="The same, mean of the frames."),
        Column(name="num_boxes", unit="count", low=0, high=math.inf, meaning="Lines in a frame, mean."),
        Column(
            name="num_characters", unit="count", low=0, high=math.inf, meaning="Letters and digits in a frame, mean."
        ),
        Column(name="persistence", unit="share", low=0, high=1, meaning="Share of frames with text."),
        Column(
            name="bottom_share",
            unit="share",
            low=0,
            high=1,
            meaning="Share of the area of text that lies in the lowest fifth of the picture; NaN without text.",
        ),
        Column(
            name="confidence",
            unit="probability",
            low=0,
            high=1,
            meaning="Of what was read, mean of the lines; NaN without text.",
        ),
        Column(
            name="span",
            unit="share",
            low=0,
            high=1,
            meaning="Share of the picture in the box around all lines of a frame, mean of the frames.",
        ),
        Column(
            name="largest_height",
            unit="share",
            low=0,
            high=1,
            meaning="Height of the largest letters in that of the picture, most of all frames; 0 without text.",
        ),
        Column(
            name="travel",
            unit="share",
            low=0,
            high=1,
            meaning="Distance in picture heights that a line has moved from one looked at frame to the next, median of "
            "lines read in both; NaN if there are none.",
        ),
    )
    views: frozenset[ViewName] = frozenset({"detail"})

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of the detector's and the recogniser's file. Raises MissingPackageError."""
        return _weights_sha256()

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns, of at most `MAX_FRAMES` frames spread over the clip."""
        chosen = spread(len(clip.detail), MAX_FRAMES)
        if not len(chosen):
            return {column.name: math.nan for column in self.columns}
        height_px, width_px = clip.detail.shape[1:3]
        frames: list[list[TextLine]] = []
        for place, index in enumerate(chosen):
            is_repeated = place > 0 and np.array_equal(clip.detail[index], clip.detail[chosen[place - 1]])
            frames.append(frames[-1] if is_repeated else read_text(clip.detail[index]))
        lines = [line for frame in frames for line in frame]
        areas = [min(1.0, sum(line.area_px for line in frame) / (height_px * width_px)) for frame in frames]
        total_px = sum(line.area_px for line in lines)
        bottom_px = sum(line.area_px * line.share_below((1 - BOTTOM_SHARE) * height_px) for line in lines)
        return {
            "area": max(areas),
            "mean_area": float(np.mean(areas)),
            "num_boxes": len(lines) / len(frames),
            "num_characters": sum(line.num_characters for line in lines) / len(frames),
            "persistence": sum(len(frame) > 0 for frame in frames) / len(frames),
            "bottom_share": bottom_px / total_px if total_px else math.nan,
            "confidence": float(np.mean([line.confidence for line in lines])) if lines else math.nan,
            "span": float(np.mean([_span_px(frame) for frame in frames])) / (height_px * width_px),
            "largest_height": min(1.0, max((line.height_px for line in lines), default=0.0) / height_px),
            "travel": _travel(frames, height_px),
        }


def _span_px(lines: list[TextLine]) -> float:
    """Return the pixels in the box around all lines."""
    if not lines:
        return 0.0
    corners = np.concatenate([line.corners_px for line in lines])
    return float(np.ptp(corners, axis=0).prod())


def _travel(frames: list[list[TextLine]], height_px: int) -> float:
    """Return how far lines of the same letters move between frames, in picture heights; NaN if none comes again."""
    moved = []
    for before, after in pairwise(frames):
        places = {line.text: line.corners_px.mean(0) for line in after}
        moved += [np.hypot(*(places[line.text] - line.corners_px.mean(0))) for line in before if line.text in places]
    return min(1.0, float(np.median(moved)) / height_px) if moved else math.nan


def read_text(frame: NDArray[np.uint8]) -> list[TextLine]:
    """Return the lines of text in a frame (H, W, 3) RGB that could be read, from the top down.

    Raises:
        MissingPackageError: rapidocr or its weights are not installed.
    """
    if min(frame.shape[:2]) < MIN_SIDE_PX:
        return []
    found = _reader()(np.ascontiguousarray(frame[..., ::-1]))  # it takes BGR
    if found.boxes is None or found.txts is None:
        return []
    lines = [
        TextLine(text=text, confidence=float(confidence), corners_px=np.asarray(corners, np.float64))
        for corners, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True)
    ]
    return [line for line in lines if line.confidence >= MIN_CONFIDENCE and line.num_characters >= MIN_CHARACTERS]


@cache
def _reader() -> Any:
    settings = {
        "Global.use_cls": False,
        "Global.text_score": MIN_CONFIDENCE,
        "Global.log_level": "critical",
        "Det.limit_type": "max",
        "Det.limit_side_len": DETECTION_SIDE_PX,
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    # With paths it never looks for models elsewhere.
    paths = {f"{part}.model_path": str(path) for part, path in _weights_files().items()}
    return rapidocr().RapidOCR(params=settings | paths)


@cache
def _weights_sha256() -> tuple[str, ...]:
    return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in _weights_files().values())


def _weights_files() -> dict[str, Path]:
    return {part: package_file("rapidocr", name) for part, name in MODELS.items()}

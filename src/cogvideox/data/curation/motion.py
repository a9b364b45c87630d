"""How a clip moves: the camera and the objects apart, from dense optical flow at a fixed size, so whatever the codec.

Flow alone finds motion in noise and in what a codec does to a still picture. A place therefore counts as moving so far
as undoing its flow makes the two frames alike: noise, flicker, cross-fades and pumping keyframes stay different.

Axes: T frames, H W rows and columns, h w places on a grid.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import ClipView, Column, ViewName
from cogvideox.data.curation.optical_flow import DisFlow, FlowModel, RaftFlow, RaftVariant
from cogvideox.data.libraries import opencv

FlowName = Literal["dis", "raft"]
Array = NDArray[np.floating[Any]]

DEFAULT_MAX_STILL_SHARE = 0.85
"""A clip with more is still: of 94 without motion, slide shows among them, the least has 0.87. A person who walks by
for a fifth of the time is kept."""
DEFAULT_MIN_PEAK_SPEED = 0.5
"""% of diagonal / s: below it nothing moves in a clip."""
MAX_SPEED = 1000.0
"""% of diagonal / s, where speeds are cut off: beyond a whole picture from one frame to the next."""

PLACE_PX = 4
"""A place is a cell of so many px, smoothed with its eight neighbours: 12 px, a person in a wide shot."""
PEAK_SHARE = 0.005
"""Of the places: the fastest of them make the peak of a pair."""
PEAK_QUANTILE = 0.6
"""Of the pairs: people may stand still for half of a clip, and one pair in three may hold a keyframe that pumps."""
NOISE_FLOOR = 4.0
"""Levels squared of band-passed luma: changes of this size are half believed to be motion. Grain of 5 levels has 2.5,
a person in a wide shot more than 100."""
DOUBTED, BELIEVED = 0.3, 0.6
"""Shares of a place's change that its flow must explain to count not at all and in full."""
JUMP_LIKENESS = 0.3
"""Of two frames once the flow is undone: cuts have less than 0.25, very fast pans more than 0.4."""
FIT_ROUNDS = 8
PLAIN_TRUST = 0.5
"""Of flow in plain places, where it is a guess, against textured ones: without it a hand before a bare wall is taken
for the camera; with it pans over bare walls are still found, because flow spreads there."""
SHAKE_WINDOW_S = 1.0
"""Slower sways are camera work, faster ones shake."""

COLUMNS = (
    Column(
        name="peak_speed",
        unit="% of diagonal / s",
        low=0,
        high=MAX_SPEED,
        meaning="Speed of the fastest half percent of the picture, 60 % quantile over pairs of frames without jumps: "
        f"below {DEFAULT_MIN_PEAK_SPEED} nothing moves.",
    ),
    Column(
        name="camera_speed",
        unit="% of diagonal / s",
        low=0,
        high=MAX_SPEED,
        meaning="Mean speed over the picture of the one affine motion that most of it follows, median over pairs.",
    ),
    Column(
        name="object_speed",
        unit="% of diagonal / s",
        low=0,
        high=MAX_SPEED,
        meaning="Mean speed against the camera of what moves against it, median over the pairs that have such; 0 if "
        "none has.",
    ),
    Column(
        name="moving_share",
        unit="share",
        low=0,
        high=1,
        meaning="Share of the picture that is seen to move against the camera, mean over pairs; parallax counts, the "
        "inside of a plain surface cannot.",
    ),
    Column(
        name="still_share",
        unit="share",
        low=0,
        high=1,
        meaning="Share of pairs of frames between which nothing moves.",
    ),
    Column(
        name="jump_share",
        unit="share",
        low=0,
        high=1,
        meaning="Share of pairs of frames whose change no flow explains: cuts and jumps.",
    ),
    Column(
        name="camera_fit",
        unit="share",
        low=0,
        high=1,
        meaning="Share of the change explained by flow that one affine motion explains too; near 1 it is a pan or zoom "
        "over a scene without own motion, as over a still picture. NaN if nothing moves.",
    ),
    Column(
        name="shake",
        unit="% of diagonal",
        low=0,
        high=100,
        meaning=f"Root mean square distance of the camera's path from its own mean over {SHAKE_WINDOW_S:g} s.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class MotionSettings:
    """What flow is estimated with and from which speed on something moves."""

    flow: FlowName = "dis"
    """"dis" needs no weights; "raft" needs torchvision and a file of weights, and is far slower without a GPU."""
    raft_weights: Path | None = None
    """State dict of torchvision's RAFT, ``.pth`` or safetensors."""
    raft_variant: RaftVariant = "large"
    device: str = "cpu"
    """Of RAFT, as torch names it."""
    min_peak_speed: float = DEFAULT_MIN_PEAK_SPEED
    """% of diagonal / s: a pair with less is still."""
    min_object_speed: float = 1.0
    """% of diagonal / s against the camera, from which a place moves on its own."""

    def __post_init__(self) -> None:
        if self.flow not in ("dis", "raft"):
            raise ValueError(f'flow: expected "dis" or "raft", got "{self.flow}"')
        if self.raft_variant not in ("small", "large"):
            raise ValueError(f'raft_variant: expected "small" or "large", got "{self.raft_variant}"')
        if self.flow == "raft" and self.raft_weights is None:
            raise ValueError('raft_weights: expected a file, because flow is "raft"; got none')
        for name in ("min_peak_speed", "min_object_speed"):
            if not 0 < getattr(self, name) < MAX_SPEED:
                raise ValueError(f"{name}: expected more than 0 and less than {MAX_SPEED:g}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What is known of two neighbouring frames; speeds in % of diagonal / s."""

    is_jump: bool
    duration_s: float
    peak_speed: float
    camera_speed: float
    camera_shift: tuple[float, float]
    """Of the middle of the picture, right and down, % of diagonal."""
    object_speed: float
    moving_share: float
    change: float
    """Mean square of the band-passed luma's difference: as it is, with the flow undone, with the camera undone."""
    change_without_flow: float
    change_without_camera: float


class MotionOperator:
    """Measures how a clip moves."""

    name = "motion"
    version = 1
    columns = COLUMNS
    views: frozenset[ViewName] = frozenset({"motion"})

    def __init__(self, settings: MotionSettings) -> None:
        self._settings = settings
        self._flow: FlowModel | None = None

    def weights(self) -> tuple[str, ...]:
        """Return the digest of RAFT's file, or nothing."""
        if self._settings.flow != "raft" or self._settings.raft_weights is None:
            return ()
        with self._settings.raft_weights.open("rb") as file:
            return (hashlib.file_digest(file, "sha256").hexdigest(),)

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns; all NaN for a clip of one frame, speeds NaN if all pairs are jumps."""
        if self._flow is None:
            self._flow = _make_flow(self._settings)
        grid = _grid(clip.motion.shape[1], clip.motion.shape[2])
        pairs = [
            _compare(self._flow, grid, first, second, float(duration_s), self._settings.min_object_speed)
            for first, second, duration_s in zip(
                clip.motion[:-1], clip.motion[1:], np.diff(clip.motion_times_s), strict=True
            )
            if duration_s > 0
        ]
        if not pairs:
            return {column.name: math.nan for column in COLUMNS}
        smooth = [pair for pair in pairs if not pair.is_jump]
        num_still = sum(pair.peak_speed < self._settings.min_peak_speed for pair in smooth)
        measured = {
            "still_share": num_still / len(pairs),
            "jump_share": 1 - len(smooth) / len(pairs),
            "camera_fit": _camera_fit(smooth),
            "shake": _shake(pairs),
        }
        if not smooth:
            return {column.name: math.nan for column in COLUMNS} | measured
        objects = [pair.object_speed for pair in smooth if pair.object_speed > 0] or [0.0]
        return measured | {
            "peak_speed": float(np.quantile([pair.peak_speed for pair in smooth], PEAK_QUANTILE)),
            "camera_speed": float(np.median([pair.camera_speed for pair in smooth])),
            "object_speed": float(np.median(objects)),
            "moving_share": float(np.mean([pair.moving_share for pair in smooth])),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """Where the pixels and the places of a frame are."""

    columns_px: NDArray[np.float32]
    """(H, W), as ``rows_px``."""
    rows_px: NDArray[np.float32]
    terms: NDArray[np.float32]
    """(h, w, 3): one, and how far a place is right of and below the middle, in diagonals. Their sums, weighted by
    (3, 2), are an affine flow."""
    diagonal_px: float

    def undo_flow(self, picture: Array, flow: Array) -> Array:
        """Return the picture (H, W) fetched back along a flow (H, W, 2)."""
        cv2 = opencv()
        columns_px, rows_px = self.columns_px + flow[..., 0], self.rows_px + flow[..., 1]
        return cv2.remap(picture, columns_px, rows_px, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def undo_camera(self, picture: Array, camera: Array) -> Array:
        """Return the picture (H, W) fetched back along an affine flow (3, 2)."""
        cv2 = opencv()
        height_px, width_px = picture.shape
        slopes = camera[1:].T / self.diagonal_px
        start = camera[0] - slopes @ np.array([width_px - 1, height_px - 1]) / 2
        matrix = np.concatenate([np.eye(2) + slopes, start[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(picture, matrix, (width_px, height_px), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _grid(height_px: int, width_px: int) -> _Grid:
    columns_px, rows_px = np.meshgrid(np.arange(width_px, dtype=np.float32), np.arange(height_px, dtype=np.float32))
    diagonal_px = math.hypot(height_px, width_px)
    right, down = ((x - x.mean()) / diagonal_px for x in (columns_px, rows_px))
    terms = _places(np.ones_like(right), right, down)
    return _Grid(columns_px=columns_px, rows_px=rows_px, terms=terms, diagonal_px=diagonal_px)


def _compare(
    model: FlowModel,
    grid: _Grid,
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    duration_s: float,
    min_object_speed: float,
) -> _Pair:
    """Return what is known of two frames (H, W, 3)."""
    second = _with_brightness_of(first, second)
    here, there = _band_pass(first), _band_pass(second)
    flow = model.flow(first, second)
    there_moved = grid.undo_flow(there, flow)
    changes = [np.square(here), np.square(here - there), np.square(here - there_moved)]
    places = _places(flow[..., 0], flow[..., 1], *changes)
    contrast, change, change_without_flow = np.moveaxis(places[..., 2:], -1, 0)
    camera = _fit_camera(places[..., :2], contrast, grid.terms)
    changes.append(np.square(here - grid.undo_camera(there, camera)))
    change_without_camera = _places(changes[-1])

    to_speed = 100 / grid.diagonal_px / duration_s
    camera_flow = grid.terms @ camera
    camera_speed, any_speed, own_speed = (
        np.minimum(np.linalg.norm(x, axis=-1) * to_speed, MAX_SPEED)
        for x in (camera_flow, places[..., :2], places[..., :2] - camera_flow)
    )
    noise = float(np.median(change_without_flow))
    speed = any_speed * _belief(change, change_without_flow, noise)
    own_speed = own_speed * _belief(change_without_camera, change_without_flow, noise)
    is_moving = own_speed >= min_object_speed
    num_peak_places = max(1, round(PEAK_SHARE * speed.size))
    return _Pair(
        is_jump=_likeness(here, there_moved) < JUMP_LIKENESS,
        duration_s=duration_s,
        peak_speed=float(np.sort(speed, axis=None)[-num_peak_places:].mean()),
        camera_speed=float(camera_speed.mean()),
        camera_shift=(float(camera[0, 0]) * 100 / grid.diagonal_px, float(camera[0, 1]) * 100 / grid.diagonal_px),
        object_speed=float(own_speed[is_moving].mean()) if is_moving.sum() >= num_peak_places else 0.0,
        moving_share=float(is_moving.mean()),
        change=float(changes[1].mean()),
        change_without_flow=float(changes[2].mean()),
        change_without_camera=float(changes[3].mean()),
    )


def _make_flow(settings: MotionSettings) -> FlowModel:
    if settings.flow == "dis" or settings.raft_weights is None:
        return DisFlow()
    return RaftFlow(settings.raft_weights, variant=settings.raft_variant, device=settings.device)


def _with_brightness_of(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the second frame with the first one's mean and contrast if that brings them much closer, as in flicker."""
    cv2 = opencv()
    (mean, deviation), (next_mean, next_deviation) = (
        (values.item() for values in cv2.meanStdDev(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)))
        for frame in (first, second)
    )
    gain = deviation / max(next_deviation, 1.0)
    lut = np.clip(np.arange(256) * gain + mean - gain * next_mean, 0, 255).round().astype(np.uint8)
    matched = cv2.LUT(second, lut)
    return matched if cv2.norm(first, matched, cv2.NORM_L1) < cv2.norm(first, second, cv2.NORM_L1) / 2 else second


def _band_pass(frame: NDArray[np.uint8]) -> Array:
    """Return luma (H, W) without its finest grain and without its slow parts, levels."""
    cv2 = opencv()
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(luma, (0, 0), 1.2) - cv2.blur(luma, (15, 15))


def _places(*values: Array) -> Array:
    """Return the means (h, w, C), or (h, w) of one, of C pictures (H, W) over overlapping places."""
    cv2 = opencv()
    width, height = (max(1, round(side_px / PLACE_PX)) for side_px in values[0].shape[::-1])
    small = [cv2.resize(value, (width, height), interpolation=cv2.INTER_AREA) for value in values]
    return cv2.blur(np.dstack(small), (3, 3))


def _belief(change: Array, change_left: Array, noise: float) -> Array:
    """Return from 0 to 1 how far motion is believed that leaves so much of a change, mean squares in levels².

    ``noise`` is what is left in most of the picture: so much is flow able to explain of noise, too.
    """
    explained = (change - change_left) / (change + NOISE_FLOOR + noise)
    return np.clip((explained - DOUBTED) / (BELIEVED - DOUBTED), 0, 1)


def _likeness(first: Array, second: Array) -> float:
    """Return 1 for equal band-passed pictures, about 0 for unrelated ones; two plain ones are alike."""
    floor = NOISE_FLOOR * first.size
    return float((2 * (first * second).sum() + floor) / (np.square(first).sum() + np.square(second).sum() + floor))


def _fit_camera(flow: Array, contrast: Array, terms: Array) -> Array:
    """Return the affine motion (3, 2) that most of the picture follows, as weights of the grid's terms, px.

    Reweighted least squares with the weights of Geman and McClure, from the median; nothing is drawn at random.

    Args:
        flow: (h, w, 2), px.
        contrast: (h, w), mean square, levels².
        terms: (h, w, 3), of the grid.
    """
    vectors, texture, places = (x[::2, ::2].astype(np.float64) for x in (flow, contrast, terms))  # they overlap
    vectors, texture, places = vectors.reshape(-1, 2), texture.ravel(), places.reshape(-1, 3)
    trust = np.maximum(texture / (texture + 4 * NOISE_FLOOR), PLAIN_TRUST)
    camera = np.zeros((3, 2))
    camera[0] = [_weighted_median(vectors[:, axis], trust) for axis in range(2)]
    ridge = np.diag([1e-9, 1e-3, 1e-3])  # too few places for an affine motion are a shift
    for _ in range(FIT_ROUNDS):
        distances_px = np.hypot(*(vectors - places @ camera).T)
        width_px = max(0.2, 2 * _weighted_median(distances_px, trust))
        weighted = places * (trust / (1 + np.square(distances_px / width_px)) ** 2)[:, None]
        camera = np.linalg.solve(weighted.T @ places + ridge, weighted.T @ vectors)
    return camera.astype(np.float32)


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(sums, sums[-1] / 2)]])


def _camera_fit(pairs: list[_Pair]) -> float:
    """Return how much of the change that flow explains the camera explains; NaN if it is as little as noise."""
    by_flow = sum(pair.change - pair.change_without_flow for pair in pairs)
    by_camera = sum(pair.change - pair.change_without_camera for pair in pairs)
    total = sum(pair.change for pair in pairs)
    if by_flow <= 0 or by_flow < DOUBTED * total:
        return math.nan
    return float(np.clip(by_camera / by_flow, 0, 1))


def _shake(pairs: list[_Pair]) -> float:
    """Return how far the camera's path is from its own moving mean, RMS, % of diagonal; NaN for too short clips."""
    shifts = np.array([(0.0, 0.0) if pair.is_jump else pair.camera_shift for pair in pairs])
    times_s = np.cumsum([0.0, *(pair.duration_s for pair in pairs)])
    even_s = np.linspace(0, times_s[-1], len(times_s))
    half = round(SHAKE_WINDOW_S / even_s[1] / 2)
    window = 2 * half + 1
    if window < 3 or len(even_s) < window:
        return math.nan
    path = np.cumsum(np.concatenate([np.zeros((1, 2)), shifts]), axis=0)
    squares = np.zeros(len(path) - 2 * half)
    for axis in range(2):
        even = np.interp(even_s, times_s, path[:, axis])  # a steady pan seen at uneven times must not seem to shake
        mean = np.convolve(even, np.full(window, 1 / window), mode="valid")
        squares += np.square(even[half:-half] - mean)
    return min(float(np.sqrt(squares.mean())), 100.0)

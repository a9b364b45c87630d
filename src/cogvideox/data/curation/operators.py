"""What an operator is: it measures a clip, from frames that one decoding pass gives to all of them.

Axes: T sampled frames, N all frames, H W rows and columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

ViewName = Literal["thumbs", "motion", "detail", "native", "changes"]

MOTION_FPS = 8.0
MOTION_AREA_PX = 320 * 180
MOTION_MULTIPLE_PX = 8
DETAIL_INTERVAL_S = 0.5
DETAIL_LONG_SIDE_PX = 640
NATIVE_SIDE_PX = 384
THUMB_HEIGHT_PX, THUMB_WIDTH_PX = 27, 48


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number that an operator gives for every clip; in tables and policies it is ``<operator>.<name>``."""

    name: str
    unit: str
    """For example "share", "% of diagonal / s", "levels" (of 0 to 255), "count"."""
    low: float
    high: float
    """Values lie in [low, high]; NaN says that it cannot be measured on this clip."""
    meaning: str
    """One sentence, for the documentation and the report."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipView:
    """A clip as the operators see it. A view that no operator asked for is empty (T or N is 0)."""

    clip_id: str
    height_px: int
    """Of the upright frames with square pixels, as they will be shown."""
    width_px: int
    fps: float
    num_frames: int
    start_s: float
    """In its source."""
    end_s: float
    motion: NDArray[np.uint8]
    """(T, H, W, 3) RGB at `MOTION_FPS` (the source's rate if that is lower), upright; H x W is about `MOTION_AREA_PX`
    for a clip of any size, in the clip's proportions, both sides multiples of `MOTION_MULTIPLE_PX`."""
    motion_times_s: NDArray[np.float64]
    """(T,) in the source."""
    detail: NDArray[np.uint8]
    """(T, H, W, 3) RGB, one every `DETAIL_INTERVAL_S`, upright, the longer side at most `DETAIL_LONG_SIDE_PX`, never
    enlarged."""
    native: NDArray[np.uint8]
    """(T, H, W) luma as it was coded (range 0 to 255), at the times of ``detail``: the middle of the frame, at most
    `NATIVE_SIDE_PX` on a side, not scaled, not turned, and cut so that blocks of 8x8 px begin at its corner."""
    detail_times_s: NDArray[np.float64]
    """(T,) in the source, of ``detail`` and ``native``."""
    changes: NDArray[np.float32]
    """(N,) mean absolute difference of the coded luma of each frame from the one before, in levels; 0 only if they are
    the same, NaN at the first frame of the source."""
    thumbs: NDArray[np.uint8]
    """(N, 27, 48, 3) RGB of every frame, squeezed, for transitions inside the clip."""


def spread(num_available: int, num_wanted: int) -> NDArray[np.int64]:
    """Return the places of at most ``num_wanted`` of so many frames, in the middle of equal parts of them."""
    num_taken = min(num_available, num_wanted)
    return ((np.arange(num_taken) + 0.5) * num_available / max(num_taken, 1)).astype(np.int64)


class Operator(Protocol):
    """Measures clips. It is made from its settings, in every process anew, and loads its weights at the first clip.

    Results are reused as long as name, version, settings and weights stay the same: who changes what is computed
    raises ``version``.
    """

    name: str
    version: int
    columns: tuple[Column, ...]
    views: frozenset[ViewName]
    """What it needs of a `ClipView`."""

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of each file of weights that it uses."""
        ...

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return a value for every column; NaN where there is none. Clips may have a single frame."""
        ...


class ColumnOperator(Protocol):
    """Judges clips by what other operators measured of them; otherwise as `Operator`. No video is decoded for it."""

    name: str
    version: int
    columns: tuple[Column, ...]
    inputs: tuple[str, ...]
    """The columns it needs, ``<operator>.<name>``, of operators that see frames."""
    input_versions: Mapping[str, int]
    """The versions of those operators that it was made for, by name; others may measure something else."""

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of each file of weights that it uses."""
        ...

    def judge(self, values: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Return the (N,) values of every column, from those of the inputs, NaN where they could not be measured."""
        ...


class RowOperator(Protocol):
    """Takes rows of any types from clips, for what is decided over all of them; otherwise as `Operator`."""

    name: str
    version: int
    types: Mapping[str, str]
    """Columns of its rows, as `cogvideox.data.curation.store.Types`; the first is ``clip_id``."""
    views: frozenset[ViewName]

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of each file of weights that it uses."""
        ...

    def rows(self, clip: ClipView) -> list[dict[str, Any]]:
        """Return any number of rows."""
        ...

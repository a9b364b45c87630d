"""Clips of a training set: a table of what they are, and sources that give their frames.

Axes: T frames, H W rows and columns of pixels.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.caption_mixture import CaptionKind
from cogvideox.media.pictures import fit_pictures
from cogvideox.media.reading import map_frames

logger = logging.getLogger(__name__)

NUM_NAMED = 20
"""Clips that are left out and named in warnings."""


@dataclass(frozen=True, kw_only=True, order=True)
class ClipShape:
    """What a clip is made into for training."""

    num_frames: int
    height_px: int
    width_px: int
    fps: float
    """Of pictures (1 frame) 0."""


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """One row per clip, in columns: all that choosing and packing reads."""

    clip_ids: tuple[str, ...]
    """Unique."""
    versions: tuple[str, ...]
    """Changes with the content, for example a file's size and time: caches keep no outdated clip."""
    num_frames: NDArray[np.int64]
    """1 for pictures."""
    height_px: NDArray[np.int64]
    width_px: NDArray[np.int64]
    fps: NDArray[np.float64]
    """0 for pictures."""
    captions: tuple[tuple[str, ...], ...]
    """Wordings of each clip's caption, at least one; training picks one at random."""
    caption_kinds: tuple[tuple[CaptionKind, ...], ...] = ()
    """Of each wording; empty if all are the clips' own."""
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """By name, for filters; NaN where a clip has no such score."""

    def __len__(self) -> int:
        return len(self.clip_ids)

    def kinds(self, row: int) -> tuple[CaptionKind, ...]:
        """Return the kinds of a clip's wordings."""
        return self.caption_kinds[row] if self.caption_kinds else ("own",) * len(self.captions[row])


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A clip that is left out."""

    clip_id: str
    reason: str


def log_rejected(rejected: Sequence[Rejected]) -> None:
    """Warn of clips that are left out: of the first ones by name, of all others by number."""
    for clip in rejected[:NUM_NAMED]:
        logger.warning("%s: left out: %s", clip.clip_id, clip.reason)
    if len(rejected) > NUM_NAMED:
        logger.warning(
            "%d more are left out, the last: %s: %s",
            len(rejected) - NUM_NAMED,
            rejected[-1].clip_id,
            rejected[-1].reason,
        )


class ClipSource(Protocol):
    """A training set."""

    @property
    def table(self) -> ClipTable:
        """All its clips."""
        ...

    def read(self, index: int, shape: ClipShape) -> NDArray[np.uint8]:
        """Return the clip of a row as (T, H, W, 3) RGB of the shape. Raises ValueError if it cannot be read.

        May be called from several threads.
        """
        ...


def check_unique(clip_ids: tuple[str, ...], where: str | Path) -> None:
    """Raise ValueError if two clips have one name."""
    for clip_id, count in Counter(clip_ids).most_common(1):
        if count > 1:
            raise ValueError(f"{where}: clip_id: expected another one for every clip, got {clip_id!r} {count} times")


def fit_clip(frames: NDArray[np.uint8], fps: float, shape: ClipShape) -> NDArray[np.uint8]:
    """Return frames (T, H, W, 3) at another rate (the nearest frames), cut from the start, resized and cropped.

    Raises:
        ValueError: the clip is too short for the shape.
    """
    indices = _frames_of_shape(fps, shape)
    _check_length(len(frames), fps, indices, shape)
    return fit_pictures(frames[indices], height_px=shape.height_px, width_px=shape.width_px)


def read_fitted(path: Path, fps: float, shape: ClipShape, *, content: bytes | None = None) -> NDArray[np.uint8]:
    """Return what `fit_clip` makes of a file or of its ``content``; frames are in memory one at a time until they fit.

    Raises:
        ValueError: it is not readable, or too short for the shape.
    """
    indices = _frames_of_shape(fps, shape)
    fitted, num_seen = _read_some(path, indices, (shape.height_px, shape.width_px), content)
    _check_length(num_seen, fps, indices, shape)
    return np.stack([fitted[position] for position in indices.tolist()])


def read_frames(
    path: Path, indices: NDArray[np.int64], size_px: tuple[int, int], *, content: bytes | None = None
) -> NDArray[np.uint8]:
    """Return some frames of a file or of its ``content``, in ascending order, resized and cropped (T, H, W, 3).

    Raises:
        ValueError: it is not readable, or ends before the last of them.
    """
    fitted, num_seen = _read_some(path, indices, size_px, content)
    if indices[-1] >= num_seen:
        raise ValueError(f"clip: expected at least {indices[-1] + 1} frames, got {num_seen}")
    return np.stack([fitted[position] for position in indices.tolist()])


def _read_some(
    path: Path, indices: NDArray[np.int64], size_px: tuple[int, int], content: bytes | None
) -> tuple[dict[int, NDArray[np.uint8]], int]:
    """Return the frames that there are of those wanted, by their places, and how many were decoded."""
    positions, wanted = itertools.count(), set(indices.tolist())
    fitted: dict[int, NDArray[np.uint8]] = {}

    def keep(frame: NDArray[np.uint8]) -> None:
        position = next(positions)
        if position in wanted:
            fitted[position] = fit_pictures(frame, height_px=size_px[0], width_px=size_px[1])

    seen, _ = map_frames(path, keep, max_frames=int(indices[-1]) + 1, content=content)
    return fitted, len(seen)


def _frames_of_shape(fps: float, shape: ClipShape) -> NDArray[np.int64]:
    """Return which frames make the shape, in order."""
    if shape.num_frames == 1:
        return np.zeros(1, np.int64)
    if fps == 0:
        raise ValueError(f"clip: expected a video for {shape.num_frames} frames, got a picture")
    return frames_at_rate(shape.num_frames, fps, shape.fps)


def frames_at_rate(num_frames: int, fps: float, wanted_fps: float) -> NDArray[np.int64]:
    """Return which frames of a video of rate ``fps``, counted from 0, are so many at another rate.

    A rate that is no multiple is met by repeating or leaving out single frames.
    """
    return np.floor(np.arange(num_frames) * (fps / wanted_fps) + 0.5).astype(np.int64)


def _check_length(num_frames: int, fps: float, indices: NDArray[np.int64], shape: ClipShape) -> None:
    if indices[-1] >= num_frames:
        raise ValueError(
            f"clip: expected at least {indices[-1] + 1} frames for {shape.num_frames} at {shape.fps:g} fps, "
            f"got {num_frames} at {fps:g} fps"
        )

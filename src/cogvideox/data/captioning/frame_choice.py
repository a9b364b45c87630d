"""Which frames of a clip models are shown, and the one decoding that gets them for all stages.

Axes: T frames, H W rows and columns of pixels.
"""

import itertools
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cogvideox.data.captioning.recipe import FrameSettings
from cogvideox.media.pictures import fit_pictures

SIGNATURE_SIDE = 32
"""Pixels on a side of the picture by which frames are compared."""
LATEST_FACTOR = 5
"""By content, the longest time without a frame, in ``every_s``."""

FrameStream = Generator[NDArray[np.uint8], None, float]


def spread_frames(num_frames: int, num_wanted: int) -> tuple[int, ...]:
    """Return so many frames, counted from 0, evenly over a clip, its first and last among them; all of a shorter one.

    One is the middle one.
    """
    if num_wanted >= num_frames:
        return tuple(range(num_frames))
    if num_wanted == 1:
        return (num_frames // 2,)
    return tuple(round(index * (num_frames - 1) / (num_wanted - 1)) for index in range(num_wanted))


def timed_frames(num_frames: int, fps: float, every_s: float, max_frames: int) -> tuple[int, ...]:
    """Return the frames nearest to 0 s, ``every_s``, twice that and so on, within the clip: at least the first.

    If there are more than ``max_frames``, so many of them, evenly, the first and the last among them. A picture
    (``fps`` 0) has one.
    """
    if fps == 0 or num_frames == 1:
        return (0,)
    step_frames = max(every_s * fps, 1.0)
    num_times = math.ceil(num_frames / step_frames)
    frames = (math.floor(number * step_frames + 0.5) for number in range(num_times))
    found = sorted({frame for frame in frames if frame < num_frames})
    return tuple(found[place] for place in spread_frames(len(found), max_frames))


def choice_of(settings: FrameSettings) -> str:
    """Return what a choice by content is known by."""
    values = (settings.every_s, settings.min_change, settings.max_frames, SIGNATURE_SIDE)
    return "content-" + "-".join(format(value, "g") for value in values)


def signature(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a frame (H, W, 3) as a little picture (S, S, 3), 0 to 1."""
    small = Image.fromarray(frame).resize((SIGNATURE_SIDE, SIGNATURE_SIDE), Image.Resampling.BOX, reducing_gap=None)
    return np.asarray(small, np.float32) / np.float32(255)


class ContentChooser:
    """Takes the first frame, and another whenever the picture has changed, or after a while.

    The change is the root mean square of the difference of little pictures, 0 to 1: what moves over a still background
    counts more than in a mean. Where more than twice ``max_frames`` would be taken, every second one is let go, and so
    on, so that a clip of any length takes bounded memory.
    """

    def __init__(self, settings: FrameSettings, fps: float) -> None:
        self._settings = settings
        self._max_gap = max(1, round(LATEST_FACTOR * settings.every_s * fps)) if fps else 1
        self._last = -1
        self._last_signature: NDArray[np.float32] | None = None
        self._num_taken = 0
        self._stride = 1
        self.kept: list[int] = []

    def takes(self, index: int, frame: NDArray[np.uint8]) -> bool:
        """Whether the next frame is kept, at least for now; `kept` says which are."""
        current = signature(frame)
        if self._last_signature is not None:
            change = float(np.sqrt(np.mean((current - self._last_signature) ** 2)))
            if change < self._settings.min_change and index - self._last < self._max_gap:
                return False
        self._last, self._last_signature = index, current
        self._num_taken += 1
        if (self._num_taken - 1) % self._stride:
            return False
        self.kept.append(index)
        if len(self.kept) > 2 * self._settings.max_frames:
            self.kept = self.kept[::2]
            self._stride *= 2
        return index in self.kept[-1:]

    def chosen(self) -> tuple[int, ...]:
        """Return the frames that are taken in the end."""
        return tuple(self.kept[place] for place in spread_frames(len(self.kept), self._settings.max_frames))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Frames that a stage shows."""

    max_side_px: int
    """They are reduced to it."""
    indices: tuple[int, ...] = ()
    """Ascending."""
    content: FrameSettings | None = None
    """They are chosen by content instead."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What a decoding found."""

    num_frames: int
    """Seen: all of the clip if it ended before the last wanted one."""
    has_ended: bool
    """Whether the clip has no more."""
    frames: Mapping[str, dict[int, NDArray[np.uint8]]] = field(default_factory=dict)
    """By the names of what was wanted, frames (H, W, 3) by their indices."""


def decode(stream: Callable[[], FrameStream], fps: float, wanted: Mapping[str, Wanted]) -> Decoded:
    """Read a clip once, one full frame in memory at a time, and return the reduced frames that are wanted.

    Raises:
        ValueError: it is not readable up to there.
        OSError: its file is not.
    """
    choosers = {name: ContentChooser(one.content, fps) for name, one in wanted.items() if one.content is not None}
    sets = {name: frozenset(one.indices) for name, one in wanted.items()}
    last = -1 if choosers else max(one.indices[-1] for one in wanted.values())
    found: dict[str, dict[int, NDArray[np.uint8]]] = {name: {} for name in wanted}
    sizes: dict[str, tuple[int, int]] = {}
    num_seen, has_ended, frames = 0, True, stream()
    try:
        for index, frame in zip(itertools.count(), frames, strict=False):
            num_seen = index + 1
            for name, one in wanted.items():
                chooser = choosers.get(name)
                if chooser.takes(index, frame) if chooser else index in sets[name]:
                    size = sizes.setdefault(name, _reduced_size(frame.shape, one.max_side_px))
                    found[name][index] = fit_pictures(frame, height_px=size[0], width_px=size[1])
                    if chooser is not None and len(found[name]) > len(chooser.kept):
                        found[name] = {place: found[name][place] for place in chooser.kept}
            if index == last:
                has_ended = False
                break
    finally:
        frames.close()
    if not num_seen:
        raise ValueError("clip: expected frames, got none")
    for name, chooser in choosers.items():
        found[name] = {index: found[name][index] for index in chooser.chosen()}
    return Decoded(num_frames=num_seen, has_ended=has_ended, frames=found)


def _reduced_size(shape: tuple[int, ...], max_side_px: int) -> tuple[int, int]:
    height, width = shape[:2]
    scale = min(1.0, max_side_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))

"""What a family of made videos is: one way to get one kind of bad video, or a good one, with parameters that vary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.labelling.labels import LabelName

Frames = NDArray[np.uint8]
"""(T, H, W, 3) RGB; H and W even."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What one bad video is made from. All of it belongs to one group of sources, so that groups can be held out."""

    frames: Frames
    """A good moving clip of about the length and size that is to be made."""
    fps: float
    others: Sequence[Frames]
    """At least two more moving clips of the same rate, of any size and of at least half that length."""
    pictures: Sequence[NDArray[np.uint8]]
    """At least four photographs, (H, W, 3), of any size."""
    speakers: Sequence[Frames]
    """At least one clip, or picture (T is 1), of a person's head and shoulders, from the front."""
    screens: Sequence[NDArray[np.uint8]]
    """Captured screens and windows, (H, W, 3), of any size; may be none."""
    words: tuple[str, ...]
    """At least 200 words of running text, in order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Negative:
    """A bad video."""

    frames: Frames
    fps: float
    parameters: dict[str, float | int | str]
    """What was drawn, for tables of what is missed."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A way to make one kind of bad video, or of good ones that a filter might take for bad."""

    name: str
    """``<label>.<way>``, for example "static.slides"."""
    label: LabelName | None
    """None for good videos."""
    meaning: str
    """One sentence, for the documentation."""
    make: Callable[[Material, np.random.Generator], Negative]
    """Makes one; the same material and generator give the same frames."""
    also: frozenset[LabelName] = field(default_factory=frozenset)
    """Labels that these videos always have too."""
    unsure: frozenset[LabelName] = field(default_factory=frozenset)
    """Labels that some of them have: neither taught nor counted."""

"""What a stage of captioning asks of a model: the seam between the stages and the kinds of models.

Axes: T frames, H W rows and columns of pixels.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cogvideox.chat.turns import Answer, Turn

StageName = Literal["short", "frames", "summary", "judge"]
"""The judge is asked, for the checks, whether a summary is true."""


@dataclass(frozen=True, kw_only=True)
class TimedCaption:
    """What a frame shows."""

    time_s: float
    """From the start of the clip."""
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionRequest:
    """One question about one clip. Models read ``prompt``; those that are no language models read the fields."""

    stage: StageName
    clip_id: str
    prompt: str
    """The whole instruction, its inputs included."""
    rules: str = ""
    """What goes before it as the system's message."""
    frames: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    """(T, H, W, 3) RGB, in the order of time; T = 0 for a question about texts only."""
    times_s: tuple[float, ...] = ()
    """Of the frames, from the start of the clip."""
    duration_s: float = 0.0
    """Of the clip; 0 for a picture."""
    short: str = ""
    """For a summary: the short caption, empty if there is none."""
    frame_captions: tuple[TimedCaption, ...] = ()
    """For a summary: what its frames show, in the order of time."""
    rejected: str = ""
    """An earlier answer that was no use."""
    complaint: str = ""
    """What was wrong with it, and what to do."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a summary is made of, as texts."""
        return (self.short, *(caption.text for caption in self.frame_captions))

    def turns(self) -> tuple[Turn, ...]:
        """Return the request as a conversation."""
        turns = [Turn("system", self.rules)] if self.rules else []
        turns.append(Turn("user", self.prompt, images=tuple(self.frames)))
        if self.complaint:
            turns += [Turn("assistant", self.rejected), Turn("user", self.complaint)]
        return tuple(turns)


class CaptionBackend(Protocol):
    """A model that answers requests. ``caption`` may be called from several threads if ``concurrency`` is above 1."""

    source: str
    """Which model this is, for the record and for errors; without secrets."""
    concurrency: int
    """Requests that it is worth making at once."""

    def caption(self, request: CaptionRequest) -> Answer:
        """Return what the model says.

        Raises:
            FetchError: it cannot be had now; the same request may succeed later.
            ValueError: it does not answer this request, and never will.
        """
        ...

    def release(self) -> None:
        """Free the memory that the model takes; it is loaded again when it is asked again."""
        ...

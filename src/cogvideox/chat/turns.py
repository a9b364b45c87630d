"""What is said to a language model and what it says: the seam between those who ask and the kinds of models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from cogvideox.media.pictures import read_picture

MAX_IMAGE_PX = 1024
"""Longest side of an image that is sent: more than vision models look at, and a fraction of a photograph's bytes."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[np.ndarray, ...] = ()
    """(H, W, 3) uint8 each, that the text speaks of."""


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    is_cut: bool = False
    """Whether it had more to say than its tokens allowed."""
    num_input_tokens: int = 0
    """That the model read, as it counts them itself, in tries that were no use too; 0 if it does not say."""
    num_output_tokens: int = 0
    """That it wrote, thoughts included."""


class ChatModel(Protocol):
    """Answers a conversation."""

    source: str
    """Which model this is, for the record and for errors; without secrets."""

    def answer(self, turns: Sequence[Turn]) -> Answer:
        """Return the answer to the last turn."""
        ...

    def release(self) -> None:
        """Free the memory that the model takes; it is loaded again when it is asked again."""
        ...


def bounded_image(image: np.ndarray) -> Image.Image:
    """Return a picture of at most `MAX_IMAGE_PX` on its longer side. Raises ValueError unless (H, W, 3) uint8."""
    picture = Image.fromarray(read_picture(image))
    picture.thumbnail((MAX_IMAGE_PX, MAX_IMAGE_PX), Image.Resampling.LANCZOS)
    return picture

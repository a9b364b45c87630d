"""Twenty fixed prompts, to look at: the same ones for every model and version, first seed each, nothing picked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cogvideox.media.contact_sheet import save_contact_sheet

GALLERY_PROMPTS: tuple[str, ...] = (
    "a cat walks to the right on a beach",
    "a penguin hops to the left in a snowy field",
    "an elephant walks to the left at sunset",
    "a soccer ball rolls to the right in a meadow",
    "a taxi walks to the left in a city",
    "a whale flies to the right underwater",
    "a robot jumps up and down in a desert",
    "a pumpkin spins around at night",
    "a snowman dances in a snowy field",
    "an octopus dances underwater",
    "a pig falls down in a meadow",
    "a parrot flies to the left at sunset",
    "a turtle walks to the right underwater",
    "a dinosaur hops to the right in a desert",
    "a horse rolls to the left on a beach",
    "a car flies to the right at night",
    "a kitten strolls to the left at the seaside",
    "on a moonlit night, a bot turns around and around",
    "in front of tall buildings, an elephant hops rightwards, while it is raining",
    "a cheerful orange jack-o'-lantern bounces to the left among sand dunes, with a green tree in the background",
)


def save_gallery(
    path: Path, generate: Callable[[Sequence[str], Sequence[int]], Sequence[np.ndarray]], *, num_columns: int = 6
) -> None:
    """Write a contact sheet of `GALLERY_PROMPTS`, each with seed 0.

    Args:
        path: the PNG file.
        generate: prompts and seeds to videos (T, H, W, 3) uint8.
        num_columns: frames shown of each clip.
    """
    videos = generate(GALLERY_PROMPTS, [0] * len(GALLERY_PROMPTS))
    save_contact_sheet(path, videos, num_columns=num_columns, titles=GALLERY_PROMPTS, scale=2)

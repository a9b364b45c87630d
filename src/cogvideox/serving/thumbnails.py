"""Small pictures of a video, made while its frames pass by on their way into the file; without torch."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

THUMBNAIL_PX = 384
"""Longer side at most."""
SHEET_TILE_PX = 160
NUM_SHEET_FRAMES = 16
NUM_SHEET_COLUMNS = 4
QUALITY = 85


class FrameTap:
    """Lets frames pass and keeps what the pictures need."""

    def __init__(self, num_frames: int, on_frames: Callable[[int], None] | None = None) -> None:
        """Expect about so many frames; call ``on_frames`` with how many have passed."""
        self._expected = num_frames
        self._on_frames = on_frames
        self._stride = max(1, math.ceil(num_frames / NUM_SHEET_FRAMES))
        self._tiles: list[Image.Image] = []
        self._middle: Image.Image | None = None
        self.num_frames = 0
        self.source_s = 0.0
        """How long the frames took to come."""

    def through(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield chunks (T, H, W, 3) uint8 as they are."""
        asked_s = time.monotonic()
        for chunk in chunks:
            self.source_s += time.monotonic() - asked_s
            for frame in chunk:
                if self.num_frames % self._stride == 0 and len(self._tiles) < NUM_SHEET_FRAMES:
                    self._tiles.append(smaller(Image.fromarray(frame), SHEET_TILE_PX))
                if self._middle is None or self.num_frames <= self._expected // 2:
                    self._middle = Image.fromarray(frame)
                self.num_frames += 1
            yield chunk
            if self._on_frames is not None:
                self._on_frames(self.num_frames)
            asked_s = time.monotonic()

    def save_thumbnail(self, path: Path) -> None:
        """Write the middle frame as JPEG."""
        assert self._middle is not None
        smaller(self._middle, THUMBNAIL_PX).save(path, "JPEG", quality=QUALITY)

    def save_sheet(self, path: Path) -> None:
        """Write up to 16 frames in four columns as JPEG."""
        width_px, height_px = self._tiles[0].size
        columns = min(NUM_SHEET_COLUMNS, len(self._tiles))
        rows = math.ceil(len(self._tiles) / columns)
        sheet = Image.new("RGB", (columns * width_px, rows * height_px))
        for index, tile in enumerate(self._tiles):
            sheet.paste(tile, (index % columns * width_px, index // columns * height_px))
        sheet.save(path, "JPEG", quality=QUALITY)


def smaller(picture: Image.Image, longer_px: int) -> Image.Image:
    """Return a picture whose longer side is at most so long."""
    scale = longer_px / max(picture.size)
    if scale >= 1:
        return picture
    width_px, height_px = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width_px, height_px), Image.Resampling.LANCZOS)

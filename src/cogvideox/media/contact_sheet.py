"""Contact sheets: rows of frames of several videos in one PNG, to look at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

GAP_PX = 2
TITLE_HEIGHT_PX = 14


def save_contact_sheet(
    path: Path, videos: Sequence[np.ndarray], *, num_columns: int, titles: Sequence[str] = (), scale: int = 1
) -> None:
    """Write one row per video, ``num_columns`` frames spread over its length.

    Args:
        path: the PNG file; folders are made.
        videos: (T, H, W, 3) uint8 each, all of one size.
        num_columns: frames shown of each video.
        titles: a line of text above each row, if given.
        scale: whole-number enlargement of the frames.
    """
    height, width = videos[0].shape[1] * scale, videos[0].shape[2] * scale
    title_height = TITLE_HEIGHT_PX if titles else 0
    row_height = height + title_height + GAP_PX
    sheet = Image.new("RGB", (num_columns * (width + GAP_PX), len(videos) * row_height), (16, 16, 16))
    draw = ImageDraw.Draw(sheet)
    for row, video in enumerate(videos):
        if titles:
            draw.text((3, row * row_height + 1), titles[row], fill=(235, 235, 235))
        for column, index in enumerate(np.linspace(0, len(video) - 1, num_columns).round().astype(int)):
            frame = Image.fromarray(video[index]).resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(frame, (column * (width + GAP_PX), row * row_height + title_height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)

"""Which way something moves across a still scene: the slope of the moving thing's centroid."""

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.stage_world import Direction

NUM_GRID_COLUMNS = 24
"""Frames are averaged to about this many columns first, so that blur, noise and flakes count little."""
MIN_CONTRAST = 12.0
"""Differences from the background below this (of 255) are noise."""
MIN_RELATIVE_CONTRAST = 0.3
"""The same relative to the clip's strongest differences: cuts off a flickering background."""
MIN_TRAVEL_FRACTION = 0.12
"""Travel over the frame's width below which an actor stays in place; dancing sways by 0.05."""


def track_direction(video: NDArray[np.uint8]) -> Direction | None:
    """Return where the moving thing of a clip (T, H, W, 3) uint8 goes; None if it stays in place.

    Raises ValueError for another shape or type.
    """
    travel = travel_fraction(video)
    if abs(travel) < MIN_TRAVEL_FRACTION:
        return None
    return "right" if travel > 0 else "left"


def travel_fraction(video: NDArray[np.uint8]) -> float:
    """Return the signed distance covered in a clip (T, H, W, 3) uint8 over the frame's width; positive is right.

    The background is the temporal median, the foreground what differs from it, and the distance is the slope of the
    foreground's centroid (least squares, frames weighted by foreground mass) times the clip's length. Where the actor
    covers the same pixels most of the time, the background holds a ghost of it: that shortens the distance but does
    not turn it around, because the ghost is near the middle of the path. A clip without motion gives 0.
    """
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8:
        raise ValueError(f"video: expected (T, H, W, 3) uint8, got {video.shape} {video.dtype}")
    grid = _average_blocks(video, max(1, video.shape[2] // NUM_GRID_COLUMNS))
    contrast = np.abs(grid - np.median(grid, axis=0)).max(axis=-1)
    threshold = max(MIN_CONTRAST, MIN_RELATIVE_CONTRAST * float(np.quantile(contrast, 0.995)))
    foreground = np.maximum(contrast - threshold, 0)
    mass = foreground.sum(axis=(1, 2))
    if len(mass) < 2 or mass.sum() == 0:
        return 0.0
    columns = (np.arange(foreground.shape[2]) + 0.5) / foreground.shape[2]
    centroids = (foreground.sum(axis=1) * columns).sum(axis=1) / np.maximum(mass, 1e-6)
    times = np.linspace(-0.5, 0.5, len(mass))
    times = times - np.average(times, weights=mass)
    spread = float((mass * times**2).sum())
    return float((mass * times * centroids).sum()) / spread if spread > 0 else 0.0


def _average_blocks(video: NDArray[np.uint8], block_px: int) -> NDArray[np.float32]:
    """Average blocks of (T, H, W, 3); rows and columns that fill no block are dropped."""
    rows, columns = video.shape[1] // block_px, video.shape[2] // block_px
    cut = video[:, : rows * block_px, : columns * block_px].astype(np.float32)
    return cut.reshape(len(video), rows, block_px, columns, block_px, 3).mean(axis=(2, 4))

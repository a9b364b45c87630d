"""The Video value, its conversion to tensors, and reading and writing of files.

Frames are (T, H, W, 3) uint8 RGB.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cogvideox.media.containers import VideoWriter
from cogvideox.media.file_settings import read_settings
from cogvideox.media.outputs import check_fps
from cogvideox.media.reading import read_frames
from cogvideox.media.writers import write_video

__all__ = ["Video", "VideoWriter", "read_settings", "read_video", "to_frames", "to_tensor", "write_video"]


@dataclass(frozen=True, eq=False)
class Video:
    """Frames and their rate."""

    frames: np.ndarray
    """(T, H, W, 3) uint8 RGB."""
    fps: float
    """Frames per second of playback."""

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8:
            got = f"{self.frames.shape} {self.frames.dtype}"
            raise ValueError(f"frames: expected (T, H, W, 3) uint8, got {got}")
        check_fps(self.fps)

    @property
    def num_frames(self) -> int:
        """Length in frames."""
        return len(self.frames)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.frames) / self.fps

    def save(self, path: str | Path) -> None:
        """Write an mp4, webm or gif file or a folder of PNG frames, by the name.

        Raises ValueError or OSError as `write_video` does, which has more choices.
        """
        write_video(path, iter([self.frames]), fps=self.fps)


def to_tensor(frames: np.ndarray) -> Tensor:
    """Map (..., T, H, W, 3) uint8 to (..., 3, T, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(frames).movedim(-1, -4).float() / 127.5 - 1.0


def to_frames(video: Tensor) -> np.ndarray:
    """Map (..., 3, T, H, W), nominally in [-1, 1], to (..., T, H, W, 3) uint8."""
    scaled = (video.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).movedim(-4, -1).cpu().numpy()


def read_video(path: str | Path, *, max_frames: int | None = None) -> Video:
    """Read a video file, an animated gif, webp or png, or a folder of PNG or JPEG frames, or its first frames.

    Frames are turned as the file says that they are to be shown; transparency becomes black.

    Args:
        path: of the file or folder. Frames of a folder are sorted by their names, numbers by value; their rate is that
            of ``video.json``, else 8.
        max_frames: read no more than these; None reads all.

    Raises:
        ValueError: there is none, it is no readable video, or its frames are too large or of several sizes.
    """
    return Video(*read_frames(path, max_frames=max_frames))

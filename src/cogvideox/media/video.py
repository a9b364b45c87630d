"""The Video value, its conversion to tensors, and reading of video files, animations and folders of frames.

Frames are (T, H, W, 3) uint8 RGB.
"""

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from cogvideox.media.containers import VideoWriter, decode_file, rate_of_delays
from cogvideox.media.file_settings import read_folder_values, read_settings
from cogvideox.media.outputs import DEFAULT_FPS, FOLDER_SETTINGS_NAME, check_fps
from cogvideox.media.pictures import read_picture
from cogvideox.media.writers import write_video

__all__ = ["Video", "VideoWriter", "read_settings", "read_video", "to_frames", "to_tensor", "write_video"]

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
PILLOW_SUFFIXES = (".webp", ".png", ".apng")
"""Animations that FFmpeg does not decode (webp), or with a wrong rate (png)."""


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
    path = Path(path)
    if path.is_dir():
        frames, fps = _read_folder(path, max_frames)
    elif not path.is_file():
        raise ValueError(f"path: no such video file: {path}")
    elif path.suffix.lower() in PILLOW_SUFFIXES:
        frames, fps = _read_animation(path, max_frames)
    else:
        frames, fps = decode_file(path, max_frames=max_frames)
    if any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError(f"path: the frames of {path} are not all of one size")
    return Video(np.stack(frames), float(fps))


def _read_folder(folder: Path, max_frames: int | None) -> tuple[list[np.ndarray], float]:
    fps = read_folder_values(folder).get("fps", DEFAULT_FPS)
    if not isinstance(fps, int | float):
        raise ValueError(f"path: {folder / FOLDER_SETTINGS_NAME}: fps: expected a number, got {fps!r}")
    files = sorted((file for file in folder.iterdir() if file.suffix.lower() in FRAME_SUFFIXES), key=_by_number)
    frames = [read_picture(file) for file in files[:max_frames]]
    if not frames:
        raise ValueError(f"path: the folder {folder} has no PNG or JPEG frames")
    return frames, fps


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Order 2 before 10."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _read_animation(path: Path, max_frames: int | None) -> tuple[list[np.ndarray], float]:
    frames, duration_ms = [], 0
    try:
        with Image.open(path) as image:
            for frame in itertools.islice(ImageSequence.Iterator(image), max_frames):
                frames.append(read_picture(frame))
                duration_ms += round(frame.info.get("duration", 0))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"path: {path} is not a readable video ({error})") from None
    if not frames:
        raise ValueError(f"path: {path} has no frames")
    if not duration_ms:
        return frames, DEFAULT_FPS
    # Every delay is rounded to 1/1000 s.
    return frames, float(
        rate_of_delays(len(frames), Fraction(duration_ms, 1000), precision_s=Fraction(len(frames), 1000))
    )

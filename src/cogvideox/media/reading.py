"""Reading of video files, animations and folders: all frames, or what is to be known of them; without torch."""

import io
import itertools
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageSequence

from cogvideox.media.containers import count_frames, rate_of_delays, stream_file
from cogvideox.media.file_settings import read_folder_values
from cogvideox.media.outputs import DEFAULT_FPS, FOLDER_SETTINGS_NAME, check_fps
from cogvideox.media.pictures import read_picture

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
PILLOW_SUFFIXES = (".webp", ".png", ".apng")
"""Animations that FFmpeg does not decode (webp), or with a wrong rate (png)."""
JPEG_SUFFIXES = (".jpg", ".jpeg")
"""Pictures that FFmpeg does not turn upright."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What a video is, without its frames."""

    num_frames: int
    height_px: int
    width_px: int
    fps: float


def read_frames(path: str | Path, *, max_frames: int | None = None) -> tuple[np.ndarray, float]:
    """Return the frames (T, H, W, 3) uint8 and their rate; arguments and errors as for `read_video`."""
    frames, fps = map_frames(path, lambda frame: frame, max_frames=max_frames)
    _check_one_size(path, [frame.shape for frame in frames])
    return np.stack(frames), fps


def probe_video(path: str | Path, *, max_frames: int | None = None) -> VideoFacts:
    """Return what `read_video` would read, with the same checks, one frame in memory at a time."""
    shapes, fps = map_frames(path, lambda frame: frame.shape, max_frames=max_frames)
    _check_one_size(path, shapes)
    height_px, width_px = shapes[0][:2]
    return VideoFacts(num_frames=len(shapes), height_px=height_px, width_px=width_px, fps=fps)


def survey_video(path: str | Path) -> VideoFacts:
    """Return what `probe_video` does of a sound file, without decoding more than the first frame of most kinds.

    Raises ValueError as `probe_video` does, except for what is wrong with the later frames.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in PILLOW_SUFFIXES + JPEG_SUFFIXES:
        return probe_video(path)
    first = probe_video(path, max_frames=1)
    return replace(first, num_frames=count_frames(path))


def stream_frames(
    path: str | Path, *, max_frames: int | None = None, content: bytes | None = None
) -> Generator[np.ndarray, None, float]:
    """Yield each frame (H, W, 3), one in memory at a time, and return the rate.

    With ``content``, of a file, that is read, whatever kind it turns out to be, and ``path`` only names it. Frames may
    be of several sizes. Raises ValueError as `read_video` does, when the first frame is taken or later.
    """
    path = Path(path)
    if content is None and path.is_dir():
        fps = yield from _stream_folder(path, max_frames)
    elif content is None and not path.is_file():
        raise ValueError(f"path: no such video file: {path}")
    else:
        suffix = path.suffix.lower() if content is None else _suffix_of(content)
        if suffix in JPEG_SUFFIXES:
            max_frames = 1  # what follows in the file are previews and depth maps
        if suffix in PILLOW_SUFFIXES + JPEG_SUFFIXES:
            fps = yield from _stream_animation(path, max_frames, content)
        else:
            fps = yield from stream_file(path, max_frames=max_frames, content=content)
    check_fps(float(fps))
    return float(fps)


def map_frames(
    path: str | Path,
    keep: Callable[[np.ndarray], T],
    *,
    max_frames: int | None = None,
    content: bytes | None = None,
) -> tuple[list[T], float]:
    """Return what ``keep`` makes of each frame, and the rate; other arguments and errors as for `stream_frames`."""
    frames = stream_frames(path, max_frames=max_frames, content=content)
    kept: list[T] = []
    while True:
        try:
            kept.append(keep(next(frames)))
        except StopIteration as end:
            return kept, end.value


def _suffix_of(content: bytes) -> str | None:
    """Return the suffix of a kind that Pillow has to read, by the first bytes."""
    if content.startswith(b"\x89PNG"):
        return ".png"
    if content.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    return ".webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def _check_one_size(path: str | Path, shapes: list[tuple[int, ...]]) -> None:
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"path: the frames of {path} are not all of one size")


def _stream_folder(folder: Path, max_frames: int | None) -> Generator[np.ndarray, None, float]:
    fps = read_folder_values(folder).get("fps", DEFAULT_FPS)
    if not isinstance(fps, int | float):
        raise ValueError(f"path: {folder / FOLDER_SETTINGS_NAME}: fps: expected a number, got {fps!r}")
    files = sorted((file for file in folder.iterdir() if file.suffix.lower() in FRAME_SUFFIXES), key=_by_number)
    if not files[:max_frames]:
        raise ValueError(f"path: the folder {folder} has no PNG or JPEG frames")
    yield from map(read_picture, files[:max_frames])
    return fps


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Order 2 before 10."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _stream_animation(
    path: Path, max_frames: int | None, content: bytes | None
) -> Generator[np.ndarray, None, Fraction | float]:
    num_frames, duration_ms = 0, 0
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            for frame in itertools.islice(ImageSequence.Iterator(image), max_frames):
                pixels = read_picture(frame)
                num_frames += 1
                duration_ms += round(frame.info.get("duration", 0))
                yield pixels
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"path: {path} is not a readable video ({error})") from None
    if not num_frames:
        raise ValueError(f"path: {path} has no frames")
    if not duration_ms:
        return DEFAULT_FPS
    # Every delay is rounded to 1/1000 s.
    return rate_of_delays(num_frames, Fraction(duration_ms, 1000), precision_s=Fraction(num_frames, 1000))

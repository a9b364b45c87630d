"""The Video value, its conversion to tensors, and reading and writing of video files. The one file that uses PyAV.

Frames are (T, H, W, 3) uint8 RGB.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
import av.error
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

CONSTANT_RATE_FACTOR = 16
"""x264 quality, 0 (lossless) to 51; small generated clips show blocks early."""


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
        _check_fps(self.fps)

    @property
    def num_frames(self) -> int:
        """Length in frames."""
        return len(self.frames)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.frames) / self.fps

    def save(self, path: str | Path) -> None:
        """Write an H.264 mp4 file. Raises ValueError or OSError as `write_video` does."""
        write_video(path, iter([self.frames]), fps=self.fps)


def to_tensor(frames: np.ndarray) -> Tensor:
    """Map (..., T, H, W, 3) uint8 to (..., 3, T, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(frames).movedim(-1, -4).float() / 127.5 - 1.0


def to_frames(video: Tensor) -> np.ndarray:
    """Map (..., 3, T, H, W), nominally in [-1, 1], to (..., T, H, W, 3) uint8."""
    scaled = (video.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).movedim(-4, -1).cpu().numpy()


def write_video(path: str | Path, chunks: Iterable[np.ndarray], *, fps: float) -> int:
    """Write an H.264, yuv420p, fast-start mp4 as the chunks arrive; return the number of frames.

    The file appears under its name only when it is whole; on any error nothing is left behind.

    Args:
        path: ends in ``.mp4``; its folder is made.
        chunks: (T, H, W, 3) uint8 each, even H and W, one size.
        fps: frames per second of playback.

    Raises:
        ValueError: the name, a chunk's shape or the rate is wrong, or there are no frames.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path: expected a name ending in .mp4, got {str(path)!r}")
    _check_fps(fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary, VideoWriter(temporary, fps=fps) as writer:
        for chunk in chunks:
            writer.write(chunk)
    return writer.num_frames


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success rename it, on any error remove it."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class VideoWriter:
    """Encodes frames as they come. Use `write_video`, which also makes the result appear at once."""

    def __init__(self, path: Path, *, fps: float) -> None:
        self.num_frames = 0
        self._path = path
        self._fps = Fraction(fps).limit_denominator(1001)
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append (T, H, W, 3) uint8 frames. Raises ValueError if the size is odd or differs from the first one's."""
        for frame in frames:
            container, stream = self._open(frame.shape)
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
                container.mux(packet)
            self.num_frames += 1

    def _open(self, shape: tuple[int, ...]) -> "tuple[OutputContainer, VideoStream]":
        if self._container is not None and self._stream is not None:
            if (self._stream.height, self._stream.width) != shape[:2]:
                expected = (self._stream.height, self._stream.width)
                raise ValueError(f"frames: expected the first frame's size {expected}, got {shape[:2]}")
            return self._container, self._stream
        height, width = shape[:2]
        if height % 2 or width % 2:
            raise ValueError(f"frames: H.264 needs even height and width, got {height}x{width}")
        container = av.open(str(self._path), "w", format="mp4", options={"movflags": "+faststart"})
        stream = container.add_stream("libx264", rate=self._fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        # Macroblock trees read memory that x264 never wrote: equal small frames then give unequal files.
        stream.options = {"crf": str(CONSTANT_RATE_FACTOR), "preset": "medium", "x264-params": "mbtree=0"}
        self._container, self._stream = container, stream
        return container, stream

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._container is not None and self._stream is not None:
            if error is None:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
            self._container.close()
        if error is None and self.num_frames == 0:
            raise ValueError("chunks: no frames to write")


def read_video(path: str | Path, *, max_frames: int | None = None) -> Video:
    """Read a video file, or its first ``max_frames`` frames.

    Raises ValueError if there is none, or no readable video stream in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"path: no such video file: {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"path: {path} has no video stream")
            stream = container.streams.video[0]
            decoded = itertools.islice(container.decode(stream), max_frames)
            frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
            rate = stream.average_rate or stream.guessed_rate
    except av.error.FFmpegError as error:
        raise ValueError(f"path: {path} is not a readable video ({error.strerror})") from None
    if not frames or rate is None:
        raise ValueError(f"path: {path} has no frames")
    return Video(np.stack(frames), float(rate))


def _check_fps(fps: float) -> None:
    if not 0 < fps <= 1000:
        raise ValueError(f"fps: expected more than 0 and at most 1000, got {fps}")

"""Writing of videos: the kind by the name of the output, frames as they come, whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cogvideox.media.containers import GifWriter, VideoWriter, check_same_size
from cogvideox.media.outputs import (
    CODECS,
    FOLDER_SETTINGS_NAME,
    PNG_SETTINGS_KEY,
    OutputKind,
    VideoCodec,
    check_output_path,
)


def write_video(
    path: str | Path,
    chunks: Iterable[np.ndarray],
    *,
    fps: float,
    codec: VideoCodec | None = None,
    settings: str | None = None,
) -> int:
    """Write a video as its chunks arrive; return the number of frames.

    The output appears under its name only when it is whole; on any error nothing is left behind, and what had that
    name stays. Equal frames, rates and settings give equal bytes. Memory does not grow with the length; a gif keeps its
    frames in a temporary file until the last one is known.

    Args:
        path: ends in ``.mp4`` (fast-start), ``.webm`` or ``.gif`` (endless), or is a folder of PNG frames: no suffix,
            or a / at the end. The folder around it is made. An earlier folder of frames is replaced, no other one.
        chunks: (T, H, W, 3) uint8 each, one size; H and W even for mp4.
        fps: frames per second of playback. Delays of a gif are rounded to 1/100 s, their sum is right.
        codec: h264 (default) or h265 for mp4, vp9 for webm.
        settings: text to keep in the file, read again by `read_settings`.

    Raises:
        ValueError: the name, codec, a chunk's shape or the rate is wrong, or there are no frames.
        OSError: the output cannot be written.
    """
    kind = check_output_path(path, codec=codec, fps=fps)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    replacing = _replacing_folder if kind == "frames" else _replacing_file
    with replacing(target) as temporary, _writer(kind, temporary, fps, codec, settings) as writer:
        for chunk in chunks:
            writer.write(chunk)
    return writer.num_frames


def _writer(
    kind: OutputKind, path: Path, fps: float, codec: VideoCodec | None, settings: str | None
) -> "VideoWriter | GifWriter | FolderWriter":
    if kind == "frames":
        return FolderWriter(path, fps=fps, settings=settings)
    if kind == "gif":
        return GifWriter(path, fps=fps, settings=settings)
    return VideoWriter(path, fps=fps, codec=codec or CODECS[kind][0], settings=settings)


class FolderWriter:
    """Writes ``frame_00000.png`` and so on, and ``video.json`` with rate, length and settings, into a folder."""

    def __init__(self, path: Path, *, fps: float, settings: str | None = None) -> None:
        self.num_frames = 0
        self._path = path
        self._fps = fps
        self._settings = settings
        self._shape: tuple[int, ...] | None = None
        self._text = PngInfo()
        if settings is not None:
            self._text.add_text(PNG_SETTINGS_KEY, settings)

    def __enter__(self) -> Self:
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append (T, H, W, 3) uint8 frames. Raises ValueError if the size differs from the first one's."""
        for frame in frames:
            shape: tuple[int, ...] = frame.shape
            self._shape = self._shape or shape
            check_same_size(self._shape, shape)
            name = f"frame_{self.num_frames:05d}.png"
            Image.fromarray(frame).save(self._path / name, pnginfo=self._text)
            self.num_frames += 1

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            return
        if self.num_frames == 0:
            raise ValueError("chunks: no frames to write")
        values = {"fps": self._fps, "num_frames": self.num_frames, "settings": self._settings}
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        (self._path / FOLDER_SETTINGS_NAME).write_text(text, encoding="utf-8")


@contextmanager
def _replacing_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success rename it, on any error remove it."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix.lower()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success exchange them, on any error remove it."""
    target = path.resolve()  # a link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            check_output_path(f"{target}/")  # others may have put files there since the first check
            os.replace(target, old)
        try:
            os.replace(temporary, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        for leftover in (temporary, old):
            if leftover.exists():
                shutil.rmtree(leftover)

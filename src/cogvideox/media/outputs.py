"""Names of outputs: the kinds of files that can be written, and what each kind can hold. Light, to refuse early."""

import os
import re
from pathlib import Path
from typing import Literal, get_args

VideoCodec = Literal["h264", "h265", "vp9"]
"""How frames are compressed in an mp4 (h264, h265) or webm (vp9) file."""

OutputKind = Literal["mp4", "webm", "gif", "frames"]
"""What is written: a file of that suffix, or a folder of PNG frames."""

OUTPUT_SUFFIXES = (".mp4", ".webm", ".gif")
"""Of files; a name without a suffix, or with a / at its end, is a folder of PNG frames."""

CODECS: dict[OutputKind, tuple[VideoCodec, ...]] = {"mp4": ("h264", "h265"), "webm": ("vp9",), "gif": (), "frames": ()}
"""The codecs of each kind, its default first."""

FOLDER_SETTINGS_NAME = "video.json"
"""Beside the frames of a folder: rate, length and settings."""

PNG_SETTINGS_KEY = "cogvideox"
"""Keyword of the text chunk with the settings in each PNG frame."""

DEFAULT_FPS = 8.0
"""Of pictures that do not say how fast they are shown."""

MAX_GIF_FPS = 50
"""Browsers slow frames of less than 2/100 s down to 10/100 s."""

MIN_H265_SIZE_PX = 32
"""Below, x265 reads memory that it never wrote, and equal frames give unequal files."""

FRAME_PATTERN = re.compile(r"frame_\d{5,}\.png")


def is_folder_name(name: str) -> bool:
    """Whether a name says that it is a folder's, whatever its suffix: by a / at the end."""
    return name.endswith(("/", os.sep))


def check_fps(fps: float) -> None:
    """Raise ValueError for a rate that is not playable."""
    if not 0 < fps <= 1000:
        raise ValueError(f"fps: expected more than 0 and at most 1000, got {fps}")


def check_output_path(
    path: str | Path,
    *,
    codec: VideoCodec | None = None,
    height_px: int | None = None,
    width_px: int | None = None,
    fps: float | None = None,
) -> OutputKind:
    """Return the kind of output that a name asks for, after checking all that can be checked before there are frames.

    Args:
        path: ends in one of ``OUTPUT_SUFFIXES``, or is a folder of PNG frames: no suffix, or a / at the end of a str.
        codec: of ``CODECS[kind]``; None is the first of them.
        height_px: of the frames, if known.
        width_px: of the frames, if known.
        fps: frames per second of playback, if known.

    Raises:
        ValueError: the suffix is unknown, a folder or file of that name cannot be replaced, or the kind cannot hold
            this codec, size or rate.
    """
    kind = _kind_of(path)
    if codec is not None and codec not in CODECS[kind]:
        if codec not in get_args(VideoCodec):
            raise ValueError(f"codec: expected one of {', '.join(get_args(VideoCodec))}, got {codec!r}")
        choices = " or ".join(CODECS[kind]) or "none"
        raise ValueError(f"codec: expected {choices} for {str(path)!r}, got {codec!r}")
    if kind == "frames":
        _check_replaceable_folder(Path(path))
    elif Path(path).is_dir():
        raise ValueError(f"path: {path} is a folder; give the name of a file")
    if height_px is not None and width_px is not None:
        _check_frame_size(kind, codec, height_px, width_px)
    if fps is not None:
        check_fps(fps)
        if kind == "gif" and fps > MAX_GIF_FPS:
            raise ValueError(f"fps: a gif can show at most {MAX_GIF_FPS} frames per second, got {fps}")
    return kind


def _kind_of(path: str | Path) -> OutputKind:
    suffix = Path(path).suffix.lower()
    if Path(path).name not in ("", "..") and (is_folder_name(str(path)) or not suffix):
        return "frames"
    if suffix == ".mp4":
        return "mp4"
    if suffix == ".webm":
        return "webm"
    if suffix == ".gif":
        return "gif"
    *first, last = OUTPUT_SUFFIXES
    files = f"{', '.join(first)} or {last}"
    raise ValueError(
        f"path: expected a name ending in {files}, or a folder for PNG frames (no suffix, or / at the end), "
        f"got {str(path)!r}"
    )


def _check_replaceable_folder(folder: Path) -> None:
    """Raise ValueError if the folder is a file, or holds anything but frames: replacing it would lose that."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"path: {folder} is a file; give a folder for PNG frames, or a suffix")
    for entry in folder.iterdir():
        if entry.name != FOLDER_SETTINGS_NAME and not FRAME_PATTERN.fullmatch(entry.name):
            raise ValueError(
                f"path: the folder {folder} has other files than frames, such as {entry.name}; name a new one"
            )


def _check_frame_size(kind: OutputKind, codec: VideoCodec | None, height_px: int, width_px: int) -> None:
    size = f"{height_px}x{width_px}"
    if kind == "mp4" and (height_px % 2 or width_px % 2):
        raise ValueError(f"frames: mp4 needs even height and width, got {size}; .webm, .gif and PNG frames do not")
    if codec == "h265" and min(height_px, width_px) < MIN_H265_SIZE_PX:
        raise ValueError(f"frames: h265 needs at least {MIN_H265_SIZE_PX} px in height and width, got {size}")

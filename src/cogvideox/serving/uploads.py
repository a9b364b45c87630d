"""Pictures and videos that clients send: known by their first bytes, decoded in a process of its own, kept anew."""

import base64
import binascii
import hashlib
import io
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from cogvideox.serving.api.settings import InputLimits
from cogvideox.serving.errors import ApiError, ErrorCode

MediaKind = Literal["png", "jpeg", "webp", "mp4", "webm"]
PICTURES: tuple[MediaKind, ...] = ("png", "jpeg", "webp")
logger = logging.getLogger(__name__)

HEAD_BYTES = 64
BLOCK_BYTES = 2**20
BASE64_LENGTH = 2**18
"""A multiple of four."""
STILL_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
"""Of pictures in the container of mp4."""
SCRIPTS = (b"<script", b"<!doctype html", b"<html>", b"<html ")
"""No picture has these; a file that is also a page may be meant to be opened as one."""
ANSWER_BYTES = 2**16
MAX_GIF_FRAMES = 250


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture or video as it is kept."""

    file: IO[bytes]
    """PNG or mp4, at its beginning."""
    kind: Literal["image", "video"]
    media_type: str
    num_frames: int
    fps: float
    width_px: int
    height_px: int
    has_network: bool
    """The process that decoded it could have used one: its system did not let it give that up."""


def sniff(head: bytes) -> MediaKind | None:
    """Return what a file is by its first `HEAD_BYTES` bytes; None if it is nothing that is taken."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and head[8:12] not in STILL_BRANDS:
        return "mp4"
    return "webm" if head.startswith(b"\x1a\x45\xdf\xa3") else None


def check_upload(file: IO[bytes], num_bytes: int, limits: InputLimits, *, param: str) -> tuple[MediaKind, str]:
    """Return what a file is, and its SHA-256; it is at its beginning before and after.

    Raises:
        ApiError: it is nothing that is taken, or too large.
    """
    kind = sniff(file.read(HEAD_BYTES))
    file.seek(0)
    if kind is None:
        expected = "PNG, JPEG or WebP, or a video in mp4 or webm"
        raise ApiError("unsupported_media_type", f"{param}: expected a picture in {expected}", param=param)
    max_bytes = limits.max_image_bytes if kind in PICTURES else limits.max_video_bytes
    if num_bytes > max_bytes:
        raise ApiError("media_too_large", f"{param}: expected at most {max_bytes} bytes, got {num_bytes}", param=param)
    digest = hashlib.sha256()
    rest = b""
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        seen = (rest + block).lower()
        if kind in PICTURES and any(script in seen for script in SCRIPTS):
            raise ApiError("media_decode_failed", f"{param}: it is also a page of HTML", param=param)
        rest = block[-32:]
    file.seek(0)
    return kind, digest.hexdigest()


def data_url_content(url: str, limits: InputLimits, *, param: str) -> bytes:
    """Return what a data URL holds. Raises ApiError if it is none, or too large."""
    head, comma, text = url.partition(",")
    if not comma or not head.lower().endswith(";base64") or len(head) > 200:
        raise ApiError("invalid_param", f"{param}: expected data:image/png;base64,...", param=param)
    if "=" in text[:-2]:  # pieces are decoded by themselves
        raise ApiError("invalid_param", f"{param}: its base64 is damaged", param=param)
    if len(text) * 3 // 4 > limits.max_image_bytes + 3:
        raise ApiError("media_too_large", f"{param}: expected at most {limits.max_image_bytes} bytes", param=param)
    try:
        # In pieces: others have their turn between two.
        pieces = (text[start : start + BASE64_LENGTH] for start in range(0, len(text), BASE64_LENGTH))
        return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])
    except (binascii.Error, ValueError):
        raise ApiError("invalid_param", f"{param}: its base64 is damaged", param=param) from None


@contextmanager
def decoded(
    file: IO[bytes],
    kind: MediaKind,
    limits: InputLimits,
    folder: Path,
    *,
    max_frames: int,
    cover_px: tuple[int, int],
    param: str,
) -> Iterator[Decoded]:
    """Decode a file in a process of its own and give what it becomes.

    Args:
        file: nameless and at its beginning; `io.BytesIO` is copied to one.
        kind: by `check_upload`.
        limits: of inputs.
        folder: for nameless files.
        max_frames: of a video; the rest is not decoded.
        cover_px: height and width that a video is still to cover; larger ones are made smaller.
        param: what to name in messages.

    Raises:
        ApiError: it is damaged, or over a limit.
    """
    with tempfile.TemporaryFile(dir=folder) as made, tempfile.TemporaryFile(dir=folder) as copied:
        source: IO[bytes] = file
        if isinstance(file, io.BytesIO):
            copied.write(file.getbuffer())
            copied.seek(0)
            source = copied
        answer = _run(source, made, kind, _child_limits(kind, limits, max_frames, cover_px), limits.max_decode_s, param)
        made.seek(0)
        is_picture = kind in PICTURES
        yield Decoded(file=made, kind="image" if is_picture else "video", **answer)


def as_gif(video: IO[bytes], limits: InputLimits, folder: Path) -> IO[bytes]:
    """Return a GIF of one of our videos in a nameless file, made in such a process too. Raises ApiError if it fails."""
    made = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by whoever has it)
    try:
        _run(video, made, "gif", _child_limits("mp4", limits, MAX_GIF_FRAMES, (0, 0)), limits.max_decode_s, "gif")
    except BaseException:
        made.close()
        raise
    return made


def _child_limits(kind: MediaKind, limits: InputLimits, max_frames: int, cover_px: tuple[int, int]) -> dict[str, Any]:
    return {
        "max_cpu_s": limits.max_decode_cpu_s,
        "max_memory_bytes": limits.max_decode_bytes,
        "max_pixels": limits.max_image_pixels,
        "max_side_px": limits.max_image_side_px if kind in PICTURES else limits.max_video_side_px,
        "max_fps": limits.max_video_fps,
        "max_seconds": limits.max_video_s,
        "max_frames": max_frames,
        "cover_px": list(cover_px),
    }


def _run(
    source: IO[bytes],
    made: IO[bytes],
    kind: MediaKind | Literal["gif"],
    limits: dict[str, Any],
    timeout_s: float,
    param: str,
) -> dict[str, Any]:
    command = [sys.executable, "-m", "cogvideox.serving.decode_child", "--kind", kind, "--limits", json.dumps(limits)]
    # Nothing of ours in its environment but what Python needs to find its packages.
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with tempfile.TemporaryFile() as told:
        try:
            subprocess.run(
                command,
                stdin=source,
                stdout=made,
                stderr=told,
                timeout=timeout_s,
                env=environment,
                cwd="/",
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ApiError("media_decode_failed", f"{param}: it takes too long to decode", param=param) from None
        except OSError as error:  # no process can be started now
            logger.error("no decoder", extra={"reason": str(error)})
            raise ApiError("not_ready", "it cannot be decoded now; try again", headers={"retry-after": "5"}) from None
        told.seek(max(told.seek(0, 2) - ANSWER_BYTES, 0))
        lines = told.read().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):  # it was killed by a limit, or by what it was given
        raise ApiError("media_decode_failed", f"{param}: it cannot be decoded", param=param) from None
    if "code" in answer:
        code = answer["code"] if answer["code"] in get_args(ErrorCode) else "media_decode_failed"
        raise ApiError(cast(ErrorCode, code), f"{param}: {answer['message']}", param=param)
    return answer

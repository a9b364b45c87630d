"""Files of jobs over HTTP: whole or in part, and not again if the client has them."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from cogvideox.serving.errors import ApiError
from cogvideox.serving.job import FileRef, Job
from cogvideox.serving.libraries import fastapi

CHUNK_BYTES = 2**18
SUFFIXES = {"video/mp4": ".mp4", "image/jpeg": ".jpg", "image/webp": ".webp", "image/png": ".png"}
SUFFIXES |= {"image/gif": ".gif"}
_RANGE = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)", re.IGNORECASE)
_MAX_DIGITS = 20
"""No file has so many bytes that their number is longer."""
_NOT_ENDED = {"x-should-retry": "false"}


def content_file(job: Job, variant: str, role: str) -> FileRef:
    """Return a file of a job. Raises ApiError if it is not there, not yet, or not any more."""
    if job.is_expired:
        raise ApiError("video_expired", "video: its files were kept long enough and are gone")
    if (file := job.files.get(role)) is not None and (role == "preview" or job.state == "completed"):
        return file
    if not job.is_terminal:
        raise ApiError("video_not_ready", "video: it is not ready yet", headers=_NOT_ENDED)
    if job.state == "failed":
        raise ApiError("video_failed", "video: it failed; its error says why", headers=_NOT_ENDED)
    raise ApiError("not_found", f"variant: this video has no {variant}", param="variant")


def answer_file(open_file: Callable[[], BinaryIO], file: FileRef, name: str, request_headers: Mapping[str, str]) -> Any:
    """Return the answer to a request for a file.

    Args:
        open_file: opens it, at its beginning.
        file: what it is.
        name: that a browser saves it under, without its suffix.
        request_headers: of conditions and ranges.

    Raises:
        ApiError: it has no such part.
        FileNotFoundError: it is gone.
    """
    web = fastapi()
    media_type = file.media_type if file.media_type in SUFFIXES else "application/octet-stream"
    etag = f'"{file.sha256}"'
    headers = {
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",  # asked for again, and not sent again: it may be deleted, or newer
        "content-disposition": f'attachment; filename="{name}{SUFFIXES.get(media_type, ".bin")}"',
        "content-security-policy": "default-src 'none'; sandbox",
    }
    if _matches(request_headers.get("if-none-match", ""), etag):
        return web.Response(status_code=304, headers=headers)
    opened = open_file()
    wanted = request_headers.get("range", "")
    if request_headers.get("if-range", etag) != etag:
        wanted = ""
    try:
        span = parse_range(wanted, file.num_bytes)
    except ApiError:
        opened.close()
        raise
    start, end = (0, file.num_bytes) if span is None else span
    if span is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{file.num_bytes}"
    headers["content-length"] = str(end - start)
    status = 200 if span is None else 206
    return web.responses.StreamingResponse(_pieces(opened, start, end), status, headers, media_type)


def parse_range(header: str, num_bytes: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last that a Range header asks for (RFC 9110, section 14).

    None is the whole: for no header, one of another unit, or one of several parts. Raises ApiError if there is no such
    part.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(num_bytes - _number(found[2]), 0), num_bytes
    else:
        start = _number(found[1])
        end = min(_number(found[2]) + 1, num_bytes) if found[2] else num_bytes
    if start >= end:
        headers = {"content-range": f"bytes */{num_bytes}"}
        raise ApiError("range_not_satisfiable", f"Range: expected a part of {num_bytes} bytes", headers=headers)
    return start, end


def _number(digits: str) -> int:
    """Return a number; of a very long one its first digits, which are beyond all files too."""
    return int(digits.lstrip("0")[:_MAX_DIGITS] or "0")


def _matches(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags or header.strip() == "*"


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = end - start
        while left and (piece := file.read(min(CHUNK_BYTES, left))):
            left -= len(piece)
            yield piece

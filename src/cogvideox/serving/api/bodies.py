"""Bodies of requests: read within limits of size and time, and taken apart into fields and files.

Nothing is kept in memory that a client chooses the size of, but JSON; files go to nameless files of the data directory,
which the system removes with the process.
"""

import asyncio
import json
import math
import re
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any

from cogvideox.serving.api.settings import InputLimits
from cogvideox.serving.errors import ApiError
from cogvideox.serving.libraries import python_multipart

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
MAX_BOUNDARY_LENGTH = 200
MAX_HEADERS_OF_PART = 8
MAX_DEPTH = 20
"""Of JSON: ours has three levels."""
LONG_TEXT_FIELDS = ("input_reference[image_url]",)
"""Of forms: they may hold an image as a data URL."""
INPUT_FIELDS = ("input_reference", "video")
_DATA_URL = re.compile(rb'"(data:[^"\\]*)"', re.IGNORECASE)
_LONG_PROMPT = re.compile(rb'"prompt"\s*:\s*"[^"]{32768}')


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file of a request, at its beginning."""

    file: IO[bytes]
    num_bytes: int
    name: str
    """What the client calls it; never part of a path."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """What a request brings."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; those of forms are text, and objects of text where names have brackets."""
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    is_form: bool = False

    def close(self) -> None:
        """Let the files go."""
        for upload in self.uploads.values():
            upload.file.close()


async def read_body(
    headers: Mapping[str, str], stream: AsyncIterator[bytes], limits: InputLimits, folder: Path
) -> Body:
    """Read and take apart a body.

    Args:
        headers: of the request, names in lower case.
        stream: the pieces of the body.
        limits: how much it may be.
        folder: for nameless files.

    Raises:
        ApiError: it is of another type, damaged or too large.
    """
    described = _content_type(headers.get("content-type", ""))
    kind = described.get_content_type()
    if kind == JSON_TYPE:
        return Body(fields=await _read_json(stream, limits))
    if kind == FORM_TYPE:
        return await _read_form(described, stream, limits, folder)
    raise ApiError("unsupported_media_type", f"Content-Type: expected {JSON_TYPE} or {FORM_TYPE}")


def max_body_bytes(content_type: str, limits: InputLimits) -> int:
    """Return how long a body of a type may be before it is looked into."""
    is_form = content_type.lstrip().lower().startswith("multipart/")
    return limits.max_multipart_bytes if is_form else limits.max_data_url_json_bytes


def _content_type(header: str) -> Message:
    described = Message()
    described["content-type"] = (
        header.encode("ascii", "replace").decode().replace("\r", " ").replace("\n", " ") or "x/x"
    )
    return described


async def _read_json(stream: AsyncIterator[bytes], limits: InputLimits) -> dict[str, Any]:
    content = bytearray()
    async for piece in stream:
        content += piece
        if len(content) > limits.max_data_url_json_bytes:
            raise ApiError("media_too_large", f"body: expected at most {limits.max_data_url_json_bytes} bytes")
    url = None
    if len(content) > limits.max_json_bytes:
        # Taking so much JSON apart would hold up everybody; what may be long is one image.
        content, url = _without_data_url(content, limits)
    values = parse_json(content)
    if not isinstance(values, dict):
        raise ApiError("invalid_json", "body: expected a JSON object")
    if url is not None:
        inputs = [value for name in INPUT_FIELDS if isinstance(value := values.get(name), dict)]
        places = [value for value in inputs if value.get("image_url") == url.place]
        if not places:
            raise ApiError("media_too_large", f"body: expected at most {limits.max_json_bytes} bytes of JSON")
        places[0]["image_url"] = url.text
    return values


@dataclass(frozen=True, kw_only=True)
class _DataUrl:
    place: str
    """Stands where it was."""
    text: str


def _without_data_url(content: bytearray, limits: InputLimits) -> tuple[bytearray, _DataUrl | None]:
    """Return a body without an image in it. Raises ApiError if the rest is too long too."""
    url, found = None, _DATA_URL.search(content)
    if found is not None:
        url = _DataUrl(place=f"data:{secrets.token_hex(16)}", text=found[1].decode("ascii", "replace"))
        content = content[: found.start(1)] + url.place.encode() + content[found.end(1) :]
    if len(content) <= limits.max_json_bytes:
        return content, url
    if _LONG_PROMPT.search(content):
        raise ApiError(
            "prompt_too_long", f"prompt: expected at most {limits.max_prompt_length} characters", param="prompt"
        )
    raise ApiError("media_too_large", f"body: expected at most {limits.max_json_bytes} bytes of JSON")


def parse_json(content: bytes | bytearray) -> Any:
    """Return the value of JSON. Raises ApiError for what is none, NaN and repeated names included."""
    try:
        value = json.loads(content, parse_constant=_refuse_constant, object_pairs_hook=_object, parse_int=_int)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, _JsonError) else "it is no JSON"
        raise ApiError("invalid_json", f"body: {told}") from None
    _check_depth(value)
    return value


class _JsonError(ValueError):
    pass


def _refuse_constant(name: str) -> Any:
    raise _JsonError(f"{name} is no number of JSON")


def _int(text: str) -> int | float:
    # Python refuses to read integers of more than 4,300 digits, and is slow below.
    return int(text) if len(text) <= 40 else math.copysign(math.inf, -1 if text.startswith("-") else 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _JsonError("a name is there twice")
    return values


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _items(outer)]
        if not level:
            return
    raise ApiError("invalid_json", f"body: expected at most {MAX_DEPTH} levels")


def _items(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


async def _read_form(described: Message, stream: AsyncIterator[bytes], limits: InputLimits, folder: Path) -> Body:
    boundaries = [value for name, value in described.get_params([]) if name.lower() == "boundary"]
    if len(boundaries) != 1 or not isinstance(boundaries[0], str) or not 1 <= len(boundaries[0]) <= MAX_BOUNDARY_LENGTH:
        raise ApiError("invalid_param", "Content-Type: expected one boundary", param="Content-Type")
    form = _Form(limits, folder)
    parser = python_multipart().MultipartParser(boundaries[0].encode("latin-1", "replace"), form.callbacks())
    num_bytes = 0
    try:
        async for piece in stream:
            num_bytes += len(piece)
            if num_bytes > limits.max_multipart_bytes:
                raise ApiError("media_too_large", f"body: expected at most {limits.max_multipart_bytes} bytes")
            parser.write(piece)
        parser.finalize()
        return form.body()
    except python_multipart().exceptions.FormParserError:
        form.close()
        raise ApiError("invalid_param", "body: it is no form (multipart/form-data)") from None
    except BaseException:
        form.close()
        raise


class _Form:
    """Collects the parts of a form."""

    def __init__(self, limits: InputLimits, folder: Path) -> None:
        self._limits, self._folder = limits, folder
        self._fields: dict[str, Any] = {}
        self._uploads: dict[str, Upload] = {}
        self._files: list[IO[bytes]] = []
        self._num_parts = self._num_headers = self._num_bytes = 0
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[str, str] = {}
        self._name = self._file_name = ""
        self._text = bytearray()
        self._file: IO[bytes] | None = None
        self._is_whole = False

    def callbacks(self) -> dict[str, Any]:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self._add(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._end_all,
        }

    def body(self) -> Body:
        """Return all parts. Raises ApiError if the end is missing."""
        if not self._is_whole:
            raise ApiError("invalid_param", "body: the form has no end")
        for file in self._files:
            file.seek(0)
        return Body(fields=self._fields, uploads=self._uploads, is_form=True)

    def close(self) -> None:
        """Let the files go."""
        for file in self._files:
            file.close()

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > self._limits.max_parts:
            raise ApiError("invalid_param", f"body: expected at most {self._limits.max_parts} parts")
        self._headers, self._num_headers, self._num_bytes = {}, 0, 0
        self._header = [b"", b""]

    def _add_header(self, index: int, data: bytes) -> None:
        self._header[index] += data

    def _end_header(self) -> None:
        self._num_headers += 1
        if self._num_headers > MAX_HEADERS_OF_PART:
            raise ApiError("invalid_param", "body: a part has too many headers")
        name, value = (part.decode("latin-1") for part in self._header)
        self._headers[name.strip().lower()] = value
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        disposition = self._headers.get("content-disposition", "")
        try:
            _, options = python_multipart().multipart.parse_options_header(disposition)
        except (ValueError, LookupError):
            raise ApiError("invalid_param", "body: a part's name cannot be read") from None
        if b"name" not in options:
            raise ApiError("invalid_param", "body: a part has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        if self._name in self._fields or self._name in self._uploads:
            raise ApiError("invalid_param", "body: a field is there twice", param=self._name)
        self._text = bytearray()
        self._file = None
        if b"filename" in options:
            self._file_name = options[b"filename"].decode("utf-8", "replace")[:255]
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by whoever reads the body)
            self._files.append(self._file)

    def _add(self, data: bytes) -> None:
        self._num_bytes += len(data)
        if self._file is not None:
            if self._num_bytes > max(self._limits.max_image_bytes, self._limits.max_video_bytes):
                raise ApiError("media_too_large", "file: too large", param=self._name)
            self._file.write(data)
            return
        is_long = self._name in LONG_TEXT_FIELDS
        max_bytes = self._limits.max_data_url_json_bytes if is_long else self._limits.max_text_part_bytes
        if self._num_bytes > max_bytes:
            code = "prompt_too_long" if self._name == "prompt" else "invalid_param"
            raise ApiError(code, f"{self._name}: expected at most {max_bytes} bytes", param=self._name)
        self._text += data

    def _end(self) -> None:
        if self._file is not None:
            self._uploads[self._name] = Upload(file=self._file, num_bytes=self._num_bytes, name=self._file_name)
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise ApiError("invalid_param", "body: expected text in UTF-8", param=self._name) from None
        outer, bracket, inner = self._name.partition("[")
        if bracket and inner.endswith("]"):  # how the openai package writes objects into forms
            group = self._fields.setdefault(outer, {})
            if not isinstance(group, dict) or inner[:-1] in group:
                raise ApiError("invalid_param", "body: a field is there twice", param=self._name)
            group[inner[:-1]] = text
        else:
            self._fields[self._name] = text

    def _end_all(self) -> None:
        self._is_whole = True


async def timed(receive: Any, limits: InputLimits, content_type: str) -> AsyncIterator[bytes]:
    """Yield the pieces of a body (ASGI).

    Raises:
        ApiError: they come too slowly, or are too many.
        ConnectionError: the client is gone.
    """
    max_bytes = max_body_bytes(content_type, limits)
    end_s = time.monotonic() + limits.max_body_s
    num_bytes = 0
    while True:
        try:
            left_s = min(limits.max_silence_s, end_s - time.monotonic())
            message = await asyncio.wait_for(receive(), max(left_s, 0))
        except TimeoutError:
            raise ApiError("timeout", "body: it came too slowly", headers={"connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client is gone")
        piece = message.get("body", b"")
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise ApiError("media_too_large", f"body: expected at most {max_bytes} bytes")
        if piece:
            yield piece
        if not message.get("more_body"):
            return

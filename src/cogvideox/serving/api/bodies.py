"""Bodies of requests: read within limits of size and time, and taken apart into fields and files.

Nothing is kept in memory that a client chooses the size of, but a few large JSON bodies while they are looked at; files
and long bodies go to nameless files of the data directory, which the system removes with the process. Bodies are taken
apart in threads, few at a time: however they are made, others are answered meanwhile.
"""

import asyncio
import contextlib
import json
import re
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from pathlib import Path
from typing import IO, Any

from anyio import CapacityLimiter

from cogvideox.serving.api.settings import InputLimits
from cogvideox.serving.api.threads import in_thread
from cogvideox.serving.errors import ApiError
from cogvideox.serving.libraries import python_multipart

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
MAX_BOUNDARY_LENGTH = 200
MAX_HEADERS_OF_PART = 8
MAX_DIGITS = 80
"""That are read of an integer; more than messages show."""
MAX_DEPTH = 20
"""Of JSON: ours has three levels."""
LONG_TEXT_FIELDS = ("input_reference[image_url]",)
"""Of forms: they may hold an image as a data URL."""
INPUT_FIELDS = ("input_reference", "video")
NUM_PARSERS = 2
"""Threads that take bodies apart: each that computes may hold the loop up for a moment."""
MAX_PARSE_S = 3.0
"""Of a processor, for one body; 64 MiB take a tenth of that."""
MAX_LARGE = 6
"""JSON bodies with an image in them that are in memory at the same time."""
SMALL_JSON_BYTES, SMALL_FORM_BYTES = 2 * 2**20, 2**20
"""Where no file is taken. Longer than is taken in the end, so that a prompt is told that it is too long."""
KEY_BYTES = 4 * 2**10
"""Where only a key is taken."""
WINDOW_BYTES = 2**18
"""Others have their turn between two searches."""
MAX_PROMPTS_LOOKED_AT = 100
_DATA_URL = re.compile(rb'"data:', re.IGNORECASE)
_LONG_PROMPT = re.compile(rb'"prompt"\s{0,9}:\s{0,9}"[^"]{32768}')


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
    on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Let the files go, and the room that it took."""
        for upload in self.uploads.values():
            upload.file.close()
        self.on_close()


class BodyReader:
    """Reads bodies, for one event loop."""

    def __init__(self, folder: Path) -> None:
        """Have a folder for nameless files."""
        self._folder = folder
        self._parsing = CapacityLimiter(NUM_PARSERS)
        self._num_large = 0

    async def read(self, headers: Mapping[str, str], stream: AsyncIterator[bytes], limits: InputLimits) -> Body:
        """Read and take apart a body; it is to be closed.

        Args:
            headers: of the request, names in lower case.
            stream: the pieces of the body.
            limits: how much it may be.

        Raises:
            ApiError: it is of another type, damaged or too large, or too many are large now.
        """
        described = _content_type(headers.get("content-type", ""))
        kind = described.get_content_type()
        if kind == JSON_TYPE:
            return await self._read_json(stream, limits)
        if kind == FORM_TYPE:
            return await self._read_form(described, stream, limits)
        raise ApiError("unsupported_media_type", f"Content-Type: expected {JSON_TYPE} or {FORM_TYPE}")

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await in_thread(call, *arguments, limiter=self._parsing)

    async def _read_json(self, stream: AsyncIterator[bytes], limits: InputLimits) -> Body:
        content = bytearray()
        place = _Place(self)
        num_bytes = 0
        with contextlib.ExitStack() as stack:
            file: IO[bytes] | None = None
            async for piece in stream:
                num_bytes += len(piece)
                if num_bytes > limits.max_data_url_json_bytes:
                    raise ApiError("media_too_large", f"body: expected at most {limits.max_data_url_json_bytes} bytes")
                content += piece
                if num_bytes > limits.max_json_bytes:
                    file = file or stack.enter_context(tempfile.TemporaryFile(dir=self._folder))
                    await self._in_thread(file.write, content)
                    content = bytearray()
            try:
                if file is not None:
                    place.take()
                    content = await self._in_thread(_content_of, file)
                return Body(fields=await self._in_thread(_json_fields, content, limits), on_close=place.leave)
            except BaseException:
                place.leave()
                raise

    async def _read_form(self, described: Message, stream: AsyncIterator[bytes], limits: InputLimits) -> Body:
        form = _Form(described, limits, self._folder)
        try:
            async for piece in stream:
                await self._in_thread(form.write, piece)
            return await self._in_thread(form.body)
        except BaseException:
            form.close()
            raise

    def take_place(self) -> None:
        """Count a large body. Raises ApiError if there are too many."""
        if self._num_large >= MAX_LARGE:
            headers = {"retry-after": "2"}
            raise ApiError("not_ready", "too many large bodies are being read; try again", headers=headers)
        self._num_large += 1

    def leave_place(self) -> None:
        """Count a large body no more."""
        self._num_large -= 1


class _Place:
    """The place of one body among the large ones, taken and left once."""

    def __init__(self, reader: BodyReader) -> None:
        self._reader = reader
        self._is_taken = False

    def take(self) -> None:
        if not self._is_taken:
            self._reader.take_place()
            self._is_taken = True

    def leave(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._reader.leave_place()


def _content_of(file: IO[bytes]) -> bytearray:
    content = bytearray(file.tell())
    file.seek(0)
    file.readinto(content)  # pyright: ignore[reportAttributeAccessIssue]
    return content


def small(limits: InputLimits) -> InputLimits:
    """Return the limits of bodies without files."""
    return replace(
        limits,
        max_data_url_json_bytes=min(limits.max_data_url_json_bytes, SMALL_JSON_BYTES),
        max_multipart_bytes=min(limits.max_multipart_bytes, SMALL_FORM_BYTES),
    )


def of_a_key(limits: InputLimits) -> InputLimits:
    """Return the limits of bodies that hold a key and nothing else."""
    return replace(limits, **dict.fromkeys(("max_json_bytes", "max_data_url_json_bytes"), KEY_BYTES))


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


def _json_fields(content: bytearray, limits: InputLimits) -> dict[str, Any]:
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
    url, span = None, _span_of_data_url(content)
    if span is not None:
        text = content[span[0] : span[1]].decode("ascii", "replace")
        url = _DataUrl(place=f"data:{secrets.token_hex(16)}", text=text)
        content = content[: span[0]] + url.place.encode() + content[span[1] :]
    if len(content) <= limits.max_json_bytes:
        return content, url
    if _has_long_prompt(content):
        raise ApiError(
            "prompt_too_long", f"prompt: expected at most {limits.max_prompt_length} characters", param="prompt"
        )
    raise ApiError("media_too_large", f"body: expected at most {limits.max_json_bytes} bytes of JSON")


def _span_of_data_url(content: bytearray) -> tuple[int, int] | None:
    """Return where the first data URL begins and ends."""
    for start in range(0, len(content), WINDOW_BYTES):
        if found := _DATA_URL.search(content, start, start + WINDOW_BYTES + 5):
            begin = found.start() + 1
            end = content.find(b'"', begin)
            return None if end < 0 or content.find(b"\\", begin, end) >= 0 else (begin, end)
    return None


def _has_long_prompt(content: bytearray) -> bool:
    place = -1
    for _ in range(MAX_PROMPTS_LOOKED_AT):
        place = content.find(b'"prompt"', place + 1)
        if place < 0:
            return False
        if _LONG_PROMPT.match(content, place):
            return True
    return False


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


def _int(text: str) -> int:
    # Python refuses to read integers of more than 4,300 digits, and is slow below; so many are out of every range.
    return int(text[:MAX_DIGITS])


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


class _Form:
    """Collects the parts of a form."""

    def __init__(self, described: Message, limits: InputLimits, folder: Path) -> None:
        """Begin a form of a content type. Raises ApiError if that has no boundary, or several."""
        found = [value for name, value in described.get_params([]) if name.lower() == "boundary"]
        if len(found) != 1 or not isinstance(found[0], str) or not 1 <= len(found[0]) <= MAX_BOUNDARY_LENGTH:
            raise ApiError("invalid_param", "Content-Type: expected one boundary", param="Content-Type")
        self._parser = python_multipart().MultipartParser(found[0].encode("latin-1", "replace"), self._callbacks())
        self._limits, self._folder = limits, folder
        self._parse_s = 0.0
        self._total_bytes = 0
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

    def write(self, piece: bytes) -> None:
        """Take a piece apart. Raises ApiError if it is no form, or over a limit."""
        self._total_bytes += len(piece)
        if self._total_bytes > self._limits.max_multipart_bytes:
            raise ApiError("media_too_large", f"body: expected at most {self._limits.max_multipart_bytes} bytes")
        begun_s = time.thread_time()
        try:
            self._parser.write(piece)
        except python_multipart().exceptions.FormParserError:
            raise ApiError("invalid_param", "body: it is no form (multipart/form-data)") from None
        self._parse_s += time.thread_time() - begun_s
        if self._parse_s > MAX_PARSE_S:
            raise ApiError("invalid_param", "body: it takes too long to take apart")

    def _callbacks(self) -> dict[str, Any]:
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
        try:
            self._parser.finalize()
        except python_multipart().exceptions.FormParserError:
            raise ApiError("invalid_param", "body: it is no form (multipart/form-data)") from None
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

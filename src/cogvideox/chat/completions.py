"""What OpenAI-compatible endpoints send: a chat completion, whole or as a stream of events, and errors."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_COUNTED_TOKENS = 100_000_000
"""A server that counts more in one request counts wrongly."""

_MARK = b"\xef\xbb\xbf"
"""Before texts, of some servers: says that they are UTF-8."""
_LINE_END = re.compile(rb"\r\n|\n|\r")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Half characters, which no file takes, and control characters."""


class UnusableAnswerError(Exception):
    """An endpoint answers, but not with a whole chat completion; the message says what it is instead."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a model said, and how it came to an end."""

    text: str
    is_cut: bool
    """Whether its tokens were used up."""
    is_refused: bool
    num_input_tokens: int
    """0 if the server does not count."""
    num_output_tokens: int


@dataclass(frozen=True, kw_only=True)
class ServerError:
    """What a server says of an error, at any length; empty texts where it says nothing."""

    message: str = ""
    option: str = ""
    """Of the request, that the error is about."""
    code: str = ""
    """Its kind or type, such as "insufficient_quota"."""


def read_completion(content: bytes) -> Completion:
    """Return a chat completion that came as one JSON text, or as a stream of events though none was asked for.

    Raises:
        UnusableAnswerError: it is none.
    """
    if looks_streamed(content):
        stream = CompletionStream()
        stream.feed(content)
        return stream.end()
    answer = _parsed(content)
    _check_no_error(answer)
    parts = _Parts()
    parts.add(answer, "message")
    if not parts.has_choice:
        raise UnusableAnswerError("it is no chat completion; check the URL")
    return parts.completion()


def looks_streamed(content: bytes) -> bool:
    """Return whether a body begins like a stream of events; servers do not always say so, nor only then."""
    return content.removeprefix(_MARK).lstrip().startswith((b"data:", b"event:", b"id:", b"retry:", b":"))


class CompletionStream:
    """A chat completion that comes in server-sent events: feed it the bytes, then `end` it."""

    def __init__(self) -> None:
        self._parts = _Parts()
        self._rest = b""
        self._data: list[bytes] = []
        self._is_error = False
        self.is_done = False
        """Whether it has said that nothing follows."""

    @property
    def is_finished(self) -> bool:
        """Whether the text is whole; the count of the tokens may follow."""
        return self.is_done or bool(self._parts.end)

    def feed(self, content: bytes) -> None:
        """Take the next bytes. Raises UnusableAnswerError if they are no such events."""
        # A lone "\r" at the end may be half a line end.
        held = self._rest + content
        held, cut = (held[:-1], held[-1:]) if held.endswith(b"\r") else (held, b"")
        *lines, rest = _LINE_END.split(held)
        self._rest = rest + cut
        for line in lines:
            self._take_line(line)

    def end(self) -> Completion:
        """Return the completion when no more bytes come. Raises UnusableAnswerError unless it is whole."""
        if not self.is_done and (self._rest.strip() or self._data):  # the last line end is often left out
            try:
                self._take_line(self._rest.rstrip(b"\r"))
                self._take_line(b"")
            except UnusableAnswerError:
                if not self._parts.end:
                    raise UnusableAnswerError("its answer is cut short") from None
        if not self.is_finished:
            raise UnusableAnswerError("its answer is cut short")
        return self._parts.completion()

    def _take_line(self, line: bytes) -> None:
        if self.is_done:
            return
        name, _, value = line.removeprefix(_MARK).partition(b":")
        is_last = name == b"data" and value.strip() == b"[DONE]"
        if name == b"event":
            self._is_error = value.strip() == b"error"
        elif name == b"data" and not is_last:
            self._data.append(value.removeprefix(b" "))
        elif (is_last or not line) and self._data:
            data, self._data = self._data, []
            self._take_event(data)
        self.is_done = is_last

    def _take_event(self, lines: list[bytes]) -> None:
        if self._is_error:
            said = read_error(b"\n".join(lines)).message
            raise UnusableAnswerError(said or "it tells of an error, without a reason")
        try:
            events = [_parsed(b"\n".join(lines))]
        except UnusableAnswerError:  # some servers leave out the empty lines between events
            events = [_parsed(line) for line in lines if line.strip()]
        for event in events:
            _check_no_error(event)
            self._parts.add(event, "delta")


def read_error(content: bytes) -> ServerError:
    """Return what the body of an answer says of an error, in one of the usual forms."""
    try:
        return _error_of(_parsed(content))
    except (UnusableAnswerError, RecursionError):
        return ServerError()


def _error_of(answer: Any) -> ServerError:
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return ServerError()
    detail = answer.get("error", answer.get("detail", answer))
    if isinstance(detail, list | str):  # such as what FastAPI says of a wrong field
        return ServerError(message=_one_line(detail if isinstance(detail, str) else json.dumps(detail)))
    if not isinstance(detail, dict) or not isinstance(detail.get("message"), str):
        return ServerError()
    codes = [detail.get(name) for name in ("code", "type")]
    return ServerError(
        message=_one_line(detail["message"]),
        option=_one_line(detail.get("param")),
        code=" ".join(_one_line(code) for code in codes if isinstance(code, str)),
    )


class _Parts:
    """The pieces of a completion as they come."""

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}
        """By choice: a server may send several though one was asked for."""
        self._is_refused = False
        self._usage: dict[str, Any] = {}
        self.has_choice = False
        self.end = ""

    def add(self, answer: Any, kind: str) -> None:
        if not isinstance(answer, dict):
            raise UnusableAnswerError("it is no chat completion; check the URL")
        if isinstance(usage := answer.get("usage"), dict):
            self._usage = usage
        choices = answer.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if not isinstance(choice, dict):
                raise UnusableAnswerError("it is no chat completion")
            other = "delta" if kind == "message" else "message"
            message = choice.get(kind, choice.get(other))
            index = choice.get("index")
            self._add_choice(index if isinstance(index, int) else 0, message, choice.get("finish_reason"))

    def _add_choice(self, index: int, message: Any, end: Any) -> None:
        first = min(self._texts, default=index)
        if isinstance(message, dict):
            self.has_choice = True
            self._texts.setdefault(index, []).extend(_texts(message.get("content")))
            self._is_refused |= index <= first and _is_refusal(message)
        elif not end:
            raise UnusableAnswerError("it is no chat completion; there is no message in it")
        if isinstance(end, str) and end and index <= first:
            if end == "error":
                raise UnusableAnswerError("its answer ends with an error")
            self.end = end

    def completion(self) -> Completion:
        texts = self._texts[min(self._texts)] if self._texts else []
        text = "".join(texts)
        # Pairs that came as two escapes are one character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return Completion(
            text=_UNPRINTABLE.sub("", text).replace("\ufffd", ""),
            is_cut=self.end == "length",
            is_refused=self._is_refused or self.end == "content_filter",
            num_input_tokens=_count(self._usage.get("prompt_tokens")),
            num_output_tokens=_count(self._usage.get("completion_tokens")),
        )


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise UnusableAnswerError("it is not JSON; check the URL") from None


def _check_no_error(answer: Any) -> None:
    if isinstance(answer, dict) and (answer.get("error") or answer.get("object") == "error"):
        raise UnusableAnswerError(_error_of(answer).message or "it tells of an error, without a reason")


def _texts(content: Any) -> Iterator[str]:
    """Yield the texts of a message; some servers answer in parts, thoughts among them."""
    if content is None:
        return
    if isinstance(content, str):
        yield content
        return
    if not isinstance(content, list):
        raise UnusableAnswerError("it is no text")
    for part in content:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
            yield part["text"] if isinstance(part.get("text"), str) else ""


def _is_refusal(message: dict[str, Any]) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return bool(message.get("refusal")) or any(isinstance(part, dict) and part.get("refusal") for part in parts)


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNTED_TOKENS
    return value if is_count else 0


def _one_line(text: Any) -> str:
    return " ".join(_UNPRINTABLE.sub(" ", text).split()) if isinstance(text, str) else ""

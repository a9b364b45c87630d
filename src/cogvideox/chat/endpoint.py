"""A language model behind an OpenAI-compatible endpoint."""

import base64
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import numpy as np

from cogvideox.chat.turns import Answer, Turn, bounded_image
from cogvideox.errors import FetchError

MAX_ANSWER_BYTES = 4 * 2**20
"""Of an endpoint's answer; a longer one is no caption."""

NUM_TRIES = 3
RETRY_PAUSE_S = 1.0
"""Before the second try, twice that before the third, if the endpoint does not say when to come back."""

MAX_PAUSE_S = 60.0
"""An endpoint that asks for a longer pause is given up."""


class EndpointModel:
    """A model behind ``{url}/chat/completions``.

    Args:
        url: of the interface, as in OPENAI_BASE_URL: "https://api.openai.com/v1", "http://localhost:11434/v1".
        model: name that the endpoint knows it by.
        api_key: the environment variable OPENAI_API_KEY by default; none is sent if that is empty too. It appears in
            no error and no record.
        timeout_s: for one answer.
        max_tokens: of one answer, a model's thinking included.

    Raises:
        ValueError: the URL, the model's name or the key cannot be right.
    """

    def __init__(
        self, url: str, model: str, api_key: str | None = None, *, timeout_s: float = 60, max_tokens: int = 2048
    ) -> None:
        parts = _split_url(url)
        if not model.strip():
            raise ValueError("endpoint: the model's name is missing")
        if timeout_s <= 0 or max_tokens <= 0:
            raise ValueError(f"timeout_s, max_tokens: expected more than 0, got {timeout_s} and {max_tokens}")
        key = (os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip()
        if not all("!" <= character <= "~" for character in key):
            raise ValueError("OPENAI_API_KEY: expected printable ASCII without blanks (the value is not shown)")
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        self._request_url = urlunsplit((parts.scheme, parts.netloc, f"{path}/chat/completions", parts.query, ""))
        self._shown_url = urlunsplit((parts.scheme, parts.netloc, path, "", ""))  # a query may hold a key
        self._model, self._key, self._timeout_s = model, key, timeout_s
        self._options: dict[str, Any] = {"temperature": 0, "max_tokens": max_tokens}
        self.source = f"{model} at {self._shown_url}"

    def __repr__(self) -> str:
        return f"EndpointModel({self.source!r})"

    def answer(self, turns: Sequence[Turn]) -> Answer:
        """Return the answer to the last turn.

        Raises:
            FetchError: the endpoint does not answer, is busy, or answers something else than a chat completion.
            ValueError: the endpoint refuses the key, the model's name, the request or what the prompt asks for.
        """
        messages = [{"role": turn.role, "content": _openai_content(turn)} for turn in turns]
        while True:
            body = {"model": self._model, "messages": messages} | self._options
            try:
                return self._read_answer(self._post(json.dumps(body).encode()))
            except _OptionError as error:
                if error.option not in self._options:
                    raise ValueError(f"{self.source}: it refuses the request ({error})") from None
                value = self._options.pop(error.option)
                if error.option == "max_tokens":  # newer models of OpenAI know it by this name only
                    self._options["max_completion_tokens"] = value

    def release(self) -> None:
        """Do nothing: the memory is the endpoint's."""

    def _post(self, body: bytes) -> bytes:
        """Return the body of a successful answer; busy and broken endpoints are tried again."""
        failure = ""
        for try_index in range(NUM_TRIES):
            pause_s = RETRY_PAUSE_S * 2**try_index
            try:
                return self._post_once(body)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != 429 and error.code < 500:
                        raise self._refused(error) from None
                    failure = f"it answers {error.code} {error.reason}"
                    pause_s = _retry_after_s(error.headers.get("Retry-After"), pause_s)
            except FetchError:
                raise
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, TimeoutError):
                    raise FetchError(f"{self.source}: no answer within {self._timeout_s:g} s") from None
                failure = f"it cannot be reached ({self._without_key(str(reason)) or type(reason).__name__})"
            if pause_s > MAX_PAUSE_S:
                raise FetchError(f"{self.source}: {failure} and asks to come back in {pause_s:.0f} s")
            if try_index + 1 < NUM_TRIES:
                time.sleep(pause_s)
        raise FetchError(f"{self.source}: {failure}, {NUM_TRIES} times; try again later")

    def _post_once(self, body: bytes) -> bytes:
        request = urllib.request.Request(self._request_url, body, {"Content-Type": "application/json"})
        if self._key:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        give_up_at_s = time.monotonic() + self._timeout_s
        content = bytearray()
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self._timeout_s) as response:
            while chunk := response.read1(2**16):
                content += chunk
                if time.monotonic() > give_up_at_s:  # the socket's own limit is for each piece
                    raise TimeoutError
                if len(content) > MAX_ANSWER_BYTES:
                    raise FetchError(f"{self.source}: its answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        return bytes(content)

    def _refused(self, error: urllib.error.HTTPError) -> ValueError:
        """Say why an answer below 500 is no use; what the endpoint says of a key is not repeated, it may quote it."""
        if error.code in (401, 403):
            key = "OPENAI_API_KEY is refused" if self._key else "it wants a key; set OPENAI_API_KEY"
            return ValueError(f"{self.source}: {key} ({error.code})")
        if error.code == 404:
            return ValueError(f"{self.source}: no such model, or no OpenAI-compatible endpoint at that URL (404)")
        if 300 <= error.code < 400:
            return ValueError(f"{self.source}: it is redirected elsewhere ({error.code}); give the final URL")
        try:
            said, option = self._explained(error.read(2**16))
        except (OSError, http.client.HTTPException):
            said, option = "", None
        if error.code == 400 and option in ("temperature", "max_tokens"):
            return _OptionError(option, said)
        return ValueError(f"{self.source}: it refuses the request ({error.code}: {said or 'no reason given'})")

    def _explained(self, content: bytes) -> tuple[str, str | None]:
        """Return what an endpoint says of an error, and the request's option that it is about."""
        try:
            detail = json.loads(content)["error"]
            said, option = (detail, None) if isinstance(detail, str) else (detail["message"], detail.get("param"))
        except (ValueError, KeyError, TypeError):
            return "", None
        return self._without_key(" ".join(str(said).split()))[:200], option

    def _read_answer(self, content: bytes) -> Answer:
        try:
            choice = json.loads(content)["choices"][0]
            message, end = choice["message"], choice.get("finish_reason")
            text, refusal = message.get("content") or "", message.get("refusal")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            reason = self._explained(content)[0] or "it is no chat completion; check the URL"
            raise FetchError(f"{self.source}: its answer cannot be used ({reason})") from None
        if refusal or end == "content_filter":
            raise ValueError(f"{self.source}: it refuses this prompt; write it differently")
        if isinstance(text, list):  # some servers answer in parts
            text = "".join(str(part.get("text") or "") for part in text if isinstance(part, dict))
        if not isinstance(text, str):
            raise FetchError(f"{self.source}: its answer cannot be used (it is no text)")
        return Answer(self._without_key(text), is_cut=end == "length")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


class _OptionError(ValueError):
    """The endpoint's model does not take one of the request's options."""

    def __init__(self, option: str, said: str) -> None:
        super().__init__(said)
        self.option = option


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Follow nothing: a redirected POST becomes a GET without the prompt."""


def _split_url(url: str) -> SplitResult:
    if "@" in url:  # not repeated: it may hold a password
        raise ValueError("endpoint: expected no user or password in the URL; the key comes from OPENAI_API_KEY")
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        is_usable = False
    if not is_usable or not all("!" <= character <= "~" for character in url):
        raise ValueError(f"endpoint: expected a URL such as https://api.openai.com/v1, got {url!r}")
    return urlsplit(url)


def _openai_content(turn: Turn) -> str | list[dict[str, Any]]:
    if not turn.images:
        return turn.text
    parts = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in turn.images]
    return [*parts, {"type": "text", "text": turn.text}]


def _data_url(image: np.ndarray) -> str:
    file = io.BytesIO()
    bounded_image(image).save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _retry_after_s(header: str | None, pause_s: float) -> float:
    """Return the pause that an endpoint asks for, in seconds or until a date; ``pause_s`` if it says nothing."""
    header = (header or "").strip()
    if header.isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
        return max((until - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return pause_s

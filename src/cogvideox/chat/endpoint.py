"""A language model behind an OpenAI-compatible endpoint, asked so that no fault of the endpoint is taken for an answer.

What may go away by itself is tried again: no connection, one that breaks off, an answer that is late, cut short, no
chat completion or empty, a busy or broken server (408, 409, 425, 429 and all of 500 and above). What will not is an
error at once.
"""

import base64
import http.client
import io
import json
import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import chain, groupby
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import numpy as np

from cogvideox.chat.completions import (
    Completion,
    CompletionStream,
    ServerError,
    UnusableAnswerError,
    looks_streamed,
    read_completion,
    read_error,
)
from cogvideox.chat.pacing import MAX_PAUSE_S, Admission, Pacer, requested_pause_s
from cogvideox.chat.transport import Patience, TooLongError, pieces, post
from cogvideox.chat.turns import Answer, Turn, bounded_image
from cogvideox.errors import FetchError

MAX_ANSWER_BYTES = 4 * 2**20
"""Of an endpoint's answer; a longer one is no caption."""

NUM_TRIES = 3

MAX_STREAM_TIMEOUTS = 10
"""An answer that comes piece by piece may take so many times ``timeout_s``."""

_GRACE_S = 2.0
"""For the count of tokens, after the text of a stream has ended."""

_RETRIED = (408, 409, 425, 429)
_MISPLACED = (404, 405, 410)
_SPENT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_SETTINGS_CODES = ("model_not_found", "invalid_api_key")
_MAX_SAID = 200
"""Characters of a server's own words in an error."""


class EndpointSettingsError(ValueError):
    """The key, the URL, the model's name or the account is wrong: every other request will fail in the same way."""


class EndpointRefusedError(ValueError):
    """The endpoint refuses this request, and always will."""

    is_cut = False
    """Whether it would not have, had it been allowed more tokens."""
    num_input_tokens = 0
    """That the endpoint has counted for it all the same."""
    num_output_tokens = 0


class EndpointFailedError(FetchError):
    """The endpoint did not answer this request; it may later."""

    num_input_tokens = 0
    """That the endpoint has counted for tries that were no use."""
    num_output_tokens = 0


class EndpointModel:
    """A model behind ``{url}/chat/completions``; may be asked from several threads at once.

    Args:
        url: of the interface, as in OPENAI_BASE_URL: "https://api.openai.com/v1", "http://localhost:11434/v1".
        model: name that the endpoint knows it by.
        api_key: what the environment variable holds by default; none is sent if that is empty too. It appears in no
            error and no record.
        timeout_s: for one answer; if it streams, for each piece of one, and `MAX_STREAM_TIMEOUTS` times that for all.
        max_tokens: of one answer, a model's thinking included.
        temperature: 0 takes the likeliest words.
        num_tries: of a request.
        streams: whether to have answers piece by piece.
        key_variable: environment variable that holds the key.
        pacer: shared by all that ask the same endpoint; one of its own, without limits, by default.
        retries_timeouts: False gives up the first time that an answer is late.
        retries_empty: False takes an empty answer for one.
        busy_patience_s: for so long, of one request and since the endpoint answered anything, being told that it has
            too much to do (429, 503, 529) counts as no try.

    Raises:
        ValueError: the URL, the model's name, the key or a number cannot be right.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 60,
        max_tokens: int = 2048,
        temperature: float = 0,
        num_tries: int = NUM_TRIES,
        streams: bool = False,
        key_variable: str = "OPENAI_API_KEY",
        pacer: Pacer | None = None,
        retries_timeouts: bool = True,
        retries_empty: bool = True,
        busy_patience_s: float = 0.0,
    ) -> None:
        parts = _split_url(url, key_variable)
        if not model.strip():
            raise ValueError("endpoint: the model's name is missing")
        if not 0 < timeout_s < math.inf or max_tokens <= 0:
            raise ValueError(f"timeout_s, max_tokens: expected more than 0, got {timeout_s} and {max_tokens}")
        if num_tries < 1 or not 0 <= temperature < math.inf:
            raise ValueError(f"num_tries, temperature: expected at least 1 and 0, got {num_tries} and {temperature}")
        key = (os.environ.get(key_variable, "") if api_key is None else api_key).strip()
        if not all("!" <= character <= "~" for character in key):
            raise ValueError(f"{key_variable}: expected printable ASCII without blanks (the value is not shown)")
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        self._request_url = urlunsplit((parts.scheme, parts.netloc, f"{path}/chat/completions", parts.query, ""))
        self._secrets = tuple(secret for secret in (key, parts.query) if secret)  # a query may hold a key
        self._model, self._key, self._key_variable = model, key, key_variable
        self._timeout_s, self._num_tries, self._streams = timeout_s, num_tries, streams
        self._retries_timeouts, self._retries_empty = retries_timeouts, retries_empty
        self._busy_patience_s = busy_patience_s
        self._options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
        if streams:
            self._options |= {"stream": True, "stream_options": {"include_usage": True}}
        self._lock = threading.Lock()
        self._pacer = Pacer() if pacer is None else pacer
        self.source = f"{model} at {urlunsplit((parts.scheme, parts.netloc, path, '', ''))}"

    def __repr__(self) -> str:
        return f"EndpointModel({self.source!r})"

    def answer(self, turns: Sequence[Turn]) -> Answer:
        """Return the answer to the last turn; its tokens are those of all tries.

        Raises:
            FetchError: the endpoint does not answer, is busy, or answers something else than a chat completion;
                an `EndpointFailedError`.
            EndpointSettingsError: no request can succeed.
            EndpointRefusedError: this request cannot.
            StoppedError: the pacer was stopped.
        """
        messages = [{"role": turn.role, "content": _openai_content(turn)} for turn in turns]
        spent: list[Completion] = []
        try:
            answer = self._try(messages, spent)
        except (EndpointFailedError, EndpointRefusedError) as error:
            error.num_input_tokens, error.num_output_tokens = _sum_tokens(spent)
            raise
        num_input_tokens, num_output_tokens = _sum_tokens(spent)
        return Answer(self._without_secrets(answer.text), answer.is_cut, num_input_tokens, num_output_tokens)

    def release(self) -> None:
        """Do nothing: the memory is the endpoint's."""

    def _try(self, messages: list[dict[str, Any]], spent: list[Completion]) -> Completion:
        failures: list[str] = []
        num_left = self._num_tries
        busy_since_s = math.inf
        while True:
            is_overload = False
            try:
                completion = self._ask(messages)
                spent.append(completion)
                self._check_answered(completion)
                return completion
            except _BusyError as error:
                failures.append(self._shown(str(error)))
                pause_s, is_overload = error.pause_s, error.is_overload
            except UnusableAnswerError as error:
                failures.append(f"its answer cannot be used ({self._shown(str(error))})")
                pause_s = None
            except (OSError, http.client.HTTPException, TooLongError) as error:
                failures.append(self._fault(error))
                pause_s = None
                if not self._retries_timeouts and _is_timeout(error):
                    raise EndpointFailedError(f"{self.source}: {failures[-1]}") from None
            if pause_s is not None and pause_s > MAX_PAUSE_S:
                failures[-1] += f" and asks to come back in {pause_s:.0f} s"
                raise EndpointFailedError(f"{self.source}: {_told(failures)}")
            if is_overload:
                busy_since_s = min(busy_since_s, time.monotonic())
            waited_s = max(time.monotonic() - busy_since_s, self._pacer.busy_for_s())
            is_patient = is_overload and waited_s < self._busy_patience_s
            num_left -= not is_patient
            if not num_left:
                raise EndpointFailedError(f"{self.source}: {_told(failures)}; try again later")
            if pause_s is not None:
                self._pacer.hold(pause_s)
            elif is_patient:
                self._pacer.hold_busy()
            else:
                self._pacer.back_off(self._num_tries - num_left - 1)

    def _ask(self, messages: list[dict[str, Any]]) -> Completion:
        """Ask once, or more often if the endpoint does not take an option of the request."""
        while True:
            with self._lock:
                options = dict(self._options)
            body = json.dumps({"model": self._model, "messages": messages} | options).encode()
            with self._pacer.admission() as admission:
                try:
                    return self._ask_once(body, admission)
                except _OptionError as error:
                    if error.option not in options:
                        raise EndpointRefusedError(f"{self.source}: it refuses the request ({error})") from None
                    self._leave_out(error.option)

    def _ask_once(self, body: bytes, admission: Admission) -> Completion:
        headers = {"Content-Type": "application/json", "User-Agent": "cogvideox"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        total_s = self._timeout_s * (MAX_STREAM_TIMEOUTS if self._streams else 1)
        patience = Patience(self._timeout_s, total_s, self._pacer.check_running)
        with closing(post(self._request_url, body, headers, patience)) as response:
            if not 200 <= response.status < 300:
                error = self._refused(response)
                admission.was_busy = isinstance(error, _BusyError) and error.is_overload
                raise error
            completion = _read(response, patience)
        admission.num_tokens = completion.num_input_tokens + completion.num_output_tokens
        return completion

    def _leave_out(self, option: str) -> None:
        with self._lock:
            value = self._options.pop(option, None)
            if option == "max_tokens" and value is not None:  # newer models of OpenAI know it by this name only
                self._options["max_completion_tokens"] = value

    def _check_answered(self, completion: Completion) -> None:
        if completion.is_refused:
            raise EndpointRefusedError(f"{self.source}: it refuses this prompt; write it differently")
        if completion.text.strip() or not self._retries_empty:
            return
        if completion.is_cut:
            error = EndpointRefusedError(f"{self.source}: all its tokens went into thinking; raise max_tokens")
            error.is_cut = True
            raise error
        raise UnusableAnswerError("it is empty")

    def _refused(self, response: http.client.HTTPResponse) -> Exception:
        """Say why a status is no success; what the endpoint says of a key is not repeated, it may quote a part."""
        status = response.status
        content = bytearray()
        try:
            for piece in pieces(response, 2**16):
                content += piece
        except (OSError, http.client.HTTPException, TooLongError):
            """What has come may do: the status counts."""
        said = read_error(bytes(content))
        if status == 402 or any(code in said.code for code in _SPENT_CODES):
            return EndpointSettingsError(f"{self.source}: its account has no money or quota left ({status})")
        if status in _RETRIED or status >= 500 or status < 200:
            return _BusyError(status, said.message, requested_pause_s(response.headers))
        if status in (401, 403):
            key = f"{self._key_variable} is refused" if self._key else f"it wants a key; set {self._key_variable}"
            return EndpointSettingsError(f"{self.source}: {key} ({status})")
        if status in _MISPLACED:
            reason = f"no such model, or no OpenAI-compatible endpoint at that URL ({status})"
            return EndpointSettingsError(f"{self.source}: {reason}")
        if status < 400:
            return EndpointSettingsError(f"{self.source}: it is redirected elsewhere ({status}); give the final URL")
        reason = self._shown(said.message) or "no reason given"
        if any(code in said.code for code in _SETTINGS_CODES):
            return EndpointSettingsError(f"{self.source}: it refuses the request ({status}: {reason})")
        if (option := _refused_option(status, said)) is not None:
            return _OptionError(option, reason)
        return EndpointRefusedError(f"{self.source}: it refuses the request ({status}: {reason})")

    def _fault(self, error: Exception) -> str:
        """Say what went wrong with a connection."""
        reason = getattr(error, "reason", error)
        if _is_timeout(error):
            return f"no answer within {self._timeout_s:g} s"
        if isinstance(error, TooLongError):
            return f"its answer is longer than {MAX_ANSWER_BYTES:,} bytes"
        if isinstance(error, http.client.IncompleteRead):
            return "its answer cannot be used (it is cut short)"
        return f"it cannot be reached ({self._shown(str(reason)) or type(reason).__name__})"

    def _shown(self, text: str) -> str:
        """Return a server's words as one short line without secrets."""
        text = " ".join("".join(c if c.isprintable() else " " for c in self._without_secrets(text)).split())
        return text[:_MAX_SAID]

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _OptionError(Exception):
    """The endpoint's model does not take one of the request's options."""

    def __init__(self, option: str, said: str) -> None:
        super().__init__(said)
        self.option = option


class _BusyError(Exception):
    """The endpoint answers that it cannot answer now."""

    def __init__(self, status: int, said: str, pause_s: float | None) -> None:
        words = http.client.responses.get(status, "")
        super().__init__(" ".join(f"it answers {status} {words}".split()) + (f": {said}" if said else ""))
        self.pause_s = pause_s
        self.is_overload = status in (429, 503, 529)


def _read(response: http.client.HTTPResponse, patience: Patience) -> Completion:
    """Return the completion in an answer, however it comes."""
    body = pieces(response, MAX_ANSWER_BYTES)
    first = b""
    while len(first.strip()) < len(b"event:") + 3 and (piece := next(body, b"")):
        first += piece
    if not looks_streamed(first):
        return read_completion(first + b"".join(body))
    stream = CompletionStream()
    try:
        for piece in chain([first], body):
            stream.feed(piece)
            if stream.is_done:
                break
            if stream.is_finished:
                patience.shorten(_GRACE_S)
    except (OSError, http.client.HTTPException, TooLongError, UnusableAnswerError):
        if not stream.is_finished:
            raise
    return stream.end()


def _is_timeout(error: Exception) -> bool:
    return isinstance(getattr(error, "reason", error), TimeoutError)


def _sum_tokens(completions: Sequence[Completion]) -> tuple[int, int]:
    num_input_tokens = sum(completion.num_input_tokens for completion in completions)
    return num_input_tokens, sum(completion.num_output_tokens for completion in completions)


def _told(failures: Sequence[str]) -> str:
    """Return what happened, each thing once if it happened several times in a row."""
    runs = [(failure, len(list(same))) for failure, same in groupby(failures)]
    return ", then ".join(failure + (f", {number} times" if number > 1 else "") for failure, number in runs)


def _refused_option(status: int, said: ServerError) -> str | None:
    """Return the option that an endpoint does not take, if it can be done without."""
    if status == 400 and said.option in ("temperature", "max_tokens"):
        return said.option
    if status in (400, 422) and "stream_options" in f"{said.option} {said.message}":
        return "stream_options"
    return None


def _split_url(url: str, key_variable: str) -> SplitResult:
    if "@" in url:  # not repeated: it may hold a password
        raise ValueError(f"endpoint: expected no user or password in the URL; the key comes from {key_variable}")
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # brackets, a port or a name that are none
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

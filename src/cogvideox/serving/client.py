"""A small client of the API, for the command line and scripts; only the standard library is needed."""

import http.client
import json
import os
import re
import secrets
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cogvideox.errors import ServerError

DEFAULT_SERVER = "http://127.0.0.1:8000"
SERVER_VARIABLES = ("COGVIDEOX_SERVER", "OPENAI_BASE_URL")
KEY_VARIABLES = ("COGVIDEOX_API_KEY", "OPENAI_API_KEY")
TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 600.0
NUM_TRIES, NUM_FIRST_TRIES = 6, 2
"""Of a server that has answered before, and may be starting again, and of one that has not."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0
"""Who is told to come back later than that is told so."""
BLOCK_BYTES = 2**18
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
MEDIA_TYPES |= {".mp4": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """Where a server is, and the key for it."""

    url: str
    key: str = ""

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--server: expected http://HOST:PORT, got {self.url!r}")

    @classmethod
    def found(cls, url: str | None) -> "ServerAddress":
        """Return a server by its URL, or that of the environment, or this machine's; the key is the environment's."""
        named = [url, *(os.environ.get(name) for name in SERVER_VARIABLES), DEFAULT_SERVER]
        chosen = next(text for text in named if text).rstrip("/").removesuffix("/v1")
        return cls(url=chosen, key=next((key for name in KEY_VARIABLES if (key := os.environ.get(name))), ""))


class Client:
    """Sends requests, again where that is harmless."""

    def __init__(self, address: ServerAddress, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._address = address
        self._sleep = sleep
        self._has_answered = False
        # No redirections, and so no key that goes elsewhere.
        self._opener = urllib.request.OpenerDirector()
        handlers = (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler)
        for handler in (*handlers, urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler):
            self._opener.add_handler(handler())

    def create(self, fields: Mapping[str, Any], *, file: Path | None = None) -> dict[str, Any]:
        """Have a video made; sent again with the same key if the answer is lost."""
        key = {"Idempotency-Key": secrets.token_hex(16)}
        if file is None:
            return self._json("POST", "/v1/videos", json.dumps(dict(fields)).encode(), key)
        body, kind = _form(fields, file)
        return self._json("POST", "/v1/videos", body, key | {"Content-Type": kind}, timeout_s=UPLOAD_TIMEOUT_S)

    def get(self, video_id: str) -> dict[str, Any]:
        """Return a video as it stands."""
        return self._json("GET", f"/v1/videos/{_quoted(video_id)}")

    def cancel(self, video_id: str) -> dict[str, Any]:
        """Stop a video."""
        return self._json("POST", f"/v1/videos/{_quoted(video_id)}/cancel", b"")

    def delete(self, video_id: str) -> dict[str, Any]:
        """Delete a video."""
        return self._json("DELETE", f"/v1/videos/{_quoted(video_id)}")

    def videos(self, limit: int) -> Iterator[dict[str, Any]]:
        """Yield the newest videos."""
        after = ""
        while limit > 0:
            page = self._json("GET", f"/v1/videos?limit={min(limit, 100)}{after}")
            yield from page["data"]
            limit -= len(page["data"])
            if not page["has_more"]:
                return
            after = f"&after={page['last_id']}"

    def wait(
        self, video_id: str, *, tell: Callable[[dict[str, Any]], None] | None = None, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Return a video when it has ended.

        Args:
            video_id: which.
            tell: called with each state.
            timeout_s: to wait at most; None is as long as it takes.

        Raises:
            ServerError: it did not end in that time, or the server is gone.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        wait_s = FIRST_WAIT_S
        while True:
            video = self.get(video_id)
            if tell is not None:
                tell(video)
            if video["status"] in ("completed", "failed"):
                return video
            if end_s is not None and time.monotonic() >= end_s:
                raise ServerError("timeout", f"{video_id}: it was not ready in {timeout_s:g} s; it goes on")
            self._sleep(wait_s)
            wait_s = min(1.2 * wait_s, 2.0)

    def download(self, video_id: str, file: BinaryIO, *, variant: str = "video") -> int:
        """Write a video's file into an open one; return how many bytes."""
        request = self._request("GET", f"/v1/videos/{_quoted(video_id)}/content?variant={_quoted(variant)}")
        num_bytes = 0
        with self._opened(request, TIMEOUT_S) as response:
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                num_bytes += len(block)
            expected = response.headers.get("content-length")
        if expected is not None and int(expected) != num_bytes:
            raise ServerError("network", f"{video_id}: only {num_bytes} of {expected} bytes came; try again")
        return num_bytes

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> urllib.request.Request:
        every = {"Accept": "application/json", "Content-Type": "application/json"} | dict(headers or {})
        request = urllib.request.Request(self._address.url + path, body, every, method=method)
        if self._address.key:
            request.add_unredirected_header("Authorization", f"Bearer {self._address.key}")
        return request

    def _json(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> dict[str, Any]:
        with self._opened(self._request(method, path, body, headers), timeout_s) as response:
            try:
                value = json.loads(response.read())
            except (ValueError, OSError, http.client.HTTPException):
                raise self._strange() from None
        if not isinstance(value, dict):
            raise self._strange()
        return value

    def _opened(self, request: urllib.request.Request, timeout_s: float) -> Any:
        """Return an answer. Raises ServerError for a refusal, or if there is none after some tries."""
        wait_s = FIRST_WAIT_S
        num_tries = NUM_TRIES if self._has_answered else NUM_FIRST_TRIES
        for number in range(num_tries):
            is_last = number == num_tries - 1
            try:
                answer = self._opener.open(request, timeout=timeout_s)
                self._has_answered = True
                return answer
            except urllib.error.HTTPError as error:
                told_s = _retry_after_s(error.headers)
                may_pass = error.code in (408, 429, 502, 503, 504) and error.headers.get("x-should-retry") != "false"
                if not may_pass or is_last or (told_s or 0) > LONGEST_WAIT_S:
                    raise self._refused(error) from None
                wait_s = told_s or wait_s
            except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
                if is_last or isinstance(getattr(error, "reason", None), socket.gaierror):
                    raise ServerError("unreachable", self._unreachable(error)) from None
            self._sleep(wait_s)
            wait_s = min(2 * wait_s, 8.0)
        raise AssertionError("unreachable")

    def _refused(self, error: urllib.error.HTTPError) -> ServerError:
        try:
            told = json.loads(error.read(2**16))["error"]
            return ServerError(str(told["code"]), f"{told['message']} ({told['code']})")
        except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
            return ServerError("refused", f"{self._address.url} answers with status {error.code}, and not as ours do")

    def _strange(self) -> ServerError:
        return ServerError("refused", f"{self._address.url} does not answer as a server of cogvideox does")

    def _unreachable(self, error: BaseException) -> str:
        reason = getattr(error, "reason", None) or error
        told = getattr(reason, "strerror", None) or reason
        return f"no server at {self._address.url} ({told}); start one with cogvideox serve, or name it with --server"


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _retry_after_s(headers: Any) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else None


def _form(fields: Mapping[str, Any], file: Path) -> tuple[bytes, str]:
    """Return fields and a file as a form, and its type."""
    boundary = secrets.token_hex(16)
    parts = []
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode())
    kind = MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="input_reference"; filename="input"\r\n'
    parts.append(f"{head}Content-Type: {kind}\r\n\r\n".encode())
    try:
        parts.append(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"

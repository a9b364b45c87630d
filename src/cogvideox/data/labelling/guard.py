"""Which requests the labelling server answers.

It is meant for this machine. A web site that is open in the same browser can send requests to it, so requests that
come from elsewhere, or call this server by a name of theirs, are refused; other machines need a token.
"""

import hmac
import ipaddress
import json
import logging
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAX_BODY_BYTES = 2**16
COOKIE = "cogvideox_label"
"""With the port after it: a browser gives all ports of a host the same cookies."""
TOKEN_NAME = ".token"
TOKEN_BYTES = 18
FOLDER_HEADER = "x-label-folder"
"""What a page holds is meant for the folder of answers that it was opened with."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


logger = logging.getLogger(__name__)


def kept_token(folder: str | Path) -> str:
    """Return the token of a folder of answers, made if there is none: after a restart open pages still have it.

    Only the owner can read the file. A token that cannot be kept is a new one at every start, with a warning.
    """
    path = Path(folder) / TOKEN_NAME
    made = secrets.token_urlsafe(TOKEN_BYTES)
    try:
        if path.exists() and re.fullmatch(
            rf"[\w-]{{{len(made)}}}", token := path.read_text(errors="replace"), re.ASCII
        ):
            os.chmod(path, 0o600)  # a copy of the folder may have lost it
            return token
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made)
    except OSError as error:
        logger.warning("%s: %s; after a restart pages have to be opened anew", path, error.strerror or error)
    return made


class Guard:
    """Passes on only requests from the server's own page (ASGI).

    A site elsewhere may give its own name this machine's address (DNS rebinding): then the Host header has that name.
    It may also post without reading answers: then the Origin header is its own.
    """

    def __init__(self, app: Any, *, host: str, token: str, folder_key: str) -> None:
        self._app = app
        self._token = token
        self._folder_key = folder_key
        self._names = {*LOCAL_NAMES, host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        self._takes_addresses = bool(token)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None and self._token and not self._has_token(headers):
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if scope["path"] == "/" and hmac.compare_digest(given.encode(), self._token.encode()):
                cookie = f"{_cookie_name(headers)}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})
                return
            refusal = (403, "open the address that the server printed: it has a token that this browser lacks")
        if refusal is None and headers.get(FOLDER_HEADER, self._folder_key) != self._folder_key:
            refusal = (409, "the server now has another folder of answers; start it with the one of before")
        if refusal is None:
            body = await _read_body(receive)
            refusal = (413, f"expected at most {MAX_BODY_BYTES} bytes") if body is None else None
            receive = _replay(body or b"", receive)
        if refusal is not None:
            await _answer(send, *refusal)
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_encoded(HEADERS)]
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        except Exception as error:
            told = " ".join(str(error).split())
            logger.error("%s %s failed: %s: %s", scope["method"], scope["path"], type(error).__name__, told)
            raise

    def _refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return 403, f"this server is not called {host!r}"
        is_reading = scope["method"] in ("GET", "HEAD")
        site = headers.get("sec-fetch-site", "same-origin")
        is_visit = scope["path"] == "/" and headers.get("sec-fetch-mode", "navigate") == "navigate" and is_reading
        if "origin" in headers and urlsplit(headers["origin"]).netloc != host:
            return 403, "requests from other sites are refused"
        if site not in ("same-origin", "none") and not is_visit:
            return 403, "requests from other sites are refused"
        if not is_reading and headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return 415, "expected application/json"
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            _port(host)
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._takes_addresses  # a rebound name is a name

    def _has_token(self, headers: dict[str, str]) -> bool:
        wanted = _cookie_name(headers)
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(
            name == wanted and hmac.compare_digest(value.encode("latin-1"), self._token.encode())
            for name, _, value in pairs
        )


def _cookie_name(headers: dict[str, str]) -> str:
    return f"{COOKIE}_{_port(headers.get('host', ''))}"


def _port(host: str) -> int:
    """Return the port as the browser sees it, at the far end of a tunnel too. Raises ValueError if it is none."""
    return urlsplit(f"//{host}").port or 80


async def _read_body(receive: Any) -> bytes | None:
    """Return the body of a request; None if it is too long."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Any) -> Any:
    is_given = False

    async def again() -> Any:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _answer(send: Any, status: int, message: str, headers: dict[str, str] | None = None) -> None:
    content = json.dumps({"error": message}).encode()
    every = {"content-type": "application/json", "content-length": str(len(content))} | HEADERS | (headers or {})
    await send({"type": "http.response.start", "status": status, "headers": _encoded(every)})
    await send({"type": "http.response.body", "body": content})

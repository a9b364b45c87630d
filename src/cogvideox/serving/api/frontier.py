"""What every request passes first: names and origins, headers, request ids, the log, and whatever went wrong inside."""

import asyncio
import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from cogvideox.serving.api.metrics import Metrics
from cogvideox.serving.api.protocol import MAX_HEADER_BYTES
from cogvideox.serving.api.settings import ApiSettings
from cogvideox.serving.api.storage import storage_error
from cogvideox.serving.errors import ApiError, error_body
from cogvideox.serving.job import StoreError, StoreUnavailableError

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
METHODS = (*SAFE_METHODS, "POST", "DELETE", "PUT", "PATCH")
QUIET_PATHS = ("/livez", "/readyz", "/metrics")
LOCAL_NAMES = ("localhost",)
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
MAX_OPEN = 800
"""Requests at the same time, event streams among them."""
MAX_HEADERS = 200
UPLOAD_PATHS = ("/v1/videos", "/v1/videos/sync", "/v1/videos/edits")
DRAIN_BYTES, SMALL_DRAIN_BYTES = 64 * 2**20, 4 * 2**20
"""Of bodies that are refused: where files are taken, and elsewhere."""
DRAIN_S = 3.0
RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)


class Frontier:
    """Answers or refuses requests, and tells the log about them (ASGI)."""

    def __init__(self, app: Any, *, settings: ApiSettings, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._num_open = 0
        names = (*LOCAL_NAMES, settings.host, *settings.allowed_hosts, socket.gethostname())
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        self._num_open += 1
        try:
            self._check(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except ConnectionError:
            exchange.outcome = "gone"
        except asyncio.CancelledError:
            exchange.outcome = "gone"
            raise
        except ApiError as error:
            await exchange.refuse(error)
        except (StoreError, StoreUnavailableError) as error:
            logger.error("store", extra={"request_id": exchange.id, "reason": str(error)})
            headers = {"retry-after": str(RETRY_AFTER_S)}
            await exchange.refuse(ApiError("not_ready", "the job store does not answer; try again", headers=headers))
        except OSError as error:
            if (refusal := storage_error(error)) is not None:
                await exchange.refuse(refusal)
            else:
                await self._admit(exchange, error)
        except Exception as error:
            await self._admit(exchange, error)
        finally:
            self._num_open -= 1
            self._tell(scope, exchange)

    async def _admit(self, exchange: "_Exchange", error: Exception) -> None:
        """Answer that we made a mistake. Nothing of it goes to the client; the request's id finds it in the log."""
        logger.error("failed", exc_info=error, extra={"request_id": exchange.id, "kind": type(error).__name__})
        await exchange.refuse(ApiError("internal", "the server made a mistake; its log says which"))

    def _check(self, scope: Any) -> None:
        num_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
        if num_bytes > MAX_HEADER_BYTES or len(scope["headers"]) > MAX_HEADERS:
            raise ApiError("invalid_param", "the headers are too long, or too many", status=431)
        headers = header_values(scope)
        if self._num_open > MAX_OPEN and scope["path"] not in QUIET_PATHS:
            headers = {"retry-after": str(RETRY_AFTER_S)}
            raise ApiError("not_ready", "too many requests at the same time; try again", headers=headers)
        host = headers.get("host", "")
        if not self._is_own(host):
            raise ApiError("forbidden", "Host: this server is not called so; name it with --allowed-host")
        if scope["method"] in SAFE_METHODS:
            return
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise ApiError("forbidden", "Origin: requests from other sites are refused")
        if origin is None and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise ApiError("forbidden", "requests from other sites are refused")

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server: by a known name, or by any address, which no other site has."""
        try:
            parsed = urlsplit(f"//{host}")
            name = parsed.hostname or ""
            _ = parsed.port
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _tell(self, scope: Any, exchange: "_Exchange") -> None:
        took_s = time.monotonic() - exchange.begun_s
        route = scope.get("state", {}).get("route", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(exchange.status or exchange.outcome)).inc()
        self._metrics.seconds.labels(route).observe(took_s)
        if exchange.code is not None:
            self._metrics.rejects.labels(exchange.code).inc()
        facts = {
            "request_id": exchange.id,
            "method": method,
            "path": scope["path"][:200],
            "status": exchange.status,
            "ms": round(1000 * took_s, 1),
            "code": exchange.code,
            **scope.get("state", {}).get("facts", {}),
        }
        level = logging.DEBUG if scope["path"] in QUIET_PATHS else logging.INFO
        logger.log(level, "request", extra=facts)


class _Exchange:
    """A request and its answer."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.id = f"req_{secrets.token_hex(12)}"
        self.begun_s = time.monotonic()
        self.status: int | None = None
        self.code: str | None = None
        self.outcome = "none"
        self._receive, self._send = receive, send
        self._is_head = scope["method"] == "HEAD"
        self._is_read = False
        self._told_bytes = told_bytes(scope)
        self._drain_bytes = DRAIN_BYTES if scope["path"] in UPLOAD_PATHS else SMALL_DRAIN_BYTES
        self._headers = header_values(scope)
        scope.setdefault("state", {})["request_id"] = self.id
        scope["state"]["exchange"] = self

    async def receive(self) -> Any:
        """Pass on a piece of the request."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            self._is_read = True
        return message

    async def send(self, message: Any) -> None:
        """Pass on a piece of the answer, with the headers that all have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name.lower() for name, _ in message["headers"]}
            every = HEADERS | {"x-request-id": self.id}
            if self._has_rest:
                every["connection"] = "close"
            message["headers"] = [*message["headers"], *_encoded(every, own)]
        await self._send(message)

    @property
    def _has_rest(self) -> bool:
        """Whether more of the body may come than is worth waiting for: nobody has read it."""
        is_endless = "transfer-encoding" in self._headers
        return not self._is_read and (is_endless or self._told_bytes > SMALL_DRAIN_BYTES)

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error, if nothing was answered yet."""
        if self.status is not None:
            return
        if error.code != "timeout":
            await self._drain()
        self.code = error.code
        body = error_body(error.code, error.message, status=error.status, param=error.param)
        headers = {"content-type": "application/json", "content-length": str(len(body)), "cache-control": "no-store"}
        if not self._is_read:
            headers["connection"] = "close"
        start = {"type": "http.response.start", "status": error.status}
        await self.send(start | {"headers": _encoded(headers | error.headers, set())})
        await self._send({"type": "http.response.body", "body": b"" if self._is_head else body})

    async def _drain(self) -> None:
        """Read what is still coming, for a while: many clients read no answer before they have sent all."""
        num_bytes, end_s = 0, time.monotonic() + DRAIN_S
        if self._told_bytes > self._drain_bytes:
            return
        while not self._is_read and num_bytes < self._drain_bytes:
            try:
                message = await asyncio.wait_for(self.receive(), max(end_s - time.monotonic(), 0))
            except TimeoutError:
                return
            num_bytes += len(message.get("body", b""))


def told_bytes(scope: Any) -> int:
    """Return how long the body of a request (ASGI) says that it is; 0 if it says nothing."""
    told = header_values(scope).get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 20 else 0


def header_values(scope: Any) -> dict[str, str]:
    """Return the headers of a request (ASGI), names in lower case; of one that comes twice, the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _encoded(headers: dict[str, str], but: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    pairs = ((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items())
    return [(name, value) for name, value in pairs if name not in but]

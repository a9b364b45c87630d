"""The process that serves the API."""

import asyncio
import logging
import resource
import socket
import threading
from typing import Any

from cogvideox.serving.api.app import create_app
from cogvideox.serving.api.frontier import MAX_HEADER_BYTES
from cogvideox.serving.api.settings import ApiSettings
from cogvideox.serving.errors import error_body
from cogvideox.serving.libraries import uvicorn
from cogvideox.serving.serving_log import log_as_json

HEADERS_S = 10.0
"""From the first byte of a request to the end of its headers."""
MAX_CONNECTIONS = 2000
"""Beyond that uvicorn refuses by itself; requests have their own limit."""
MAX_FILES = 65_536
GRACE_S = 10
BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """Return a socket on this port, on any free one for 0.

    Raises:
        ValueError: the host is not of this machine, or the port is taken; the message says what to do.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port: expected 0 to 65535, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"--host: {host!r} is no address of this machine ({error.strerror or error})") from None
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ValueError(
            f"--port: {host}:{port} cannot be used ({error.strerror or error}); stop what uses it, name another port, "
            "or take any free one with --port 0"
        ) from None
    return made


def run_api(settings: ApiSettings, *, listener: socket.socket | None = None) -> None:
    """Serve until the process is told to stop (SIGTERM, SIGINT).

    Args:
        settings: of the API.
        listener: a socket of `listen`; by default one is made of the settings.

    Raises:
        StoreError: the store or the data directory cannot be used.
        CheckpointError: a model is not there.
        ValueError: the port is taken.
    """
    app = create_app(settings)
    listener = listener or listen(settings.host, settings.port)
    log_as_json()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else MAX_FILES, most))
    logging.getLogger("uvicorn").handlers = logging.getLogger("cogvideox").handlers
    server(app).run(sockets=[listener])


def server(app: Any) -> Any:
    """Return a server (uvicorn) of an application, with limits of size and time."""
    web = uvicorn()
    config = web.Config(
        app,
        http=_protocol(),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=30,
        log_config=None,
    )
    made = web.Server(config)
    stop = made.handle_exit

    def handle_exit(number: int, frame: Any) -> None:
        # Event streams last as long as videos: they are not waited for. A handler of signals must not wait for a lock.
        threading.Thread(target=app.state.service.hub.close, daemon=True).start()
        stop(number, frame)

    made.handle_exit = handle_exit
    return made


def _protocol() -> Any:
    base = uvicorn().protocols.http.h11_impl.H11Protocol

    class Protocol(base):
        """HTTP/1.1 whose headers have to come in time, and whose refusals have our form."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # A request whose headers are complete has its own limits.
            is_waiting = self.cycle is None or self.cycle.response_complete
            if not is_waiting:
                self._forget_deadline()
            elif self._deadline is None:
                self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_deadline()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, "invalid_param", "it is no request of HTTP/1.1, or its headers are too long")

        def _expect_headers(self) -> None:
            self._deadline = self.loop.call_later(HEADERS_S, self._give_up)

        def _forget_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if not self.transport.is_closing():
                self._refuse(408, "timeout", "the headers came too slowly")

        def _refuse(self, status: int, code: str, message: str) -> None:
            body = error_body(code, message, status=status)
            reason = {400: "Bad Request", 408: "Request Timeout"}[status]
            head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
            self.transport.close()

    return Protocol

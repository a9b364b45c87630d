"""The process that serves the API."""

import contextlib
import ctypes
import errno
import logging
import resource
import socket
import sys
import threading
import time
from typing import Any

from cogvideox.serving.api.app import create_app
from cogvideox.serving.api.protocol import MAX_HEADER_BYTES, protocol
from cogvideox.serving.api.settings import ApiSettings
from cogvideox.serving.errors import error_body
from cogvideox.serving.files import keep_files_private
from cogvideox.serving.job import StoreError
from cogvideox.serving.libraries import uvicorn
from cogvideox.serving.serving_log import log_as_json

MAX_CONNECTIONS = 2000
"""Beyond that uvicorn refuses by itself; requests have their own limit."""
MAX_FILES = 65_536
GRACE_S = 10
BACKLOG = 128
M_MMAP_THRESHOLD, LARGE_BYTES = -3, 2**20
SWITCH_S = 0.001
"""After this time a thread that computes lets the loop go on."""
OPEN_S = 2.0
"""Between two tries to open the store."""

log = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket on this port, on any free one for 0.

    Raises:
        ValueError: the host is not of this machine, or the port is taken; the message says what to do.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port: expected 0 to 65535, got {port}")
    if not host.strip():
        raise ValueError("--host: expected an address of this machine, such as 127.0.0.1 or 0.0.0.0 for all, got none")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(
            f"--host: {host!r} is no address of this machine ({error.strerror or error}); take one that is"
        ) from None
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ValueError(f"--host: {host!r} is no address of this machine; take one that is, or 0.0.0.0") from None
        raise ValueError(
            f"--port: {host}:{port} cannot be used ({error.strerror or error}); stop what uses it, name another port, "
            "or take any free one with --port 0"
        ) from None
    return made


def run_api(settings: ApiSettings, *, listener: socket.socket | None = None) -> None:
    """Serve until the process is told to stop (SIGTERM, SIGINT).

    While the store cannot be opened every request is told so (503).

    Args:
        settings: of the API.
        listener: a socket of `listen`; by default one is made of the settings.

    Raises:
        CheckpointError: a model is not there.
        ValueError: the port is taken.
    """
    keep_files_private()
    log_as_json()
    listener = listener or listen(settings.host, settings.port)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else MAX_FILES, most))
    logging.getLogger("uvicorn").handlers = logging.getLogger("cogvideox").handlers
    sys.setswitchinterval(SWITCH_S)
    _give_memory_back()
    try:
        app = create_app(settings)
    except StoreError as error:
        log.error("the store does not open", extra={"reason": str(error)})
        app = _wait_for_store(settings, listener)
    if app is not None:
        server(app).run(sockets=[listener])


def _wait_for_store(settings: ApiSettings, listener: socket.socket) -> Any:
    """Answer that the store does not open until it does; return the application, None if the process is to end."""
    waiting = uvicorn().Server(_config(_refuse_all))
    opened: list[Any] = []

    def try_again() -> None:
        while not opened and not waiting.should_exit:
            time.sleep(OPEN_S)
            try:
                opened.append(create_app(settings))
            except StoreError as error:
                log.error("the store does not open", extra={"reason": str(error)})
            except Exception:
                log.exception("the API cannot start")
                break
        waiting.should_exit = True

    threading.Thread(target=try_again, daemon=True).start()
    waiting.run(sockets=[listener.dup()])  # it closes what it is given
    return opened[0] if opened else None


async def _refuse_all(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request (ASGI): alive, not ready."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/livez":
        status, body, more = 200, b'{"status": "alive"}', {}
    else:
        status = 503
        body = error_body("not_ready", "the job store does not answer; try again", status=status)
        more = {"retry-after": "5", "connection": "close"}
    headers = {"content-type": "application/json", "cache-control": "no-store", "x-content-type-options": "nosniff"}
    headers |= {"content-length": str(len(body))} | more
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _give_memory_back() -> None:
    """Have large pieces of memory given back to the system when they are free; the C library keeps them else."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def server(app: Any) -> Any:
    """Return a server (uvicorn) of an application, with limits of size and time."""
    made = uvicorn().Server(_config(app))
    stop = made.handle_exit

    def handle_exit(number: int, frame: Any) -> None:
        # Event streams last as long as videos: they are not waited for. A handler of signals must not wait for a lock.
        threading.Thread(target=app.state.service.hub.close, daemon=True).start()
        stop(number, frame)

    made.handle_exit = handle_exit
    return made


def _config(app: Any) -> Any:
    return uvicorn().Config(
        app,
        http=protocol(),
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

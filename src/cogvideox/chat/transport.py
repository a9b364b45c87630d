"""One HTTP request after another, each within limits of time that no server can stretch.

The limits of `urllib` are for each read of a socket: a server that sends a byte now and then holds a thread forever.
Here every read knows how much is left of the whole, and that nobody may want the answer any more.
"""

import functools
import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_GLANCE_S = 0.2
"""Between looks at whether the request is to be given up."""


class TooLongError(Exception):
    """An answer has more bytes than are of use."""


class Patience:
    """How long a request may take.

    Args:
        piece_s: without a byte.
        total_s: altogether, from now.
        check_running: called now and then; what it raises ends the request.
    """

    def __init__(self, piece_s: float, total_s: float, check_running: Callable[[], None]) -> None:
        self.piece_s = piece_s
        self._end_at_s = time.monotonic() + total_s
        self._check_running = check_running

    def shorten(self, total_s: float) -> None:
        """Have the request end so long from now at the latest."""
        self._end_at_s = min(self._end_at_s, time.monotonic() + total_s)

    def receive(self, connection: socket.socket, buffer: Any) -> int:
        """Read what has come into a buffer. Raises TimeoutError, or what ``check_running`` raises."""
        piece_end_s = time.monotonic() + self.piece_s
        while True:
            self._check_running()
            left_s = min(piece_end_s, self._end_at_s) - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(min(left_s, _GLANCE_S))
            try:
                return connection.recv_into(buffer)
            except TimeoutError:
                continue
            finally:
                connection.settimeout(self.piece_s)  # for what is sent after a proxy's answer


def post(url: str, body: bytes, headers: Mapping[str, str], patience: Patience) -> http.client.HTTPResponse:
    """Send a request, through the proxy of the environment if there is one, and return whatever comes back.

    No redirection is followed: a redirected POST becomes a GET without its body.

    Raises:
        OSError, http.client.HTTPException: there is no answer, or it is not HTTP.
    """
    opener = urllib.request.OpenerDirector()
    others = (urllib.request.UnknownHandler(),)  # says so if the proxy is of a kind that is not known
    for handler in (urllib.request.ProxyHandler(), _HttpHandler(patience), _HttpsHandler(patience), *others):
        opener.add_handler(handler)
    request = urllib.request.Request(url, body)
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    return opener.open(request, timeout=patience.piece_s)  # pyright: ignore[reportReturnType]


def pieces(response: http.client.HTTPResponse, max_bytes: int) -> Iterator[bytes]:
    """Yield a body as it comes.

    Raises:
        http.client.IncompleteRead: it ends before it should.
        TooLongError: it has more than ``max_bytes``.
        OSError, http.client.HTTPException: as the connection fails.
    """
    num_bytes = 0
    while piece := response.read1(2**16):
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise TooLongError
        yield piece
    if response.length:  # `read1` does not mind that the rest of Content-Length is missing
        raise http.client.IncompleteRead(b"", response.length)


class _PatientReader(io.RawIOBase):
    """The bytes of a connection."""

    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        self._connection, self._patience = connection, patience
        self._hold = connection.makefile("rb", buffering=0)  # `urllib` closes the connection before it is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._patience.receive(self._connection, buffer)

    def close(self) -> None:
        self._hold.close()
        super().close()


class _PatientSocket:
    """What `http.client.HTTPResponse` wants of a socket."""

    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        self._connection, self._patience = connection, patience

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_PatientReader(self._connection, self._patience))


def _make_patient(connection: http.client.HTTPConnection, patience: Patience) -> http.client.HTTPConnection:
    def respond(sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_PatientSocket(sock, patience), *args, **kwargs)  # pyright: ignore[reportArgumentType]

    send = connection.send

    def send_what_it_takes(data: Any) -> None:
        if connection.sock is None:
            connection.connect()
        try:
            send(data)
        except (BrokenPipeError, ConnectionResetError):
            """A server that refuses a long request may close before it has read it: the reason is in the answer."""

    connection.response_class = respond  # pyright: ignore[reportAttributeAccessIssue]
    connection.send = send_what_it_takes
    return connection


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._patience = patience

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connect(host: str, **kwargs: Any) -> http.client.HTTPConnection:
            return _make_patient(http.client.HTTPConnection(host, **kwargs), self._patience)

        return self.do_open(connect, req)  # pyright: ignore[reportArgumentType]


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__(context=_certificates())
        self._patience = patience

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connect(host: str, **kwargs: Any) -> http.client.HTTPConnection:
            return _make_patient(http.client.HTTPSConnection(host, context=_certificates(), **kwargs), self._patience)

        return self.do_open(connect, req)  # pyright: ignore[reportArgumentType]


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates: read once, it takes as long as many requests."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

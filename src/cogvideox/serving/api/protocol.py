"""HTTP/1.1 with bounds that uvicorn and h11 leave open: headers, pieces of bodies, clients that do not read."""

import asyncio
import re
from typing import Any

from cogvideox.serving.errors import ErrorCode, error_body
from cogvideox.serving.libraries import uvicorn

HEADERS_S = 10.0
"""From the first byte of a request to the end of its headers."""
MAX_HEADER_BYTES = 16 * 2**10
UNREAD_S = 60.0
"""So long a client may leave what was sent to it: it reads some kilobytes a second, or is gone."""
SLICE_BYTES = 8 * 2**10
"""Of what is received: h11 looks at the length of headers between two slices, and not before."""
CHUNKS_PER_TURN = 64
"""Of one connection, before others have their turn: h11 takes some 30 us for each, however short it is."""
MAX_SHORT_CHUNKS = 2000
CHUNK_BYTES = 256
"""A body may have `MAX_SHORT_CHUNKS` chunks, and one more for each so many bytes."""
REASONS = {400: "Bad Request", 408: "Request Timeout"}
LONG_HEADERS, MANY_CHUNKS = "headers too long", "too many short chunks"
REFUSALS = {
    LONG_HEADERS: "the headers are too long",
    "Receive buffer too long": "the headers are too long",
    MANY_CHUNKS: "body: it comes in too many pieces",
    "Missing mandatory Host": "Host: expected one, got none",
    "Found multiple Host": "Host: expected one, got several",
    "bad Content-Length": "Content-Length: expected a whole number of bytes",
    "conflicting Content-Length": "Content-Length: expected one number, got several",
    "multiple Transfer-Encoding": "Transfer-Encoding: expected chunked or none",
    "Only Transfer-Encoding": "Transfer-Encoding: expected chunked or none",
}
"""What clients are told, by how a reason of h11, or ours, begins."""
_END_OF_HEADERS = re.compile(rb"\n\r?\n")


def protocol() -> Any:
    """Return a protocol for uvicorn that refuses in our form what is too slow, too long or in too many pieces."""
    h11_impl = uvicorn().protocols.http.h11_impl
    h11 = h11_impl.h11

    class Connection(h11.Connection):
        """Gives events of a connection, so many at once."""

        num_left = CHUNKS_PER_TURN
        has_known_length = False
        """Of the body that comes."""
        refusal = "it is no request of HTTP/1.1"
        """Of what is not understood."""
        _num_chunks = 0
        _num_bytes = 0

        def next_event(self) -> Any:
            try:
                return self._next_event()
            except h11.RemoteProtocolError as error:
                told = [told for reason, told in REFUSALS.items() if str(error).startswith(reason)]
                self.refusal = told[0] if told else self.refusal
                raise

        def _next_event(self) -> Any:
            if self.num_left == 0:
                return h11.NEED_DATA
            if self.their_state is h11.IDLE:
                self._check_headers()
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._num_chunks = self._num_bytes = 0
                names = {name for name, _ in event.headers}
                self.has_known_length = b"content-length" in names and b"transfer-encoding" not in names
            elif isinstance(event, h11.Data) and event.chunk_end:
                self.num_left -= 1
                self._num_chunks += 1
                self._num_bytes += len(event.data)
                if self._num_chunks > MAX_SHORT_CHUNKS + self._num_bytes // CHUNK_BYTES:
                    raise h11.RemoteProtocolError(MANY_CHUNKS)
            return event

        def _check_headers(self) -> None:
            # Of a request that waited behind another one: h11 has no bound for headers that are there as a whole.
            waiting, _ = self.trailing_data
            if len(waiting) > MAX_HEADER_BYTES and not _END_OF_HEADERS.search(waiting, 0, MAX_HEADER_BYTES):
                raise h11.RemoteProtocolError(LONG_HEADERS)

    class Protocol(h11_impl.H11Protocol):
        """A connection."""

        _deadline: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None
        _is_going_on = False

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.conn = Connection(h11.SERVER, MAX_HEADER_BYTES)

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            is_plain = self.conn.their_state is h11.SEND_BODY and self.conn.has_known_length
            step = len(data) if is_plain else SLICE_BYTES
            for start in range(0, len(data), step):
                if self.transport.is_closing():
                    return
                super().data_received(data[start : start + step])
            # A request whose headers are complete has its own limits.
            is_waiting = self.cycle is None or self.cycle.response_complete
            if not is_waiting:
                self._forget_deadline()
            elif self._deadline is None:
                self._expect_headers()

        def handle_events(self) -> None:
            super().handle_events()
            if self.conn.num_left == 0 and not self._is_going_on:
                self._is_going_on = True
                self.flow.pause_reading()
                self.loop.call_soon(self._go_on)

        def _go_on(self) -> None:
            self._is_going_on = False
            if self.transport.is_closing():
                return
            self.conn.num_left = CHUNKS_PER_TURN
            if self.cycle is None or len(self.cycle.body) <= h11_impl.HIGH_WATER_LIMIT:
                self.flow.resume_reading()
            self.handle_events()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self._unread or self.loop.call_later(UNREAD_S, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._forget_unread()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_deadline()
            self._forget_unread()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, "invalid_param", self.conn.refusal)

        def _expect_headers(self) -> None:
            self._deadline = self.loop.call_later(HEADERS_S, self._give_up)

        def _forget_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _forget_unread(self) -> None:
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

        def _give_up(self) -> None:
            self._deadline = None
            if not self.transport.is_closing():
                self._refuse(408, "timeout", "the headers came too slowly")

        def _refuse(self, status: int, code: ErrorCode, message: str) -> None:
            is_answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
            if not is_answering:  # else it would be taken for a part of that answer
                body = error_body(code, message, status=status)
                head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\n"
                head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
                self.transport.write(head.encode() + body)
            self.transport.close()

    return Protocol

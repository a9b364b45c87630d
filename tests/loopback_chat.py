"""A small OpenAI-compatible chat endpoint on loopback that misbehaves as told, and keeps what it was asked.

Replies are given one by one (`serve`), or computed from each request (`serve_computed`).
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream"


@dataclass
class Reply:
    """One answer of the endpoint."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0
    """Before the answer."""
    is_dropped: bool = False
    """The connection ends without an answer."""
    is_dripped: bool = False
    """The body comes byte by byte, with the delay before each."""
    is_reset: bool = False
    """The connection is torn down after the body, or instead of the answer if it is dropped."""
    num_missing_bytes: int = 0
    """By which Content-Length is too large."""
    is_chunked: bool = False
    is_chunk_cut: bool = False
    """The chunked body lacks its end."""
    pieces: Sequence[bytes] = ()
    """In place of the body: written one by one, with ``piece_gap_s`` between them."""
    piece_gap_s: float = 0
    stall_s: float = 0
    """After the body, before the connection ends."""
    has_length: bool = True
    raw: bytes | None = None
    """In place of everything, status line and headers included."""


def says(
    text: str | None,
    *,
    end: str | None = "stop",
    usage: Any = None,
    **message: Any,
) -> Reply:
    """Return a chat completion."""
    choice = {"index": 0, "finish_reason": end, "message": {"role": "assistant", "content": text} | message}
    answer: dict[str, Any] = {"object": "chat.completion", "choices": [choice]}
    if usage is not None:
        answer["usage"] = usage
    return Reply(json.dumps(answer).encode(), headers={"Content-Type": JSON_TYPE})


def fails(status: int, message: str = "no", *, headers: dict[str, str] | None = None, **error: Any) -> Reply:
    """Return an error as OpenAI words it."""
    return Reply(json.dumps({"error": {"message": message} | error}).encode(), status, headers or {})


def usage(num_input_tokens: Any, num_output_tokens: Any) -> dict[str, Any]:
    """Return what a server counts."""
    return {"prompt_tokens": num_input_tokens, "completion_tokens": num_output_tokens}


def event(data: Any, line_end: bytes = b"\n") -> bytes:
    """Return one server-sent event; a text is sent as it is."""
    content = data if isinstance(data, str) else json.dumps(data)
    return b"".join(b"data: " + line.encode() + line_end for line in content.split("\n")) + line_end


def delta(text: str | None, end: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """Return a piece of a completion."""
    choice = {"index": index, "delta": {"content": text} | more, "finish_reason": end}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def streams(
    *texts: str, end: str | None = "stop", usage: Any = None, is_done: bool = True, line_end: bytes = b"\n"
) -> Reply:
    """Return a chat completion as events, one for each text; without ``end`` and ``is_done`` it is cut."""
    chunks: list[Any] = [delta(text) for text in texts]
    chunks += [delta(None, end)] if end else []
    chunks += [{"object": "chat.completion.chunk", "choices": [], "usage": usage}] if usage is not None else []
    chunks += ["[DONE]"] if is_done else []
    written = tuple(event(chunk, line_end) for chunk in chunks)
    return Reply(b"".join(written), headers={"Content-Type": SSE_TYPE}, pieces=written, is_chunked=True)


def cut(reply: Reply, num_bytes: int) -> Reply:
    """Return a reply without the end of its body, although its Content-Length or its chunks promise it."""
    if reply.is_chunked:
        return replace(reply, body=reply.body[:-num_bytes], pieces=(), is_chunk_cut=True)
    return replace(reply, body=reply.body[:-num_bytes], num_missing_bytes=num_bytes)


@dataclass
class LoopbackChat:
    """The replies to come, the last one for all requests after it, and the requests that came."""

    replies: list[Reply]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Bodies."""
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    """When the requests came, by time.monotonic."""
    reply: Callable[[dict[str, Any], int], Reply] | None = None
    """In place of the replies: called with a request's body and its number, from 0; from several threads."""
    max_running: int = 0
    """The largest number of requests at once."""
    num_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def texts(self) -> list[str]:
        """Return the text of the last turn of each request."""
        found = []
        for request in list(self.requests):
            content = request["messages"][-1]["content"]
            parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
            found.append("".join(parts))
        return found

    def take(self, body: dict[str, Any], headers: dict[str, str], path: str) -> Reply:
        with self.lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append(headers)
            self.paths.append(path)
            self.times_s.append(time.monotonic())
            self.num_running += 1
            self.max_running = max(self.max_running, self.num_running)
            if self.reply is None:
                return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return self.reply(body, number)

    def let_go(self) -> None:
        with self.lock:
            self.num_running -= 1


class Handler(BaseHTTPRequestHandler):
    chat: LoopbackChat

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.give(self.chat.take(body, dict(self.headers), self.path))
        except OSError:  # the client has given up
            self.close_connection = True
        finally:
            self.chat.let_go()

    def give(self, reply: Reply) -> None:
        if not reply.is_dripped:
            time.sleep(reply.delay_s)
        if reply.raw is not None:
            self.wfile.write(reply.raw)
        elif not reply.is_dropped:
            self.give_head(reply)
            self.give_body(reply)
        time.sleep(reply.stall_s)
        if reply.is_reset:
            self.wfile.flush()
            # Closing with this option sends a reset instead of an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            self.rfile.close()
            self.connection.close()
        self.close_connection = True

    def give_head(self, reply: Reply) -> None:
        self.protocol_version = "HTTP/1.1"
        headers = {"Connection": "close"}
        if reply.is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif reply.has_length:
            num_bytes = len(b"".join(reply.pieces) if reply.pieces else reply.body)
            headers["Content-Length"] = str(num_bytes + reply.num_missing_bytes)
        self.send_response(reply.status)
        for key, value in (headers | reply.headers).items():
            self.send_header(key, value)
        self.end_headers()

    def give_body(self, reply: Reply) -> None:
        pieces = reply.pieces or (reply.body,)
        gap_s = reply.piece_gap_s
        if reply.is_dripped:
            content = b"".join(pieces)
            pieces, gap_s = [content[start : start + 1] for start in range(len(content))], reply.delay_s
        for piece in pieces:
            time.sleep(gap_s)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.is_chunked and piece else piece)
            self.wfile.flush()
        if reply.is_chunked and not reply.is_chunk_cut:
            self.wfile.write(b"0\r\n\r\n")

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            """The client has given up, or the connection was torn down as told."""

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            """As above."""

    def log_message(self, *_) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        if request.fileno() >= 0:  # else it was torn down as told
            super().shutdown_request(request)


@contextmanager
def serve(*replies: Reply, reply: Callable[[dict[str, Any], int], Reply] | None = None) -> Iterator[LoopbackChat]:
    """Serve until the context ends."""
    chat = LoopbackChat(list(replies), reply=reply)
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"chat": chat}))
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()


def serve_computed(reply: Callable[[dict[str, Any], int], Reply]) -> Any:
    """Serve what a function makes of each request and its number, until the context ends."""
    return serve(reply=reply)

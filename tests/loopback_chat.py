"""A small OpenAI-compatible chat endpoint on loopback: answers as scripted, and keeps what it was asked."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One answer of the endpoint."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0
    is_dropped: bool = False
    """The connection ends without an answer."""
    is_dripped: bool = False
    """The body comes byte by byte, with the delay before each."""


def says(text: str | None, *, end: str = "stop", **message: Any) -> Reply:
    """Return a chat completion."""
    choice = {"index": 0, "finish_reason": end, "message": {"role": "assistant", "content": text} | message}
    return Reply(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def fails(status: int, message: str = "no", *, headers: dict[str, str] | None = None, **error: Any) -> Reply:
    """Return an error as OpenAI words it."""
    return Reply(json.dumps({"error": {"message": message} | error}).encode(), status, headers or {})


@dataclass
class LoopbackChat:
    """The replies to come, the last one for all requests after it, and the requests that came."""

    replies: list[Reply]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Bodies."""
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    chat: LoopbackChat

    def do_POST(self) -> None:
        chat = self.chat
        chat.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        chat.headers.append(dict(self.headers))
        chat.paths.append(self.path)
        reply = chat.replies.pop(0) if len(chat.replies) > 1 else chat.replies[0]
        if reply.is_dropped:
            return
        if not reply.is_dripped:
            time.sleep(reply.delay_s)
        try:
            self.send_response(reply.status)
            for key, value in (reply.headers | {"Content-Length": str(len(reply.body))}).items():
                self.send_header(key, value)
            self.end_headers()
            for start in range(len(reply.body)) if reply.is_dripped else (0,):
                time.sleep(reply.delay_s if reply.is_dripped else 0)
                self.wfile.write(reply.body[start : start + 1] if reply.is_dripped else reply.body)
                self.wfile.flush()
        except OSError:  # the client has given up
            self.close_connection = True

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serve(*replies: Reply) -> Iterator[LoopbackChat]:
    """Serve until the context ends."""
    chat = LoopbackChat(list(replies))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"chat": chat}))
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()

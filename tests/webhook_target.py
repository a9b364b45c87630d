"""A loopback server that is told of videos, and answers as a test says."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Told:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    time_s: float


class Target:
    """Answers with a status, or does what it is given; remembers what it was told."""

    def __init__(self) -> None:
        self.answer: int | Callable[[BaseHTTPRequestHandler], None] = 204
        self.told: list[Told] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                target.told.append(Told(self.path, headers, body, time.monotonic()))
                if callable(target.answer):
                    target.answer(self)
                    return
                self.send_response(target.answer)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def targets(number: int) -> Iterator[list[Target]]:
    made = [Target() for _ in range(number)]
    try:
        yield made
    finally:
        for each in made:
            each.close()

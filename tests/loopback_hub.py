"""A small model hub on loopback: what the hub's client asks for, with faults on request."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class LoopbackHub:
    """One repository made of a folder's files."""

    repository: str
    folder: Path
    url: str = ""
    hidden: set[str] = field(default_factory=set)
    """Files that are not there."""
    corrupted: set[str] = field(default_factory=set)
    """Files that are sent with one bit turned over, under the right hash."""
    cut_after_bytes: dict[str, int] = field(default_factory=dict)
    """Connections to these files break after so many bytes in all, as long as the entry stands."""
    pause_after_bytes: dict[str, int] = field(default_factory=dict)
    """Connections to these files hang after so many bytes, as long as the entry stands."""
    paused: threading.Event = field(default_factory=threading.Event)
    sent_bytes: dict[str, int] = field(default_factory=dict)

    def files(self) -> list[str]:
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted({str(path.relative_to(self.folder)) for path in paths} - self.hidden)

    def etag(self, name: str) -> str:
        content = (self.folder / name).read_bytes()
        if name.endswith(".safetensors"):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if re.fullmatch(rf"/api/models/{self.hub.repository}(/revision/\w+)?", path):
            self.answer(json.dumps(self.model_info()).encode(), {"Content-Type": "application/json"})
            return
        found = re.fullmatch(rf"/{self.hub.repository}/resolve/\w+/(.+)", path)
        if found is None:
            self.refuse("RepoNotFound")
        elif found[1] not in self.hub.files():
            self.refuse("EntryNotFound")
        else:
            self.send_file(found[1])

    def model_info(self) -> dict:
        siblings = []
        for name in self.hub.files():
            size = (self.hub.folder / name).stat().st_size
            siblings.append({"rfilename": name, "size": size, "blobId": "0" * 40})
        license = {"license": "other", "license_name": "CogVideoX LICENSE"}
        return {"id": self.hub.repository, "sha": REVISION, "siblings": siblings, "cardData": license}

    def send_file(self, name: str) -> None:
        content = (self.hub.folder / name).read_bytes()
        if name in self.hub.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{self.hub.etag(name)}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self.answer(content, headers, name=name)
            return
        start, stop = int(wanted[1]), int(wanted[2] or len(content) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self.answer(content[start:stop], headers, status=206, name=name, start=start)

    def answer(self, body: bytes, headers: dict, *, status: int = 200, name: str = "", start: int = 0) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.hub.cut_after_bytes.get(name)
        if cut is not None and start + len(body) > cut:
            body = body[: max(cut - start, 0)]
            self.close_connection = True
        pause = self.hub.pause_after_bytes.get(name)
        if pause is not None:
            self.send_body(name, body[:pause])
            self.hub.paused.set()
            while name in self.hub.pause_after_bytes:
                time.sleep(0.05)
            self.close_connection = True
            return
        self.send_body(name, body)

    def send_body(self, name: str, body: bytes) -> None:
        self.wfile.write(body)
        self.wfile.flush()
        self.hub.sent_bytes[name] = self.hub.sent_bytes.get(name, 0) + len(body)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serve(repository: str, folder: Path) -> Iterator[LoopbackHub]:
    """Serve until the context ends."""
    hub = LoopbackHub(repository, folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()

"""A server of the API on a free port, and a worker played by hand; for tests."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from cogvideox.serving.api import ApiSettings, create_app, listen
from cogvideox.serving.api.run import server
from cogvideox.serving.files import DiskFloor, FileStore
from cogvideox.serving.job import FileRef, Job, Progress, Worker
from cogvideox.serving.job_store import JobStore

VIDEO = bytes(range(256)) * 8
NO_FLOOR = DiskFloor(min_free_bytes=0, min_free_share=0)


@dataclass
class Served:
    url: str
    http: httpx.Client
    store: JobStore
    files: FileStore
    app: Any
    folder: Path

    def create(self, **fields: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/videos", json={"prompt": "a fox"} | fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def claim(self) -> Job:
        self.store.register_worker(Worker(id="w", host="here", pid=1, models=("tiny",), device="cpu", state="ready"))
        job = self.store.claim("w", models=["tiny"])
        assert job is not None and job.lease_token is not None
        return job

    def keep(self, content: bytes, media_type: str) -> FileRef:
        return self.files.keep_bytes(content, media_type=media_type).file

    def preview(self, job: Job, step: int) -> None:
        told = Progress(
            stage="denoise",
            step=step,
            num_steps=4,
            progress=25 * step,
            files={"preview": self.keep(b"preview%d" % step, "image/webp")},
        )
        assert job.lease_token is not None
        self.store.heartbeat(job.id, job.lease_token, told)

    def complete(self, job: Job | None = None) -> Job:
        job = job or self.claim()
        assert job.lease_token is not None
        files = {"result": self.keep(VIDEO, "video/mp4"), "thumbnail": self.keep(b"thumb", "image/jpeg")}
        assert self.store.complete(job.id, job.lease_token, files=files, facts={"seconds_denoise": 1.5}) == "completed"
        return job


@contextlib.contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Served]:
    """Serve; what is not given is as small as can be."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    made = ApiSettings(
        **{"store_url": f"sqlite:///{folder}/jobs.sqlite3", "data_dir": folder, "floor": NO_FLOOR, "port": port}
        | settings
    )
    app = create_app(made)
    running = server(app)
    thread = threading.Thread(target=lambda: running.run(sockets=[listener]), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    service = app.state.service
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=30) as http:
        try:
            yield Served(url=url, http=http, store=service.store, files=service.files, app=app, folder=folder)
        finally:
            http.close()
            running.should_exit = True
            thread.join(10)


_APART = """
import sys
from pathlib import Path
from cogvideox.serving.api import ApiSettings
from cogvideox.serving.api.run import run_api
from cogvideox.serving.files import DiskFloor
from cogvideox.serving.job import QueueLimits
from cogvideox.serving.model_catalog import CatalogModel
folder, port = sys.argv[1], int(sys.argv[2])
if sys.argv[3:]:
    CatalogModel.input_kinds = tuple(sys.argv[3:])
queue, floor = QueueLimits(max_queued=0, max_queued_per_owner=0), DiskFloor(min_free_bytes=0, min_free_share=0)
url = f"sqlite:///{folder}/jobs.sqlite3"
run_api(ApiSettings(store_url=url, data_dir=Path(folder), port=port, floor=floor, queue=queue))
"""


@contextlib.contextmanager
def served_apart(folder: Path, *input_kinds: str) -> Iterator[tuple[int, int]]:
    """Serve in a process of its own, and give its port and id: nothing that a test does holds it up.

    Models take what they do take, or what is said here: none of those that are small starts from a picture.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _APART, str(folder), str(port), *input_kinds]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            end_s = time.monotonic() + 60
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5).status_code == 200:
                        break
                assert process.poll() is None and time.monotonic() < end_s
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGKILL)


def picture(width: int = 40, height: int = 30, kind: str = "PNG", **more: Any) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(content, kind, **more)
    return content.getvalue()


def code_of(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["code"]

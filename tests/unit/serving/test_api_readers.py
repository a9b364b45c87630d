"""Clients that read slowly or not at all, files that are gone, and what the operator is told of it."""

import contextlib
import io
import logging
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api_server import Served, code_of, served
from cogvideox.media.writers import write_video
from cogvideox.serving.api import events as events_module
from cogvideox.serving.job import Progress
from cogvideox.serving.keys import KeyRing, kept_pepper

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"cogvideox_[a-z_]+")
LABELS = ("model", "outcome", "code", "priority", "stage", "reason", "kind", "route", "status", "state", "worker", "le")


@pytest.fixture
def api(quick_folder: Path) -> Iterator[Served]:
    with served(quick_folder) as running:
        yield running


def opened(api: Served, path: str, headers: str = "") -> socket.socket:
    """Ask for something by a connection that takes little."""
    host, port = api.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n".encode())
    return connection


def metric(api: Served, name: str) -> float:
    found = re.search(rf"^{name} ([0-9.e+-]+)$", api.http.get("/metrics").text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_who_does_not_read_is_let_go(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogvideox.serving.api.protocol.UNREAD_S", 0.5)
    api.create()
    job = api.claim()
    assert job.lease_token is not None
    result = api.keep(bytes(32 * 2**20), "video/mp4")
    assert api.store.complete(job.id, job.lease_token, files={"result": result}) == "completed"
    silent = [opened(api, f"/v1/videos/{job.id}/content") for _ in range(4)]
    time.sleep(2.5)
    for connection in silent:
        received = 0
        connection.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(2**16):
                received += len(piece)
        assert received < 16 * 2**20
        connection.close()
    assert len(api.http.get(f"/v1/videos/{job.id}/content").content) == 32 * 2**20  # who reads gets all of it


def test_event_streams_are_counted(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MAX_STREAMS", 5)
    monkeypatch.setattr(events_module, "MAX_STREAMS_OF_OWNER", 3)
    with served(quick_folder, requires_key=True) as api:
        ring = KeyRing(api.store.database, kept_pepper(api.folder, api.store.database))
        keys = [f"authorization: Bearer {ring.new(name)[1]}\r\n" for name in ("a", "b")]
        headers = [{"authorization": key.split(": ")[1].strip()} for key in keys]
        videos = [api.http.post("/v1/videos", json={"prompt": "x"}, headers=each).json()["id"] for each in headers]
        paths = [f"/v1/videos/{video}/events" for video in videos]
        streams = [[opened(api, paths[0], keys[0]) for _ in range(3)]]
        assert all(b"200 OK" in stream.recv(200) for stream in streams[0])
        refused = api.http.get(paths[0], headers=headers[0])
        assert (refused.status_code, code_of(refused)) == (429, "rate_limited") and refused.headers["retry-after"]
        streams.append([opened(api, paths[1], keys[1]) for _ in range(2)])
        assert all(b"200 OK" in stream.recv(200) for stream in streams[1])
        assert api.http.get(paths[1], headers=headers[1]).status_code == 429  # five in all
        for stream in streams[0]:
            stream.close()
        end_s = time.monotonic() + 10
        while api.http.head(paths[0], headers=headers[0]).status_code != 200:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        for stream in streams[1]:
            stream.close()


def test_a_stream_ends_with_its_key(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "ASK_S", 0.3)
    monkeypatch.setattr(events_module, "REFRESH_S", 0.2)
    with served(quick_folder, requires_key=True) as api:
        ring = KeyRing(api.store.database, kept_pepper(api.folder, api.store.database))
        keys = [ring.new("a", owner="ann"), ring.new("b", owner="ann", lifetime_s=3), ring.new("c", owner="ann")]
        headers = [{"authorization": f"Bearer {text}"} for _, text in keys]
        path = f"/v1/videos/{api.http.post('/v1/videos', json={'prompt': 'x'}, headers=headers[0]).json()['id']}/events"
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(api.http.stream("GET", path, headers=each)).iter_lines() for each in headers]
            assert [next(stream) for stream in streams] == ["event: video"] * 3
            ring.revoke(keys[0][0].id)
            begun_s = time.monotonic()
            for stream in streams[:2]:
                for _ in stream:
                    assert time.monotonic() - begun_s < 10
            job = api.claim()
            assert any('"in_progress"' in line for line in streams[2])  # the third key's goes on
            api.complete(job)
        assert [api.http.get(path, headers=each).status_code for each in headers] == [401, 401, 200]


def test_a_disk_that_is_away_is_no_missing_file(api: Served, caplog: pytest.LogCaptureFixture) -> None:
    api.create()
    job = api.complete()
    files, away = api.folder / "files", api.folder / "away"
    url = f"/v1/videos/{job.id}"
    upload = {"input_reference": ("a.png", b"\x89PNG\r\n\x1a\n")}

    def check_refused(*paths: str) -> None:
        time.sleep(0.6)  # readiness is not looked at more often
        for answer in (
            api.http.get("/readyz"),
            api.http.post("/v1/videos", json={"prompt": "a"}),
            api.http.post("/v1/videos", data={"prompt": "a"}, files=upload),
            api.http.post(f"{url}/remix", json={"prompt": "b"}),
            *[api.http.get(f"{url}/{path}") for path in paths],
        ):
            assert (answer.status_code, code_of(answer)) == (503, "not_ready"), answer.text
            assert "disk" in answer.text and answer.headers["retry-after"]

    files.rename(away)
    check_refused("content", "content?variant=gif")
    assert api.http.get(url).json()["status"] == "completed"
    assert metric(api, "cogvideox_missing_files_total") == 0 and metric(api, "cogvideox_disk_free_bytes") == 0
    assert not any("a file of a job" in record.getMessage() for record in caplog.records)
    away.rename(files)
    assert api.http.post("/v1/videos", json={"prompt": "a"}).status_code == 200
    assert api.http.get(f"{url}/content").status_code == 200
    api.app.state.service.storage._is_mount = True  # it was, and is not any more
    check_refused()


def test_files_that_are_gone_are_told_to_the_operator(api: Served, caplog: pytest.LogCaptureFixture) -> None:
    api.create()
    job = api.complete()
    api.create()
    running = api.claim()
    for step in (1, 2):
        api.preview(running, step)
    ready = api.http.get("/readyz").status_code
    for path in (api.folder / "files").rglob("*"):
        if path.is_file():
            path.unlink()
    assert metric(api, "cogvideox_missing_files_total") == 0
    with caplog.at_level(logging.ERROR, "cogvideox"):
        for path in ("content", "content?variant=thumbnail"):
            answer = api.http.get(f"/v1/videos/{job.id}/{path}")
            assert (answer.status_code, code_of(answer)) == (410, "video_expired")
        remixed = api.http.post(f"/v1/videos/{job.id}/remix", json={"prompt": "y"})
        assert (remixed.status_code, code_of(remixed)) == (410, "video_expired")
    assert metric(api, "cogvideox_missing_files_total") == 3
    assert sum(getattr(record, "job_id", "") == job.id for record in caplog.records if record.levelname == "ERROR") == 3
    preview = api.http.get(f"/v1/videos/{running.id}/content?variant=preview")
    assert (preview.status_code, code_of(preview)) == (404, "not_found")  # a newer one comes
    assert metric(api, "cogvideox_missing_files_total") == 3
    assert api.http.get("/readyz").status_code == ready


def test_a_preview_that_was_replaced_is_the_newest_one(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create()
    job = api.claim()
    api.preview(job, 1)
    first = api.store.get(job.id)
    api.preview(job, 2)
    assert first is not None
    (api.folder / "files" / first.files["preview"].sha256[:2] / first.files["preview"].sha256).unlink()
    real, looks = api.app.state.service.job, []

    def stale(job_id: str, caller: object) -> object:  # the worker was quicker than this request
        looks.append(job_id)
        return first if len(looks) == 1 else real(job_id, caller)

    monkeypatch.setattr(api.app.state.service, "job", stale)
    assert api.http.get(f"/v1/videos/{job.id}/content?variant=preview").content == b"preview2"


def test_a_gif_is_made_when_it_is_asked_for(api: Served, tmp_path: Path) -> None:
    frames = np.zeros((25, 64, 96, 3), np.uint8)
    frames[:, :, :, 0] = np.linspace(0, 250, 25).astype(np.uint8)[:, None, None]
    write_video(tmp_path / "v.mp4", [frames], fps=8.0)
    api.create()
    job = api.claim()
    assert job.lease_token is not None
    result = api.keep((tmp_path / "v.mp4").read_bytes(), "video/mp4")
    api.store.complete(job.id, job.lease_token, files={"result": result})
    assert "gif" in api.http.get(f"/v1/videos/{job.id}").json()["variants"]
    url = f"/v1/videos/{job.id}/content?variant=gif"
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(api.http.get, [url] * 4))
    whole = answers[0].content
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, whole)}
    assert answers[0].headers["content-type"] == "image/gif"
    assert answers[0].headers["content-disposition"] == f'attachment; filename="{job.id}.gif"'
    with Image.open(io.BytesIO(whole)) as shown:
        lengths_ms = []
        for index in range(getattr(shown, "n_frames", 1)):
            shown.seek(index)
            lengths_ms.append(shown.info["duration"])
        assert shown.size == (96, 64) and len(lengths_ms) == 25 and sum(lengths_ms) == 3120  # of 3,125 ms
        assert abs(shown.convert("RGB").getpixel((40, 30))[0] - 250) < 12  # pyright: ignore
    part = api.http.get(url, headers={"range": "bytes=5-20"})
    assert (part.status_code, part.content) == (206, whole[5:21])
    assert api.http.get(url, headers={"if-none-match": answers[0].headers["etag"]}).status_code == 304
    api.create()
    broken = api.complete()
    answer = api.http.get(f"/v1/videos/{broken.id}/content?variant=gif")
    assert (answer.status_code, code_of(answer)) == (404, "not_found")
    api.http.delete(f"/v1/videos/{job.id}")
    assert api.http.get(url).status_code == 404 and not list(api.folder.glob("*.gif"))


def test_metrics_tell_of_jobs(api: Served) -> None:
    videos = [api.create(prompt=f"fox {number}") for number in range(3)]
    for _ in range(2):
        job = api.claim()
        assert job.lease_token is not None
        checkpoint = api.keep(b"state", "application/octet-stream")
        api.store.heartbeat(job.id, job.lease_token, Progress(files={"checkpoint": checkpoint}))
        api.store.release(job.id, job.lease_token)
    job = api.claim()
    assert job.lease_token is not None
    facts = {"seconds_text": 0.5, "seconds_denoise": 40.0, "seconds_vae": 2.0, "seconds_encode": 0.2}
    result = api.keep(b"video", "video/mp4")
    api.store.complete(job.id, job.lease_token, files={"result": result}, facts=facts | {"seconds_step": 0.8})
    failing = api.claim()
    assert failing.lease_token is not None
    api.store.fail(failing.id, failing.lease_token, "out_of_memory", "too large")
    api.http.post("/v1/videos", json={"prompt": ""})
    for name, value in {
        'cogvideox_jobs_total{code="",model="tiny",outcome="completed"}': 1,
        'cogvideox_jobs_total{code="out_of_memory",model="tiny",outcome="failed"}': 1,
        'cogvideox_attempts_total{reason="released"}': 2,
        'cogvideox_attempts_total{reason="completed"}': 1,
        'cogvideox_attempts_total{reason="out_of_memory"}': 1,
        'cogvideox_queue_depth{priority="0"}': 1,
        'cogvideox_job_seconds_sum{stage="denoise"}': 40,
        'cogvideox_job_seconds_count{stage="vae"}': 1,
        'cogvideox_job_seconds_bucket{le="3600.0",stage="encode"}': 1,
        "cogvideox_step_seconds_sum": 0.8,
        "cogvideox_lease_lost_total": 0,
        "cogvideox_worker_up": 1,
        "cogvideox_store_up": 1,
        'cogvideox_rejects_total{code="missing_prompt"}': 1,
        'cogvideox_http_requests_total{method="POST",route="/v1/videos",status="400"}': 1,
    }.items():
        assert metric(api, re.escape(name)) == value, name
    assert metric(api, "cogvideox_queue_wait_seconds_count") == 2 and metric(api, "cogvideox_resume_total") >= 1
    assert metric(api, 'cogvideox_job_seconds_count{stage="denoise"}') == 1  # of each job once
    assert len(videos) == 3


def test_dashboard_and_alerts_use_names_that_there_are(api: Served) -> None:
    told = api.http.get("/metrics").text
    families = {line.split()[2]: line.split()[3] for line in told.splitlines() if line.startswith("# TYPE ")}
    known = set(families)
    for name, kind in families.items():
        if kind == "histogram":
            known |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    wanted = ("jobs_total queue_depth queue_wait_seconds job_seconds step_seconds attempts_total lease_lost_total "
              "resume_total gpu_mem_bytes worker_up store_latency_seconds disk_free_bytes http_requests_total "
              "rejects_total missing_files_total outbox_oldest_seconds")  # fmt: skip
    assert not {f"cogvideox_{name}" for name in wanted.split()} - known
    for file in ("grafana.json", "alerts.yml"):
        text = (ROOT / "docs" / "serving" / file).read_text()
        used = set(NAME.findall(text))
        assert len(used) > 8 and not used - known, used - known
        assert set(re.findall(r"by \(([^)]*)\)", text)) and all(
            label.strip() in LABELS for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(",")
        )
    assert (ROOT / "docs" / "serving" / "alerts.yml").read_text().count("- alert: ") >= 7

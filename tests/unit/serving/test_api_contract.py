"""The contract: what the pinned openai package, browsers and our own client rely on."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from api_server import VIDEO, Served, code_of, picture, served
from cogvideox.cli.main import main
from cogvideox.serving.api import listen

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

GOLDEN = {
    "object": "video", "model": "tiny", "status": "queued", "progress": 0, "started_at": None, "completed_at": None,
    "expires_at": None, "seconds": "2", "prompt": "a fox", "negative_prompt": "", "size": "96x64", "num_frames": 17,
    "fps": 8.0, "num_inference_steps": 50, "guidance_scale": 6.0, "guidance_mode": "constant", "sampler": "ddim",
    "strength": None, "input_kind": "text", "seed": 7, "remixed_from_video_id": None, "error": None, "stage": None,
    "step": 0, "num_steps": 50, "attempt": 0, "is_canceling": False, "is_expired": False, "queue_position": 0,
    "usage": None, "variants": [], "has_preview": False, "warnings": [],
}  # fmt: skip


@pytest.fixture
def api(quick_folder: Path) -> Iterator[Served]:
    with served(quick_folder) as running:
        yield running


@pytest.fixture
def client(api: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=2) as made:
        yield made


def test_a_video_is_told_as_it_always_was(api: Served) -> None:
    video = api.create(seed=7)
    changing = {"id", "created_at", "eta_seconds", "queue_eta_seconds", "links"}
    assert {name: value for name, value in video.items() if name not in changing} == GOLDEN
    links = {"self": "", "content": "/content", "cancel": "/cancel", "events": "/events"}
    assert video["links"] == {name: f"/v1/videos/{video['id']}{path}" for name, path in links.items()}


def test_the_openai_client_makes_lists_downloads_and_deletes(api: Served, client: openai.OpenAI) -> None:
    made = [client.videos.create(prompt=f"fox {number}", seconds="2", model="tiny") for number in range(5)]
    with_picture = pytest.raises(openai.BadRequestError, match="image")
    with with_picture:
        client.videos.create(prompt="fox", input_reference=("a.png", picture(), "image/png"))
    listed = list(client.videos.list(limit=2))
    assert [video.id for video in listed] == [video.id for video in reversed(made)]
    worker = threading.Thread(target=lambda: (time.sleep(0.3), [api.complete() for _ in range(6)]))
    worker.start()
    last = client.videos.create_and_poll(prompt="a fox at last")
    worker.join()
    assert last.status == "completed" and last.progress == 100 and last.completed_at
    assert client.videos.download_content(last.id).read() == VIDEO
    assert client.videos.download_content(last.id, variant="thumbnail").read() == b"thumb"
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(last.id, variant="spritesheet")
    remixed = client.videos.remix(last.id, prompt="a wolf")
    assert remixed.remixed_from_video_id == last.id and remixed.status == "queued"
    edit = {"prompt": "a bear", "video": {"id": last.id}}
    assert api.http.post("/v1/videos/edits", json=edit).json()["input_kind"] == "video"
    deleted = client.videos.delete(last.id)
    assert (deleted.deleted, deleted.object) == (True, "video.deleted")
    for call in (client.videos.retrieve, client.videos.delete, client.videos.download_content):
        with pytest.raises(openai.NotFoundError):
            call(last.id)
    with pytest.raises(openai.ConflictError) as refused:
        client.videos.download_content(remixed.id)
    assert refused.value.code == "video_not_ready"
    with pytest.raises(openai.APIStatusError) as refused:
        client.videos.extend(prompt="on", seconds="4", video=("v.mp4", b"v", "video/mp4"))
    assert refused.value.status_code == 501


def test_a_request_sent_again_makes_no_second_video(api: Served) -> None:
    fields = {"prompt": "a fox", "seed": 3}
    with ThreadPoolExecutor(16) as pool:
        sent = [
            pool.submit(api.http.post, "/v1/videos", json=fields, headers={"Idempotency-Key": "k"}) for _ in range(50)
        ]
        answers = [each.result() for each in sent]
    assert {answer.status_code for answer in answers} == {200} and len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 49
    other = api.http.post("/v1/videos", json=fields | {"seed": 4}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, code_of(other)) == (422, "idempotency_key_reused")
    for key in ("", "x" * 256, "\x7f"):
        assert api.http.post("/v1/videos", json=fields, headers={"Idempotency-Key": key}).status_code == 400
    # The openai package sends no key, but says that it tries again; the boundary of its form is another one.
    first = api.http.post("/v1/videos", files={"prompt": (None, "once"), "seconds": (None, "2")})
    again = {"x-stainless-retry-count": "1"}
    second = api.http.post("/v1/videos", files={"prompt": (None, "once"), "seconds": (None, "2")}, headers=again)
    assert first.json()["id"] == second.json()["id"]
    assert len(api.store.page(limit=10).jobs) == 2
    api.http.delete(f"/v1/videos/{answers[0].json()['id']}")
    api.store.release_files()
    gone = api.http.post("/v1/videos", json=fields, headers={"Idempotency-Key": "k"})
    assert (gone.status_code, code_of(gone)) == (404, "not_found")


def test_a_request_is_known_again_when_its_source_is_deleted(either: Served) -> None:
    api = either
    source = api.complete(_claimed(api))
    asked = {
        f"/v1/videos/{source.id}/remix": {"prompt": "a wolf"},
        "/v1/videos/edits": {"prompt": "a bear", "video": {"id": source.id}},
    }
    first = {path: api.http.post(path, json=body, headers={"Idempotency-Key": path}) for path, body in asked.items()}
    assert api.http.delete(f"/v1/videos/{source.id}").status_code == 200
    api.store.release_files()
    for path, body in asked.items():
        for headers in ({"Idempotency-Key": path}, {"x-stainless-retry-count": "1"}):
            again = api.http.post(path, json=body, headers=headers)
            assert (again.status_code, again.json()["id"]) == (200, first[path].json()["id"]), (path, headers)
            assert again.headers["idempotent-replayed"] == "true"
        for headers in ({}, {"Idempotency-Key": "new"}, {"Idempotency-Key": path, "x-stainless-retry-count": "1"}):
            changed = body | {"seed": 1} if headers.get("Idempotency-Key") == path else body
            assert code_of(api.http.post(path, json=changed, headers=headers)) == "not_found", (path, headers)


def test_parameters_that_are_not_there(api: Served) -> None:
    job = api.complete(_claimed(api))
    one = f"/v1/videos/{job.id}"
    read = (one, f"{one}/events", f"{one}/content", "/v1/videos", "/v1/models", "/v1/models/tiny")
    posted = ("/v1/videos", "/v1/videos/plan", f"{one}/cancel", f"{one}/remix")
    for method, path in (*[("GET", path) for path in read], *[("POST", path) for path in posted], ("DELETE", one)):
        body = {"prompt": "x"} if method == "POST" and "cancel" not in path else None
        answer = api.http.request(method, f"{path}?foo=1", json=body)
        assert (answer.status_code, code_of(answer)) == (400, "unknown_field"), (method, path)
        assert answer.json()["error"]["param"] == "foo"
    assert [video["id"] for video in api.http.get("/v1/videos").json()["data"]] == [job.id]


def test_a_full_queue_says_when_to_come_back(quick_folder: Path) -> None:
    from cogvideox.serving.job import QueueLimits

    with served(quick_folder, queue=QueueLimits(max_queued=2, max_queued_per_owner=2)) as api:
        for _ in range(2):
            api.create()
        refused = api.http.post("/v1/videos", json={"prompt": "one more"})
        assert (refused.status_code, code_of(refused)) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        edit = api.http.post("/v1/videos/edits", data={"prompt": "x"}, files={"video": ("v.mp4", b"\0\0\0 ftypisom")})
        assert edit.status_code == 429
        assert not [path for path in (quick_folder / "files").rglob("*") if path.is_file()]


@pytest.fixture
def either(quick_folder: Path, store_url: str) -> Iterator[Served]:
    """On SQLite and on PostgreSQL."""
    with served(quick_folder, store_url=store_url) as running:
        yield running


def test_events_are_whole_snapshots_and_end_with_the_video(either: Served) -> None:
    api = either
    video = api.create()
    seen: list[dict[str, object]] = []

    def work() -> None:
        time.sleep(0.3)
        job = api.claim()
        for step in (1, 2):
            time.sleep(0.3)
            api.preview(job, step)
        time.sleep(0.3)
        api.complete(job)

    threading.Thread(target=work).start()
    with api.http.stream("GET", f"/v1/videos/{video['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            assert not line.startswith("id:")
            if line.startswith("data: "):
                seen.append(json.loads(line[6:]))
    assert seen[0]["status"] == "queued" and seen[-1]["status"] == "completed"
    assert {1, 2} <= {each["step"] for each in seen} and all(each["id"] == video["id"] for each in seen)
    assert any(each["has_preview"] for each in seen if each["status"] == "in_progress")
    with api.http.stream("GET", f"/v1/videos/{video['id']}/events") as answer:  # it ended before
        assert b"completed" in answer.read()


def test_contents_in_parts_and_only_if_changed(api: Served) -> None:
    job = api.complete(_claimed(api))
    url = f"/v1/videos/{job.id}/content"
    whole = api.http.get(url)
    assert whole.content == VIDEO and whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes" and "attachment" in whole.headers["content-disposition"]
    for header, status, content in (
        ("bytes=0-", 206, VIDEO), ("bytes=-1", 206, VIDEO[-1:]), ("bytes=5-9", 206, VIDEO[5:10]),
        ("bytes=5-2", 416, None), ("bytes=0-1,5-6", 200, VIDEO), (f"bytes={len(VIDEO)}-", 416, None),
        ("bytes=-0", 416, None), ("lines=1-2", 200, VIDEO), (f"bytes=1-{'9' * 23}", 206, VIDEO[1:]),
        (f"bytes={'9' * 20}-", 416, None), (f"bytes=-{'9' * 5000}", 206, VIDEO),
        (f"bytes={'0' * 30}5-9", 206, VIDEO[5:10]),
    ):  # fmt: skip
        answer = api.http.get(url, headers={"Range": header})
        assert answer.status_code == status, header
        assert content is None or answer.content == content
    etag = whole.headers["etag"]
    assert api.http.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert api.http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200
    head = api.http.head(url)
    assert head.content == b"" and head.headers["content-length"] == str(len(VIDEO))


def test_contents_that_are_not_there(api: Served) -> None:
    waiting, failed, expired, lost = (_claimed(api) for _ in range(4))
    assert failed.lease_token is not None
    api.store.fail(failed.id, failed.lease_token, "out_of_memory", "too large")
    for job in (expired, lost):
        api.complete(job)
    with api.store.database.writing() as transaction:
        from cogvideox.serving.schema import jobs

        values = jobs.update().where(jobs.c.id == expired.id).values(is_expired=True)
        transaction.connection.execute(values)
    for path in (api.folder / "files").rglob("*"):
        if path.is_file():
            path.unlink()
    expected = [(409, "video_not_ready"), (409, "video_failed"), (410, "video_expired"), (410, "video_expired")]
    for job, told in zip((waiting, failed, expired, lost), expected, strict=True):
        answer = api.http.get(f"/v1/videos/{job.id}/content")
        assert (answer.status_code, code_of(answer)) == told
        assert answer.status_code != 409 or answer.headers["x-should-retry"] == "false"
    assert api.http.get(f"/v1/videos/{failed.id}").json()["error"]["code"] == "out_of_memory"


def test_cancel_delete_and_lists(api: Served) -> None:
    running, queued = _claimed(api), api.create()
    assert api.http.post(f"/v1/videos/{queued['id']}/cancel").json()["error"]["code"] == "canceled"
    asked = api.http.post(f"/v1/videos/{running.id}/cancel").json()
    assert (asked["status"], asked["is_canceling"]) == ("in_progress", True)
    statuses = [api.http.delete(f"/v1/videos/{running.id}").status_code for _ in range(2)]
    assert statuses == [200, 404]
    ids = [api.create(prompt=f"fox {number}")["id"] for number in range(5)]
    api.http.delete(f"/v1/videos/{ids[2]}")
    page = api.http.get("/v1/videos", params={"order": "asc", "after": ids[2], "limit": 1}).json()
    assert [video["id"] for video in page["data"]] == [ids[3]] and page["has_more"] and page["last_id"] == ids[3]
    for query in ("limit=0", "limit=101", "limit=-1", "limit=x", "order=x", "after=video_x", "x=1", "limit=1&limit=2",
                  f"after=video_{'0' * 32}"):  # fmt: skip
        assert api.http.get(f"/v1/videos?{query}").status_code == 400, query


def test_the_description_is_that_of_the_code(api: Served) -> None:
    from cogvideox.serving.api.openapi import COMMITTED, UNDESCRIBED, openapi_text

    assert COMMITTED.read_text() == openapi_text(), "python -m cogvideox.serving.api.openapi"
    described = json.loads(openapi_text())["paths"]
    methods = {"get", "post", "delete"}
    told = {(path, name.upper()) for path, item in described.items() for name in item if name in methods}
    served_ones = {
        (route.path.replace(":path", ""), method)
        for route in api.app.router.routes
        for method in route.methods - {"HEAD"}
        if route.path not in UNDESCRIBED
    }
    assert told == served_ones
    assert api.http.get("/openapi.json").json()["info"]["title"] == "CogVideoX"


def test_readiness_and_metrics(api: Served) -> None:
    refused = api.http.get("/readyz")
    assert (refused.status_code, code_of(refused)) == (503, "not_ready") and "worker" in refused.text
    assert api.http.get("/livez").json() == {"status": "alive"}
    _claimed(api)
    time.sleep(2.1)
    assert api.http.get("/readyz").json()["num_workers"] == 1
    text = api.http.get("/metrics").text
    running = 'cogvideox_jobs_stored{state="in_progress"} 1.0'
    for name in (running, "cogvideox_worker_up 1.0", "cogvideox_disk_free_bytes"):
        assert name in text


def test_the_command_line_speaks_it(api: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return int(str(ended.value.code or 0)), capsys.readouterr().out

    worker = threading.Thread(target=lambda: (time.sleep(0.5), api.complete()))
    worker.start()
    out = tmp_path / "fox.mp4"
    code, said = run("generate", "a fox", "--server", api.url, "--seed", "5", "--out", str(out), "--json")
    worker.join()
    assert code == 0 and out.read_bytes() == VIDEO
    video = json.loads(said.splitlines()[-1])["data"]["video"]
    assert video["seed"] == 5
    server = ("--server", api.url)
    assert run("jobs", "show", video["id"], *server)[1].startswith(video["id"])
    assert run("jobs", "wait", video["id"], *server)[0] == 0
    assert run("jobs", "get", video["id"], "--out", str(out), *server)[0] == 2  # it is there already
    listed = json.loads(run("jobs", "list", "--json", *server)[1].splitlines()[-1])
    assert [row["id"] for row in listed["data"]["videos"]] == [video["id"]]
    assert run("jobs", "rm", video["id"], *server)[0] == 0
    assert run("jobs", "show", video["id"], *server)[0] == 6
    assert run("generate", "a fox", "--server", api.url, "--size", "1x1")[0] == 2
    assert run("jobs", "list", "--server", "ftp://x")[0] == 2
    with listen("127.0.0.1", 0) as nobody:
        free = nobody.getsockname()[1]
    assert run("jobs", "list", "--server", f"http://127.0.0.1:{free}")[0] == 6


def test_the_process_of_the_api_never_imports_torch(quick_folder: Path) -> None:
    code = f"""
import asyncio, sys, httpx
from pathlib import Path
from cogvideox.serving.api import ApiSettings, create_app
app = create_app(ApiSettings(store_url="sqlite:///{quick_folder}/j.sqlite3", data_dir=Path("{quick_folder}")))
async def use():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        for path in ("/", "/v1/models", "/v1/videos", "/readyz", "/metrics"):
            assert (await http.get(path)).status_code in (200, 503), path
        assert (await http.post("/v1/videos/plan", json={{"prompt": "여우"}})).status_code == 200
        assert (await http.post("/v1/videos", json={{"prompt": "a fox"}})).status_code in (200, 503)
asyncio.run(use())
sys.exit("torch" in sys.modules or "transformers" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def _claimed(api: Served):
    api.create(prompt=f"fox {time.monotonic()}")
    return api.claim()


def test_openais_own_sizes_and_models_if_asked_to(quick_folder: Path) -> None:
    with served(quick_folder, compatibility="lenient") as api:
        video = api.create(model="sora-2", size="720x1280", seconds="4")
        assert (video["model"], video["size"]) == ("tiny", "64x96")
        assert [warning["code"] for warning in video["warnings"]] == [
            "model_changed",
            "size_changed",
            "seconds_reduced",
        ]


def test_what_no_worker_has_the_memory_for_is_refused_with_advice(quick_folder: Path) -> None:
    with served(quick_folder, device_memory_bytes=400 * 2**20) as api:
        answer = api.http.post("/v1/videos", json={"prompt": "x"})
        assert (answer.status_code, code_of(answer)) == (400, "exceeds_device_memory") and " or " in answer.text
        plan = api.http.post("/v1/videos/plan", json={"prompt": "a fox", "input_kind": "video", "seconds": 1}).json()
        assert plan["fits"] is False and plan["memory_bytes"] > 400 * 2**20 and plan["prompt_tokens"] == 3
        assert (plan["input_kind"], plan["num_frames"], plan["strength"]) == ("video", 9, 0.8)


def test_sync_cancels_only_what_it_began(api: Served) -> None:
    key = {"Idempotency-Key": "one"}
    began = api.http.post("/v1/videos", json={"prompt": "a hare"}, headers=key).json()["id"]
    for body, headers in (({"prompt": "a hare"}, key), ({"prompt": "a fox"}, {})):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{api.url}/v1/videos/sync", json=body, headers=headers, timeout=0.7)

    def standing() -> dict[str, str]:
        return {video["prompt"]: video["status"] for video in api.http.get("/v1/videos").json()["data"]}

    end_s = time.monotonic() + 20
    while standing()["a fox"] != "failed":
        assert time.monotonic() < end_s
        time.sleep(0.05)
    assert standing()["a hare"] == "queued" and api.http.get(f"/v1/videos/{began}").json()["error"] is None
    # The OpenAI client's own retry after that is a new video, not the canceled one.
    again = api.http.post("/v1/videos", json={"prompt": "a fox"}, headers={"x-stainless-retry-count": "1"}).json()
    assert again["status"] == "queued"


def test_sync_gives_the_video_itself(api: Served) -> None:
    worker = threading.Thread(target=lambda: (time.sleep(0.5), api.complete()))
    worker.start()
    answer = httpx.post(f"{api.url}/v1/videos/sync", json={"prompt": "a fox"}, timeout=20)
    worker.join()
    assert answer.content == VIDEO and answer.headers["x-video-id"].startswith("video_")

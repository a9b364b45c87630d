"""Requests that nobody should send: each is refused by name, never with a 5xx, and leaves nothing behind."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api_server import NO_FLOOR, Served, code_of, served
from cogvideox.serving.api import InputLimits


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from cogvideox.serving.job import QueueLimits

    limits = InputLimits(max_silence_s=0.5, max_body_s=1.5)
    queue = QueueLimits(max_queued=0, max_queued_per_owner=0)
    with served(tmp_path_factory.mktemp("api"), inputs=limits, queue=queue) as running:
        yield running


def refused(api: Served, body: bytes | dict[str, Any], kind: str = "application/json") -> tuple[int, str]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = api.http.post("/v1/videos", content=content, headers={"content-type": kind})
    assert answer.status_code < 500, answer.text
    return answer.status_code, code_of(answer) if answer.status_code != 200 else ""


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "missing_prompt"), ("", "missing_prompt"), (" \n\t", "missing_prompt"),
        ("\u200b\u200b", "missing_prompt"), ("\u3164", "missing_prompt"), ("\u2800 \u115f\ufe0f", "missing_prompt"),
        ("a" * 4001, "prompt_too_long"), ("a" * 10**6, "prompt_too_long"), ("e" + "\u0301" * 10_000, "prompt_too_long"),
        ("a\0b", "invalid_param"), ("a\ud800b", "invalid_param"), ("a\x1bb", "invalid_param"), (5, "invalid_param"),
        ([], "invalid_param"), (True, "invalid_param"),
    ],
)  # fmt: skip
def test_prompts_that_are_none(api: Served, value: Any, code: str) -> None:
    assert refused(api, {"prompt": value}) == (400, code)


def test_prompts_in_any_script_come_back_exactly(api: Served) -> None:
    for prompt in (
        "여우가 눈 속에서",
        "ثعلب \u202eabc",
        "🦊👩‍👩‍👧",
        "e\u0301 NFD",
        "a\nb\tc",
        "<script>alert(1)</script>",
        "e" + "\u0301\u0323" * 1990,
        "a" * 4000,
    ):
        for send in ({"json": {"prompt": prompt}}, {"files": {"prompt": (None, prompt.encode())}}):
            answer = api.http.post("/v1/videos", **send)
            assert answer.status_code == 200 and answer.json()["prompt"] == prompt
    assert answer.json()["warnings"][0]["code"] == "prompt_truncated"
    korean = {"prompt": "여우가 눈 속에서 뛰어논다"}
    assert api.http.post("/v1/videos", json=korean).json()["warnings"][0]["code"] == "prompt_language"
    assert refused(api, korean | {"prompt_language": "reject"}) == (400, "prompt_language_unsupported")
    assert refused(api, {"prompt": "a " * 100, "truncation": "error"}) == (400, "prompt_tokens_exceeded")


FULL_WIDTH = "\uff17\uff12\uff10x\uff14\uff18\uff10"


@pytest.mark.parametrize(
    "size",
    ["0x0", "-1x5", "720X480", "1e3x2", "99999x99999", FULL_WIDTH, "96x64 ", "", 5, "1280x720", "96x64\n", [96, 64]],
)
def test_sizes(api: Served, size: Any) -> None:
    assert refused(api, {"prompt": "x", "size": size}) == (400, "invalid_size")


@pytest.mark.parametrize("seconds", [0, -1, "abc", 1e9, 10**30, True, 2.5, "\u0664", "4 ", [], "0"])
def test_seconds_that_are_none(api: Served, seconds: Any) -> None:
    assert refused(api, {"prompt": "x", "seconds": seconds}) == (400, "invalid_seconds")


def test_seconds_in_every_form(api: Served) -> None:
    assert refused(api, b'{"prompt": "x", "seconds": NaN}') == (400, "invalid_json")
    lengths = [api.create(seconds=seconds) for seconds in (None, "1", 1, 1.0, "4", 4)]
    assert [(video["seconds"], video["num_frames"]) for video in lengths] == [
        ("2", 17),
        *[("1", 9)] * 3,
        *[("2", 17)] * 2,
    ]
    assert lengths[-1]["warnings"][0]["code"] == "seconds_reduced"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guidance_scale", -1), ("guidance_scale", 21), ("guidance_scale", "6"), ("guidance_scale", True),
        ("num_inference_steps", 10**9), ("num_inference_steps", 0), ("num_inference_steps", True), ("seed", 2**80),
        ("seed", -1), ("seed", 2**63), ("seed", True), ("seed", "5"), ("n", 2), ("num_frames", 12), ("num_frames", 25),
        ("fps", 0), ("fps", 121), ("strength", 0.5), ("sampler", "euler"), ("guidance_mode", "wild"), ("width", 96),
        ("model", "../../etc/passwd"), ("model", "sora-2"), ("model", 5), ("negative_prompt", "a\0"), ("user", []),
        ("input_reference", "x"), ("input_reference", {}), ("input_reference", {"file_id": "f"}), ("extra_body", 5),
        ("input_reference", {"image_url": "x", "file_id": "y"}), ("output_path", "/tmp/x"), ("__proto__", {}),
        ("extra_body", {"prompt": "y"}), ("prompt\ud800", 1), ("extra_body", {"extra_body": {"seed": 7}}),
        ("extra_body", {"extra_body": None}),
    ],
)  # fmt: skip
def test_values_out_of_range(api: Served, name: str, value: Any) -> None:
    status, code = refused(api, {"prompt": "x", name: value})
    assert status == 400 and code in ("invalid_param", "unknown_field", "invalid_size")


def test_numbers_at_their_bounds_and_infinities(api: Served) -> None:
    video = api.create(seed=2**63 - 1, guidance_scale=20, num_inference_steps=200, extra_body={"negative_prompt": "n"})
    assert video["seed"] == 2**63 - 1 and video["negative_prompt"] == "n"
    for text in (b"Infinity", b"-Infinity", b"1e999", b"NaN", b"1" * 5000):
        status, _ = refused(api, b'{"prompt": "x", "guidance_scale": ' + text + b"}")
        assert status == 400
    long = api.http.post("/v1/videos", content=b'{"prompt": "x", "seed": ' + b"7" * 5000 + b"}",
                         headers={"content-type": "application/json"})  # fmt: skip
    assert long.status_code == 400 and "got 777" in long.text and "inf" not in long.text
    form = {
        "prompt": "x",
        "seed": "12",
        "guidance_scale": "7.5",
        "num_inference_steps": "9",
        "extra_body": '{"fps": 4}',
    }
    made = api.http.post("/v1/videos", files={name: (None, value) for name, value in form.items()}).json()
    assert (made["seed"], made["guidance_scale"], made["num_inference_steps"], made["fps"]) == (12, 7.5, 9, 4.0)
    for wrong in ("1e999", "NaN", "inf", "0x10", "1_0", " 5", "\u0665"):
        answer = api.http.post("/v1/videos", files={"prompt": (None, "x"), "num_inference_steps": (None, wrong)})
        assert (answer.status_code, code_of(answer)) == (400, "invalid_param")


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"", "application/json", 400), (b"{", "application/json", 400), (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400), (b'{"a":' * 50 + b"1" + b"}" * 50, "application/json", 400),
        (b'{"prompt": "x", "prompt": "y"}', "application/json", 400), (b"\xff\xfe\x00", "application/json", 400),
        (b'{"prompt": "x", "user": "' + b"y" * 300_000 + b'"}', "application/json", 413),
        (b"prompt=x", "application/x-www-form-urlencoded", 415), (b"{}", "text/plain", 415), (b"{}", "", 415),
        (b"{}", "multipart/form-data", 400), (b"x", "multipart/form-data; boundary=a; boundary=b", 400),
        (b"x", "multipart/form-data; boundary=" + "b" * 500, 400), 
        (b"--b\r\n\r\n", "multipart/form-data; boundary=b", 400),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
        (b"--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\nx", "multipart/form-data; boundary=b", 400),
    ],
)  # fmt: skip
def test_bodies_that_are_none(api: Served, body: bytes, kind: str, expected: int) -> None:
    assert refused(api, body, kind)[0] == expected


def test_forms_with_too_much(api: Served) -> None:
    parts = {f"p{number}": (None, "x") for number in range(1001)}
    assert api.http.post("/v1/videos", files=parts).status_code == 400
    assert api.http.post("/v1/videos", files=[("prompt", (None, "x")), ("prompt", (None, "y"))]).status_code == 400
    long = api.http.post("/v1/videos", files={"prompt": (None, "x" * 40_000)})
    assert (long.status_code, code_of(long)) == (400, "prompt_too_long")
    large = {"input_reference": ("a.png", b"\0" * (51 * 2**20))}
    assert api.http.post("/v1/videos", data={"prompt": "x"}, files=large).status_code == 413
    huge = {"content-type": "application/json", "content-length": str(10 * 2**30)}
    assert _raw(api, _head("POST /v1/videos", huge), wait_s=8).startswith(b"HTTP/1.1 413")
    assert not list(api.folder.glob("tmp*"))


def test_slow_and_endless_bodies_hold_nobody_up(api: Served) -> None:
    head = _head("POST /v1/videos", {"content-type": "application/json", "transfer-encoding": "chunked"})

    def drip(_: int) -> bytes:
        return _raw(api, head + b"1\r\n{\r\n", wait_s=6, more=b"1\r\n \r\n", every_s=0.2)

    with ThreadPoolExecutor(12) as pool:
        dripping = [pool.submit(drip, number) for number in range(12)]
        times_s = []
        for _ in range(20):
            begun_s = time.monotonic()
            assert api.http.get("/livez").status_code == 200
            times_s.append(time.monotonic() - begun_s)
            time.sleep(0.05)
        answers = [each.result() for each in dripping]
    assert sorted(times_s)[-2] < 0.1
    assert all(b"408" in answer.split(b"\r\n")[0] and b'"timeout"' in answer for answer in answers)


def test_slow_headers_end(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogvideox.serving.api.protocol.HEADERS_S", 0.5)
    for begun in (b"", b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n"):
        begun_s = time.monotonic()
        answer = _raw(api, begun, wait_s=4, more=b"", every_s=0.2)
        assert b"408 Request Timeout" in answer and b'"timeout"' in answer, begun
        assert time.monotonic() - begun_s < 2


def test_requests_that_are_no_http(api: Served) -> None:
    for raw in (b"GET / HTTP/9\r\n\r\n", b"\0\1\2\r\n\r\n", _head("GET /", {"x": "y" * 20_000}), b"GET /\r\n\r\n",
                _head("GET /", {"host": "a", "Host": "b"})):  # fmt: skip
        assert _raw(api, raw, wait_s=2)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 431"), raw[:40]
    head = b"POST /v1/videos HTTP/1.1\r\n"
    for raw, told in (
        (head + b"\r\n", b"Host: expected one, got none"),
        (head + b"host: a\r\nhost: b\r\n\r\n", b"Host: expected one, got several"),
        (head + b"host: a\r\ncontent-length: x\r\n\r\n", b"Content-Length: expected a whole number"),
        (head + b"host: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"Content-Length: expected one"),
        (head + b"host: a\r\ntransfer-encoding: gzip\r\n\r\n", b"Transfer-Encoding: expected chunked"),
        (head + b"host: 127.0.0.1\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n"
         + b"1\r\n \r\n" * 3000, b"body: it comes in too many pieces"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 20_000, b"the headers are too long"),
        (b"what is this\r\n\r\n", b"it is no request of HTTP/1.1"),
    ):  # fmt: skip
        assert told in _raw(api, raw, wait_s=2), told
    key = _head("POST /v1/videos", {"content-type": "application/json", "idempotency-key": "k" * 10**6})
    assert _raw(api, key, wait_s=2)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")


def test_names_and_addresses_reach_no_file(api: Served) -> None:
    before = {path for path in api.folder.parent.rglob("*") if path.is_file()}
    names = ("../../x", "/etc/x", "n" * 4096, "CON", "a\u202egnp.exe", "%00", "")
    for name in names:
        answer = api.http.post(
            "/v1/videos", data={"prompt": "x"}, files={"input_reference": (name or "x", b"no picture")}
        )
        assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
    for path in ("../", "%2e%2e%2f", "..;/", "..%2f..%2fetc%2fpasswd", "%00", "video_" + "0" * 32,
                 "video_" + "0" * 5000, "\u0661", "%ff%fe"):  # fmt: skip
        for suffix in ("", "/content", "/events"):
            assert api.http.get(f"/v1/videos/{path}{suffix}").status_code in (404, 405, 400), path
    for path in (
        "/page/../api/app.py",
        "/page/..%2f__init__.py",
        "/page/%2e%2e/x",
        "//etc/passwd",
        "/page/",
        "/v1/videos/",
    ):
        assert api.http.get(path).status_code == 404, path
    after = {path for path in api.folder.parent.rglob("*") if path.is_file()}
    assert {path.name for path in after - before} <= {"jobs.sqlite3-wal", "jobs.sqlite3-shm"}


def test_methods_and_addresses_that_are_not_there(api: Served) -> None:
    for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "FOO"):
        answer = api.http.request(method, "/v1/videos")
        assert (answer.status_code, code_of(answer)) == (405, "method_not_allowed") and "GET" in answer.headers["allow"]
    answer = api.http.get("/nothing")
    assert code_of(answer) == "not_found" and answer.headers["x-request-id"].startswith("req_")
    assert (
        answer.headers["x-content-type-options"] == "nosniff"
        and "default-src" in answer.headers["content-security-policy"]
    )


def test_a_store_or_disk_that_fails(quick_folder: Path) -> None:
    from cogvideox.serving.files import DiskFloor
    from cogvideox.serving.job import StoreUnavailableError

    with served(quick_folder, floor=DiskFloor(min_free_bytes=2**60, min_free_share=0)) as api:
        answer = api.http.post("/v1/videos", json={"prompt": "x"})
        assert (answer.status_code, code_of(answer)) == (503, "storage_full") and answer.headers["retry-after"]
        assert "space" in api.http.get("/readyz").text
    with served(quick_folder / "b", store_url=f"sqlite:///{quick_folder}/c.sqlite3", floor=NO_FLOOR) as api:

        def fail(*_: Any, **__: Any) -> Any:
            raise StoreUnavailableError("job store: locked")

        for name in ("submit", "get", "page", "check"):
            setattr(api.store, name, fail)
        asked = [api.http.get(path) for path in ("/v1/videos", "/readyz", f"/v1/videos/video_{'0' * 32}")]
        for answer in (*asked, api.http.post("/v1/videos", json={"prompt": "x"})):
            assert (answer.status_code, code_of(answer)) == (503, "not_ready") and answer.headers["retry-after"]
        api.store.page = lambda **_: 1 / 0  # a bug of ours
        answer = api.http.get("/v1/videos")
        assert (answer.status_code, code_of(answer)) == (500, "internal") and "zero" not in answer.text


def _head(line: str, headers: dict[str, str]) -> bytes:
    every = {"host": "127.0.0.1"} | headers if "host" not in headers else headers
    return (f"{line} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in every.items()) + "\r\n").encode()


def _raw(api: Served, content: bytes, *, wait_s: float = 5.0, more: bytes = b"", every_s: float = 0.0) -> bytes:
    """Send bytes as they are, and more of them now and then; return what comes back."""
    host, port = api.url.removeprefix("http://").split(":")
    received, end_s = b"", time.monotonic() + wait_s
    with socket.create_connection((host, int(port)), timeout=wait_s) as connection:
        try:
            connection.sendall(content)
            connection.settimeout(every_s or wait_s)
            while time.monotonic() < end_s:
                try:
                    piece = connection.recv(65536)
                except TimeoutError:
                    connection.sendall(more)
                    continue
                if not piece:
                    break
                received += piece
        except (ConnectionError, TimeoutError):
            pass
    return received

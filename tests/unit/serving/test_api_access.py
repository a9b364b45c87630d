"""Who may do what: keys and their scopes, owners, browsers of other sites, and what the log tells."""

import json
import logging
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_server import VIDEO, Served, code_of, served
from cogvideox.cli.main import main
from cogvideox.serving.keys import KeyRing, Scope, kept_pepper
from cogvideox.serving.serving_log import JsonLines


@pytest.fixture
def api(quick_folder: Path) -> Iterator[Served]:
    with served(quick_folder, requires_key=True) as running:
        yield running


def new_key(
    api: Served, name: str = "a", scopes: tuple[Scope, ...] = ("generate", "read"), **more: object
) -> dict[str, str]:
    ring = KeyRing(api.store.database, kept_pepper(api.folder, api.store.database))
    _, text = ring.new(name, scopes=scopes, **more)  # pyright: ignore[reportArgumentType]
    return {"authorization": f"Bearer {text}"}


def test_keys_open_what_they_are_for(api: Served) -> None:
    good, reader = new_key(api), new_key(api, scopes=("read",))
    expired = new_key(api, lifetime_s=1)
    revoked = new_key(api, "gone")
    ring = KeyRing(api.store.database, kept_pepper(api.folder, api.store.database))
    ring.revoke(next(key.id for key in ring.all() if key.name == "gone"))
    time.sleep(1.1)
    text = good["authorization"].split()[1]
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Basic {text}"}, {"authorization": "Bearer"},
                    {"authorization": f"Bearer {text[:-1]}"}, {"authorization": f"Bearer {'x' * 9000}"}, expired,
                    revoked,
                    {"cookie": "cogvideox_session=x"}):  # fmt: skip
        answer = api.http.get("/v1/videos", headers=headers)
        assert (answer.status_code, code_of(answer)) == (401, "unauthorized") and answer.headers["www-authenticate"]
    assert api.http.get(f"/v1/videos?key={text}&api_key={text}").status_code == 401
    assert api.http.get("/v1/videos", headers=good).status_code == 200
    wrong = api.http.post("/v1/videos", json={"prompt": "x"}, headers=reader)
    assert (wrong.status_code, code_of(wrong)) == (403, "forbidden")
    assert api.http.get("/metrics", headers=good).status_code == 403
    assert api.http.get("/metrics", headers=new_key(api, scopes=("metrics",))).status_code == 200
    for path in ("/", "/livez", "/openapi.json", "/v1/session"):
        assert api.http.get(path).status_code == 200


def test_a_wrong_key_takes_as_long_as_a_right_one(api: Served) -> None:
    right = new_key(api)
    text = right["authorization"]
    wrong = {"authorization": text[:-4] + ("0000" if text[-4:] != "0000" else "1111")}

    def median_s(headers: dict[str, str]) -> float:
        times = []
        for _ in range(60):
            begun_s = time.perf_counter()
            api.app.state.service.access._keys.verify(headers["authorization"].split()[1])
            times.append(time.perf_counter() - begun_s)
        return statistics.median(times)

    for headers in (wrong, {"authorization": "Bearer nonsense"}):
        assert 0.4 < median_s(headers) / median_s(right) < 2.5


def test_others_videos_are_not_there(api: Served) -> None:
    mine, other = new_key(api, "mine"), new_key(api, "other")
    made = api.http.post("/v1/videos", json={"prompt": "x"}, headers=mine | {"Idempotency-Key": "same"}).json()
    url = f"/v1/videos/{made['id']}"
    for method, path in (
        ("GET", url),
        ("DELETE", url),
        ("GET", f"{url}/content"),
        ("POST", f"{url}/cancel"),
        ("GET", f"{url}/events"),
    ):
        assert code_of(api.http.request(method, path, headers=other)) == "not_found", path
    remix = {"prompt": "y"}
    assert api.http.post(f"{url}/remix", json=remix, headers=other).status_code == 404
    edit = {"prompt": "y", "video": {"id": made["id"]}}
    assert api.http.post("/v1/videos/edits", json=edit, headers=other).status_code == 404
    assert api.http.get("/v1/videos", headers=other).json()["data"] == []
    assert api.http.get(f"/v1/videos?after={made['id']}", headers=other).status_code == 400
    theirs = api.http.post("/v1/videos", json={"prompt": "z"}, headers=other | {"Idempotency-Key": "same"})
    assert theirs.status_code == 200 and theirs.json()["id"] != made["id"]
    assert api.http.get(url, headers=mine).json()["status"] == "queued"


def test_a_browser_keeps_its_key_as_a_cookie(api: Served) -> None:
    assert api.http.get("/v1/session").json()["is_signed_in"] is False
    assert api.http.post("/v1/session", json={"key": "x"}).status_code == 401
    entered = api.http.post("/v1/session", json={"key": new_key(api)["authorization"].split()[1]})
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert api.http.get("/v1/session").json()["is_signed_in"] is True
    assert api.http.post("/v1/videos", json={"prompt": "x"}).status_code == 200
    api.http.delete("/v1/session")
    assert api.http.get("/v1/videos").status_code == 401


def test_other_sites_in_the_same_browser_are_refused(quick_folder: Path) -> None:
    with served(quick_folder, allowed_hosts=("videos.example",)) as api:
        port = api.url.rsplit(":", 1)[1]

        def status(method: str = "POST", **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return api.http.request(method, "/v1/videos/plan" if method == "POST" else "/v1/videos", headers=named,
                                    json={"prompt": "x"} if method == "POST" else None).status_code  # fmt: skip

        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "videos.example", "10.0.0.7"):
            assert status(host=host) == 200, host
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "localhost.evil.example",
            "",
            "a:b:c",
            "[::1",
            "127.0.0.1:x",
        ):
            assert status("GET", host=host) == 403, host
        assert status(origin=api.url) == 200
        for origin in ("https://evil.example", "null", "http://localhost:1"):
            assert status(origin=origin) == 403
        assert status(sec_fetch_site="cross-site") == 403 and status(sec_fetch_site="same-origin") == 200
        headers = api.http.get("/").headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"] and "unsafe" not in str(headers)
        assert "access-control-allow-origin" not in headers


def test_a_rate_of_requests_is_kept(quick_folder: Path) -> None:
    with served(quick_folder, max_requests_per_minute=3) as api:
        answers = [api.http.get("/v1/videos") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
        assert code_of(answers[-1]) == "rate_limited" and 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert api.http.get("/livez").status_code == 200


def test_waiting_for_a_video_counts_once(quick_folder: Path) -> None:
    with served(quick_folder, max_requests_per_minute=1) as api:
        worker = threading.Thread(target=lambda: (time.sleep(0.5), api.complete()))
        worker.start()
        answer = api.http.post("/v1/videos/sync", json={"prompt": "a fox"})
        worker.join()
        assert (answer.status_code, answer.content) == (200, VIDEO)
        assert api.http.post("/v1/videos/sync", json={"prompt": "a fox"}).status_code == 429
        assert len(api.store.page(limit=10).jobs) == 1


def test_the_log_tells_no_secrets(api: Served, caplog: pytest.LogCaptureFixture) -> None:
    key = new_key(api)
    with caplog.at_level(logging.DEBUG, "cogvideox"):
        answer = api.http.post("/v1/videos", json={"prompt": "a secret fox"}, headers=key)
        api.http.get("/nothing%0ahere")
    lines = [JsonLines().format(record) for record in caplog.records if record.name.startswith("cogvideox")]
    text = "\n".join(lines)
    assert "secret fox" not in text and key["authorization"].split()[1] not in text
    told = [json.loads(line) for line in lines]
    request = next(line for line in told if line.get("path") == "/v1/videos")
    assert request["request_id"] == answer.headers["x-request-id"] and request["job_id"] == answer.json()["id"]
    assert request["status"] == 200 and request["ms"] >= 0


def test_keys_on_the_command_line(quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["keys", *arguments, "--data-dir", str(quick_folder)])
        return int(str(ended.value.code or 0)), capsys.readouterr().out

    code, said = run("new", "lab", "--days", "2")
    with served(quick_folder, requires_key=True) as api:
        headers = {"authorization": f"Bearer {said.strip()}"}
        assert code == 0 and api.http.get("/v1/videos", headers=headers).status_code == 200
        listed = json.loads(run("list", "--json")[1])["data"]["keys"]
        assert [key["name"] for key in listed] == ["lab"] and said.strip() not in json.dumps(listed)
        assert run("revoke", listed[0]["id"])[0] == 0 and run("revoke", "0" * 16)[0] == 2
        assert api.http.get("/v1/videos", headers=headers).status_code == 401
    assert run("new", "x", "--days", "-1")[0] == 2

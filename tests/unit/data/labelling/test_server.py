"""The server answers its own page and no other, and gives videos by ranges."""

import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cogvideox.data.labelling.dataset import open_dataset
from cogvideox.data.labelling.guard import kept_token
from cogvideox.data.labelling.labels import LABELS
from cogvideox.data.labelling.sampling import QueueSettings
from cogvideox.data.labelling.server import listen, make_app, parse_range
from cogvideox.data.labelling.session import Labelling
from cogvideox.data.labelling.shelf import ClipShelf
from curation_corpus import counted, write_video

HOST = "127.0.0.1:8421"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_video(tmp_path / "a.mp4", "libx264", counted(8), 24)
    return tmp_path


def client(folder: Path, **values: Any) -> Any:
    from fastapi.testclient import TestClient

    dataset = open_dataset(folder)
    shelf = ClipShelf(dataset, dataset.labels_folder / ".cache")
    app = make_app(Labelling(dataset, dataset.labels_folder, QueueSettings()), shelf, **values)
    return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)


def answer(page: Any, **headers: str) -> Any:
    item = page.get("/api/items?annotator=ann").json()["items"][0]["item"]
    body = {"annotator": "ann", "item": item, "labels": {"text": True}, "seconds": 1, "note": ""}
    return page.post("/api/answer", json=body, headers=headers)


def test_page_and_answers(folder: Path) -> None:
    page = client(folder, annotator="ann")
    first = page.get("/")
    assert first.status_code == 200 and "frame-ancestors 'none'" in first.headers["content-security-policy"]
    assert all(page.get(name).status_code == 200 for name in ("/page.js", "/page.css"))
    start = page.get("/api/start").json()
    assert start["annotator"] == "ann" and [label["name"] for label in start["labels"]] == list(LABELS)
    assert answer(page).json()["saved"] is True
    assert '"text": true' in (folder / "labels" / "ann.jsonl").read_text()
    assert page.get("/api/agreement").json()["labels"][0]["alpha"] is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"host": "evil.example:8421"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "localhost:8421"}, 200),
        ({"host": "[::1]:8421"}, 200),
        ({"host": "[::1"}, 403),
        ({"host": "192.168.1.7"}, 403),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_who_is_answered(folder: Path, headers: dict[str, str], status: int) -> None:
    page = client(folder)
    assert answer(page, **headers).status_code == status
    assert (folder / "labels" / "ann.jsonl").exists() == (status == 200)
    if "host" in headers or "sec-fetch-site" in headers:
        assert page.get("/api/start", headers=headers).status_code == status


def test_a_link_from_elsewhere_opens_the_page_but_nothing_else(folder: Path) -> None:
    page = client(folder)
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert page.get("/", headers=link).status_code == 200 and page.get("/api/start", headers=link).status_code == 403


def test_other_machines_need_the_token(folder: Path) -> None:
    page = client(folder, host="0.0.0.0", token="secret")
    other = {"host": "192.168.1.7:8421"}
    for address in ("/", "/?token=secreT", "/?token=%E9", "/api/start?token=secret", "/page.js"):
        assert page.get(address, headers=other).status_code == 403, address
    assert page.get("/?token=secret", headers={"host": "evil.example"}).status_code == 403
    opened = page.get("/?token=secret", headers=other)
    assert opened.status_code == 303 and opened.headers["location"] == "/"
    assert "HttpOnly; SameSite=Strict" in opened.headers["set-cookie"]
    cookie = {"cookie": "x=y; cogvideox_label_9=other; cogvideox_label_8421=secret"}
    assert page.get("/api/start", headers=other | cookie).status_code == 200
    page.cookies.clear()
    assert page.get("/api/start", headers=other | {"cookie": "cogvideox_label_8421=secre"}).status_code == 403
    assert page.get("/api/start", headers=other | {"cookie": "cogvideox_label_9=secret"}).status_code == 403
    assert page.get("/api/start", headers=cookie | {"host": "192.168.1.7:x"}).status_code == 403


def test_servers_on_two_ports_of_a_host_do_not_take_each_others_cookies(folder: Path) -> None:
    jar: dict[str, str] = {}  # as a browser has it: of the host, whatever the port
    pages = []
    for port, token in ((8421, "one"), (8422, "two")):
        page = client(folder, host="0.0.0.0", token=token)
        opened = page.get(f"/?token={token}", headers={"host": f"192.168.1.7:{port}"})
        name, _, value = opened.headers["set-cookie"].partition(";")[0].partition("=")
        jar[name] = value
        page.cookies.clear()
        pages.append((page, port))
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
    for page, port in pages:
        assert page.get("/api/start", headers=cookie | {"host": f"192.168.1.7:{port}"}).status_code == 200


def test_a_token_is_kept_and_only_its_owner_can_read_it(tmp_path: Path, caplog) -> None:
    token = kept_token(tmp_path)
    file = tmp_path / ".token"
    assert len(token) >= 24 and kept_token(tmp_path) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    os.chmod(file, 0o644)
    assert kept_token(tmp_path) == token and stat.S_IMODE(file.stat().st_mode) == 0o600
    for damaged in ("", token[:-1], "é" * 24):
        file.write_text(damaged)
        made = kept_token(tmp_path)
        assert made not in (token, damaged) and kept_token(tmp_path) == made
    file.unlink()
    file.mkdir()
    with caplog.at_level(logging.WARNING):
        assert kept_token(tmp_path) != kept_token(tmp_path)
    assert ".token" in caplog.text and "opened anew" in caplog.text


def test_a_page_of_another_folder_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / folder.name
    other.mkdir()
    os.link(folder / "a.mp4", other / "a.mp4")
    keys = [client(one).get("/api/start").json()["folder_key"] for one in (folder, folder, other)]
    assert keys[0] == keys[1] != keys[2]
    page = client(folder)
    refused = answer(page, **{"x-label-folder": keys[2]})
    assert refused.status_code == 409 and "another folder" in refused.json()["error"]
    assert not (folder / "labels" / "ann.jsonl").exists()
    assert answer(page, **{"x-label-folder": keys[0]}).status_code == 200


def test_a_request_that_crashes_is_told_in_one_line(folder: Path, caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: Any) -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr(Labelling, "agreement", crash)
    page = client(folder)
    with pytest.raises(KeyError), caplog.at_level(logging.WARNING):
        page.get("/api/agreement")
    (record,) = caplog.records
    told = record.getMessage()
    assert "GET /api/agreement failed: KeyError" in told and "\n" not in told


def test_bodies_are_small_and_are_answers(folder: Path) -> None:
    page = client(folder)
    large = b'{"note": "' + b"x" * 70_000 + b'"}'
    json = {"content-type": "application/json"}
    assert page.post("/api/answer", content=large, headers=json).status_code == 413
    for content in (b"", b"[]", b"{", b'{"annotator": 1}', b'{"annotator": "../x", "item": "a", "labels": {}}'):
        assert page.post("/api/answer", content=content, headers=json).status_code == 422, content
    assert not list((folder / "labels").glob("*.jsonl"))


def test_videos_come_in_ranges_and_by_no_path(folder: Path) -> None:
    page = client(folder)
    video = "/video/" + page.get("/api/items?annotator=ann").json()["items"][0]["video"]
    whole = page.get(video)
    assert whole.status_code == 200 and whole.content == (folder / "a.mp4").read_bytes()
    assert whole.headers["content-type"] == "video/mp4" and whole.headers["accept-ranges"] == "bytes"
    part = page.get(video, headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == whole.content[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    assert page.get(video, headers={"range": "bytes=0-"}).status_code == 206
    assert page.get(video, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416
    for name in ("a.mp4", "..%2Fa.mp4", "%2e%2e/%2e%2e/etc/passwd", "x"):
        assert page.get(f"/video/{name}").status_code in (404, 422), name
    assert page.get("/../server.py").status_code == 404


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("", (0, 100)),
        ("bytes=5-", (5, 100)),
        ("bytes=5-9", (5, 10)),
        ("bytes=-9", (91, 100)),
        ("bytes=-900", (0, 100)),
        ("bytes=5-900", (5, 100)),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=9-5", (0, 100)),
        ("bytes=0-1,5-6", (0, 100)),
        ("lines=0-1", (0, 100)),
        ("bytes=-", (0, 100)),
        ("bytes=²-", (0, 100)),
    ],
)
def test_ranges(header: str, span: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == span


def test_a_port_that_is_taken_is_told() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ValueError, match=r"--port.*--port 0"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ValueError, match="--host"):
        listen("no.such.host.invalid", 0)

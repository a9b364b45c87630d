"""Pictures, videos and addresses that clients send: known by their content, decoded apart, bounded."""

import base64
import io
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from api_server import Served, code_of, picture, served
from cogvideox.media.writers import write_video
from cogvideox.serving.errors import ApiError
from cogvideox.serving.fetching import fetch, is_public
from cogvideox.serving.model_catalog import CatalogModel


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from cogvideox.serving.job import QueueLimits

    queue = QueueLimits(max_queued=0, max_queued_per_owner=0)
    with served(tmp_path_factory.mktemp("api"), queue=queue) as running:
        yield running


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clip(tmp_path_factory.mktemp("clip") / "v.mp4", 9)


def clip(path: Path, num_frames: int, fps: float = 8.0, size: tuple[int, int] = (64, 96)) -> bytes:
    frames = np.random.default_rng(0).integers(0, 255, (num_frames, *size, 3), np.uint8)
    write_video(path, [frames], fps=fps)
    return path.read_bytes()


def sent(api: Served, content: bytes, name: str = "a.png") -> tuple[int, str]:
    answer = api.http.post("/v1/videos", data={"prompt": "x"}, files={"input_reference": (name, content, "image/png")})
    assert answer.status_code < 500, answer.text
    return answer.status_code, code_of(answer) if answer.status_code != 200 else ""


def test_a_video_becomes_a_bounded_mp4(api: Served, video: bytes, tmp_path: Path) -> None:
    for fields, files in (({"prompt": "x", "strength": "0.5"}, {"input_reference": ("../../v.png", video)}),):
        answer = api.http.post("/v1/videos", data=fields, files=files)
        assert answer.status_code == 200, answer.text
        made = answer.json()
    assert (made["input_kind"], made["num_frames"], made["strength"], made["fps"]) == ("video", 9, 0.5, 8.0)
    job = api.store.get(made["id"])
    assert job is not None and job.files["video"].media_type == "video/mp4" and job.files["video"].name == ""
    (tmp_path / "kept.mp4").write_bytes(api.files.read(job.files["video"]))
    from cogvideox.media.reading import read_frames

    frames, fps = read_frames(tmp_path / "kept.mp4")
    assert frames.shape[0] == 9 and frames.shape[1] % 2 == frames.shape[2] % 2 == 0 and fps == 8.0
    again = api.http.post(
        "/v1/videos/edits", data={"prompt": "y"}, files={"video": ("v", clip(tmp_path / "w.webm", 20))}
    )
    assert again.json()["num_frames"] == 17


def test_pictures_that_are_none(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CatalogModel, "input_kinds", ("text", "image"))
    png, jpeg = picture(), picture(kind="JPEG")
    frames = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(20)]
    moving, webp = io.BytesIO(), io.BytesIO()
    frames[0].save(moving, "PNG", save_all=True, append_images=frames[1:])
    frames[0].save(webp, "WEBP", save_all=True, append_images=frames[1:])
    memory = psutil.Process().memory_info().rss
    cases = {
        "bomb": (_png_of_size(50_000, 50_000), 413, "media_too_large"),
        "wide": (_png_of_size(9000, 1), 413, "media_too_large"),
        "claims 25 MP+": (_png_of_size(8000, 4000), 413, "media_too_large"),
        "cut PNG": (png[: len(png) // 2], 400, "media_decode_failed"),
        "cut JPEG": (jpeg[: len(jpeg) // 2], 400, "media_decode_failed"),
        "only magic": (b"\x89PNG\r\n\x1a\n", 400, "media_decode_failed"),
        "moving PNG": (moving.getvalue(), 400, "media_decode_failed"),
        "moving WebP": (webp.getvalue(), 400, "media_decode_failed"),
        "page in PNG": (png + b"<html><script>alert(1)</script>", 400, "media_decode_failed"),
        "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_media_type"),
        "TIFF": (picture(kind="TIFF"), 415, "unsupported_media_type"),
        "GIF": (picture(kind="GIF"), 415, "unsupported_media_type"),
        "FITS": (b"SIMPLE  =                    T".ljust(2880), 415, "unsupported_media_type"),
        "nothing": (b"", 415, "unsupported_media_type"),
        "large": (png + b"\0" * (11 * 2**20), 413, "media_too_large"),
    }
    for name, (content, status, code) in cases.items():
        begun_s = time.monotonic()
        assert sent(api, content) == (status, code), name
        assert time.monotonic() - begun_s < 4, name  # 2 s on an idle machine
    assert psutil.Process().memory_info().rss - memory < 50 * 2**20
    assert sent(api, png) == (200, "")


def test_nothing_is_decoded_that_no_model_takes(api: Served, video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> dict[str, object]:
        raise AssertionError("a process was started")

    monkeypatch.setattr("cogvideox.serving.uploads._run", run)
    assert sent(api, picture()) == (400, "invalid_param")
    monkeypatch.setattr(CatalogModel, "input_kinds", ("image",))
    assert sent(api, video) == (400, "invalid_param")


def test_videos_that_are_none(api: Served, video: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.ts"
        m3u8 = f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXTINF:1,\nfile://{canary}\n#EXT-X-ENDLIST\n".encode()
        stbl = video.find(b"stts")
        table = video[: stbl + 8] + struct.pack(">I", 0x40000000) + video[stbl + 12 :]
        cases = {
            "m3u8": (m3u8, 415),
            "m3u8 in mp4's clothes": (b"\0\0\0\x18ftypisom" + m3u8, 400),
            "concat": (f"ffconcat version 1.0\nfile '{canary}'\n".encode(), 415),
            "huge table": (table, 400),
            "cut": (video[:200], 400),
            "only magic": (b"\x1a\x45\xdf\xa3" + b"\0" * 100, 400),
            "long": (clip(tmp_path / "long.mp4", 40, fps=1.0, size=(32, 32)), 413),
            "fast": (clip(tmp_path / "fast.mp4", 20, fps=240.0, size=(32, 32)), 413),
        }
        for name, (content, status) in cases.items():
            assert sent(api, content, "v.mp4")[0] == status, name
        with pytest.raises(TimeoutError):
            listener.accept()


def test_data_urls(api: Served) -> None:
    def asked(url: str) -> tuple[int, str]:
        answer = api.http.post("/v1/videos", json={"prompt": "x", "input_reference": {"image_url": url}})
        return answer.status_code, code_of(answer)

    whole = "data:image/png;base64," + base64.b64encode(picture()).decode()
    assert asked(whole) == (400, "invalid_param")  # a good one, but this model starts from text
    assert asked("data:image/png;base64,????")[1] == "invalid_param"
    assert asked("data:text/html,<p>")[1] == "invalid_param"
    assert asked("data:image/png;base64," + base64.b64encode(b"<svg/>").decode()) == (415, "unsupported_media_type")
    form = api.http.post("/v1/videos", files={"prompt": (None, "x"), "input_reference[image_url]": (None, whole)})
    assert (form.status_code, code_of(form)) == (400, "invalid_param")


INNER = ("http://127.0.0.1", "https://127.0.0.1/x", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://2130706433/",
         "https://[64:ff9b::a9fe:a9fe]/", "https://169.254.169.254/", "https://0x7f000001/", "https://0177.0.0.1/",
         "file:///etc/passwd", "gopher://x/", "https://user@example.com/", "https://example.com:8443/", "ftp://x/",
         "https://localhost/", "https://exa mple.com/", "https://example.com\\@127.0.0.1/", "//x", "",
         "https://", "http://[::1", "https://[::1", "//[", "https://a]b/", "https://exa[mple.com/")  # fmt: skip


@pytest.mark.parametrize("url", INNER)
def test_addresses_that_are_never_fetched(api: Served, url: str) -> None:
    answer = api.http.post("/v1/videos", json={"prompt": "x", "input_reference": {"image_url": url}})
    assert answer.status_code == 400 and code_of(answer) in ("remote_fetch_disabled", "remote_fetch_blocked")
    with pytest.raises(ApiError) as refused:
        fetch(url, is_allowed=True, domains=(), max_bytes=100, param="image_url", resolve=lambda _: ["127.0.0.1"])
    assert refused.value.code == "remote_fetch_blocked"


def test_addresses_that_are_public() -> None:
    inner = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
             "fe80::1", "fc00::1",
             "::ffff:8.8.8.8", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:1::", "x")  # fmt: skip
    assert not any(map(is_public, inner)) and is_public("8.8.8.8") and is_public("2606:4700::1111")
    # A name that also has an inner address is not asked at all; nor is one that is asked for again.
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(ApiError):
        fetch("https://a.example/", is_allowed=True, domains=(), max_bytes=9, param="p", resolve=resolve)
    with pytest.raises(ApiError):
        fetch("https://a.example/", is_allowed=True, domains=("b.example",), max_bytes=9, param="p", resolve=resolve)
    assert asked == ["a.example"]


def test_redirections_are_checked_anew_and_connections_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    import cogvideox.serving.fetching as fetching

    class NoTls:
        verify_mode, check_hostname, post_handshake_auth = ssl.CERT_NONE, False, None

        def wrap_socket(self, raw: socket.socket, server_hostname: str) -> socket.socket:
            names.append(server_hostname)
            return raw

    connected: list[tuple[str, int]] = []
    names: list[str] = []
    answers = [b"HTTP/1.1 302 x\r\nLocation: https://inner.example/\r\nContent-Length: 0\r\n\r\n",
               b"HTTP/1.1 200 x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        real = socket.create_connection

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            connected.append(address)
            return real(listener.getsockname(), timeout=timeout)

        monkeypatch.setattr(fetching.socket, "create_connection", connect)
        addresses = {"a.example": ["8.8.8.8"], "inner.example": ["10.0.0.1"]}
        arguments = {"is_allowed": True, "domains": (), "param": "p", "context": NoTls()}
        with pytest.raises(ApiError, match="public"):
            fetch("https://a.example/", max_bytes=9, resolve=lambda host: addresses[host], **arguments)
        with pytest.raises(ApiError) as refused:
            fetch("https://a.example/", max_bytes=1000, resolve=lambda host: addresses[host], **arguments)
    assert refused.value.code == "media_too_large"
    assert connected == [("8.8.8.8", 443)] * 2 and names == ["a.example"] * 2


def _png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )

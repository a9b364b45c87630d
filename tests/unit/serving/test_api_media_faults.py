"""Faults 19 to 21: pictures that claim much, videos that are odd, and servers that send what nobody asked for."""

import contextlib
import io
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

import cogvideox.serving.fetching as fetching
from api_server import Served, code_of, picture, served, served_apart
from cogvideox.serving.errors import ApiError
from cogvideox.serving.fetching import fetch

MIB = 2**20
REAL_CONNECT = socket.create_connection


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    head = struct.pack(">I", len(data) if length is None else length)
    return head + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width_px: int, height_px: int, *, idat_length: int | None = None) -> bytes:
    head = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 50_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data, idat_length) + chunk(b"IEND", b"")


def jpeg_that_claims(width_px: int, height_px: int) -> bytes:
    content = bytearray(picture(1, 1, kind="JPEG"))
    frame = content.find(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height_px, width_px)
    return bytes(content)


def test_pictures_that_claim_much_take_no_memory(tmp_path: Path) -> None:
    """Fault 19."""
    import httpx

    cases = {
        "1-pixel JPEG of 65,500 x 65,500": (jpeg_that_claims(65_500, 65_500), 413, "media_too_large"),
        "1-pixel JPEG of 5,000 x 5,000": (jpeg_that_claims(5000, 5000), 200, ""),  # grey, and as large as may be
        "PNG of 4 Gpx": (png(2**31 - 1, 2), 413, "media_too_large"),
        "PNG with a piece of 4 GB": (png(100, 100, idat_length=2**32 - 1), 400, "media_decode_failed"),
        "PNG of 8,192 x 3,051": (png(8192, 3051)[:-30], 400, "media_decode_failed"),
    }
    with (
        served_apart(tmp_path, "text", "image") as (port, pid),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        before_bytes = psutil.Process(pid).memory_info().rss
        for name, (content, status, code) in cases.items():
            begun_s = time.monotonic()
            answer = http.post("/v1/videos", data={"prompt": "x"}, files={"input_reference": ("a", content)})
            assert (answer.status_code, code_of(answer) if code else "") == (status, code), name
            assert time.monotonic() - begun_s < 6, name  # 2 s on an idle machine
        assert psutil.Process(pid).memory_info().rss - before_bytes < 50 * MIB


def video(
    times: list[int],
    *,
    size_px: tuple[int, int] = (64, 96),
    rate: int = 8,
    pixels: str = "yuv420p",
    kind: str = "mp4",
) -> bytes:
    """Return a video with a frame at each time, counted in 1/rate s."""
    made = io.BytesIO()
    with av.open(made, "w", format=kind) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = size_px
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, rate)
        numbers = np.random.default_rng(0)
        for time_of_frame in times:
            frame = av.VideoFrame.from_ndarray(numbers.integers(0, 255, (*size_px, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time_of_frame, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return made.getvalue()


def sound() -> bytes:
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return made.getvalue()


def patched(content: bytes, box: bytes, place: int, value: int) -> bytes:
    """Return a video with another number in a box: ``place`` bytes after its name."""
    start = content.find(box) + 4 + place
    return content[:start] + struct.pack(">I", value) + content[start + 4 :]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from cogvideox.serving.job import QueueLimits

    queue = QueueLimits(max_queued=0, max_queued_per_owner=0)
    with served(tmp_path_factory.mktemp("api"), queue=queue) as running:
        yield running


def test_odd_videos(api: Served) -> None:
    """Fault 20: each is refused by name, or made a plain video of whole frames."""
    plain, webm = video(list(range(9))), video(list(range(9)), kind="matroska")
    no_frames = patched(patched(plain, b"stsz", 8, 0), b"stts", 4, 0)
    refused = {
        "sound alone": (sound(), 400),
        "no frames": (webm[: webm.find(b"\x1f\x43\xb6\x75")], 400),
        "no frames by its own word": (no_frames, 413),  # its rate is none
        "an hour": (video([0, 3600 * 8]), 413),
        "table of 4 GB": (patched(plain, b"stts", 4, 2**32 - 1), 400),
        "table of sizes of 4 GB": (patched(plain, b"stsz", 8, 2**32 - 1), 400),
        "places beyond the end": (patched(plain, b"stco", 8, 2**31), 400),
    }
    for name, (content, status) in refused.items():
        begun_s = time.monotonic()
        answer = api.http.post("/v1/videos", data={"prompt": "x"}, files={"input_reference": ("v.mp4", content)})
        assert answer.status_code == status and code_of(answer).startswith("media_"), (name, answer.text)
        assert time.monotonic() - begun_s < 10, name
    taken = {
        "a box of 4 GB": (patched(plain, b"moov", -8, 2**32 - 1), 9),
        "uneven times": (video([0, 1, 2, 9, 10, 17, 40, 41, 42, 43]), 9),
        "odd sides": (video(list(range(9)), size_px=(65, 97), pixels="yuv444p"), 9),
        "a table that says more": (patched(plain, b"stts", 8, 4000), 9),
    }
    for name, (content, num_frames) in taken.items():
        answer = api.http.post("/v1/videos", data={"prompt": "x"}, files={"input_reference": ("v.mp4", content)})
        assert answer.status_code in (200, 413), (name, answer.text)
        if name != "a table that says more":
            assert answer.status_code == 200 and answer.json()["num_frames"] == num_frames, (name, answer.text)
            job = api.store.get(answer.json()["id"])
            assert job is not None
            with av.open(io.BytesIO(api.files.read(job.files["video"])), "r") as container:
                frames = list(container.decode(video=0))
            assert len(frames) >= num_frames and frames[0].width % 2 == frames[0].height % 2 == 0


class NoTls:
    verify_mode, check_hostname, post_handshake_auth = ssl.CERT_NONE, False, None

    def wrap_socket(self, raw: socket.socket, server_hostname: str) -> socket.socket:
        return raw


@contextlib.contextmanager
def remote(answer: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Be every server of the network; give the addresses that were connected to."""
    connected: list[tuple[str, int]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        answer(connection)

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            connected.append(address)
            return REAL_CONNECT(listener.getsockname(), timeout=timeout)

        monkeypatch.setattr(fetching.socket, "create_connection", connect)
        threading.Thread(target=serve, daemon=True).start()
        yield connected


def fetched(**more: object) -> str:
    arguments = {"is_allowed": True, "domains": (), "param": "p", "context": NoTls(), "max_bytes": 10 * MIB}
    with pytest.raises(ApiError) as refused:
        fetch("https://a.example/x.png", **(arguments | {"resolve": lambda _: ["8.8.8.8"]} | more))  # pyright: ignore
    return refused.value.code


def test_servers_that_drip_and_servers_that_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 21."""
    monkeypatch.setattr(fetching, "TIMEOUT_S", 1.0)
    num_sent = [0]

    def drip(connection: socket.socket) -> None:
        for letter in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100:
            connection.sendall(bytes([letter]))
            time.sleep(0.05)

    def flood(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {10 * 2**30}\r\n\r\n".encode())
        for _ in range(10 * 1024):
            connection.sendall(bytes(MIB))
            num_sent[0] += MIB

    def endless_headers(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(10**6):
            connection.sendall(b"x%d: y\r\n" % number)

    for answer in (drip, endless_headers):
        with remote(answer, monkeypatch):
            begun_s = time.monotonic()
            assert fetched() == "remote_fetch_blocked"
            assert time.monotonic() - begun_s < 4
    monkeypatch.setattr(fetching, "TIMEOUT_S", 20.0)
    memory = psutil.Process().memory_info().rss
    with remote(flood, monkeypatch):
        assert fetched() == "media_too_large"
    assert num_sent[0] < 30 * MIB and psutil.Process().memory_info().rss - memory < 50 * MIB


def test_a_name_that_changes_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 21: the first answer is public, the second one is not."""
    asked: list[str] = []

    def rebinding(host: str) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")

    with remote(answer, monkeypatch) as connected:
        assert fetched(resolve=rebinding, max_bytes=9) == "remote_fetch_blocked"  # cut short, but from there
    assert connected == [("8.8.8.8", 443)] and asked == ["a.example"]

    def back(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 x\r\nLocation: https://a.example/y\r\nContent-Length: 0\r\n\r\n")

    asked.clear()
    with remote(back, monkeypatch) as connected:  # the same name again: it is asked for again, and refused
        assert fetched(resolve=rebinding) == "remote_fetch_blocked"
    assert connected == [("8.8.8.8", 443)] and len(asked) == 2

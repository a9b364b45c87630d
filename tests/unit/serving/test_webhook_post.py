"""One try to tell a target: what it may answer, and where it may be (fault 29)."""

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cogvideox.serving import fetching
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.outbox import outbox_state
from cogvideox.serving.webhook_sender import Sender, post
from cogvideox.serving.webhooks import Webhooks
from job_store_model import new_job
from webhook_target import Target, targets

PUBLIC = "https://hooks.example.com/x"


@pytest.fixture
def target() -> Iterator[Target]:
    with targets(1) as made:
        yield made[0]


def _drip_head(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(300):
            handler.wfile.write(b"x")
            time.sleep(0.05)


def _drip_body(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(300):
            handler.wfile.write(b"x")
            time.sleep(0.05)


def test_answers_without_end_are_cut(target: Target) -> None:
    num_written = 0

    def huge(handler: BaseHTTPRequestHandler) -> None:
        nonlocal num_written
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(1000):
                num_written += handler.connection.send(b"x" * 2**20)

    for answer, verdict in ((_drip_head, "failed"), (_drip_body, "sent"), (huge, "sent")):
        target.answer = answer
        begun_s = time.monotonic()
        found = post(target.url, b"{}", {}, is_private_allowed=True, timeout_s=1.0)
        assert found.verdict == verdict and time.monotonic() - begun_s < 3, (answer, found)
    time.sleep(0.2)
    assert num_written < 50 * 2**20


def test_a_slow_handshake_is_cut() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), connection:
                connection.sendall(b"\x16\x03\x03\x40\x00")
                for _ in range(300):
                    connection.sendall(b"\x00")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        begun_s = time.monotonic()
        answer = post(url, b"{}", {}, is_private_allowed=True, timeout_s=1.0)
    assert answer.verdict == "failed" and time.monotonic() - begun_s < 3


def test_names_that_lead_inside_are_never_connected_to(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[object] = []

    def connect(address: object, **_: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    now_us = 1_800_000_000_000_000
    store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3", clock=lambda: now_us)
    webhooks = Webhooks(store.database)
    webhooks.new(PUBLIC, owner="ann")
    job_id = store.submit(new_job()).job.id
    assert store.complete(job_id, store.claim("w").lease_token, files={}) == "completed"
    inner = (["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"], [],
             ["64:ff9b::a9fe:a9fe"], ["2002:7f00:1::"], ["100.64.0.1"])  # fmt: skip
    answers: Iterator[list[str]] = iter(inner)
    sender = Sender(store.database, resolve=lambda host: next(answers))
    with monkeypatch.context() as patched:
        patched.setattr(fetching.socket, "create_connection", connect)
        for _ in inner:
            sender.send_due()
            sender.join(10)
            last = webhooks.all()[0].last_answer or ""
            assert last.startswith("blocked") or last == "its name has no address"
            now_us += 24 * 3600 * 10**6
        assert connected == []
        url = "http://relay.local/"  # the operator's own network has no such address either
        for address in ("169.254.169.254", "0.0.0.0", "fd00::1"):
            post(url, b"", {}, is_private_allowed=True, resolve=lambda _, address=address: [address])
        assert connected == [("fd00::1", 80)]
    assert store.get(job_id).state == "completed" and outbox_state(store.database).num_waiting == 1
    store.close()


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoTls:
        verify_mode, check_hostname, post_handshake_auth = ssl.CERT_NONE, False, None

        def wrap_socket(self, raw: socket.socket, server_hostname: str) -> socket.socket:
            names.append(server_hostname)
            return raw

    names: list[str] = []
    connected: list[object] = []
    asked: list[str] = []
    with targets(1) as (target,):
        real = socket.create_connection

        def connect(address: object, **values: float) -> socket.socket:
            connected.append(address)
            return real(target.server.server_address[:2], **values)

        def resolve(host: str) -> list[str]:  # another answer each time
            asked.append(host)
            return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

        monkeypatch.setattr(fetching.socket, "create_connection", connect)
        context: ssl.SSLContext = NoTls()  # type: ignore[assignment]
        answer = post(f"{PUBLIC}?a=b", b"{}", {"webhook-id": "evt_1"}, is_private_allowed=False, resolve=resolve,
                      context=context)  # fmt: skip
        assert answer.verdict == "sent" and connected == [("8.8.8.8", 443)] and names == ["hooks.example.com"]
        assert asked == ["hooks.example.com"]
        assert target.told[0].path == "/x?a=b" and target.told[0].headers["host"] == "hooks.example.com"


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "certificate"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with targets(1) as (target,):
        target.server.socket = server.wrap_socket(target.server.socket, server_side=True)
        url = target.url.replace("http:", "https:")
        refused = post(url, b"{}", {}, is_private_allowed=True)
        assert refused.verdict == "failed" and "certificate is refused" in refused.text and target.told == []
        context = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
        assert post(url, b"{}", {}, is_private_allowed=True, context=context).verdict == "sent"

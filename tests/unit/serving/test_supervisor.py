"""``cogvideox serve`` as a whole: what dies comes back, and what was accepted is made."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogvideox.serving.supervisor import MIN_MISSES, Service
from running_service import Served, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")


@pytest.fixture
def served(quick_folder: Path) -> Iterator[Served]:
    made = Served(quick_folder)
    yield made
    made.end()


def test_everything_that_dies_comes_back_and_jobs_end(served: Served, quick_folder: Path) -> None:
    wait_for(lambda: served.ask("/readyz")["status"] == "ready")
    job = served.ask("/v1/videos", {"prompt": "step:0.1 a fox", "num_inference_steps": 40})
    wait_for(lambda: served.ask(f"/v1/videos/{job['id']}")["step"] >= 3)
    before = served.children()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert served.ask(f"/v1/videos/{job['id']}")["status"] != "failed"  # the port was open all the time
    wait_for(lambda: served.ask(f"/v1/videos/{job['id']}")["status"] == "completed")
    assert served.ask(f"/v1/videos/{job['id']}")["attempt"] == 2
    after = served.children()
    assert set(after) == {"api", "worker"} and not set(after.values()) & set(before.values())
    second = subprocess.run(
        [sys.executable, "-m", "cogvideox", "serve", "--data-dir", str(quick_folder), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 3 and f"is served by process {served.process.pid} already" in second.stderr
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=15) == 0


def test_a_service_that_was_killed_starts_again_at_once_and_drains(served: Served, quick_folder: Path) -> None:
    wait_for(lambda: served.ask("/readyz")["status"] == "ready")
    job = served.ask("/v1/videos", {"prompt": "step:0.2 a fox", "num_inference_steps": 100})
    wait_for(lambda: served.ask(f"/v1/videos/{job['id']}")["step"] >= 11)
    pids = served.children()
    served.process.kill()
    served.process.wait()
    again = Served(quick_folder, port=served.port)
    try:
        wait_for(lambda: not Path(f"/proc/{pids['api']}").exists())
        # Its worker saw that the supervisor was gone, and gave the job back: the try does not count.
        wait_for(lambda: served.ask(f"/v1/videos/{job['id']}")["status"] == "in_progress")
        again.process.send_signal(signal.SIGINT)
        asked_s = time.monotonic()
        assert again.process.wait(timeout=15) == 0
        assert time.monotonic() - asked_s < 8
    finally:
        again.end()
    third = Served(quick_folder)
    try:
        kept = third.ask(f"/v1/videos/{job['id']}")
        assert kept["status"] in ("queued", "in_progress") and kept["step"] >= 10
    finally:
        third.end()


def test_an_open_address_needs_keys(quick_folder: Path) -> None:
    command = [sys.executable, "-m", "cogvideox", "serve", "--host", "0.0.0.0", "--port", "0"]
    command += ["--data-dir", str(quick_folder)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode == 2 and "cogvideox keys new" in refused.stderr


def test_what_is_killed_again_and_again_starts_again_soon_and_what_ends_by_itself_later() -> None:
    waits: dict[str, float] = {}
    begun_s = 0.0
    for name, code in (("killed", "import os; os.kill(os.getpid(), 9)"), ("broken", "raise SystemExit(1)")):

        def start(code: str = code) -> subprocess.Popen:
            return subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE)

        service = Service(name, start, grace_s=1)
        for _ in range(5):
            service._start_at_s = 0.0  # no wait here
            service.look()
            assert service._process is not None
            service._process.wait(timeout=20)
            begun_s = time.monotonic()
            service.look()
        waits[name] = service._start_at_s - begun_s
    assert waits["killed"] <= 2.1 and waits["broken"] > 6


def test_a_slow_answer_is_no_hang() -> None:
    def start() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE)

    service = Service("slow", start, grace_s=1, hang_s=0.2)
    service.look()
    pid = service.pid
    assert pid is not None
    try:
        for _ in range(MIN_MISSES + 3):  # it may still be starting, which takes time
            service.note(pid, is_well=False)
        time.sleep(0.3)
        service.look()
        assert service.is_running
        for num_misses, pause_s in ((MIN_MISSES - 1, 0.3), (MIN_MISSES, 0.0)):  # too few in a row, too soon
            service.note(pid, is_well=True)
            for _ in range(num_misses):
                service.note(pid, is_well=False)
                service.note(pid + 1, is_well=False)  # of one that has ended
            time.sleep(pause_s)
            service.look()
            assert service.is_running and service.pid == pid
        time.sleep(0.3)
        service.look()
        assert service._process is not None and service._process.wait(timeout=20) == -signal.SIGKILL
        service.look()
        assert service.pid not in (None, pid)
    finally:
        service.kill()

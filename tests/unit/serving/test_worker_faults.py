"""Workers with a fake engine when the machine fails: memory, devices, disks and what is hidden."""

import errno
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cogvideox.errors import CheckpointError, DoesNotFitError
from cogvideox.serving import dead_workers, engine_process
from cogvideox.serving.engine_child import told
from cogvideox.serving.engine_port import UserError
from cogvideox.serving.engine_process import EngineProcess
from cogvideox.serving.engine_protocol import EngineSettings
from cogvideox.serving.files import StorageFullError
from cogvideox.serving.job import Worker
from serving_workers import Bench, bench, check_result, engine_of, ready_engine

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
MIB = 2**20
FREE_BYTES = 300_000


@pytest.fixture
def work(quick_folder: Path) -> Iterator[Bench]:
    with bench(quick_folder) as made:
        yield made


def taken_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_job_that_takes_too_much_memory_fails_with_advice_and_the_next_one_does_not(
    work: Bench, tmp_path: Path
) -> None:
    worker = work.start()
    engine = ready_engine(work, worker)
    limit = taken_bytes(engine) + 300 * MIB  # the rest is the hog's
    resource.prlimit(engine, resource.RLIMIT_AS, (limit, limit))
    small = work.wait(work.submit("memory:20"))
    check_result(work, small, tmp_path)
    large, after = work.submit("memory:2000"), work.submit("memory:20 after")
    job = work.wait(large)
    assert (job.error_code, job.attempt) == ("out_of_memory", 1)  # the same would fail in the same way
    assert job.error_message is not None and "fewer frames or a smaller size" in job.error_message
    check_result(work, work.wait(after), tmp_path)
    assert worker.poll() is None and engine_of(worker) != engine  # in pieces as its memory was
    assert work.store.tallies()["attempts:out_of_memory"] == 1


def test_an_engine_that_the_system_killed_for_memory_is_told_from_one_that_crashed(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = quick_folder / "memory.events"
    monkeypatch.setattr(engine_process, "MEMORY_EVENTS", (events,))
    monkeypatch.setattr(engine_process, "MACHINE_EVENTS", quick_folder / "none")
    for num_killed, is_memory in ((4, True), (3, False)):
        events.write_text("low 0\noom_kill 3\n")
        engine = EngineProcess(EngineSettings(engine="fake", cache_folder=quick_folder))
        events.write_text(f"low 0\noom_kill {num_killed}\n")
        os.kill(engine.pid, signal.SIGKILL)
        while not engine.is_gone:
            engine.messages(0.1)
        assert engine.died_of_memory == is_memory
        engine.kill()


def test_a_device_that_fails_twice_gets_no_more_jobs_and_another_worker_does_them(work: Bench, tmp_path: Path) -> None:
    broken = work.start()
    ready_engine(work, broken)
    job = work.wait(work.submit("fault:device@3"))
    assert (job.error_code, job.attempt) == ("worker_lost", 2)  # once more with a new engine, and then no more
    assert job.error_message == "the device failed"
    waiting = work.submit("next")
    time.sleep(2.0)
    assert work.job(waiting).state == "queued" and broken.poll() is None
    (listed,) = work.store.workers()
    assert listed.state == "starting"  # for /readyz there is no worker
    healthy = work.start()
    job = work.wait(waiting)
    check_result(work, job, tmp_path)
    assert [worker.pid for worker in work.store.workers() if worker.id == job.worker_id] == [healthy.pid]


@contextmanager
def little_space(folder: Path, engine: Callable[[], int]) -> Iterator[Callable[[], None]]:
    """Leave room for a few states, not for a video; gives what makes room. Without root, only of the engine's."""
    filler = folder / "filler"
    is_mounted = any(line.split()[1] == str(folder) for line in Path("/proc/mounts").read_text().splitlines())
    if is_mounted:
        disk = os.statvfs(folder)
        filler.write_bytes(bytes(disk.f_bavail * disk.f_frsize - FREE_BYTES))
        yield filler.unlink
    else:
        pid = engine()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FREE_BYTES, resource.RLIM_INFINITY))
        yield lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture
def small_disk(quick_folder: Path) -> Iterator[Path]:
    folder = quick_folder / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(folder)]
    is_mounted = os.getuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    yield folder
    if is_mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_while_encoding_fails_the_job_and_leaves_nothing(
    small_disk: Path, quick_folder: Path
) -> None:
    with bench(small_disk, f"sqlite:///{quick_folder}/jobs.sqlite3") as work:
        worker = work.start()
        ready_engine(work, worker)
        size = {"num_frames": 33, "height_px": 480, "width_px": 720}
        with little_space(small_disk, lambda: engine_of(worker)) as make_room:
            job = work.wait(work.submit("first", **size))
            assert (job.error_code, job.attempt, job.stage) == ("storage_full", 1, ""), job.error_message
            assert job.step == 8 and "preview" in job.files  # it came as far as that
            assert not any((small_disk / "work").iterdir()) and not any((small_disk / "files").rglob("*.tmp"))
            assert worker.poll() is None
            make_room()
        job = work.wait(work.submit("second", **size))
        assert job.state == "completed" and job.files["result"].num_bytes > 2 * FREE_BYTES
        assert work.files.is_whole(job.files["result"])


def test_what_is_the_users_fault_and_what_is_ours() -> None:
    def code(error: Exception) -> str:
        name, message = told(error)
        assert "/secret" not in message
        return name

    assert code(UserError("invalid_param", "num_steps: expected less")) == "invalid_param"
    for error in (OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), OSError(errno.EFBIG, "x")):
        assert code(error) == "storage_full"
    assert code(StorageFullError("x")) == code(RuntimeError("I/O error: No space left on device")) == "storage_full"
    for error in (MemoryError(), OSError(errno.ENOMEM, "x"), RuntimeError("CUDA out of memory"), DoesNotFitError("x")):
        assert code(error) == "out_of_memory"
    assert code(RuntimeError("CUDA error: device-side assert triggered")) == "device_fault"
    for error in (
        ValueError("not enough values to unpack"),
        OSError(errno.EIO, "/secret"),
        PermissionError(errno.EACCES, "/secret"),
        KeyError("/secret"),
        CheckpointError("/secret: damaged"),
    ):
        assert code(error) == "internal"


def test_a_job_whose_file_is_away_for_a_moment_is_tried_again(work: Bench) -> None:
    ready_engine(work, work.start())
    picture = work.files.keep_bytes(b"a picture").file
    path = work.folder / "files" / picture.sha256[:2] / picture.sha256
    path.rename(work.folder / "away")
    job_id = work.submit("with a picture", files={"image": picture})
    job = work.wait(job_id, lambda job: job.attempt >= 1 and job.state == "queued")
    (work.folder / "away").rename(path)
    job = work.wait(job_id)
    assert job.state == "completed" and job.attempt in (2, 3)


def test_a_process_that_is_hidden_is_not_taken_for_dead(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = dead_workers.process_facts()
    ended = subprocess.Popen(["true"])
    threading.Event().wait(0.3)
    alive, zombie = (Worker(id="w", host="h", pid=pid, models=(), facts=facts) for pid in (os.getpid(), ended.pid))
    assert not dead_workers._is_dead(alive) and dead_workers._is_dead(zombie)
    monkeypatch.setattr(dead_workers, "_PROCESSES", quick_folder)  # nothing is seen there
    assert not dead_workers._is_dead(alive) and not dead_workers._is_dead(zombie)
    ended.wait()
    assert dead_workers._is_dead(zombie)
    init = Worker(id="w", host="h", pid=1, models=(), facts=facts)
    if os.getuid() != 0:
        assert not dead_workers._is_dead(init)  # another user's

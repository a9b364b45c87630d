"""Workers with a fake engine whose store does not answer, or whose clock is wrong."""

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres_server import postgres_server
from serving_workers import Bench, bench, check_result, ready_engine

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
CLOCK = """
import os, time
moved_s = int(os.environ["TEST_CLOCK_MOVED_S"])
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + moved_s
time.time_ns = lambda: real_ns() + moved_s * 10**9
"""


@pytest.fixture
def work(quick_folder: Path) -> Iterator[Bench]:
    with bench(quick_folder) as made:
        yield made


def is_made(work: Bench) -> bool:
    """Whether there is a video, published or not."""
    paths = [path for name in ("files", "work") for path in (work.folder / name).rglob("*") if path.is_file()]
    return any(path.read_bytes()[4:8] == b"ftyp" and path.suffix != ".tmp" for path in paths)


@pytest.mark.slow
def test_a_worker_goes_on_while_sqlite_is_locked_and_publishes_later(work: Bench, tmp_path: Path) -> None:
    worker = work.start()
    ready_engine(work, worker)
    job_id = work.submit("step:0.1", num_steps=20)
    work.wait(job_id, lambda job: job.step >= 2)
    assert not is_made(work)
    locker = sqlite3.connect(work.folder / "jobs.sqlite3", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    time.sleep(9.0)
    assert work.job(job_id).step < 20 and is_made(work)
    locker.execute("ROLLBACK")
    job = work.wait(job_id)
    check_result(work, job, tmp_path)
    assert (job.attempt, job.num_crashes, job.facts["resumed_from_step"]) == (1, 0, 0)
    locker.close()


@pytest.mark.slow
def test_a_worker_goes_on_while_postgresql_restarts_and_publishes_later(quick_folder: Path, tmp_path: Path) -> None:
    with postgres_server(is_durable=True) as server, bench(quick_folder, server.new_database()) as work:
        worker = work.start()
        ready_engine(work, worker)
        job_id = work.submit("step:0.1", num_steps=20)
        work.wait(job_id, lambda job: job.step >= 2)
        server.stop()
        time.sleep(6.0)
        assert is_made(work)
        server.start()
        job = work.wait(job_id)
        check_result(work, job, tmp_path)
        assert (job.attempt, job.num_crashes, job.facts["resumed_from_step"]) == (1, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_whose_clock_is_an_hour_off_steals_no_job(
    kind: str, quick_folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else None
    (quick_folder / "modules").mkdir()
    (quick_folder / "modules" / "sitecustomize.py").write_text(CLOCK)
    monkeypatch.setenv("PYTHONPATH", f"{quick_folder / 'modules'}:{os.environ.get('PYTHONPATH', '')}")
    with bench(quick_folder, url) as work:
        for moved_s in (3600, 0, -3600):
            monkeypatch.setenv("TEST_CLOCK_MOVED_S", str(moved_s))
            ready_engine(work, work.start(lease_s=10.0))
        monkeypatch.setenv("TEST_CLOCK_MOVED_S", "0")
        begun_us = time.time_ns() // 1000
        ids = [work.submit(f"step:0.1 {number}", seed=number, num_steps=20) for number in range(6)]
        jobs = [work.wait(job_id) for job_id in ids]
        assert {(job.state, job.attempt, job.num_crashes) for job in jobs} == {("completed", 1, 0)}
        assert len({job.worker_id for job in jobs}) == 3
        for job in jobs:
            times_us = (job.created_us, job.started_us or 0, job.finished_us or 0, job.expires_us or 0)
            assert list(times_us) == sorted(times_us)
            assert all(0 <= value < 60 for name, value in job.facts.items() if name.startswith("seconds_"))
            assert kind == "sqlite" or times_us[2] < begun_us + 120e6  # the server's clock, not the worker's
        assert work.store.tallies() == {"attempts:completed": 6, "jobs:completed::tiny": 6}
        assert all(worker.silent_s < 30 for worker in work.store.workers())

"""Workers with a fake engine that end or are killed, all of them and again and again."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogvideox.serving import dead_workers
from serving_workers import Bench, bench, kill, kill_engine

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")


@pytest.fixture
def work(quick_folder: Path) -> Iterator[Bench]:
    with bench(quick_folder) as made:
        yield made


@pytest.mark.slow
def test_sigterm_to_all_workers_in_the_middle_of_ten_jobs_loses_none(work: Bench) -> None:
    reference = work.submit("step:0.1", num_steps=16)
    first = [work.start(grace_s=1.0) for _ in range(2)]
    expected = work.wait(reference).files["result"].sha256
    ids = [work.submit("step:0.1", num_steps=16) for _ in range(10)]
    running = [work.wait(job_id, lambda job: job.step >= 3).id for job_id in ids[:2]]
    assert len({work.job(job_id).worker_id for job_id in running}) == 2
    begun_s = time.monotonic()
    for process in first:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=30) for process in first] == [0, 0]
    assert time.monotonic() - begun_s < 10.0
    left = [work.job(job_id) for job_id in ids]
    assert all(job.state in ("queued", "completed") for job in left)
    assert all("checkpoint" in job.files for job in left[:2] if job.state == "queued")
    assert not any((work.folder / "work").iterdir())
    for _ in range(2):
        work.start()
    jobs = [work.wait(job_id) for job_id in ids]
    assert {(job.state, job.attempt, job.files["result"].sha256) for job in jobs} == {("completed", 1, expected)}
    taken_over = [job for job, before in zip(jobs[:2], left[:2], strict=True) if before.state == "queued"]
    assert all(job.facts["resumed_from_step"] >= 3 for job in taken_over)


@pytest.mark.slow
def test_a_job_whose_worker_or_engine_is_killed_at_six_places_ends_alike(work: Bench) -> None:
    reference = work.submit("step:0.1", num_steps=40)
    worker = work.start()
    expected = work.wait(reference).files["result"].sha256
    job_id = work.submit("step:0.1", num_steps=40)
    for number, step in enumerate((2, 7, 12, 17, 25, 31)):
        work.wait(job_id, lambda job, step=step: job.step >= step and job.state == "in_progress")
        if number % 2:
            kill_engine(worker)
        else:
            kill(worker)
            dead_workers.give_back_jobs_of_dead_workers(work.store)
            worker = work.start()
    job = work.wait(job_id)
    assert (job.state, job.attempt, job.files["result"].sha256) == ("completed", 7, expected), job.error_message
    assert work.store.tallies()["attempts:worker_lost"] == 6

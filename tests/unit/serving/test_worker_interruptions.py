"""Workers with a fake engine: every way to be interrupted."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving_workers import Bench, bench, check_result

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")


@pytest.fixture
def work(quick_folder: Path) -> Iterator[Bench]:
    with bench(quick_folder) as made:
        yield made


def test_a_hanging_engine_is_killed_and_in_the_end_it_is_a_timeout(work: Bench, tmp_path: Path) -> None:
    once, always = work.submit("fault:hang-once@3"), work.submit("fault:hang@2")
    deaf = work.submit("fault:hang@4", num_steps=50)
    work.start(min_stall_s=0.7, cancel_grace_s=0.3)
    job = work.wait(once)
    check_result(work, job, tmp_path)
    assert (job.attempt, job.num_crashes) == (2, 0)
    job = work.wait(always)
    assert (job.error_code, job.attempt) == ("timeout", 3)
    work.wait(deaf, lambda job: job.step == 3)
    work.store.request_cancel(deaf)  # an engine that hears nothing is killed
    assert work.wait(deaf).error_code in ("canceled",)


def test_a_worker_that_ends_leaves_its_job_to_another_which_ends_it_alike(work: Bench) -> None:
    reference = work.submit("step:0.1 a", num_steps=12)
    first = work.start()
    work.wait(reference)
    job_id = work.submit("step:0.1 a", num_steps=12)
    work.wait(job_id, lambda job: job.step >= 5)
    first.send_signal(signal.SIGTERM)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=10) == 0
    job = work.job(job_id)
    assert (job.state, job.attempt) == ("queued", 0)
    second = work.start(grace_s=2.0)
    again = work.submit("step:0.1 b", num_steps=200)
    job = work.wait(job_id)
    assert (job.state, job.attempt) == ("completed", 1) and job.facts["resumed_from_step"] >= 4
    assert job.files["result"].sha256 == work.job(reference).files["result"].sha256
    work.wait(again, lambda job: job.step >= 3)
    second.send_signal(signal.SIGTERM)  # 20 s of work do not fit into the grace: the state is left at once
    asked_s = time.monotonic()
    assert second.wait(timeout=10) == 0
    assert time.monotonic() - asked_s < 2.5
    job = work.job(again)
    assert job.state == "queued" and job.files["checkpoint"] and work.files.is_whole(job.files["checkpoint"])


def test_a_worker_that_was_stopped_past_its_lease_publishes_nothing(work: Bench, tmp_path: Path) -> None:
    job_id = work.submit("step:0.1", num_steps=20)
    stopped = work.start(lease_s=1.5)
    work.wait(job_id, lambda job: job.step >= 3)
    stopped.send_signal(signal.SIGSTOP)
    work.start(lease_s=1.5)
    job = work.wait(job_id)
    check_result(work, job, tmp_path)
    assert job.attempt == 2
    stopped.send_signal(signal.SIGCONT)
    other = work.submit("fault:none")
    work.wait(other)
    time.sleep(1.0)
    after = work.job(job_id)
    assert (after.files, after.finished_us, after.worker_id) == (job.files, job.finished_us, job.worker_id)
    assert all(work.files.is_whole(file) for file in after.files.values())
    assert not any((work.folder / "work").iterdir())

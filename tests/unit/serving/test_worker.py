"""Workers with a fake engine: every end of a job."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogvideox.serving.dead_workers import give_back_jobs_of_dead_workers
from cogvideox.serving.engine_protocol import MAX_LINE_BYTES, LineReader, ProtocolError, encode, file_in
from serving_workers import Bench, bench, check_result, engine_of, kill, kill_engine

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")


@pytest.fixture
def work(quick_folder: Path) -> Iterator[Bench]:
    with bench(quick_folder) as made:
        yield made


def test_every_job_comes_to_its_end_and_the_queue_goes_on(work: Bench, tmp_path: Path) -> None:
    prompts = ["plain", "fault:crash-once@5", "fault:crash@3", "fault:oom@2", "fault:disk@2", "fault:user@2"]
    ids = {prompt: work.submit(prompt) for prompt in [*prompts, "fault:device-once@4", "last"]}
    worker = work.start()
    ended = {prompt: work.wait(job_id) for prompt, job_id in ids.items()}
    for prompt in ("plain", "fault:crash-once@5", "fault:device-once@4", "last"):
        check_result(work, ended[prompt], tmp_path)
    resumed = ended["fault:crash-once@5"]
    assert (resumed.attempt, resumed.num_crashes, resumed.facts["resumed_from_step"]) == (2, 1, 4)
    codes = {prompt: (job.error_code, job.attempt) for prompt, job in ended.items() if job.state == "failed"}
    assert codes == {
        "fault:crash@3": ("worker_lost", 2),
        "fault:oom@2": ("out_of_memory", 1),
        "fault:disk@2": ("storage_full", 1),
        "fault:user@2": ("invalid_param", 1),
    }
    assert all("/" not in (job.error_message or "") for job in ended.values())
    assert not any("checkpoint" in job.files for job in ended.values())
    stages = ("text", "denoise", "vae", "encode", "step")
    assert all(ended["plain"].facts[f"seconds_{stage}"] >= 0 for stage in stages)
    assert not any((work.folder / "work").iterdir())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    assert work.store.workers() == ()


def test_a_cancelled_job_stops_within_a_step_and_its_neighbour_does_not(work: Bench) -> None:
    first, second = work.submit("step:0.2", num_steps=100), work.submit("neighbour")
    worker = work.start()
    work.wait(first, lambda job: job.step >= 2)
    engine = engine_of(worker)
    work.store.request_cancel(first)
    asked_s = time.monotonic()
    job = work.wait(first)
    assert (job.error_code, job.attempt) == ("canceled", 1)
    assert time.monotonic() - asked_s < 2.5
    assert work.wait(second).state == "completed"
    assert engine_of(worker) == engine  # the model is still in memory


def test_a_damaged_checkpoint_or_one_of_other_settings_is_not_used(work: Bench, tmp_path: Path) -> None:
    job_id = work.submit("step:0.05", num_steps=20)
    first = work.start()
    work.wait(job_id, lambda job: job.step >= 6)
    first.send_signal(signal.SIGTERM)
    first.send_signal(signal.SIGINT)
    first.wait(timeout=10)
    sha256 = work.job(job_id).files["checkpoint"].sha256
    path = work.folder / "files" / sha256[:2] / sha256
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    second = work.start()
    job = work.wait(job_id)
    check_result(work, job, tmp_path)
    assert job.facts["resumed_from_step"] == 0
    kill_engine(second)  # an idle one is replaced
    assert work.wait(work.submit("after")).state == "completed"


def test_a_job_of_a_dead_worker_goes_back_without_waiting_for_its_lease(work: Bench) -> None:
    job_id = work.submit("step:0.1", num_steps=50)
    process = work.start(lease_s=600.0)
    work.wait(job_id, lambda job: job.step >= 5)
    assert give_back_jobs_of_dead_workers(work.store) == ()
    kill(process)
    (reaped,) = give_back_jobs_of_dead_workers(work.store)
    assert (reaped.job_id, reaped.outcome) == (job_id, "queued")
    job = work.job(job_id)
    assert (job.state, job.num_crashes) == ("queued", 1) and "checkpoint" in job.files
    assert work.store.workers() == () and give_back_jobs_of_dead_workers(work.store) == ()


def test_messages_are_bounded_and_name_only_files_of_the_folder(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        reader = LineReader(reading)
        os.write(writing, encode("step", step=1) + b'{"kind": "al')
        assert reader.read() == [{"kind": "step", "step": 1}]
        os.write(writing, b'ive"}\n[1]\n')
        with pytest.raises(ProtocolError, match="expected an object with a kind"):
            reader.read()
        with pytest.raises(ProtocolError, match="expected at most"):
            encode("failed", message="x" * MAX_LINE_BYTES)
        with pytest.raises(ValueError, match="Out of range float"):
            encode("step", step_s=float("nan"))
        for name in ("../state", "/etc/passwd", ".hidden", "", None, "a\0b"):
            with pytest.raises(ProtocolError, match="expected the name of a file"):
                file_in(tmp_path, name)
    finally:
        os.close(reading)
        os.close(writing)


def test_nothing_but_the_engine_of_models_imports_torch() -> None:
    names = "worker_main, supervisor, engine_child, fake_engine, ray_workers, dead_workers"
    code = f"import sys; from cogvideox.serving import {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

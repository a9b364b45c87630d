"""Workers and engines are killed at random: no job is lost, none is made twice, and nothing is left behind."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cogvideox.serving.janitor import Retention, sweep
from serving_workers import bench, kill

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")

NUM_JOBS = 30
TIME_S = 80.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_random_kills_lose_nothing(kind: str, quick_folder: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else None
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with bench(quick_folder, url) as work:
        ids = [work.submit(f"job {number}", seed=number) for number in range(NUM_JOBS)]
        workers: list[subprocess.Popen] = [work.start(lease_s=1.0, grace_s=2.0) for _ in range(2)]
        num_kills, end_s = 0, time.monotonic() + TIME_S
        while not all(work.job(job_id).is_terminal for job_id in ids):
            assert time.monotonic() < end_s, [work.job(job_id) for job_id in ids if not work.job(job_id).is_terminal]
            time.sleep(chance.uniform(0.3, 1.2))
            index = chance.randrange(2)
            if num_kills < 12:
                num_kills += 1
                victim = workers[index]
                match chance.randrange(4):
                    case 0:
                        kill(victim)
                    case 1:
                        victim.send_signal(signal.SIGTERM)
                    case 2:
                        for engine in _children(victim.pid):
                            os.kill(engine, signal.SIGKILL)
                    case _:
                        victim.send_signal(signal.SIGSTOP)
                        time.sleep(chance.uniform(0.0, 1.5))
                        victim.send_signal(signal.SIGCONT)
            if workers[index].poll() is not None:
                workers[index] = work.start(lease_s=1.0, grace_s=2.0)
        jobs = [work.job(job_id) for job_id in ids]
        for job in jobs:
            if job.state == "failed":  # the same job was hit twice
                assert (job.error_code, job.num_crashes) == ("worker_lost", 2)
            else:
                assert all(work.files.is_whole(file) for file in job.files.values())
                assert 1 <= job.attempt <= job.max_attempts
        assert sum(job.state == "completed" for job in jobs) >= NUM_JOBS - num_kills // 2
        for process in workers:
            kill(process)
        sweep(work.store, work.files, Retention(grace_s=0.0, released_grace_s=0.0))
        kept = {path.name for path in (quick_folder / "files").rglob("*") if path.is_file()}
        assert kept == {file.sha256 for job in jobs for file in job.files.values()}
        assert not any((quick_folder / "work").iterdir())


def _children(pid: int) -> list[int]:
    try:
        return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []

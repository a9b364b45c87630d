"""Workers that Ray runs."""

import os
import signal
import time
from pathlib import Path

import pytest

from cogvideox.serving.engine_protocol import EngineSettings
from cogvideox.serving.worker import WorkerSettings
from serving_workers import bench

pytest.importorskip("ray")


@pytest.mark.slow
def test_workers_that_ray_runs_come_back_and_lose_nothing(quick_folder: Path) -> None:
    import ray

    from cogvideox.serving.ray_workers import ray_workers

    settings = WorkerSettings(
        store=f"sqlite:///{quick_folder}/jobs.sqlite3",
        data_dir=quick_folder,
        engine=EngineSettings(engine="fake", cache_folder=quick_folder / "cache", fake_step_s=0.05),
        lease_s=2.0,
        grace_s=2.0,
    )
    with bench(quick_folder) as work:
        ids = [work.submit(f"job {number}", num_steps=20) for number in range(8)]
        with ray_workers("local", settings, num_workers=2) as actors:
            work.wait(ids[0], lambda job: job.step >= 3)
            while (pid := ray.get(actors[0].pid.remote())) is None:  # it may still be starting
                time.sleep(0.05)
            os.kill(pid, signal.SIGKILL)
            ray.kill(actors[1], no_restart=False)
            for job_id in ids:
                assert work.wait(job_id).state == "completed"
            end_s = time.monotonic() + 20
            while len(work.store.workers()) < 2 and time.monotonic() < end_s:
                time.sleep(0.2)
            assert ray.get(actors[0].pid.remote()) != pid
        end_s = time.monotonic() + 10
        while any(worker.silent_s < 5 for worker in work.store.workers()) and time.monotonic() < end_s:
            time.sleep(0.2)

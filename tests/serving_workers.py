"""Workers in processes of their own, and jobs for them."""

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogvideox.media.reading import probe_video
from cogvideox.serving.engine_protocol import EngineSettings
from cogvideox.serving.files import FileStore
from cogvideox.serving.job import FileRef, Job, NewJob, QueueLimits
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.process_ties import start_process
from cogvideox.serving.video_params import VideoParams, params_json
from cogvideox.serving.worker import WorkerSettings

WAIT_S = 60.0


@dataclass
class Bench:
    """A store, its files, and the workers on it."""

    folder: Path
    url: str
    engine: str = "fake"
    store: JobStore = field(init=False)
    files: FileStore = field(init=False)
    processes: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = JobStore.open(self.url, limits=QueueLimits(max_queued=0, max_queued_per_owner=0))
        self.files = FileStore(self.folder)

    def submit(self, prompt: str, *, seed: int = 1, files: Mapping[str, FileRef] | None = None, **params: Any) -> str:
        values: dict[str, Any] = {"num_frames": 9, "height_px": 32, "width_px": 48, "fps": 8.0, "num_steps": 8}
        values |= {"guidance_scale": 6.0, "prompt": prompt} | params
        new = NewJob(
            owner="ann",
            model="tiny",
            params=params_json(VideoParams(**values)),
            params_digest=f"{prompt}-{seed}",
            seed=seed,
            num_steps=values["num_steps"],
            files=files or {},
        )
        return self.store.submit(new).job.id

    def start(self, **values: Any) -> subprocess.Popen:
        engine = EngineSettings(
            engine=self.engine,  # pyright: ignore[reportArgumentType]
            cache_folder=self.folder / "cache",
            fake_step_s=values.pop("step_s", 0.02),
        )
        settings = WorkerSettings(
            **{"store": self.url, "data_dir": self.folder, "engine": engine, "min_stall_s": 5.0, "lease_s": 20.0}
            | values
        )
        process = start_process("cogvideox.serving.worker_main", dataclasses.asdict(settings))
        self.processes.append(process)
        return process

    def job(self, job_id: str) -> Job:
        job = self.store.get(job_id)
        assert job is not None
        return job

    def wait(self, job_id: str, is_so: Callable[[Job], bool] = lambda job: job.is_terminal) -> Job:
        end_s = time.monotonic() + WAIT_S
        while not is_so(job := self.job(job_id)):
            assert time.monotonic() < end_s, f"still {job}"
            time.sleep(0.05)
        return job

    def end(self) -> None:
        for process in self.processes:
            kill(process)
        self.store.close()


@contextmanager
def bench(folder: Path, url: str | None = None, engine: str = "fake") -> Iterator[Bench]:
    made = Bench(folder=folder, url=url or f"sqlite:///{folder}/jobs.sqlite3", engine=engine)
    try:
        yield made
    finally:
        made.end()


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def engine_of(process: subprocess.Popen) -> int:
    """Return the number of the process of a worker's engine."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def ready_engine(work: Bench, process: subprocess.Popen) -> int:
    """Wait until a worker has an engine that can do jobs, and return the number of its process."""
    end_s = time.monotonic() + 60
    while not any(worker.pid == process.pid and worker.state == "ready" for worker in work.store.workers()):
        assert time.monotonic() < end_s
        time.sleep(0.05)
    return engine_of(process)


def kill_engine(process: subprocess.Popen) -> None:
    os.kill(engine_of(process), signal.SIGKILL)


def check_result(work: Bench, job: Job, tmp_path: Path) -> None:
    assert job.state == "completed", (job.error_code, job.error_message)
    assert {"result", "thumbnail", "spritesheet"} <= set(job.files) and "checkpoint" not in job.files
    assert all(work.files.is_whole(file) for file in job.files.values())
    path = tmp_path / "result.mp4"
    path.write_bytes(work.files.read(job.files["result"]))
    facts = probe_video(path)
    assert (facts.num_frames, facts.fps, facts.width_px, facts.height_px) == (9, 8.0, 48, 32)

"""``cogvideox worker``: one more process that makes videos of jobs, on this or any other host."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cogvideox.cli.output import OK

Hidden = Parameter(show=False)
"""For tests of what is around an engine."""


def worker(
    *,
    store: str | None = None,
    data_dir: Path | None = None,
    model: str = "tiny",
    device: str = "cpu",
    dtype: str = "auto",
    grace: float = 30.0,
    worker_id: str = "",
    engine: Annotated[Literal["torch", "fake"], Hidden] = "torch",
    fake_step: Annotated[float, Hidden] = 0.05,
    lease: Annotated[float, Hidden] = 60.0,
    stall: Annotated[float, Hidden] = 60.0,
) -> int:
    """Make videos of the jobs in a store, until SIGTERM or Ctrl-C.

    A job that does not end within --grace then is left, with its state, to another worker.

    Parameters
    ----------
    store
        URL of the store of jobs, postgresql://USER@HOST/NAME for several hosts (default: SQLite in --data-dir).
    data_dir
        Folder with the files of jobs, the same for all that use the store (default: of this user).
    model
        Embedded or pulled model, or checkpoint directory; as the server names it.
    device
        cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    grace
        Seconds for a job to end after SIGTERM.
    worker_id
        Name of this worker (default: made of host and process).
    engine
        torch; fake makes no videos, it tries what is around an engine.
    fake_step
        Seconds of its steps.
    lease
        Seconds without a sign of life after which a job goes to another worker.
    stall
        Seconds without progress after which an engine is killed.
    """
    from cogvideox.checkpoints.directory import read_configs
    from cogvideox.serving.data_folder import default_data_folder, store_url
    from cogvideox.serving.engine_protocol import EngineSettings
    from cogvideox.serving.serving_log import log_as_json
    from cogvideox.serving.worker import WorkerSettings
    from cogvideox.serving.worker_main import run_worker

    read_configs(model)
    folder = (data_dir or default_data_folder()).absolute()
    settings = WorkerSettings(
        store=store or store_url(folder),
        data_dir=folder,
        engine=EngineSettings(
            engine=engine,
            model=model,
            device=device,
            dtype=dtype,
            cache_folder=folder / "cache",
            fake_step_s=fake_step,
        ),
        worker_id=worker_id,
        grace_s=grace,
        lease_s=lease,
        min_stall_s=stall,
    )
    log_as_json()
    run_worker(settings)
    return OK

"""``cogvideox serve``: page, API and workers, nothing else to start."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK

DEFAULT_PORT = 8000

Flag = Annotated[bool, Parameter(negative="")]
Hidden = Parameter(show=False)
"""For tests of what is around an engine."""


def serve(
    *,
    model: str = "tiny",
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    data_dir: Path | None = None,
    store: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    workers: int = 1,
    grace: float = 30.0,
    require_key: Flag = False,
    insecure_no_auth: Flag = False,
    allowed_host: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    lenient: Flag = False,
    ray_address: str | None = None,
    gpus_per_worker: float = 0.0,
    engine: Annotated[Literal["torch", "fake"], Hidden] = "torch",
    fake_step: Annotated[float, Hidden] = 0.05,
    lease: Annotated[float, Hidden] = 60.0,
    stall: Annotated[float, Hidden] = 60.0,
) -> int:
    """Serve the page and the API, with a worker, on this machine, until SIGTERM or Ctrl-C. No video is ever lost.

    Ctrl-C lets running videos end within --grace, or leaves them, with their state, for the next start.

    Parameters
    ----------
    model
        Embedded or pulled model, or checkpoint directory.
    host
        Address to listen on; any other than this machine's own needs keys (cogvideox keys new).
    port
        Of the page and the API; 0 takes any free one.
    data_dir
        Folder for jobs and videos (default: cogvideox in the data folder of this user).
    store
        postgresql://USER@HOST/NAME, for workers on several hosts (default: SQLite in --data-dir).
    device
        cpu, cuda, cuda:N or mps.
    dtype
        auto, float32, bfloat16 or float16.
    workers
        How many, each with its own model in memory; 0 if others join with cogvideox worker.
    grace
        Seconds for running videos to end when the service ends.
    require_key
        Ask for keys on this machine too.
    insecure_no_auth
        Let anybody in who reaches the address.
    allowed_host
        Names that the page is called by, behind a proxy say.
    lenient
        Take OpenAI's sizes and model names for the nearest ones here.
    ray_address
        Of a Ray cluster, or local: it places the workers and starts them again.
    gpus_per_worker
        With --ray-address: GPUs that each worker has.
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
    from cogvideox.serving.api.run import listen
    from cogvideox.serving.api.settings import ApiSettings
    from cogvideox.serving.data_folder import default_data_folder, store_url
    from cogvideox.serving.engine_protocol import EngineSettings
    from cogvideox.serving.network import is_loopback
    from cogvideox.serving.serving_log import log_as_json
    from cogvideox.serving.supervisor import ServiceSettings, Supervisor
    from cogvideox.serving.worker import WorkerSettings

    read_configs(model)
    folder = (data_dir or default_data_folder()).absolute()
    url = store or store_url(folder)
    is_open = not is_loopback(host)
    needs_key = (require_key or is_open) and not insecure_no_auth
    if is_open and needs_key:
        _require_keys(url, folder, host)
    worker = WorkerSettings(
        store=url,
        data_dir=folder,
        engine=EngineSettings(
            engine=engine,
            model=model,
            device=device,
            dtype=dtype,
            cache_folder=folder / "cache",
            fake_step_s=fake_step,
        ),
        grace_s=grace,
        lease_s=lease,
        min_stall_s=stall,
    )
    listener = listen(host, port)
    api = ApiSettings(
        store_url=url,
        data_dir=folder,
        models=(model,),
        host=host,
        port=listener.getsockname()[1],
        allowed_hosts=tuple(allowed_host or ()),
        requires_key=needs_key,
        compatibility="lenient" if lenient else "strict",
    )
    settings = ServiceSettings(api=api, worker=worker, num_workers=workers)
    log_as_json()
    console = Console(highlight=False)
    shown = f"[{host}]" if ":" in host else host

    def tell() -> None:
        console.print(f"open http://{shown}:{api.port}/", markup=False, soft_wrap=True)
        console.print(f"jobs and videos are in {folder}; Ctrl-C ends it, nothing is lost", markup=False, soft_wrap=True)
        console.file.flush()

    if ray_address is not None:
        from cogvideox.serving.ray_workers import ray_workers

        with ray_workers(ray_address, worker, num_workers=workers, gpus_per_worker=gpus_per_worker):
            Supervisor(replace(settings, num_workers=0), listener).run(tell)
        return OK
    Supervisor(settings, listener).run(tell)
    return OK


def _require_keys(url: str, folder: Path, host: str) -> None:
    """Raise ValueError unless there is a key: others than this machine's users reach the host."""
    from cogvideox.serving.files import FileStore
    from cogvideox.serving.job_store import JobStore
    from cogvideox.serving.keys import KeyRing, kept_pepper

    FileStore(folder)
    store = JobStore.open(url)
    try:
        has_key = KeyRing(store.database, kept_pepper(folder)).has_valid_key()
    finally:
        store.close()
    if not has_key:
        raise ValueError(
            f"--host {host}: other machines can reach it, and there are no keys yet; make one with cogvideox keys new "
            f"--data-dir {folder}, or let anybody in with --insecure-no-auth"
        )

"""``cogvideox serve``: page, API and workers, nothing else to start."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cogvideox.cli.output import OK, discard_output
from cogvideox.cli.serving_flags import (
    AccessFlags,
    ChatFlags,
    Flag,
    Hidden,
    InputFlags,
    QueueFlags,
    StoreFlags,
    StorePlace,
    WorkerFlags,
    check_range,
)

if TYPE_CHECKING:
    from cogvideox.serving.api.settings import ApiSettings

DEFAULT_PORT = 8000
MAX_WORKERS = 1024
_MAKING, _PLACES, _QUEUE = WorkerFlags(), StoreFlags(), QueueFlags()
_INPUTS, _ACCESS, _CHAT = InputFlags(), AccessFlags(), ChatFlags()


def serve(
    *,
    making: Annotated[WorkerFlags, Parameter(name="*")] = _MAKING,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    workers: int = 1,
    paused: Flag = False,
    places: Annotated[StoreFlags, Parameter(name="*", group="Jobs and files")] = _PLACES,
    queue: Annotated[QueueFlags, Parameter(name="*", group="Limits")] = _QUEUE,
    inputs: Annotated[InputFlags, Parameter(name="*", group="Requests")] = _INPUTS,
    access: Annotated[AccessFlags, Parameter(name="*", group="Access")] = _ACCESS,
    chat: Annotated[ChatFlags, Parameter(name="*", group="Prompts")] = _CHAT,
    ray_address: Annotated[str | None, Parameter(group="Ray")] = None,
    gpus_per_worker: Annotated[float, Parameter(group="Ray")] = 0.0,
    hang: Annotated[float, Hidden] = 40.0,
) -> int:
    """Serve the page and the API, with a worker, on this machine, until SIGTERM or Ctrl-C. No video is ever lost.

    Ctrl-C lets running videos end within --grace, or leaves them, with their state, for the next start.

    Parameters
    ----------
    making, places, queue, inputs, access, chat
        Flags in groups.
    host
        Address to listen on; any other than this machine's own needs keys (cogvideox keys new).
    port
        Of the page and the API; 0 takes any free one.
    workers
        How many, each with its own model in memory; 0 if others join with cogvideox worker.
    paused
        Start no worker: videos are listed, canceled and taken, but not made.
    ray_address
        Of a Ray cluster, or local: it places the workers and starts them again.
    gpus_per_worker
        With --ray-address: GPUs that each worker has.
    hang
        Seconds without an answer after which a process is started anew.
    """
    from cogvideox.serving.api.run import listen
    from cogvideox.serving.api.settings import ApiSettings
    from cogvideox.serving.files import keep_files_private
    from cogvideox.serving.network import is_loopback
    from cogvideox.serving.serving_log import log_as_json
    from cogvideox.serving.supervisor import ServiceSettings, Supervisor

    check_range("--workers", workers, least=0, most=MAX_WORKERS)
    check_range("--hang", hang, least=1)
    if ray_address is None and gpus_per_worker:
        raise ValueError("--gpus-per-worker: only with --ray-address; here --device cuda:N chooses the GPU")
    keep_files_private()
    place = places.place()
    is_here = ray_address is None and workers > 0 and not paused
    worker = making.settings(place, queue.limits, is_here=is_here)
    chat_settings = chat.settings()
    is_open = not is_loopback(host)
    needs_key = (access.require_key or is_open) and not access.insecure_no_auth
    listener = listen(host, port)
    if is_open and needs_key:
        _require_keys(place, host)
    api = ApiSettings(
        store_url=place.url,
        data_dir=place.folder,
        models=(making.model,),
        host=host,
        port=listener.getsockname()[1],
        allowed_hosts=tuple(access.allowed_host or ()),
        requires_key=needs_key,
        max_requests_per_minute=queue.max_requests_per_minute,
        has_remote_fetch=inputs.allow_fetch is not None,
        fetch_domains=tuple(inputs.allow_fetch or ()),
        compatibility="lenient" if inputs.lenient else "strict",
        queue=queue.limits,
        inputs=inputs.limits,
        floor=queue.floor,
        retention_s=queue.retention_s,
        device_memory_bytes=queue.device_memory_bytes,
        has_prompts_in_log=access.log_prompts,
        chat=chat_settings,
    )
    log_as_json()
    with ExitStack() as stack:
        if ray_address is not None and not paused:
            from cogvideox.serving.ray_workers import ray_workers

            placed = ray_workers(ray_address, worker, num_workers=workers, gpus_per_worker=gpus_per_worker)
            stack.enter_context(placed)
        settings = ServiceSettings(api=api, worker=worker, num_workers=workers if is_here else 0, hang_s=hang)
        Supervisor(settings, listener).run(lambda: _tell(api, is_paused=paused))
    return OK


def _tell(api: "ApiSettings", *, is_paused: bool) -> None:
    """Print where the service is; it goes on if nobody reads that."""
    shown = f"[{api.host}]" if ":" in api.host else api.host
    lines = [f"open http://{shown}:{api.port}/"]
    if is_paused:
        lines.append("paused: no video is made here until it is started without --paused")
    lines.append(f"jobs and videos are in {api.data_dir}; Ctrl-C ends it, nothing is lost")
    try:
        for line in lines:
            print(line, flush=True)
    except BrokenPipeError:
        discard_output()


def _require_keys(place: StorePlace, host: str) -> None:
    """Raise ValueError unless there is a key: others than this machine's users reach the host."""
    from cogvideox.serving.data_folder import check_store_kept
    from cogvideox.serving.files import FileStore
    from cogvideox.serving.job_store import JobStore
    from cogvideox.serving.keys import KeyRing, kept_pepper

    FileStore(place.folder)
    check_store_kept(place.url, place.folder)
    store = JobStore.open(place.url)
    try:
        has_key = KeyRing(store.database, kept_pepper(place.folder, store.database)).has_valid_key()
    finally:
        store.close()
    if not has_key:
        raise ValueError(
            f"--host {host}: other machines can reach it, and there are no keys yet; make one with cogvideox keys new "
            f"--data-dir {place.folder}, or let anybody in with --insecure-no-auth"
        )

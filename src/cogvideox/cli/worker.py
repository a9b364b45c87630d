"""``cogvideox worker``: one more process that makes videos of jobs, on this or any other host."""

from typing import Annotated

from cyclopts import Parameter

from cogvideox.cli.output import OK
from cogvideox.cli.serving_flags import StoreFlags, WorkerFlags, check_range

_PLACES, _MAKING = StoreFlags(), WorkerFlags()


def worker(
    *,
    places: Annotated[StoreFlags, Parameter(name="*", group="Jobs and files")] = _PLACES,
    making: Annotated[WorkerFlags, Parameter(name="*")] = _MAKING,
    max_running_per_key: int = 0,
    worker_id: str = "",
) -> int:
    """Make videos of the jobs in a store, until SIGTERM or Ctrl-C.

    A job that does not end within --grace then is left, with its state, to another worker.

    Parameters
    ----------
    making, places
        Flags in groups.
    max_running_per_key
        As the server has it; 0 is no limit.
    worker_id
        Name of this worker (default: made of host and process).
    """
    from cogvideox.serving.files import keep_files_private
    from cogvideox.serving.job import QueueLimits
    from cogvideox.serving.serving_log import log_as_json
    from cogvideox.serving.worker_main import run_worker

    check_range("--max-running-per-key", max_running_per_key, least=0)
    keep_files_private()
    place = places.place(needs_shared_folder=True)
    place.check_store(may_make=False)
    limits = QueueLimits(max_running_per_owner=max_running_per_key)
    settings = making.settings(place, limits, worker_id=worker_id)
    log_as_json()
    run_worker(settings)
    return OK

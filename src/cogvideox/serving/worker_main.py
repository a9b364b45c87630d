"""A worker as the only thing that a process does."""

import os
import signal
import sys

from cogvideox.errors import CheckpointError, MissingPackageError
from cogvideox.serving.files import keep_files_private
from cogvideox.serving.job import StoreError
from cogvideox.serving.process_ties import settings_from_parent
from cogvideox.serving.serving_log import log_as_json
from cogvideox.serving.worker import JobWorker, WorkerSettings
from cogvideox.settings import build_dataclass

BAD_CHECKPOINT = 3


def run_worker(settings: WorkerSettings) -> None:
    """Work until SIGTERM or SIGINT. Raises StoreError, CheckpointError."""
    worker = JobWorker(settings)
    worker.stop_on_signals()
    worker.run()


def main() -> int:
    """Be a worker of `cogvideox.serving.supervisor`."""
    values = settings_from_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    keep_files_private()
    log_as_json()
    try:
        run_worker(build_dataclass(WorkerSettings, values, where="settings"))
    except (CheckpointError, StoreError, MissingPackageError) as error:
        print(f"error: worker: {error}", file=sys.stderr, flush=True)
        return BAD_CHECKPOINT
    return 0


if __name__ == "__main__":
    sys.exit(main())

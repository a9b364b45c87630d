"""Workers that Ray places on a cluster's machines and starts again; the store of jobs stays the only truth.

Every actor keeps one worker process running, with the GPUs that Ray gave to the actor. The store and the data directory
must be reachable from all machines.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cogvideox.serving.libraries import ray
from cogvideox.serving.process_ties import start_process
from cogvideox.serving.worker import WorkerSettings

LOCAL = "local"
"""Instead of an address: a cluster of this machine alone, for as long as the service runs."""
CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where Ray notes which cluster runs on this machine."""
CONNECT_S = 3.0
BACKOFF_S = 2.0
LOOK_S = 0.2
END_S = 15.0
"""For a worker to end after its grace."""


class WorkerActor:
    """Keeps a worker process running where Ray has put it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take the settings of the worker, as plain values."""
        self._settings = settings
        self._process: subprocess.Popen | None = None
        self._is_ending = False

    def run(self) -> None:
        """Keep the worker running until `stop` is called."""
        while not self._is_ending:
            process = self._process = start_process("cogvideox.serving.worker_main", self._settings)
            while process.poll() is None:
                time.sleep(LOOK_S)
            if process.stdin is not None:
                process.stdin.close()
            if not self._is_ending:
                time.sleep(BACKOFF_S)

    def stop(self) -> None:
        """Let the worker end, or leave its job to another."""
        self._is_ending = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=self._settings["grace_s"] + END_S)

    def pid(self) -> int | None:
        """Return the number of the worker's process; None before the first one."""
        return None if self._process is None else self._process.pid


def check_cluster(address: str) -> None:
    """Raise ValueError unless there may be a cluster at an address; Ray itself would try for a minute."""
    if address == LOCAL:
        return
    if address == "auto":
        if not CLUSTER.exists() and not os.environ.get("RAY_ADDRESS"):
            raise ValueError("--ray-address: no cluster runs on this machine; start one with ray start, or name one")
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--ray-address: expected local, auto or HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"--ray-address: {address} cannot be reached ({reason}); start it, or correct it") from None


@contextmanager
def ray_workers(
    address: str, settings: WorkerSettings, *, num_workers: int, gpus_per_worker: float = 0.0
) -> Iterator[list[Any]]:
    """Have Ray run workers for the time of a block; gives the actors.

    Args:
        address: of the cluster, or ``local``.
        settings: of each worker; names are made.
        num_workers: how many.
        gpus_per_worker: that each one has for itself.

    Raises:
        MissingPackageError: Ray is not installed.
        ValueError: a number is out of range, or there is no cluster at the address.
    """
    if num_workers < 1:
        raise ValueError(f"--workers: expected at least 1 with --ray-address, got {num_workers}")
    if gpus_per_worker < 0:
        raise ValueError(f"--gpus-per-worker: expected at least 0, got {gpus_per_worker}")
    check_cluster(address)
    library = ray()
    options: dict[str, Any] = {"include_dashboard": False, "num_cpus": num_workers} if address == LOCAL else {}
    place = LOCAL if address == LOCAL else address
    library.init(address=place, namespace="cogvideox", log_to_driver=True, **options)
    # An actor answers `stop` while it runs; a worker waits for its engine most of the time.
    placed = library.remote(
        num_cpus=1 if address == LOCAL else 0.5,
        num_gpus=gpus_per_worker,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=3,
    )(WorkerActor)
    plain = dataclasses.asdict(dataclasses.replace(settings, worker_id=""))
    try:
        actors = [placed.remote(plain) for _ in range(num_workers)]
        runs = [actor.run.remote() for actor in actors]
        yield actors
        stops = [actor.stop.remote() for actor in actors]
        library.wait([*stops, *runs], num_returns=len(stops) + len(runs), timeout=settings.grace_s + END_S)
    finally:
        library.shutdown()

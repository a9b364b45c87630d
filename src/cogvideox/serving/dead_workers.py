"""Jobs of workers that died on this machine go back at once, without waiting for their leases.

Only what is certain counts: the same boot, the same name space of processes, and a process with that number and start
that is not there. On other systems than Linux, and for workers elsewhere, leases do it.
"""

import os
from pathlib import Path

from cogvideox.serving.job import WORKER_LOST, Reaped, Worker
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.leases import MESSAGES

PLACE = "process_place"
START = "process_start"
"""Facts of a worker."""
ENDED = "ended"
"""Instead of its start, for a process that only waits to be forgotten."""
_PROCESSES = Path("/proc")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAME_SPACE = "/proc/self/ns/pid"
_START_FIELD = 19
"""Of ``/proc/PID/stat``, counted behind the name of the program."""


def process_facts() -> dict[str, str]:
    """Return what tells this process from all others, ever; nothing where the system does not say."""
    place, start = _place(), _start_of(os.getpid())
    return {} if place is None or start is None else {PLACE: place, START: start}


def give_back_jobs_of_dead_workers(store: JobStore) -> tuple[Reaped, ...]:
    """Give back the jobs of workers that are certainly dead, and strike those off the list."""
    place, reaped = _place(), []
    for worker in store.workers():
        if place is None or worker.facts.get(PLACE) != place or not _is_dead(worker):
            continue
        job = None if worker.job_id is None else store.get(worker.job_id)
        if job is not None and job.state == "in_progress" and job.worker_id == worker.id and job.lease_token:
            outcome = store.fail(
                job.id, job.lease_token, WORKER_LOST, MESSAGES[WORKER_LOST], is_retryable=True, is_crash=True
            )
            code = None if outcome == "queued" else WORKER_LOST
            reaped.append(Reaped(job_id=job.id, outcome=outcome, error_code=code))
        store.remove_worker(worker.id)
    return tuple(reaped)


def _is_dead(worker: Worker) -> bool:
    start = _start_of(worker.pid)
    if start is not None:
        return start != worker.facts.get(START)
    # A system may hide the processes of other users (hidepid): what is not seen need not be dead.
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _place() -> str | None:
    try:
        return f"{_BOOT.read_text().strip()} {os.readlink(_NAME_SPACE)}"
    except OSError:
        return None


def _start_of(pid: int) -> str | None:
    """Return when a process began, in ticks since the boot, or `ENDED`; None if it cannot be seen."""
    try:
        fields = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ENDED if fields[0] in ("Z", "X") else fields[_START_FIELD]

"""Processes and databases that die at any moment: what was accepted is there, once, and only once taken."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from cogvideox.serving.job import QueueLimits
from cogvideox.serving.job_store import JobStore
from job_store_model import file_ref, new_job

NO_LIMITS = QueueLimits(max_queued=0, max_queued_per_owner=0)
PRELUDE = """
import os, signal, sys
from cogvideox.serving.job import QueueLimits
from cogvideox.serving.job_store import JobStore
from job_store_model import file_ref, new_job
store = JobStore.open(sys.argv[1], limits=QueueLimits(max_queued=0, max_queued_per_owner=0))
"""
WORKER = """
while (job := store.claim(sys.argv[2])) is not None:
    print(job.id, flush=True)
    assert store.complete(job.id, job.lease_token, files={"result": file_ref(job.id)}) == "completed"
"""
DIES_BEFORE_IT_ANSWERS = """
job = store.submit(new_job(), idempotency_key="k").job
os.kill(os.getpid(), signal.SIGKILL)
"""
SUBMITS_FOREVER = """
number = 0
while True:
    job = store.submit(new_job(owner=f"o{number}"), idempotency_key=str(number)).job
    print(job.id, flush=True)
    number += 1
    if number % 3 == 0 and (taken := store.claim("w", lease_s=0.01)) is not None and number % 2:
        store.complete(taken.id, taken.lease_token, files={"result": file_ref(taken.id)})
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    paths = [path for path in sys.path if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", PRELUDE + code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_hundred_jobs_are_taken_once_each_by_four_processes(store_url: str) -> None:
    store = JobStore.open(store_url, limits=NO_LIMITS)
    ids = {store.submit(new_job(owner=f"o{number % 7}")).job.id for number in range(200)}
    workers = [start(WORKER, store_url, f"w{number}") for number in range(4)]
    taken = Counter(line for worker in workers for line in worker.communicate()[0].split())
    assert all(worker.returncode == 0 for worker in workers)
    assert set(taken) == ids and set(taken.values()) == {1}
    assert store.counts().by_state["completed"] == 200
    store.close()


def test_a_process_killed_between_commit_and_answer_leaves_one_job(store_url: str) -> None:
    store = JobStore.open(store_url, limits=NO_LIMITS)
    assert start(DIES_BEFORE_IT_ANSWERS, store_url).wait() == -signal.SIGKILL
    again = store.submit(new_job(), idempotency_key="k")
    assert again.is_replay and [job.id for job in store.page().jobs] == [again.job.id]
    store.close()


def test_what_was_answered_is_there_after_kills_at_any_moment(store_url: str) -> None:
    chance = random.Random(5)
    answered: list[str] = []
    for _ in range(4):
        process = start(SUBMITS_FOREVER, store_url)
        assert process.stdout is not None
        answered += [process.stdout.readline().strip() for _ in range(chance.randrange(1, 25))]
        process.kill()
        answered += process.stdout.read().split()
    store = JobStore.open(store_url, limits=NO_LIMITS)
    check_invariants(store, answered)
    store.close()


def test_a_disk_as_it_was_at_any_moment_opens_and_holds_what_was_answered(tmp_path: Path) -> None:
    """What a power cut leaves: the files of SQLite between two writes, without the memory that processes share."""
    folder = tmp_path / "live"
    folder.mkdir()
    url = f"sqlite:///{folder}/jobs.sqlite3"
    process = start(SUBMITS_FOREVER, url)
    assert process.stdout is not None
    chance, copies, answered = random.Random(7), [], []
    for number in range(6):
        answered += [process.stdout.readline().strip() for _ in range(chance.randrange(1, 30))]
        process.send_signal(signal.SIGSTOP)
        copy = tmp_path / str(number)
        copy.mkdir()
        for name in ("jobs.sqlite3", "jobs.sqlite3-wal"):
            shutil.copyfile(folder / name, copy / name)
        wal = copy / "jobs.sqlite3-wal"
        if number % 2:  # the last write was torn; what was answered was in the ones before
            known = wal.stat().st_size
            with wal.open("ab") as file:
                file.write(chance.randbytes(chance.randrange(1, 9000)))
            assert wal.stat().st_size > known
        copies.append((copy, list(answered)))
        process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate()
    for copy, before in copies:
        store = JobStore.open(f"sqlite:///{copy}/jobs.sqlite3", limits=NO_LIMITS)
        check_invariants(store, before)
        store.close()


def check_invariants(store: JobStore, answered: list[str]) -> None:
    found = {job.id: job for job in store.changes().jobs}
    assert set(answered) <= set(found)
    assert len({job.owner for job in found.values()}) <= len(found)
    for job in found.values():
        assert 0 <= job.attempt <= job.max_attempts
        assert job.is_terminal == (job.finished_us is not None)
        assert job.state != "completed" or job.files == {"result": file_ref(job.id)}
        assert job.state != "in_progress" or job.lease_token is not None
    # Everything that waits or was being worked on can be brought to its end.
    for _ in range(len(found) * 3):
        if (job := store.claim("after", lease_s=60)) is None:
            break
        store.complete(job.id, job.lease_token or "", files={"result": file_ref(job.id)})
    left = [job.state for job in store.changes().jobs if not job.is_terminal]
    assert left == []

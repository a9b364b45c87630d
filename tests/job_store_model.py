"""What a job store is to do, in its simplest form, and jobs to try it with."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cogvideox.serving.job import FileRef, NewJob

LIMITS = {"max_queued": 6, "max_queued_per_owner": 4, "max_running_per_owner": 2}
LEASE_S = 60
RETENTION_S = 600
DEADLINE_S = 3000
MAX_ATTEMPTS = 3


class Clock:
    """A clock that a test sets, and that goes on by so much whenever it is looked at."""

    def __init__(self) -> None:
        self.now_us = 1_800_000_000_000_000
        self.tick_us = 0

    def __call__(self) -> int:
        self.now_us += self.tick_us
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)


def new_job(**values: Any) -> NewJob:
    return NewJob(
        **{"owner": "ann", "model": "tiny", "params": {"prompt": "a fox"}, "params_digest": "d", "seed": 1} | values
    )


def file_ref(name: str) -> FileRef:
    return FileRef(sha256=hashlib.sha256(name.encode()).hexdigest(), num_bytes=len(name))


@dataclass
class ModelJob:
    id: str
    owner: str
    model: str
    priority: int
    digest: str
    created_s: float
    state: str = "queued"
    attempt: int = 0
    max_attempts: int = MAX_ATTEMPTS
    step: int = 0
    num_crashes: int = 0
    crash_step: int = -1
    token: str | None = None
    lease_until_s: float = 0
    not_before_s: float = 0
    is_cancel_requested: bool = False
    error_code: str | None = None
    is_deleted: bool = False
    expires_s: float | None = None
    is_expired: bool = False
    files: dict[str, FileRef] = field(default_factory=dict)
    is_purged: bool = False

    @property
    def is_live(self) -> bool:
        return self.state in ("queued", "in_progress")

    def end(self, state: str, now_s: float, code: str | None = None) -> str:
        self.state, self.error_code, self.expires_s = state, code, now_s + RETENTION_S
        self.files.pop("checkpoint", None)
        return "canceled" if code == "canceled" else state

    def crash(self) -> None:
        if self.step > self.crash_step:
            self.crash_step, self.num_crashes = self.step, 1
            self.max_attempts += 1
        else:
            self.num_crashes += 1

    def requeue(self, not_before_s: float) -> str:
        self.state, self.token, self.not_before_s = "queued", None, not_before_s
        return "queued"


@dataclass
class Model:
    """Jobs in the order in which they were made."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, str, float]] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    turn: int = 0
    tallies: Counter[str] = field(default_factory=Counter)

    def queued(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state == "queued"]

    def submit(self, new: NewJob, key: str | None, is_retry: bool, now_s: float) -> str:
        """Return the id of the job that it means, ``new``, ``full`` or ``conflict``."""
        entry = self.keys.get((new.owner, key)) if key is not None else None
        if entry is not None and entry[2] > now_s:
            return entry[0] if entry[1] == new.params_digest else "conflict"
        if is_retry and key is None:
            for job in reversed(self.jobs.values()):
                is_same = (job.owner, job.digest, job.is_deleted) == (new.owner, new.params_digest, False)
                if is_same and job.created_s > now_s - 120:
                    return job.id
        num_own = sum(job.owner == new.owner for job in self.queued())
        if len(self.queued()) >= LIMITS["max_queued"] or num_own >= LIMITS["max_queued_per_owner"]:
            return "full"
        return "new"

    def stored(self, job_id: str, new: NewJob, key: str | None, now_s: float) -> None:
        self.jobs[job_id] = ModelJob(job_id, new.owner, new.model, new.priority, new.params_digest, now_s)
        self.jobs[job_id].files = dict(new.files)
        self.turns.setdefault(new.owner, 0)
        if key is not None:
            self.keys[(new.owner, key)] = (job_id, new.params_digest, now_s + 24 * 3600)

    def reap(self, now_s: float) -> dict[str, str]:
        outcomes: dict[str, str] = {}
        for job in self.jobs.values():
            is_silent = job.state == "in_progress" and job.lease_until_s < now_s
            is_late = job.is_live and job.created_s + DEADLINE_S < now_s
            if not is_silent and not is_late:
                continue
            if is_silent:
                job.crash()
                self.tallies.update(["lease_lost", "attempts:lease_lost"])
            elif job.state == "in_progress":
                self.tallies["attempts:timeout"] += 1
            if job.is_cancel_requested:
                outcomes[job.id] = job.end("failed", now_s, "canceled")
            elif is_late:
                outcomes[job.id] = job.end("failed", now_s, "timeout")
            elif job.num_crashes >= 2 or job.attempt >= job.max_attempts:
                outcomes[job.id] = job.end("failed", now_s, "worker_lost")
            else:
                outcomes[job.id] = job.requeue(now_s)
            job.token = None
        return outcomes

    def next(self, models: Sequence[str], now_s: float) -> ModelJob | None:
        running = [job.owner for job in self.jobs.values() if job.state == "in_progress"]
        ready = [
            job
            for job in self.queued()
            if job.model in models
            and job.not_before_s <= now_s
            and running.count(job.owner) < LIMITS["max_running_per_owner"]
        ]
        return min(ready, key=lambda job: (-job.priority, self.turns[job.owner], job.created_s), default=None)

    def claimed(self, job: ModelJob, token: str, now_s: float) -> None:
        self.tallies["resumes"] += "checkpoint" in job.files
        self.turn += 1
        self.turns[job.owner] = self.turn
        job.state, job.token, job.lease_until_s = "in_progress", token, now_s + LEASE_S
        job.attempt += 1

    def refusal(self, job_id: str, token: str) -> str | None:
        job = self.jobs[job_id]
        if job.token != token:
            return "lost"
        if job.state == "in_progress":
            return None
        return "canceled" if job.error_code == "canceled" else job.state

    def complete(self, job_id: str, token: str, files: Mapping[str, FileRef], now_s: float) -> str:
        job = self.jobs[job_id]
        if (refusal := self.refusal(job_id, token)) is not None:
            return refusal
        if job.is_cancel_requested:
            return self.end_try(job, now_s, "canceled")
        job.files |= files
        self.tallies["attempts:completed"] += 1
        return job.end("completed", now_s)

    def fail(self, job_id: str, token: str, *, is_retryable: bool, is_crash: bool, delay_s: int, now_s: float) -> str:
        job = self.jobs[job_id]
        if (refusal := self.refusal(job_id, token)) is not None:
            return refusal
        if job.is_cancel_requested:
            return self.end_try(job, now_s, "canceled")
        if is_crash:
            job.crash()
        if is_crash and job.num_crashes >= 2:
            return self.end_try(job, now_s, "worker_lost")
        if is_retryable and job.attempt < job.max_attempts:
            self.tallies["attempts:internal"] += 1
            return job.requeue(now_s + delay_s)
        return self.end_try(job, now_s, "internal")

    def end_try(self, job: ModelJob, now_s: float, code: str) -> str:
        self.tallies[f"attempts:{code}"] += 1
        return job.end("failed", now_s, code)

    def release(self, job_id: str, token: str, now_s: float) -> str:
        job = self.jobs[job_id]
        if (refusal := self.refusal(job_id, token)) is not None:
            return refusal
        if job.is_cancel_requested:
            return self.end_try(job, now_s, "canceled")
        self.tallies["attempts:released"] += 1
        job.attempt -= 1
        return job.requeue(now_s)

    def visible(self, job_id: str, owner: str) -> ModelJob | None:
        job = self.jobs[job_id]
        return None if job.is_deleted or job.owner != owner else job

    def cancel(self, job: ModelJob, now_s: float) -> None:
        if job.is_live:
            job.is_cancel_requested = True
        if job.state == "queued":
            job.end("failed", now_s, "canceled")

    def expire(self, now_s: float) -> int:
        due = [job for job in self.jobs.values() if job.expires_s is not None and job.expires_s <= now_s]
        due = [job for job in due if not job.is_expired]
        for job in due:
            job.is_expired = True
        return len(due)

    def release_files(self) -> list[FileRef]:
        gone = [job for job in self.jobs.values() if not job.is_live and (job.is_deleted or job.is_expired)]
        files = [file for job in gone for file in job.files.values()]
        for job in gone:
            job.files, job.is_purged = {}, True
        return files

"""What workers do with jobs: take them, report, give them back; and what is done for workers that do not report.

A worker holds a job by a token. Everything that it says of the job counts only while the job still has that token
(fencing): one that was stopped, and wakes when another has its job, changes nothing.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from cogvideox.serving.database import Transaction, next_number
from cogvideox.serving.job import (
    CANCELED,
    MAX_CRASHES,
    TIMEOUT,
    WORKER_LOST,
    FileRef,
    Job,
    Outcome,
    Progress,
    QueueLimits,
    Reaped,
    Signal,
    storable_text,
)
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.outbox import enqueue
from cogvideox.serving.records import ended, files_json, files_of, job_of, to_json
from cogvideox.serving.schema import ENDED_BY_BOOT_US, jobs, owners

sa = sqlalchemy()

CHECKPOINT = "checkpoint"
"""Role of the state that another try goes on from; a job that has ended has none."""
LEASE_LOST, RESUMES = "lease_lost", "resumes"
"""Tallies; others are ``attempts:REASON`` and ``jobs:OUTCOME:CODE:MODEL``."""
RELEASED, REBOOTED = "released", "rebooted"
"""Reasons for the end of a try that are no codes of errors, beside ``completed`` and ``lease_lost``."""

IS_LIVE = jobs.c.state.in_(("queued", "in_progress"))
MESSAGES = {
    CANCELED: "the job was canceled",
    WORKER_LOST: "the worker died or did not report, again and again at the same place",
    TIMEOUT: "the job did not end within its time",
}


def has_lapsed(transaction: Transaction) -> Any:
    """Return the condition of jobs that `reap` is for."""
    is_silent = sa.and_(jobs.c.state == "in_progress", jobs.c.lease_until_us < transaction.steady_us)
    return sa.or_(is_silent, sa.and_(IS_LIVE, jobs.c.deadline_us < transaction.steady_us))


def is_there_work(transaction: Transaction, models: Sequence[str] | None) -> bool:
    """Whether `reap` or `claim` may find something: idle workers ask this often, and it writes nothing."""
    is_waiting = _is_ready(transaction, models)
    found = sa.select(jobs.c.id).where(sa.or_(is_waiting, has_lapsed(transaction))).limit(1)
    return transaction.connection.execute(found).one_or_none() is not None


def claim(
    transaction: Transaction, worker_id: str, models: Sequence[str] | None, lease_s: float, limits: QueueLimits
) -> Job | None:
    """Give a worker the next job: of the highest priority the owner's whose turn it is, and of that the oldest."""
    is_next = _is_ready(transaction, models)
    if limits.max_running_per_owner:
        other = jobs.alias("other")
        num_running = sa.select(sa.func.count()).where(other.c.owner == jobs.c.owner, other.c.state == "in_progress")
        is_next = sa.and_(is_next, num_running.scalar_subquery() < limits.max_running_per_owner)
    chosen = (
        sa.select(jobs)
        .join(owners, owners.c.owner == jobs.c.owner)
        .where(is_next)
        .order_by(jobs.c.priority.desc(), owners.c.last_claim, jobs.c.created_us, jobs.c.id)
        .limit(1)
        .with_for_update(of=jobs, skip_locked=True)
    )
    row = transaction.connection.execute(chosen).one_or_none()
    if row is None:
        return None
    if CHECKPOINT in files_of(row.files):
        transaction.counts[RESUMES] += 1
    turn = next_number(transaction.connection, "claim")
    transaction.connection.execute(sa.update(owners).where(owners.c.owner == row.owner).values(last_claim=turn))
    values = {
        "state": "in_progress",
        "attempt": row.attempt + 1,
        "lease_token": secrets.token_hex(16),
        "lease_until_us": transaction.steady_us + round(lease_s * 1e6),
        "worker_id": worker_id,
        "started_us": row.started_us or max(transaction.now_us, row.created_us),
    }
    return _changed(transaction, row.id, values)


def heartbeat(transaction: Transaction, job_id: str, token: str, progress: Progress, lease_s: float) -> Signal:
    """Prolong a lease and note how far the worker is."""
    values: dict[str, Any] = {
        "lease_until_us": transaction.steady_us + round(lease_s * 1e6),
        "change": transaction.change,
    }
    for name in ("stage", "step", "num_steps", "progress"):
        if (value := getattr(progress, name)) is not None:
            values[name] = storable_text(value) if isinstance(value, str) else value
    is_mine = sa.and_(jobs.c.id == job_id, jobs.c.lease_token == token, jobs.c.state == "in_progress")
    if progress.files:
        files = transaction.connection.execute(
            sa.select(jobs.c.files).where(is_mine).with_for_update()
        ).scalar_one_or_none()
        values["files"] = files_json(files_of(files or "{}") | dict(progress.files))
    told = sa.update(jobs).where(is_mine).values(values).returning(jobs.c.is_cancel_requested)
    is_cancel_requested = transaction.connection.execute(told).scalar_one_or_none()
    return Signal(is_lost=is_cancel_requested is None, is_cancel_requested=bool(is_cancel_requested))


def complete(
    transaction: Transaction,
    job_id: str,
    token: str,
    files: Mapping[str, FileRef],
    facts: Mapping[str, Any],
    warnings: Sequence[Mapping[str, Any]],
) -> Outcome:
    """Publish a result, unless the job is lost or was canceled. Saying so twice is harmless."""
    row = _row(transaction, job_id)
    if (outcome := _not_mine(row, token)) is not None:
        return outcome
    if row.is_cancel_requested:
        return _end_try(transaction, row, CANCELED)
    transaction.counts["attempts:completed"] += 1
    transaction.counts[f"jobs:completed::{row.model}"] += 1
    values = ended(row, "completed", transaction.now_us, transaction.change) | {
        "stage": "",
        "step": row.num_steps,
        "progress": 100,
        "files": files_json(_lasting_files(row) | dict(files)),
        "facts": to_json(facts),
        "warnings": to_json([*job_of(row).warnings, *warnings]),
    }
    enqueue(transaction, row.owner, row.id, "video.completed")
    _changed(transaction, row.id, values)
    return "completed"


def fail(
    transaction: Transaction,
    job_id: str,
    token: str,
    code: str,
    message: str,
    *,
    is_retryable: bool,
    is_crash: bool,
    delay_s: float,
) -> Outcome:
    """End a job with an error, or put it back into the queue if another try may help."""
    row = _row(transaction, job_id)
    if (outcome := _not_mine(row, token)) is not None:
        return outcome
    if row.is_cancel_requested:
        return _end_try(transaction, row, CANCELED)
    crash = _crashed(row) if is_crash else {}
    if crash.get("num_crashes", 0) >= MAX_CRASHES:
        return _end_try(transaction, row, WORKER_LOST, message, **crash)
    if is_retryable and row.attempt < crash.get("max_attempts", row.max_attempts):
        transaction.counts[f"attempts:{code}"] += 1
        not_before_us = transaction.steady_us + round(delay_s * 1e6)
        return _requeue(transaction, row, not_before_us=not_before_us, **crash)
    return _end_try(transaction, row, code, message, **crash)


def release(transaction: Transaction, job_id: str, token: str) -> Outcome:
    """Put a job back into the queue at once; the try does not count."""
    row = _row(transaction, job_id)
    if (outcome := _not_mine(row, token)) is not None:
        return outcome
    if row.is_cancel_requested:
        return _end_try(transaction, row, CANCELED)
    transaction.counts[f"attempts:{RELEASED}"] += 1
    return _requeue(transaction, row, not_before_us=transaction.steady_us, attempt=row.attempt - 1)


def reap(transaction: Transaction) -> tuple[Reaped, ...]:
    """Take jobs from workers that do not report, and end those whose time is over."""
    lapsed = sa.select(jobs).where(has_lapsed(transaction)).order_by(jobs.c.id).with_for_update(skip_locked=True)
    reaped: list[Reaped] = []
    for row in transaction.connection.execute(lapsed).all():
        is_silent = row.state == "in_progress" and row.lease_until_us < transaction.steady_us
        values: dict[str, Any] = {}
        if is_silent and row.lease_until_us == ENDED_BY_BOOT_US:  # no fault of the job, and no try of it
            values = {"max_attempts": row.max_attempts + 1}
            transaction.counts[f"attempts:{REBOOTED}"] += 1
        elif is_silent:
            values = _crashed(row)
            transaction.counts.update((LEASE_LOST, f"attempts:{LEASE_LOST}"))
        elif row.state == "in_progress":
            transaction.counts[f"attempts:{TIMEOUT}"] += 1
        code = None
        if row.is_cancel_requested:
            code = CANCELED
        elif row.deadline_us < transaction.steady_us:
            code = TIMEOUT
        elif values.get("num_crashes", 0) >= MAX_CRASHES or row.attempt >= values.get("max_attempts", row.max_attempts):
            code = WORKER_LOST
        if code is None:
            outcome = _requeue(transaction, row, not_before_us=transaction.steady_us, **values)
        else:
            # Without its token: the worker, if it wakes, must see that the job is lost.
            outcome = _fail(transaction, row, code, MESSAGES[code], lease_token=None, **values)
        reaped.append(Reaped(job_id=row.id, outcome=outcome, error_code=code))
    return tuple(reaped)


def cancel(transaction: Transaction, row: Any) -> Job:
    """End a job that waits; ask the worker of one that runs to stop; leave one that has ended."""
    if row.state == "queued":
        _fail(transaction, row, CANCELED, MESSAGES[CANCELED], is_cancel_requested=True)
        return job_of(_row(transaction, row.id))
    if row.state == "in_progress" and not row.is_cancel_requested:
        return _changed(transaction, row.id, {"is_cancel_requested": True})
    return job_of(row)


def _is_ready(transaction: Transaction, models: Sequence[str] | None) -> Any:
    """Return the condition of jobs that a worker of these models may take."""
    is_ready = sa.and_(jobs.c.state == "queued", jobs.c.not_before_us <= transaction.steady_us)
    is_ready = sa.and_(is_ready, jobs.c.attempt < jobs.c.max_attempts)
    return is_ready if models is None else sa.and_(is_ready, jobs.c.model.in_(tuple(models)))


def _row(transaction: Transaction, job_id: str) -> Any:
    return transaction.connection.execute(sa.select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()


def _not_mine(row: Any, token: str) -> Outcome | None:
    """Return None if a worker may change a job, else what became of it.

    A job that ended keeps the token that ended it. The answer to its worker may have got lost: it may ask again.
    """
    if row is None or row.lease_token != token:
        return "lost"
    if row.state == "in_progress":
        return None
    return CANCELED if row.error_code == CANCELED else row.state


def _crashed(row: Any) -> dict[str, Any]:
    """Return what changes when the worker of a job has died.

    Whatever is killed from outside dies at ever later steps, what dies of its job dies at the same one: only deaths
    without progress since the one before count, and the others do not use up the tries of the job.
    """
    if row.step > row.crash_step:
        return {"num_crashes": 1, "crash_step": row.step, "max_attempts": row.max_attempts + 1}
    return {"num_crashes": row.num_crashes + 1}


def _lasting_files(row: Any) -> dict[str, FileRef]:
    return {role: file for role, file in files_of(row.files).items() if role != CHECKPOINT}


def _end_try(transaction: Transaction, row: Any, code: str, message: str = "", **values: Any) -> Outcome:
    transaction.counts[f"attempts:{code}"] += 1
    return _fail(transaction, row, code, message or MESSAGES.get(code, ""), **values)


def _fail(transaction: Transaction, row: Any, code: str, message: str, **values: Any) -> Outcome:
    transaction.counts[f"jobs:failed:{code}:{row.model}"] += 1
    values |= ended(row, "failed", transaction.now_us, transaction.change)
    values |= {"error_code": code, "error_message": storable_text(message), "stage": ""}
    values |= {"files": files_json(_lasting_files(row))}
    enqueue(transaction, row.owner, row.id, "video.failed")
    _changed(transaction, row.id, values)
    return "canceled" if code == CANCELED else "failed"


def _requeue(transaction: Transaction, row: Any, *, not_before_us: int, **values: Any) -> Outcome:
    # Its checkpoint and its place by age are kept.
    values |= {"state": "queued", "lease_token": None, "lease_until_us": None, "not_before_us": not_before_us}
    _changed(transaction, row.id, values | {"stage": ""})
    return "queued"


def _changed(transaction: Transaction, job_id: str, values: Mapping[str, Any]) -> Job:
    changing = sa.update(jobs).where(jobs.c.id == job_id).values({**values, "change": transaction.change})
    return job_of(transaction.connection.execute(changing.returning(jobs)).one())

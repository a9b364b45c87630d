"""How a job gets into the queue: once for each request, and only if there is room."""

import math
import secrets
import statistics
from typing import Any

from cogvideox.serving.database import Transaction
from cogvideox.serving.job import IdempotencyConflictError, Job, NewJob, QueueFullError, QueueLimits
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.records import files_json, job_of, to_json
from cogvideox.serving.schema import idempotency, jobs, owners, workers

sa = sqlalchemy()

IDEMPOTENCY_TTL_S = 24 * 3600
RECENT_S = 120
"""A request that a client sends again within this time means the job that it made before (P8)."""
TYPICAL_JOB_S = 60.0
"""For estimates before any job has ended."""
NUM_TYPICAL = 20
"""Last jobs that estimates are made from."""
FRESH_S = 30.0
"""A worker that reported since is there."""


def check_room(transaction: Transaction, owner: str, limits: QueueLimits) -> None:
    """Raise QueueFullError if the queue has no room for another job of an owner."""
    is_own = sa.case((jobs.c.owner == owner, 1), else_=0)
    queued = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(is_own), 0)).where(jobs.c.state == "queued")
    num_queued, num_own = transaction.connection.execute(queued).one()
    is_full_for_owner = 0 < limits.max_queued_per_owner <= num_own
    if not is_full_for_owner and not 0 < limits.max_queued <= num_queued:
        return
    job_s, num_workers = pace(transaction)
    # There is room when the next job is taken; of this owner's, when its turn has come.
    num_turns = 1
    if is_full_for_owner:
        waiting = sa.select(sa.func.count(sa.distinct(jobs.c.owner))).where(jobs.c.state == "queued")
        num_turns = transaction.connection.execute(waiting).scalar_one()
    retry_after_s = max(math.ceil(num_turns * job_s / max(num_workers, 1)), 1)
    if is_full_for_owner:
        raise QueueFullError("owner", limits.max_queued_per_owner, retry_after_s)
    raise QueueFullError("total", limits.max_queued, retry_after_s)


def remember_key(transaction: Transaction, job: Job, key: str) -> None:
    """Let an idempotency key mean a job from now on."""
    values = {"owner": job.owner, "key": key, "params_digest": job.params_digest, "job_id": job.id}
    values |= {"expires_us": transaction.now_us + IDEMPOTENCY_TTL_S * 1_000_000}
    transaction.connection.execute(sa.insert(idempotency).values(values))


def job_of_key(transaction: Transaction, new: NewJob, key: str) -> Job | None:
    """Return the job that a key means; None if it means none. Raises IdempotencyConflictError if it is another."""
    is_it = sa.and_(idempotency.c.owner == new.owner, idempotency.c.key == key)
    entry = transaction.connection.execute(sa.select(idempotency).where(is_it)).one_or_none()
    if entry is None:
        return None
    if entry.expires_us <= transaction.now_us:
        transaction.connection.execute(sa.delete(idempotency).where(is_it))
        return None
    if entry.params_digest != new.params_digest:
        raise IdempotencyConflictError("idempotency_key: it was used before with other parameters; take a new one")
    return job_of(transaction.connection.execute(sa.select(jobs).where(jobs.c.id == entry.job_id)).one())


def job_of_digest(transaction: Transaction, new: NewJob) -> Job | None:
    """Return the newest job of the last two minutes that was asked for in the same way, and not canceled since."""
    recent = sa.select(jobs).where(
        jobs.c.owner == new.owner,
        jobs.c.params_digest == new.params_digest,
        jobs.c.created_us > transaction.now_us - RECENT_S * 1_000_000,
        jobs.c.deleted_us.is_(None),
        sa.not_(jobs.c.is_cancel_requested),
    )
    row = transaction.connection.execute(recent.order_by(jobs.c.created_us.desc()).limit(1)).one_or_none()
    return None if row is None else job_of(row)


def insert(transaction: Transaction, new: NewJob) -> Job:
    """Store a job."""
    known = sa.select(owners.c.owner).where(owners.c.owner == new.owner)
    if transaction.connection.execute(known).one_or_none() is None:
        transaction.connection.execute(sa.insert(owners).values({"owner": new.owner, "last_claim": 0}))
    same = ("owner", "model", "params_digest", "seed", "num_steps", "priority", "remixed_from", "max_attempts")
    values: dict[str, Any] = {name: getattr(new, name) for name in same}
    values |= {"id": new_job_id(transaction.now_us), "state": "queued", "attempt": 0, "num_crashes": 0}
    values |= {"params": to_json(new.params), "warnings": to_json(new.warnings), "files": files_json(new.files)}
    values |= {"not_before_us": 0, "deadline_us": transaction.steady_us + new.deadline_s * 1_000_000}
    values |= {"is_cancel_requested": False, "is_expired": False, "is_purged": False, "facts": "{}"}
    values |= {"stage": "", "step": 0, "progress": 0, "retention_us": new.retention_s * 1_000_000}
    values |= {"created_us": transaction.now_us, "change": transaction.change}
    return job_of(transaction.connection.execute(sa.insert(jobs).values(values).returning(jobs)).one())


def pace(transaction: Transaction) -> tuple[float, int]:
    """Return how long a job takes, in seconds, and how many workers there are."""
    done = sa.select(jobs.c.started_us, jobs.c.finished_us).where(
        jobs.c.state == "completed", jobs.c.started_us.is_not(None)
    )
    rows = transaction.connection.execute(done.order_by(jobs.c.created_us.desc()).limit(NUM_TYPICAL)).all()
    times_s = [(row.finished_us - row.started_us) / 1e6 for row in rows]
    is_there = sa.and_(
        workers.c.heartbeat_us > transaction.steady_us - round(FRESH_S * 1e6),
        workers.c.state.in_(("ready", "busy")),
    )
    num_workers = transaction.connection.execute(sa.select(sa.func.count()).where(is_there)).scalar_one()
    return (statistics.median(times_s) if times_s else TYPICAL_JOB_S), num_workers


def new_job_id(now_us: int) -> str:
    """Return ``video_`` and a UUID of version 7 (RFC 9562): sorted by time, to about 0.25 us."""
    fraction = now_us % 1000 * 4096 // 1000  # method 3 of section 6.2: twelve more bits of the time
    number = (now_us // 1000) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return f"video_{number:032x}"

"""Jobs that survive everything but their disk: accepted, shared out, reported, ended once.

One class over SQLite and PostgreSQL. Every method is one transaction, and what it returns is on the disk. A method that
raises StoreUnavailableError may have done its work: asking again is harmless, for `JobStore.submit` with an idempotency
key.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cogvideox.serving import leases
from cogvideox.serving.database import COUNT_PREFIX, Clock, Database, Transaction
from cogvideox.serving.job import (
    MAX_PAGE,
    ORDERS,
    STATES,
    TERMINAL_STATES,
    Changes,
    Counts,
    FileRef,
    Job,
    Mark,
    NewJob,
    Order,
    Outcome,
    Page,
    Position,
    Progress,
    QueueLimits,
    Reaped,
    Signal,
    Submitted,
    Worker,
    WorkerState,
    check_name,
    is_job_id,
)
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.queue_order import Waiting, claim_order
from cogvideox.serving.records import files_of, job_of, to_json, worker_of
from cogvideox.serving.schema import idempotency, jobs, owners, store_state, workers
from cogvideox.serving.submission import check_room, insert, job_of_digest, job_of_key, pace, remember_key

sa = sqlalchemy()

LEASE_S = 60.0
"""After this time without a report a job is taken from its worker."""
POLL_S = 0.1
_NO_PROGRESS = Progress()


class JobStore:
    """A store of jobs. For any number of threads and processes; open it anew after a fork."""

    def __init__(self, database: Database, *, limits: QueueLimits | None = None) -> None:
        """Use a database; `JobStore.open` is the usual way."""
        self.database = database
        self.limits = limits or QueueLimits()

    @classmethod
    def open(cls, url: str, *, limits: QueueLimits | None = None, clock: Clock | None = None) -> "JobStore":
        """Open a store, made or brought up to date if need be.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``.
            limits: of the queue; the same in all processes.
            clock: what to take for the time, in microseconds; for tests.

        Raises:
            StoreError: it cannot be used; the message says why and what to do.
        """
        return cls(Database(url, clock=clock), limits=limits)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def check(self) -> None:
        """Write to the store. Raises StoreUnavailableError if that does not work now."""
        with self.database.writing():
            pass

    # For clients

    def submit(self, new: NewJob, *, idempotency_key: str | None = None, retry_of_recent: bool = False) -> Submitted:
        """Store a job, or return the one that the same request made before (P8).

        Args:
            new: the job.
            idempotency_key: names the request; of the owner, for 24 hours.
            retry_of_recent: the client says that it sends a request again, without a key: a job of the same digest
                that was accepted in the last 120 s is what it means.

        Raises:
            IdempotencyConflictError: the key was used with other parameters.
            QueueFullError: there is no room; nothing was stored.
            ValueError: the key is empty or longer than 255 characters.
        """
        if idempotency_key is not None:
            check_name("idempotency_key", idempotency_key)
        with self.database.writing(serial="submit") as transaction:
            before = None
            if idempotency_key is not None:
                before = job_of_key(transaction, new, idempotency_key)
            elif retry_of_recent:
                before = job_of_digest(transaction, new)
            if before is not None:
                return Submitted(job=before, is_replay=True)
            check_room(transaction, new.owner, self.limits)
            job = insert(transaction, new)
            if idempotency_key is not None:
                remember_key(transaction, job, idempotency_key)
            return Submitted(job=job, is_replay=False)

    def check_room(self, owner: str) -> None:
        """Raise QueueFullError if a job of this owner would be refused now: before an upload is taken, say."""
        with self.database.reading() as transaction:
            check_room(transaction, owner, self.limits)

    def get(self, job_id: str, *, owner: str | None = None) -> Job | None:
        """Return a job; None if there is none, it is deleted, or another owner's. ``owner`` None may see all."""
        with self.database.reading() as transaction:
            row = _visible(transaction, job_id, owner)
            return None if row is None else job_of(row)

    def page(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page:
        """Return jobs by the time they were made.

        Args:
            owner: whose; None is everybody's.
            after: the id of the last one of the page before. It may have been deleted since.
            limit: 1 to 100.
            order: ``desc`` has the newest first.

        Raises:
            ValueError: ``after`` is no job of this owner, or another argument is out of range.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit: expected 1 to {MAX_PAGE}, got {limit}")
        if order not in ORDERS:
            raise ValueError(f"order: expected asc or desc, got {order!r}")
        found = sa.select(jobs).where(jobs.c.deleted_us.is_(None))
        if owner is not None:
            found = found.where(jobs.c.owner == owner)
        place = sa.tuple_(jobs.c.created_us, jobs.c.id)
        columns = (jobs.c.created_us, jobs.c.id)
        found = found.order_by(*(column.desc() if order == "desc" else column.asc() for column in columns))
        with self.database.reading() as transaction:
            if after is not None:
                cursor = _row_of(transaction, after, owner)
                if cursor is None:
                    raise ValueError("after: expected the id of a video in the list, got one that is not there")
                start = sa.tuple_(sa.literal(cursor.created_us), sa.literal(cursor.id))
                found = found.where(place < start if order == "desc" else place > start)
            rows = transaction.connection.execute(found.limit(limit + 1)).all()
        return Page(jobs=tuple(job_of(row) for row in rows[:limit]), has_more=len(rows) > limit)

    def request_cancel(self, job_id: str, *, owner: str | None = None) -> Job | None:
        """Cancel a job and return it; None if it is not there for this owner.

        One that waits is ended at once, with ``canceled``. One that runs ends so when its worker stops, and not
        otherwise, whatever the worker says. One that has ended stays as it is.
        """
        with self.database.writing() as transaction:
            row = _visible(transaction, job_id, owner, is_locked=True)
            return None if row is None else leases.cancel(transaction, row)

    def delete(self, job_id: str, *, owner: str | None = None) -> bool:
        """Let a job vanish, and stop it (P7); False if it is not there for this owner. Its files go later."""
        with self.database.writing() as transaction:
            row = _visible(transaction, job_id, owner, is_locked=True)
            if row is None:
                return False
            leases.cancel(transaction, row)
            values = {"deleted_us": max(transaction.now_us, row.created_us), "change": transaction.change}
            transaction.connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(values))
            return True

    def positions(self) -> dict[str, Position]:
        """Return where every queued job stands, by id, in the order in which they will be taken."""
        columns = (jobs.c.id, jobs.c.owner, jobs.c.priority, owners.c.last_claim)
        queued = sa.select(*columns).join(owners, owners.c.owner == jobs.c.owner).where(jobs.c.state == "queued")
        with self.database.reading() as transaction:
            rows = transaction.connection.execute(queued.order_by(jobs.c.created_us, jobs.c.id)).all()
            running = sa.select(sa.func.count()).where(jobs.c.state == "in_progress")
            num_running = transaction.connection.execute(running).scalar_one()
            job_s, num_workers = pace(transaction)
        order = claim_order(Waiting(row.id, row.owner, row.priority, row.last_claim) for row in rows)
        num_idle = max(num_workers - num_running, 0)
        waits = (max(place + 1 - num_idle, 0) * job_s / max(num_workers, 1) for place in range(len(order)))
        return {
            job_id: Position(num_ahead=place, wait_s=math.ceil(wait_s))
            for place, (job_id, wait_s) in enumerate(zip(order, waits, strict=True))
        }

    def counts(self) -> Counts:
        """Return how many jobs there are, in one look."""
        grouped = sa.select(jobs.c.state, jobs.c.priority, sa.func.count().label("number"))
        grouped = grouped.where(jobs.c.deleted_us.is_(None)).group_by(jobs.c.state, jobs.c.priority)
        with self.database.reading() as transaction:
            rows = transaction.connection.execute(grouped).all()
            _, num_workers = pace(transaction)
        return Counts(
            by_state={state: sum(row.number for row in rows if row.state == state) for state in STATES},
            queued_by_priority={row.priority: row.number for row in rows if row.state == "queued"},
            num_workers=num_workers,
        )

    def tallies(self) -> dict[str, int]:
        """Return what was counted since the store was made, by any process; what never happened is not there.

        ``attempts:REASON``: tries by how they ended: ``completed``, ``released``, ``lease_lost``, ``rebooted`` (its
        machine was), or a code of errors, also when the job is tried again. ``lease_lost``: leases that ran out.
        ``resumes``: tries that began with the state of an earlier one. ``jobs:OUTCOME:CODE:MODEL``: jobs by their end,
        ``completed`` without a code or ``failed``. ``events_given_up``: those that no webhook took.
        """
        counted = sa.select(store_state.c.name, store_state.c.number)
        counted = counted.where(store_state.c.name.startswith(COUNT_PREFIX))
        with self.database.reading() as transaction:
            rows = transaction.connection.execute(counted).all()
        return {row.name.removeprefix(COUNT_PREFIX): row.number for row in rows}

    def change_mark(self) -> Mark:
        """Return a mark to ask `changes` with for what happens from now on."""
        with self.database.reading() as transaction:
            return Mark(number=self.database.change_mark(transaction))

    def changes(self, mark: Mark | None = None) -> Changes:
        """Return the jobs that changed since a mark was given, at once; all jobs if there is none."""
        mark = mark or Mark(number=0)
        changed = sa.select(jobs).where(jobs.c.change >= mark.number).order_by(jobs.c.change, jobs.c.id)
        with self.database.reading() as transaction:
            # Before the jobs are read: what ends between the two is seen, and found again next time.
            number = self.database.change_mark(transaction)
            if number == mark.number and self.database.kind == "sqlite":
                return Changes(jobs=(), mark=mark)
            rows = transaction.connection.execute(changed).all()
        told = frozenset((row.id, row.change) for row in rows if row.change >= number)
        found = tuple(job_of(row) for row in rows if (row.id, row.change) not in mark.told)
        return Changes(jobs=found, mark=Mark(number=number, told=told))

    def wait_for_change(self, mark: Mark, *, timeout_s: float, poll_s: float = POLL_S) -> Changes:
        """Return the jobs that changed since a mark; wait for one at most ``timeout_s``, then return none.

        One thread that asks serves any number of event streams.
        """
        end_s = time.monotonic() + timeout_s
        while not (changes := self.changes(mark)).jobs and time.monotonic() < end_s:
            mark = changes.mark
            time.sleep(max(min(poll_s, end_s - time.monotonic()), 0))
        return changes

    # For workers

    def claim(self, worker_id: str, *, models: Sequence[str] | None = None, lease_s: float = LEASE_S) -> Job | None:
        """Give a worker the next job, with a lease; None if there is none for it.

        Jobs of workers that no longer report are taken back first. Owners take turns inside a priority (P10).

        Args:
            worker_id: who asks.
            models: those that it has; None has all.
            lease_s: how long it may stay without `heartbeat`.
        """
        with self.database.reading() as transaction:
            if not leases.is_there_work(transaction, models):
                return None
        with self.database.writing(serial="claim") as transaction:
            leases.reap(transaction)
            return leases.claim(transaction, worker_id, models, lease_s, self.limits)

    def heartbeat(
        self, job_id: str, token: str, progress: Progress = _NO_PROGRESS, *, lease_s: float = LEASE_S
    ) -> Signal:
        """Prolong a lease, note how far the worker is, and tell it whether to go on."""
        with self.database.writing() as transaction:
            return leases.heartbeat(transaction, job_id, token, progress, lease_s)

    def complete(
        self,
        job_id: str,
        token: str,
        *,
        files: Mapping[str, FileRef],
        facts: Mapping[str, Any] | None = None,
        warnings: Sequence[Mapping[str, Any]] = (),
    ) -> Outcome:
        """Publish a result whose files are on the disk.

        Returns:
            ``completed``; ``canceled`` if that was asked for before; ``lost`` if the job is not this worker's any more.
            After the last two the files are to be dropped. The same call again returns the same.
        """
        with self.database.writing() as transaction:
            return leases.complete(transaction, job_id, token, files, facts or {}, warnings)

    def fail(
        self,
        job_id: str,
        token: str,
        code: str,
        message: str,
        *,
        is_retryable: bool = False,
        is_crash: bool = False,
        delay_s: float = 0.0,
    ) -> Outcome:
        """Give a job back that did not work.

        Args:
            job_id: the job.
            token: the worker's.
            code: one of the stable error codes.
            message: for the user; no paths and no traces.
            is_retryable: the system is at fault: it is tried again, up to its ``max_attempts`` (P3).
            is_crash: what ran the job died of it; the second time without progress since the first ends it with
                ``worker_lost`` (P4).
            delay_s: until it is tried again.

        Returns:
            ``failed``, ``queued``, ``canceled`` or ``lost``.
        """
        with self.database.writing() as transaction:
            return leases.fail(
                transaction,
                job_id,
                token,
                code,
                message,
                is_retryable=is_retryable,
                is_crash=is_crash,
                delay_s=delay_s,
            )

    def release(self, job_id: str, token: str) -> Outcome:
        """Give a job back in order, for another to go on at once (P9): ``queued``, ``canceled`` or ``lost``."""
        with self.database.writing() as transaction:
            return leases.release(transaction, job_id, token)

    def reap(self) -> tuple[Reaped, ...]:
        """Take back jobs of workers that do not report, and end those whose time is over (P2)."""
        with self.database.reading() as transaction:
            lapsed = sa.select(jobs.c.id).where(leases.has_lapsed(transaction)).limit(1)
            if transaction.connection.execute(lapsed).one_or_none() is None:
                return ()
        with self.database.writing(serial="claim") as transaction:
            return leases.reap(transaction)

    def register_worker(self, worker: Worker) -> None:
        """Enter a worker, in place of one of the same id."""
        values = {"id": worker.id, "host": worker.host, "pid": worker.pid, "models": to_json(worker.models)}
        values |= {"device": worker.device, "state": worker.state, "job_id": worker.job_id}
        values |= {"facts": to_json(worker.facts)}
        with self.database.writing() as transaction:
            values |= {"registered_us": transaction.now_us, "heartbeat_us": transaction.steady_us}
            transaction.connection.execute(sa.delete(workers).where(workers.c.id == worker.id))
            transaction.connection.execute(sa.insert(workers).values(values))

    def report_worker(
        self,
        worker_id: str,
        state: WorkerState,
        *,
        job_id: str | None = None,
        models: Sequence[str] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """Note that a worker is there and what it does; False if it is to register again."""
        values: dict[str, Any] = {"state": state, "job_id": job_id}
        if models is not None:
            values["models"] = to_json(tuple(models))
        if facts is not None:
            values["facts"] = to_json(facts)
        with self.database.writing() as transaction:
            values["heartbeat_us"] = transaction.steady_us
            told = sa.update(workers).where(workers.c.id == worker_id).values(values)
            return transaction.connection.execute(told).rowcount == 1

    def remove_worker(self, worker_id: str) -> None:
        """Strike a worker off the list."""
        with self.database.writing() as transaction:
            transaction.connection.execute(sa.delete(workers).where(workers.c.id == worker_id))

    def workers(self) -> tuple[Worker, ...]:
        """Return all workers that are registered, with the time since they last reported."""
        with self.database.reading() as transaction:
            rows = transaction.connection.execute(sa.select(workers).order_by(workers.c.id)).all()
            return tuple(worker_of(row, transaction.steady_us) for row in rows)

    # For the janitor

    def expire(self) -> int:
        """Mark ended jobs whose files are kept no longer; return how many."""
        with self.database.writing() as transaction:
            is_over = sa.and_(jobs.c.expires_us <= transaction.now_us, jobs.c.is_expired.is_(False))
            values = {"is_expired": True, "change": transaction.change}
            return transaction.connection.execute(sa.update(jobs).where(is_over).values(values)).rowcount

    def release_files(self) -> tuple[FileRef, ...]:
        """Take the names of files off deleted and expired jobs, and what deleted ones asked for; return those files.

        Jobs that a worker still has keep theirs until it stops.
        """
        is_over = sa.or_(jobs.c.deleted_us.is_not(None), jobs.c.is_expired)
        is_over = sa.and_(is_over, jobs.c.state.in_(TERMINAL_STATES), jobs.c.is_purged.is_(False))
        with self.database.writing() as transaction:
            rows = transaction.connection.execute(
                sa.select(jobs.c.id, jobs.c.files).where(is_over).with_for_update(skip_locked=True)
            ).all()
            is_deleted = jobs.c.deleted_us.is_not(None)
            values = {"files": "{}", "is_purged": True, "change": transaction.change}
            values |= {name: sa.case((is_deleted, "{}"), else_=jobs.c[name]) for name in ("params", "facts")}
            values |= {"warnings": sa.case((is_deleted, "[]"), else_=jobs.c.warnings)}
            for row in rows:
                transaction.connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(values))
        return tuple(file for row in rows for file in files_of(row.files).values())

    def named_files(self) -> set[str]:
        """Return the SHA-256 of all files that jobs name."""
        named = sa.select(jobs.c.files).where(jobs.c.is_purged.is_(False), jobs.c.files != "{}")
        with self.database.reading() as transaction:
            rows = transaction.connection.execute(named).scalars().all()
        return {file.sha256 for text in rows for file in files_of(text).values()}

    def running_attempts(self) -> set[tuple[str, int]]:
        """Return the ids of jobs that have not ended, with the number of their present try."""
        with self.database.reading() as transaction:
            rows = transaction.connection.execute(sa.select(jobs.c.id, jobs.c.attempt).where(leases.IS_LIVE)).all()
        return {(row.id, row.attempt) for row in rows}

    def forget(self, *, older_than_s: float) -> int:
        """Remove the rows of deleted and expired jobs that ended so long ago, and of workers; return how many jobs."""
        with self.database.writing() as transaction:
            ends_us = transaction.now_us - round(older_than_s * 1e6)
            is_gone = sa.and_(jobs.c.is_purged, jobs.c.finished_us < ends_us)
            keys = sa.delete(idempotency).where(idempotency.c.expires_us < transaction.now_us)
            transaction.connection.execute(keys)
            silent_us = transaction.steady_us - round(older_than_s * 1e6)
            transaction.connection.execute(sa.delete(workers).where(workers.c.heartbeat_us < silent_us))
            return transaction.connection.execute(sa.delete(jobs).where(is_gone)).rowcount


def _row_of(transaction: Transaction, job_id: str, owner: str | None) -> Any:
    if not is_job_id(job_id):
        return None
    found = sa.select(jobs).where(jobs.c.id == job_id)
    return transaction.connection.execute(found if owner is None else found.where(jobs.c.owner == owner)).one_or_none()


def _visible(transaction: Transaction, job_id: str, owner: str | None, *, is_locked: bool = False) -> Any:
    if not is_job_id(job_id):  # not every text can be sent to a database
        return None
    found = sa.select(jobs).where(jobs.c.id == job_id, jobs.c.deleted_us.is_(None))
    found = found if owner is None else found.where(jobs.c.owner == owner)
    return transaction.connection.execute(found.with_for_update() if is_locked else found).one_or_none()

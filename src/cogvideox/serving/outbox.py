"""What is to be told of jobs that ended: rows that go in with the end itself, and out once a target has them.

At least once: a row is given to one sender for a while; if that one does not say what became of it, to another. Rows
are locked after their target, never before, so that nobody waits for anybody else in a circle.
"""

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Literal

from cogvideox.serving.database import COUNT_PREFIX, Database, Transaction
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.schema import outbox, store_state, webhooks

sa = sqlalchemy()

EventType = Literal["video.completed", "video.failed"]
EVENT_TYPES: tuple[EventType, ...] = ("video.completed", "video.failed")
Verdict = Literal["sent", "failed", "gone"]
"""What a try came to; ``gone``: the target wants nothing more, ever."""

FIRST_WAIT_S = 30.0
MAX_WAIT_S = 24 * 3600.0
MAX_TRIES = 15
"""The last one is 82 hours after the first."""
GIVEN_UP = "events_given_up"
"""A tally."""
GONE_REASON = "the target answered 410 Gone"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event that a sender is to bring to a target."""

    id: str
    """Of the event: the same at every try."""
    webhook_id: str
    job_id: str
    type: EventType
    created_us: int
    num_tries: int
    """Before this one."""
    token: str
    url: str = dataclass_field(repr=False)
    secret: str = dataclass_field(repr=False)
    is_private_allowed: bool


@dataclass(frozen=True, kw_only=True)
class OutboxState:
    """How the outbox stands."""

    num_waiting: int
    """Events that targets do not have yet."""
    oldest_s: float
    """Age of the oldest of these; 0 if there is none."""
    num_given_up: int
    """Events that targets will not get, since the store was made."""


def wait_s(num_tries: int) -> float | None:
    """Return how long to wait after so many tries that failed; None is for ever."""
    if num_tries >= MAX_TRIES:
        return None
    return min(FIRST_WAIT_S * 2.0 ** (num_tries - 1), MAX_WAIT_S)


def enqueue(transaction: Transaction, owner: str, job_id: str, event: EventType) -> None:
    """Note for the targets of an owner that a job has ended, in the transaction that ends it."""
    wanted = sa.select(webhooks.c.id, webhooks.c.events).where(
        webhooks.c.owner == owner, webhooks.c.disabled_us.is_(None)
    )
    for row in transaction.connection.execute(wanted).all():
        if event not in json.loads(row.events):
            continue
        values = {"id": new_event_id(), "webhook_id": row.id, "job_id": job_id, "type": event, "state": "waiting"}
        values |= {"num_tries": 0, "not_before_us": transaction.steady_us, "created_us": transaction.now_us}
        transaction.connection.execute(sa.insert(outbox).values(values))


def new_event_id() -> str:
    """Return ``evt_`` and 32 hexadecimal digits."""
    return f"evt_{secrets.token_hex(16)}"


def take(database: Database, *, lease_s: float, without: Collection[str] = ()) -> Delivery | None:
    """Give a sender the event that is due for longest; None if there is none.

    Args:
        database: that the outbox is in.
        lease_s: after this time without `note` another sender may have it.
        without: ids of targets to leave out.
    """
    with database.reading() as transaction:
        if transaction.connection.execute(_due(transaction, without)).one_or_none() is None:
            return None
    with database.writing() as transaction:
        chosen = _due(transaction, without).with_for_update(of=outbox, skip_locked=True)
        row = transaction.connection.execute(chosen).one_or_none()
        if row is None:
            return None
        token = secrets.token_hex(16)
        values = {"token": token, "not_before_us": transaction.steady_us + round(lease_s * 1e6)}
        transaction.connection.execute(sa.update(outbox).where(outbox.c.id == row.id).values(values))
    return Delivery(token=token, **row._mapping)


def note(database: Database, delivery: Delivery, verdict: Verdict, answer: str) -> bool:
    """Note what a try came to; False if the event is another sender's by now, or its target is removed.

    Args:
        database: that the outbox is in.
        delivery: as `take` gave it.
        verdict: failed ones are tried again, up to `MAX_TRIES`; ``gone`` disables the target.
        answer: for people, short.
    """
    num_tries = delivery.num_tries + 1
    again_s = wait_s(num_tries) if verdict == "failed" else None
    with database.writing() as transaction:
        target = sa.select(webhooks.c.id).where(webhooks.c.id == delivery.webhook_id).with_for_update()
        if transaction.connection.execute(target).one_or_none() is None:
            return False
        is_mine = sa.and_(outbox.c.id == delivery.id, outbox.c.token == delivery.token, outbox.c.state == "waiting")
        values: dict[str, Any] = {"num_tries": num_tries, "token": None}
        if again_s is not None:
            values["not_before_us"] = transaction.steady_us + round(again_s * 1e6)
        else:
            values |= {"state": "sent" if verdict == "sent" else "given_up", "ended_us": transaction.now_us}
        if transaction.connection.execute(sa.update(outbox).where(is_mine).values(values)).rowcount == 0:
            return False
        told: dict[str, Any] = {"last_us": transaction.now_us, "last_answer": answer}
        num_lost = 1 if verdict != "sent" and again_s is None else 0
        if verdict == "gone":
            others = sa.and_(outbox.c.webhook_id == delivery.webhook_id, outbox.c.state == "waiting")
            lost = {"state": "given_up", "ended_us": transaction.now_us, "token": None}
            num_lost += transaction.connection.execute(sa.update(outbox).where(others).values(lost)).rowcount
            told |= {"disabled_us": transaction.now_us, "disabled_reason": GONE_REASON}
        told["num_given_up"] = webhooks.c.num_given_up + num_lost
        if num_lost:
            transaction.counts[GIVEN_UP] += num_lost
        transaction.connection.execute(sa.update(webhooks).where(webhooks.c.id == delivery.webhook_id).values(told))
    return True


def outbox_state(database: Database) -> OutboxState:
    """Return how the outbox stands, for metrics."""
    waiting = sa.select(sa.func.count(), sa.func.min(outbox.c.created_us)).join_from(
        outbox, webhooks, webhooks.c.id == outbox.c.webhook_id
    )
    with database.reading() as transaction:
        waiting = waiting.where(outbox.c.state == "waiting", webhooks.c.disabled_us.is_(None))
        num_waiting, oldest_us = transaction.connection.execute(waiting).one()
        given_up = sa.select(store_state.c.number).where(store_state.c.name == f"{COUNT_PREFIX}{GIVEN_UP}")
        num_given_up = transaction.connection.execute(given_up).scalar_one_or_none() or 0
        age_us = 0 if oldest_us is None else max(transaction.now_us - oldest_us, 0)
    return OutboxState(num_waiting=num_waiting, oldest_s=age_us / 1e6, num_given_up=num_given_up)


def forget_events(database: Database, *, older_than_s: float) -> int:
    """Remove events that ended so long ago, and all of targets that there are no more; return how many."""
    with database.writing() as transaction:
        is_old = outbox.c.ended_us < transaction.now_us - round(older_than_s * 1e6)
        is_lost = sa.not_(sa.exists().where(webhooks.c.id == outbox.c.webhook_id))
        return transaction.connection.execute(sa.delete(outbox).where(sa.or_(is_old, is_lost))).rowcount


def _due(transaction: Transaction, without: Collection[str]) -> Any:
    # Nothing waits for longer than that: the clock was wrong when it was noted, and was set right since.
    latest_us = transaction.steady_us + round(1.1 * MAX_WAIT_S * 1e6)
    is_due = sa.or_(outbox.c.not_before_us <= transaction.steady_us, outbox.c.not_before_us > latest_us)
    columns = [outbox.c[name] for name in ("id", "webhook_id", "job_id", "type", "created_us", "num_tries")]
    columns += [webhooks.c[name] for name in ("url", "secret", "is_private_allowed")]
    return (
        sa.select(*columns)
        .join_from(outbox, webhooks, webhooks.c.id == outbox.c.webhook_id)
        .where(outbox.c.state == "waiting", is_due, webhooks.c.disabled_us.is_(None))
        .where(outbox.c.webhook_id.not_in(tuple(without)))
        .order_by(outbox.c.not_before_us, outbox.c.created_us, outbox.c.id)
        .limit(1)
    )

"""Targets that are told when videos end: who wants to know what, and by which secret they know that it is us.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com), which OpenAI's clients check.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cogvideox.serving.database import Database
from cogvideox.serving.errors import ApiError
from cogvideox.serving.fetching import PORT, TUNNELS, clean, is_public, public_host
from cogvideox.serving.job import StoreError, check_name
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.outbox import EVENT_TYPES, EventType
from cogvideox.serving.schema import outbox, webhooks

sa = sqlalchemy()

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
MAX_URL_LENGTH = 2048
MAX_TARGETS = 20
"""Of one owner: each of its videos makes so many events."""
_ID = re.compile(r"wh_[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A target as it is shown, without its secret. Times are in microseconds since 1970."""

    id: str
    owner: str
    """Whose videos it is told of."""
    url: str
    events: tuple[EventType, ...]
    is_private_allowed: bool
    """It may be in the operator's own network, and without TLS."""
    created_us: int
    disabled_us: int | None
    """Since then it is told nothing."""
    disabled_reason: str | None
    last_us: int | None
    """When it was last tried."""
    last_answer: str | None
    num_waiting: int
    """Events that it does not have yet."""
    num_given_up: int
    """Events that it will not get."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a target is, as its URL says."""

    host: str
    port: int
    path: str
    """With the query."""
    is_plain: bool
    """Without TLS."""


class Webhooks:
    """The targets of a store. For any number of threads and processes."""

    def __init__(self, database: Database) -> None:
        """Use the targets in a database."""
        self._database = database

    def new(
        self,
        url: str,
        *,
        owner: str,
        events: Sequence[EventType] = EVENT_TYPES,
        is_private_allowed: bool = False,
    ) -> tuple[Webhook, str]:
        """Register a target and return it with its secret, which is not shown again.

        Args:
            url: of https, at its usual port, of a public server that has a name.
            owner: whose videos it is told of.
            events: what it is told.
            is_private_allowed: any server but those of this link alone will do, by http too, at any port.

        Raises:
            ValueError: an argument is out of range, or the owner has too many.
            StoreError: the file of the store cannot be made private.
        """
        check_name("owner", owner)
        address_of(url, is_private_allowed=is_private_allowed)
        unknown = [event for event in events if event not in EVENT_TYPES]
        if unknown or not events:
            raise ValueError(f"events: expected some of {', '.join(EVENT_TYPES)}, got {', '.join(unknown) or 'none'}")
        self._make_private()
        secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        values: dict[str, Any] = {"id": f"wh_{secrets.token_hex(8)}", "owner": owner, "url": url, "secret": secret}
        values |= {"events": json.dumps([event for event in EVENT_TYPES if event in events])}
        values |= {"is_private_allowed": is_private_allowed, "num_given_up": 0}
        with self._database.writing() as transaction:
            own = sa.select(sa.func.count()).where(webhooks.c.owner == owner)
            if transaction.connection.execute(own).scalar_one() >= MAX_TARGETS:
                raise ValueError(f"owner: {owner!r} has its {MAX_TARGETS} targets; remove one")
            values["created_us"] = transaction.now_us
            row = transaction.connection.execute(sa.insert(webhooks).values(values).returning(webhooks)).one()
        return _webhook_of(row, 0), secret

    def all(self) -> tuple[Webhook, ...]:
        """Return all targets, the oldest first."""
        waiting = sa.select(outbox.c.webhook_id, sa.func.count()).where(outbox.c.state == "waiting")
        with self._database.reading() as transaction:
            rows = transaction.connection.execute(
                sa.select(webhooks).order_by(webhooks.c.created_us, webhooks.c.id)
            ).all()
            counted = transaction.connection.execute(waiting.group_by(outbox.c.webhook_id)).all()
        num_waiting = {webhook_id: number for webhook_id, number in counted}
        return tuple(_webhook_of(row, num_waiting.get(row.id, 0)) for row in rows)

    def get_with_secret(self, webhook_id: str) -> tuple[Webhook, str] | None:
        """Return a target with its secret, for sending; None if there is none of that id."""
        if not _ID.fullmatch(webhook_id):
            return None
        with self._database.reading() as transaction:
            found = sa.select(webhooks).where(webhooks.c.id == webhook_id)
            row = transaction.connection.execute(found).one_or_none()
        return None if row is None else (_webhook_of(row, 0), row.secret)

    def enable(self, webhook_id: str) -> bool:
        """Tell a target again what happens from now on, and at once what waits; False if there is none of that id."""
        if not _ID.fullmatch(webhook_id):
            return False
        with self._database.writing() as transaction:
            values = {"disabled_us": None, "disabled_reason": None}
            enabled = sa.update(webhooks).where(webhooks.c.id == webhook_id).values(values)
            num_enabled = transaction.connection.execute(enabled).rowcount
            is_idle = sa.and_(outbox.c.webhook_id == webhook_id, outbox.c.state == "waiting", outbox.c.token.is_(None))
            now = sa.update(outbox).where(is_idle).values(not_before_us=transaction.steady_us)
            transaction.connection.execute(now)
            return num_enabled == 1

    def remove(self, webhook_id: str) -> bool:
        """Forget a target and what was on its way to it; False if there is none of that id."""
        if not _ID.fullmatch(webhook_id):
            return False
        with self._database.writing() as transaction:
            removed = transaction.connection.execute(sa.delete(webhooks).where(webhooks.c.id == webhook_id)).rowcount
            transaction.connection.execute(sa.delete(outbox).where(outbox.c.webhook_id == webhook_id))
            return removed == 1

    def _make_private(self) -> None:
        """Let only this user read the file of SQLite: from now on it holds secrets."""
        path = self._database.path
        if path is None:
            return
        for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            try:
                if (mode := name.stat().st_mode) & 0o077:
                    name.chmod(mode & 0o700)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"job store: {name}: {error.strerror}; let its owner chmod it to 600") from None


def address_of(url: str, *, is_private_allowed: bool) -> Address:
    """Return where a URL leads. Raises ValueError unless a target may be there, whatever its name comes to."""
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"url: expected at most {MAX_URL_LENGTH} characters, got {len(url)}")
    try:
        clean(url, "url")
        if not is_private_allowed:
            host, path = public_host(url, (), "url")
            return Address(host=host, port=PORT, path=path, is_plain=False)
        parts = urlsplit(url)
        given_port = parts.port
    except (ApiError, ValueError):
        kind = "http or https" if is_private_allowed else "https, of a public server by its name"
        hint = "" if is_private_allowed else "; --allow-private takes servers of your own network too"
        raise ValueError(f"url: expected an address of {kind}, got none{hint}") from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    if scheme not in ("http", "https") or not host or parts.username is not None or given_port == 0:
        raise ValueError("url: expected an address of http or https without a user, got none")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    is_plain = scheme == "http"
    return Address(host=host, port=given_port or (80 if is_plain else PORT), path=path, is_plain=is_plain)


def is_in_reach(address: str, *, is_private_allowed: bool) -> bool:
    """Whether a target may have an address: a public one, or one of the operator's network if that is allowed."""
    if not is_private_allowed or is_public(address):
        return is_public(address)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.is_loopback:
        return True
    # What is on this link alone are clouds' tellers of secrets, above all.
    is_elsewhere = parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast or parsed.is_reserved
    is_tunnel = parsed.version == 6 and any(parsed in network for network in TUNNELS)
    return not is_elsewhere and not is_tunnel


def event_body(event_id: str, kind: str, created_us: int, data_id: str) -> bytes:
    """Return an event as JSON in ASCII."""
    event = {"id": event_id, "object": "event", "type": kind, "created_at": created_us // 10**6}
    return json.dumps(event | {"data": {"id": data_id}}, separators=(",", ":")).encode()


def signed_headers(secret: str, event_id: str, sent_s: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a target knows an event for ours.

    Args:
        secret: ``whsec_`` and base64.
        event_id: the same at every try: a target that knows it already has the event.
        sent_s: now, since 1970; targets refuse what is older than some minutes.
        body: as it is sent.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.new(key, f"{event_id}.{sent_s}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": event_id, "webhook-timestamp": str(sent_s), "webhook-signature": signature}


def _webhook_of(row: Any, num_waiting: int) -> Webhook:
    same = ("id", "owner", "url", "is_private_allowed", "created_us", "disabled_us", "disabled_reason")
    same += ("last_us", "last_answer", "num_given_up")
    values = {name: row._mapping[name] for name in same}
    return Webhook(events=tuple(json.loads(row.events)), num_waiting=num_waiting, **values)

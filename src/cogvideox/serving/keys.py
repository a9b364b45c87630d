"""Keys of the API: shown once, stored as digests, checked in the same time whatever is wrong with them."""

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cogvideox.durable_files import sync_folder
from cogvideox.serving.database import Database
from cogvideox.serving.job import StoreError, StoreUnavailableError, check_name
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.schema import api_keys

sa = sqlalchemy()

Scope = Literal["generate", "read", "admin", "metrics"]
SCOPES: tuple[Scope, ...] = ("generate", "read", "admin", "metrics")
KEY_PREFIX = "cogvideox_"
ID_BYTES = 8
SECRET_BYTES = 32
PEPPER_NAME = "pepper"
PEPPER_BYTES = 32
USED_EVERY_US = 60 * 1_000_000
"""How exactly it is noted when a key was last used."""
NOTE_AFTER_S = 2.0
"""Uses are noted together, and by a thread of their own: no request waits for whoever writes to the store."""
_KEY = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{{2 * ID_BYTES}}})([0-9a-f]{{{2 * SECRET_BYTES}}})")
_NO_KEY = "0" * 2 * ID_BYTES, "0" * 2 * SECRET_BYTES
_NO_DIGEST = "-" * 64
MAX_KEY_LENGTH = 256


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key as it is stored, without its secret. Times are in microseconds since 1970."""

    id: str
    name: str
    """For people."""
    owner: str
    """Whose jobs it makes and sees. Several keys may have the same."""
    scopes: tuple[Scope, ...]
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    last_used_us: int | None
    """To a minute."""


class KeyRing:
    """The keys of a store. For any number of threads and processes."""

    def __init__(self, database: Database, pepper: bytes | None) -> None:
        """Use the keys in a database.

        Args:
            database: of the store.
            pepper: what `kept_pepper` returns; with None keys can be listed and revoked, but not made or verified.
        """
        self._database = database
        self._pepper = pepper
        self._lock = threading.Lock()
        self._used: set[str] = set()
        """Keys whose use is to be noted."""
        self._noting: threading.Thread | None = None
        self._is_closing = threading.Event()

    def close(self) -> None:
        """Note what was used, and end the thread that does so."""
        self._is_closing.set()
        self.flush()

    def new(
        self,
        name: str,
        *,
        owner: str | None = None,
        scopes: Sequence[Scope] = ("generate", "read"),
        lifetime_s: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its text, which cannot be had again.

        Args:
            name: for people.
            owner: whose jobs it makes and sees; by default its own.
            scopes: what it may do.
            lifetime_s: how long it is valid; None is until it is revoked.

        Raises:
            ValueError: an argument is out of range.
        """
        check_name("name", name)
        if owner is not None:
            check_name("owner", owner)
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise ValueError(f"scopes: expected some of {', '.join(SCOPES)}, got {', '.join(unknown) or 'none'}")
        if lifetime_s is not None and lifetime_s < 1:
            raise ValueError(f"lifetime_s: expected at least 1, got {lifetime_s}")
        key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES)
        kept = tuple(scope for scope in SCOPES if scope in scopes)
        values = {"id": key_id, "name": name, "owner": owner or f"key_{key_id}", "scopes": json.dumps(kept)}
        values["digest"] = self._digest(key_id, secret)
        with self._database.writing() as transaction:
            now_us = transaction.now_us
            values |= {"created_us": now_us, "expires_us": lifetime_s and now_us + lifetime_s * 1_000_000}
            row = transaction.connection.execute(sa.insert(api_keys).values(values).returning(api_keys)).one()
        return _key_of(row), f"{KEY_PREFIX}{key_id}{secret}"

    def verify(self, text: str) -> ApiKey | None:
        """Return the key of a text; None if it is none, revoked, or its time is over.

        One lookup and one digest are made in every case.
        """
        found = _KEY.fullmatch(text) if len(text) <= MAX_KEY_LENGTH else None
        key_id, secret = (found[1], found[2]) if found else _NO_KEY
        digest = self._digest(key_id, secret)
        with self._database.reading() as transaction:
            row = transaction.connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
            now_us = transaction.now_us
        is_right = hmac.compare_digest(digest, row.digest if row is not None else _NO_DIGEST)
        if row is None or not is_right or row.revoked_us is not None:
            return None
        if row.expires_us is not None and row.expires_us <= now_us:
            return None
        if row.last_used_us is None or row.last_used_us < now_us - USED_EVERY_US:
            self._note_later(key_id)
        return _key_of(row)

    def flush(self) -> None:
        """Note which keys were used; what cannot be noted now is noted at another use."""
        with self._lock:
            used, self._used = self._used, set()
        if used:
            with contextlib.suppress(StoreError, StoreUnavailableError), self._database.writing() as transaction:
                noting = sa.update(api_keys).where(api_keys.c.id.in_(sorted(used)))
                transaction.connection.execute(noting.values(last_used_us=transaction.now_us))

    def _note_later(self, key_id: str) -> None:
        with self._lock:
            self._used.add(key_id)
            if self._noting is None and not self._is_closing.is_set():
                self._noting = threading.Thread(target=self._note, name="key uses", daemon=True)
                self._noting.start()

    def _note(self) -> None:
        self._is_closing.wait(NOTE_AFTER_S)
        with self._lock:
            self._noting = None  # what is used from now on has a thread of its own
        self.flush()

    def revoke(self, key_id: str) -> bool:
        """Make a key invalid from now on; False if there is none of that id."""
        if not re.fullmatch(r"[0-9a-f]+", key_id):
            return False
        with self._database.writing() as transaction:
            revoked_us = sa.func.coalesce(api_keys.c.revoked_us, transaction.now_us)
            revoked = sa.update(api_keys).where(api_keys.c.id == key_id).values(revoked_us=revoked_us)
            return transaction.connection.execute(revoked).rowcount == 1

    def all(self) -> tuple[ApiKey, ...]:
        """Return all keys, the oldest first."""
        with self._database.reading() as transaction:
            rows = transaction.connection.execute(sa.select(api_keys).order_by(api_keys.c.created_us, api_keys.c.id))
            return tuple(_key_of(row) for row in rows)

    def has_valid_key(self) -> bool:
        """Whether there is a key that opens anything."""
        with self._database.reading() as transaction:
            is_valid = sa.or_(api_keys.c.expires_us.is_(None), api_keys.c.expires_us > transaction.now_us)
            found = sa.select(api_keys.c.id).where(api_keys.c.revoked_us.is_(None), is_valid).limit(1)
            return transaction.connection.execute(found).one_or_none() is not None

    def _digest(self, key_id: str, secret: str) -> str:
        assert self._pepper is not None
        # 32 random bytes cannot be guessed: a slow hash would only slow us down.
        return hmac.new(self._pepper, f"{key_id}{secret}".encode(), hashlib.sha256).hexdigest()


def kept_pepper(folder: str | Path, database: Database) -> bytes:
    """Return the pepper of a data directory, made if there is none and no key needs it; only this user can read it.

    A copy of the database without it opens nothing. Without it, or with another, no key is valid.

    Raises:
        StoreError: it cannot be read or made, is damaged, or is gone though there are keys.
    """
    path = Path(folder) / PEPPER_NAME
    if (pepper := read_pepper(folder, database)) is None:
        _make_pepper(path)
        pepper = read_pepper(folder, database)
    if pepper is None:
        raise StoreError(f"keys: {path} leads nowhere; remove it, or choose another --data-dir")
    return pepper


def read_pepper(folder: str | Path, database: Database) -> bytes | None:
    """Return the pepper of a data directory; None if none was made yet. Raises StoreError as `kept_pepper` does."""
    path = Path(folder) / PEPPER_NAME
    fix = "correct --data-dir or restore it, or else revoke all keys, remove it and make new ones"
    try:
        has_valid_key = KeyRing(database, None).has_valid_key()  # first: whoever made a key had made a pepper
    except StoreUnavailableError as error:
        raise StoreError(f"{error}; try again when it does") from None
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        if has_valid_key:
            raise StoreError(f"keys: {path} is gone, and no key opens anything without it; {fix}") from None
        return None
    except OSError as error:
        raise _unusable_pepper(path, error) from None
    if not re.fullmatch(rf"[0-9a-f]{{{2 * PEPPER_BYTES}}}", text):
        raise StoreError(f"keys: {path} is damaged; {fix}")
    return bytes.fromhex(text)


def _make_pepper(path: Path) -> None:
    temporary = path.with_name(f"{PEPPER_NAME}.{secrets.token_hex(8)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(PEPPER_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unless another process was first
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise _unusable_pepper(path, error) from None


def _unusable_pepper(path: Path, error: OSError) -> StoreError:
    return StoreError(f"keys: {path}: {error.strerror}; correct it, or choose another --data-dir")


def _key_of(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        owner=row.owner,
        scopes=tuple(json.loads(row.scopes)),
        created_us=row.created_us,
        expires_us=row.expires_us,
        revoked_us=row.revoked_us,
        last_used_us=row.last_used_us,
    )

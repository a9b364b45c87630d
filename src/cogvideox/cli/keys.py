"""``cogvideox keys``: who may use a server."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cogvideox.cli.output import OK, print_json, print_table
from cogvideox.cli.serving_flags import DAY_S, Flag, StoreFlags

if TYPE_CHECKING:
    from cogvideox.serving.database import Database
    from cogvideox.serving.keys import ApiKey

Places = Annotated[StoreFlags, Parameter(name="*", group="Jobs and files")]
_PLACES = StoreFlags()


def new(
    name: str,
    *,
    owner: str | None = None,
    scope: Annotated[
        list[Literal["generate", "read", "admin", "metrics"]] | None, Parameter(negative="", consume_multiple=True)
    ] = None,
    days: float | None = None,
    places: Places = _PLACES,
    json: Flag = False,
) -> int:
    """Make a key and print it; it cannot be shown again.

    Parameters
    ----------
    name
        What it is for, for people.
    owner
        Whose videos it makes and sees (default: its own).
    scope
        generate, read, metrics, admin: what it may do (default: generate read).
    days
        How long it is valid (default: until it is revoked).
    places
        As for serve.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.keys import KeyRing, kept_pepper

    if days is not None and not 0 < days < 100_000:
        raise ValueError(f"--days: expected more than 0, got {days}")
    lifetime_s = None if days is None else max(round(days * DAY_S), 1)
    database, folder = _opened(places, may_make=True)
    ring = KeyRing(database, kept_pepper(folder, database))
    key, text = ring.new(name, owner=owner, scopes=tuple(scope or ("generate", "read")), lifetime_s=lifetime_s)
    if json:
        print_json({"ok": True, "data": _plain(key) | {"key": text}})
        return OK
    Console(stderr=True, highlight=False).print(f"key {key.id} ({name}); it is shown only now:", markup=False)
    print(text)
    return OK


def list_keys(*, places: Places = _PLACES, json: Flag = False) -> int:
    """List all keys, without what they open with; the exit code is 3 if the server cannot verify them.

    Parameters
    ----------
    places
        As for serve.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.job import StoreError
    from cogvideox.serving.keys import KeyRing, read_pepper

    database, folder = _opened(places)
    keys = KeyRing(database, None).all()
    trouble = None
    try:
        read_pepper(folder, database)
    except StoreError as error:
        trouble = error
    if trouble is not None and json:
        raise trouble
    if json:
        print_json({"ok": True, "data": {"keys": [_plain(key) for key in keys]}})
        return OK
    table = Table("id", "name", "owner", "scopes", "made", "last used", "state", box=None)
    for key in keys:
        times = (_day(key.created_us), _day(key.last_used_us))
        state = _state(key, is_verifiable=trouble is None)
        table.add_row(key.id, key.name, key.owner, " ".join(key.scopes), *times, state)
    print_table(table)
    if trouble is not None:  # the ids are shown first, as those of keys to be revoked
        raise trouble
    return OK


def revoke(key_id: str, *, places: Places = _PLACES, json: Flag = False) -> int:
    """Make a key invalid from now on.

    Parameters
    ----------
    key_id
        As keys list shows it.
    places
        As for serve.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.keys import KeyRing

    database, _ = _opened(places)
    if not KeyRing(database, None).revoke(key_id):
        raise ValueError(f"key_id: there is no key {key_id!r}; see cogvideox keys list")
    if json:
        print_json({"ok": True, "data": {"id": key_id}})
    else:
        Console(highlight=False).print(f"{key_id} is revoked", markup=False)
    return OK


def _opened(places: StoreFlags, *, may_make: bool = False) -> tuple["Database", Path]:
    """Return the store and the folder."""
    from cogvideox.serving.database import Database
    from cogvideox.serving.files import keep_files_private
    from cogvideox.serving.job import StoreError

    keep_files_private()
    place = places.place(needs_shared_folder=True)  # what keys are hashed with is there
    place.check_store(may_make=may_make)
    try:
        if may_make:
            place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"data directory: {place.folder}: {error.strerror}; choose another --data-dir") from None
    return Database(place.url), place.folder


def _plain(key: "ApiKey") -> dict[str, Any]:
    times = {name: None if value is None else value // 10**6 for name, value in _times(key).items()}
    return {"id": key.id, "name": key.name, "owner": key.owner, "scopes": list(key.scopes), **times}


def _times(key: "ApiKey") -> dict[str, int | None]:
    return {
        "created_at": key.created_us,
        "expires_at": key.expires_us,
        "revoked_at": key.revoked_us,
        "last_used_at": key.last_used_us,
    }


def _state(key: "ApiKey", *, is_verifiable: bool) -> str:
    if key.revoked_us is not None:
        return "revoked"
    if key.expires_us is not None and key.expires_us <= time.time() * 1e6:
        return "expired"
    return "valid" if is_verifiable else "useless"


def _day(time_us: int | None) -> str:
    return "-" if time_us is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(time_us / 1e6))

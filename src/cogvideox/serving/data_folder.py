"""Where a server keeps its jobs and files, and that all who use one store use one folder of files; without torch.

A worker with a folder of its own would complete videos that no API can serve. So the store remembers the name of its
folder, and the folder its own name and that of the store.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cogvideox.durable_files import replace_text
from cogvideox.serving.database import Database, Transaction, is_store_there
from cogvideox.serving.files import holds_files
from cogvideox.serving.job import StoreError, StoreUnavailableError
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.records import files_of
from cogvideox.serving.schema import jobs, store_state

sa = sqlalchemy()

LABEL_NAME = "data-folder.json"
"""In a data folder: its name and its store's."""
LOCK_NAME = "files.lock"
_MAX_LOOKS = 1000
"""Files that are looked for in a folder before it is taken for another one."""


def default_data_folder() -> Path:
    """Return the folder of this user: below XDG_DATA_HOME, else ``~/.local/share``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "cogvideox"


def store_url(data_folder: Path) -> str:
    """Return the URL of the SQLite store in a data folder."""
    return f"sqlite:///{data_folder.absolute() / 'jobs.sqlite3'}"


@dataclass(frozen=True, kw_only=True)
class FolderLabel:
    """What a data folder says of itself."""

    folder_id: str
    """Random; the store remembers it."""
    store_id: str
    """Of the store that the folder was first used with."""
    is_around_store: bool
    """That store was a file in the folder: a new one may take its place, if no files of jobs are left."""

    def __post_init__(self) -> None:
        if not (isinstance(self.folder_id, str) and isinstance(self.store_id, str) and self.folder_id):
            raise ValueError(f"folder_id: expected text, got {self.folder_id!r}")


def join_folder(database: Database, folder: Path) -> None:
    """Make sure that a data folder is the one that the files of a store are in; for all who begin to use both.

    The first folder of a store becomes its folder for good; of a store whose jobs have files already, the first one
    that has one of them. For any number of processes at once, on any number of machines. What a process that is killed
    meanwhile leaves is gone on with.

    Raises:
        StoreError: it is another folder, or the store does not answer; the message says what to do.
    """
    try:
        with database.reading() as transaction:
            wanted = _state(transaction, "data_folder")
        if wanted is None:
            wanted = _adopt(database, folder)
    except StoreUnavailableError as error:
        raise StoreError(f"{error}; try again when it does") from None
    label = read_label(folder)
    if label is not None and label.folder_id == wanted:
        return
    fix = "give all who use this store the same --data-dir"
    if label is not None:
        raise StoreError(f"data directory: {folder} is not the one that the files of this store are in; {fix}")
    raise StoreError(
        f"data directory: {folder} is not the one that the files of this store are in (it has no {LABEL_NAME}); {fix}, "
        "or bring that file back"
    )


def check_store_kept(url: str, folder: Path) -> None:
    """Raise StoreError if a store is gone whose files are there: before a new one is made in its place."""
    if not is_store_there(url) and holds_files(folder):
        raise _unknown_files(folder)


def read_label(folder: Path) -> FolderLabel | None:
    """Return what a folder says of itself; None if it says nothing. Raises StoreError if that cannot be read."""
    path = folder / LABEL_NAME
    try:
        return FolderLabel(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError):
        raise StoreError(f"data directory: {path} cannot be read; bring it back from a backup") from None


def _adopt(database: Database, folder: Path) -> str:
    """Let a store that has no folder yet have one; return the name of the folder that it has then."""
    with database.writing(serial="migrate") as transaction, _locked(folder):
        if (known := _state(transaction, "data_folder")) is not None:  # another process was first
            return known
        store_id = _state(transaction, "store_id")
        assert store_id is not None
        is_around_store = database.path is not None and database.path.parent.resolve() == folder.resolve()
        label = read_label(folder)
        is_others = label is not None and label.store_id != store_id
        if label is not None and is_others and not (label.is_around_store and is_around_store):
            # Two stores would each remove the files of the other.
            raise StoreError(
                f"data directory: {folder} belongs to another store of jobs; choose another --data-dir, or, if that "
                f"store is gone for good, move `files` in it away and remove {LABEL_NAME}"
            )
        is_unknown = is_others or (label is None and not _has_jobs(transaction))
        if is_unknown and holds_files(folder):  # the janitor would remove them all
            raise _unknown_files(folder)
        _check_holds_files(transaction, folder)
        if label is None or is_others:
            folder_id = secrets.token_hex(16) if label is None else label.folder_id
            label = FolderLabel(folder_id=folder_id, store_id=store_id, is_around_store=is_around_store)
            _write_label(folder, label)
        # The folder first: it names the store, so after a kill between the two this store, and no other, goes on here.
        values = {"name": "data_folder", "number": 0, "text": label.folder_id}
        transaction.connection.execute(sa.insert(store_state).values(values))
        return label.folder_id


def _unknown_files(folder: Path) -> StoreError:
    return StoreError(
        f"data directory: {folder} holds files of a store of jobs that is gone; put that store back (jobs.sqlite3), "
        f"or move {folder / 'files'} away to begin anew"
    )


def _has_jobs(transaction: Transaction) -> bool:
    return transaction.connection.execute(sa.select(jobs.c.id).limit(1)).one_or_none() is not None


def _check_holds_files(transaction: Transaction, folder: Path) -> None:
    """Raise StoreError if jobs name files, and a folder has none of them."""
    named = sa.select(jobs.c.files).where(jobs.c.is_purged.is_(False), jobs.c.files != "{}")
    rows = transaction.connection.execute(named.order_by(jobs.c.change.desc()).limit(_MAX_LOOKS)).scalars().all()
    names = [file.sha256 for text in rows for file in files_of(text).values()]
    if names and not any((folder / "files" / name[:2] / name).is_file() for name in names):
        raise StoreError(
            f"data directory: {folder} has none of the files that the jobs of this store name; give the --data-dir "
            "that has them"
        )


def _write_label(folder: Path, label: FolderLabel) -> None:
    try:
        replace_text(folder / LABEL_NAME, json.dumps(asdict(label)) + "\n")
    except OSError as error:
        raise StoreError(f"data directory: {folder}: {error.strerror}; choose another --data-dir") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Be the only one who names a folder, whichever store others have. The system lets go with the process."""
    try:
        file = (folder / LOCK_NAME).open("a")
    except OSError as error:
        raise StoreError(f"data directory: {folder}: {error.strerror}; choose another --data-dir") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _state(transaction: Transaction, name: str) -> Any:
    found = sa.select(store_state.c.text).where(store_state.c.name == name)
    return transaction.connection.execute(found).scalar_one_or_none()

"""Files and folders that take their names only when they are whole and on the disk.

A process may be killed, and a disk may be full, at any moment: what has its final name is complete, anything else ends
in ``.tmp``, ``.new`` or ``.old`` and is cleared away by the next start.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes ``path``, durably, when the block ends well and is removed when not."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write a text file at once or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Remove what a killed process left half written in a folder."""
    for path in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        path.unlink()


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Keep other processes out of a folder. The system lets the lock go with the process, however that ends.

    Raises:
        ValueError: another process has it; ``refusal`` is the message.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(refusal) from None
        yield


def newer_folder(folder: Path) -> Path:
    """Return the sibling in which the next content of ``folder`` is prepared."""
    return folder.with_name(folder.name + ".new")


def _older_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def replace_folder(folder: Path) -> None:
    """Let `newer_folder` take the place of ``folder``; `recover_folder` comes before, and completes it after a kill."""
    newer, older = newer_folder(folder), _older_folder(folder)
    _sync_tree(newer)
    if folder.exists():
        folder.rename(older)
    try:
        newer.rename(folder)
    except OSError:
        if older.exists():
            older.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(older, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Complete a `replace_folder` that was killed, and clear away half a newer folder."""
    newer, older = newer_folder(folder), _older_folder(folder)
    if not folder.exists() and older.exists():
        # The old content steps aside only when the new one is whole.
        (newer if newer.exists() else older).rename(folder)
        sync_folder(folder.parent)
    for rest in (newer, older):
        shutil.rmtree(rest, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, None when it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None

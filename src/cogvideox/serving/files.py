"""Files of jobs, kept by their content: uploads, previews, checkpoints, results.

A file is named by its SHA-256 and nothing else, so no name that a client chose reaches the disk, and a file that is
there is whole. Callers give ids; folders are opened one in the other without following links.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cogvideox.durable_files import TEMPORARY_SUFFIX, sync_folder
from cogvideox.serving.job import FileRef, StoreError, is_job_id

log = logging.getLogger(__name__)

BLOCK_BYTES = 2**20
MIN_FREE_BYTES = 2 * 2**30
MIN_FREE_SHARE = 0.05
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORK_FOLDER = re.compile(r"(video_[0-9a-f]{32})-(\d+)")
_IN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class StorageFullError(OSError):
    """There is too little free space on the disk; nothing was written."""


class FileTooLargeError(ValueError):
    """A file is larger than it may be; nothing was kept."""


@dataclass(frozen=True, kw_only=True)
class DiskFloor:
    """How much space stays free: the larger of the two."""

    min_free_bytes: int = MIN_FREE_BYTES
    min_free_share: float = MIN_FREE_SHARE
    """Of the disk."""

    def __post_init__(self) -> None:
        if self.min_free_bytes < 0:
            raise ValueError(f"min_free_bytes: expected at least 0, got {self.min_free_bytes}")
        if not 0 <= self.min_free_share < 1:
            raise ValueError(f"min_free_share: expected 0 to 1, got {self.min_free_share}")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file that is on the disk for good, until no job names it."""

    file: FileRef
    is_new: bool
    """It was not there before."""
    touched_ns: int
    """Tells whether somebody else kept the same file since."""


class FileStore:
    """Files below one folder, for any number of threads and processes."""

    def __init__(self, folder: str | Path, *, floor: DiskFloor | None = None) -> None:
        """Open the folder, made if it is not there.

        Raises:
            StoreError: it cannot be made or written.
        """
        self.folder = Path(folder).absolute()
        self.floor = floor or DiskFloor()
        self._files, self._work = self.folder / "files", self.folder / "work"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for made in (self._files, self._work):
                made.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
        except OSError as error:
            raise StoreError(f"data directory: {self.folder}: {error.strerror}; choose another --data-dir") from None
        check_data_folder(self.folder)

    def keep(
        self, blocks: Iterable[bytes], *, max_bytes: int | None = None, media_type: str = "", name: str = ""
    ) -> Kept:
        """Write a file to the disk as it comes, and wait until it is there.

        Args:
            blocks: the content in pieces of any size.
            max_bytes: what is longer is refused.
            media_type: what it is.
            name: what a client called it; only noted.

        Raises:
            FileTooLargeError: it is longer than ``max_bytes``.
            StorageFullError: the disk is full.
        """
        temporary = self._files / f"{secrets.token_hex(16)}{TEMPORARY_SUFFIX}"
        digest, num_bytes = hashlib.sha256(), 0
        try:
            with self._full_disk_told(), open(temporary, "xb", opener=_open_private) as file:
                for block in blocks:
                    num_bytes += len(block)
                    if max_bytes is not None and num_bytes > max_bytes:
                        raise FileTooLargeError(f"file: expected at most {max_bytes} bytes")
                    digest.update(block)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            found = FileRef(sha256=digest.hexdigest(), num_bytes=num_bytes, media_type=media_type, name=name)
            return self._publish(temporary, found)
        finally:
            temporary.unlink(missing_ok=True)

    def keep_bytes(self, content: bytes, *, media_type: str = "", name: str = "") -> Kept:
        """Write a file at once. Raises StorageFullError if the disk is full."""
        return self.keep((content,), media_type=media_type, name=name)

    def keep_file(self, path: Path, *, media_type: str = "", name: str = "") -> Kept:
        """Copy a file of ours, such as one that was encoded in a working folder. Raises as `keep` does."""
        with path.open("rb") as file:
            return self.keep(iter(lambda: file.read(BLOCK_BYTES), b""), media_type=media_type, name=name)

    def open(self, file: FileRef | str) -> BinaryIO:
        """Open a file, or the one of a SHA-256, to read it.

        Raises:
            FileNotFoundError: it is not there (any more), or no regular file.
        """
        sha256 = _checked(file)
        with self._shard(sha256) as shard:
            try:
                opened = os.open(sha256, _FILE, dir_fd=shard)
            except OSError:  # a link, or nothing
                raise FileNotFoundError(f"there is no file {sha256}") from None
        if not _is_regular(opened):
            os.close(opened)
            raise FileNotFoundError(f"there is no file {sha256}")
        return os.fdopen(opened, "rb")

    def has(self, file: FileRef | str) -> bool:
        """Whether a file is there."""
        try:
            self.open(file).close()
        except FileNotFoundError:
            return False
        return True

    def read(self, file: FileRef | str) -> bytes:
        """Return the content of a file. Raises FileNotFoundError if it is not there."""
        with self.open(file) as opened:
            return opened.read()

    def is_whole(self, file: FileRef) -> bool:
        """Whether a file is there with the content and length that it should have."""
        try:
            with self.open(file) as opened:
                digest, num_bytes = hashlib.sha256(), 0
                while block := opened.read(BLOCK_BYTES):
                    digest.update(block)
                    num_bytes += len(block)
                return digest.hexdigest() == file.sha256 and num_bytes == file.num_bytes
        except FileNotFoundError:
            return False

    def discard(self, kept: Kept) -> bool:
        """Remove what `keep` has just written, unless it was there before or somebody kept the same since.

        For an upload whose job was refused. Returns whether it is gone.
        """
        if not kept.is_new:
            return False
        return self._remove(kept.file.sha256, lambda status: status.st_mtime_ns == kept.touched_ns)

    def remove_unnamed(self, named: Callable[[], set[str]], *, grace_s: float) -> int:
        """Remove files that no job names, and rests of processes that were killed; return how many.

        What was kept less than ``grace_s`` ago stays: the job that will name it may not be stored yet.

        Args:
            named: asked after the files were listed, so that no job is missed that was stored before.
            grace_s: longer than any upload or publication takes.
        """
        end_ns = time.time_ns() - round(grace_s * 1e9)
        old = [path for path in self._files.rglob("*") if _is_older(path, end_ns)]
        keep = named() if old else set()
        num_removed = 0
        for path in old:
            if path.suffix == TEMPORARY_SUFFIX:
                num_removed += _is_unlinked(path)
            elif _SHA256.fullmatch(path.name) and path.name not in keep:
                num_removed += self._remove(path.name, lambda status: status.st_mtime_ns < end_ns)
        return num_removed

    def remove_released(self, files: Iterable[FileRef], named: Callable[[], set[str]], *, grace_s: float) -> int:
        """Remove files of deleted jobs that no other job names; return how many. Later ones are left to a sweep."""
        end_ns = time.time_ns() - round(grace_s * 1e9)
        released = {file.sha256 for file in files}
        gone = released - named() if released else released
        return sum(self._remove(sha256, lambda status: status.st_mtime_ns < end_ns) for sha256 in gone)

    def work_folder(self, job_id: str, attempt: int) -> Path:
        """Return a folder, made if need be, for one try of a job; a worker that lost the job has another one."""
        if not is_job_id(job_id):
            raise ValueError(f"job_id: expected the id of a job, got {job_id!r}")
        folder = self._work / f"{job_id}-{int(attempt)}"
        folder.mkdir(exist_ok=True)
        return folder

    def remove_work_folder(self, job_id: str, attempt: int) -> None:
        """Remove the folder of a try that has ended."""
        shutil.rmtree(self.work_folder(job_id, attempt), ignore_errors=True)

    def remove_work_folders(self, running: Callable[[], set[tuple[str, int]]], *, grace_s: float) -> int:
        """Remove folders of tries that nobody works on and that nothing was written to lately; return how many."""
        end_ns = time.time_ns() - round(grace_s * 1e9)
        old = [path for path in self._work.iterdir() if _newest_ns(path) < end_ns]
        keep = running() if old else set()
        gone = [path for path in old if _work_name(path) not in keep]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        return sum(not path.exists() for path in gone)

    def free_bytes(self) -> int:
        """Return how much can still be written before the floor is reached; negative below it."""
        return room_bytes(self._files, self.floor)

    def check_room(self, num_bytes: int = 0) -> None:
        """Raise StorageFullError unless so many bytes can be written and the floor stays free."""
        if (free := self.free_bytes()) < num_bytes:
            short = (num_bytes - free) / 2**20
            raise StorageFullError(f"storage: {short:.0f} MiB too little free space; delete videos or make room")

    def _publish(self, temporary: Path, file: FileRef) -> Kept:
        """Give a written file its name, or note that the one that is there is wanted again."""
        shard = self._files / file.sha256[:2]
        if not shard.is_dir():
            shard.mkdir(exist_ok=True)
            sync_folder(self._files)
        path = shard / file.sha256
        with self._locked(fcntl.LOCK_SH):
            try:
                touched_ns = _touch(path)
                is_new = False
            except FileNotFoundError:
                touched_ns = _touch(temporary)
                os.replace(temporary, path)
                is_new = True
        sync_folder(shard)
        return Kept(file=file, is_new=is_new, touched_ns=touched_ns)

    def _remove(self, sha256: str, is_unwanted: Callable[[os.stat_result], bool]) -> bool:
        """Remove a file if its times say that nobody wants it; nobody can keep the same file meanwhile."""
        path = self._files / sha256[:2] / sha256
        with self._locked(fcntl.LOCK_EX), contextlib.suppress(FileNotFoundError):
            return is_unwanted(path.lstat()) and _is_unlinked(path)
        return False

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold the lock of all files, for a moment. The system lets it go with the process."""
        with (self.folder / "files.lock").open("a") as file:
            fcntl.flock(file, kind)
            yield

    @contextmanager
    def _shard(self, sha256: str) -> Iterator[int]:
        opened: list[int] = []
        try:
            opened.append(os.open(self._files, _IN_FOLDER))
            opened.append(os.open(sha256[:2], _IN_FOLDER, dir_fd=opened[0]))
            yield opened[-1]
        except (NotADirectoryError, FileNotFoundError):
            raise FileNotFoundError(f"there is no file {sha256}") from None
        finally:
            for descriptor in opened:
                os.close(descriptor)

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise StorageFullError(f"storage: {error.strerror}; delete videos or make room") from None


@contextmanager
def only_supervisor(folder: str | Path) -> Iterator[None]:
    """Be the only one who serves a data directory; the system lets go of it when the process ends, however.

    Raises:
        StoreError: another process serves it; the message has its number.
    """
    path = Path(folder) / "server.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            number = file.read(20).strip()
            raise StoreError(
                f"data directory: {folder} is served by process {number or 'unknown'} already; stop that one, or "
                "choose another --data-dir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def check_data_folder(folder: Path) -> None:
    """Raise StoreError if a folder that is there cannot have the files of jobs; nothing is written."""
    for made in (folder / "files", folder / "work"):
        if made.is_symlink():  # files are opened without following links, and removed by their places
            raise StoreError(
                f"data directory: {made} is a link; to have videos on another disk, mount that one there, or choose "
                "another --data-dir"
            )
        if made.exists() and not made.is_dir():
            raise StoreError(f"data directory: {made} is no folder; choose another --data-dir")
        place = made if made.exists() else folder
        if not os.access(place, os.W_OK | os.X_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
            raise StoreError(
                f"data directory: {place} cannot be written; give this user the right, or choose another --data-dir"
            )


def holds_files(folder: Path) -> bool:
    """Whether a data directory has files of jobs, whichever store knows them."""
    return any(_SHA256.fullmatch(path.name) for path in (folder / "files").glob("*/*"))


def room_bytes(folder: Path, floor: DiskFloor) -> int:
    """Return how much can still be written to a folder's disk before the floor is reached; negative below it."""
    disk = os.statvfs(folder)
    kept = max(floor.min_free_bytes, round(floor.min_free_share * disk.f_blocks * disk.f_frsize))
    return disk.f_bavail * disk.f_frsize - kept


def keep_files_private() -> None:
    """Have this process, and those that it starts, make files and folders that only this user can read."""
    os.umask(0o077)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _checked(file: FileRef | str) -> str:
    sha256 = file.sha256 if isinstance(file, FileRef) else file
    if not _SHA256.fullmatch(sha256):
        raise FileNotFoundError("there is no such file")
    return sha256


def _is_regular(descriptor: int) -> bool:
    return os.fstat(descriptor).st_mode & 0o170000 == 0o100000


def _touch(path: Path) -> int:
    """Set the time of a file to now and return it. Raises FileNotFoundError if it is not there."""
    now_ns = time.time_ns()
    os.utime(path, ns=(now_ns, now_ns), follow_symlinks=False)
    return now_ns


def _is_unlinked(path: Path) -> bool:
    """Remove a file; return whether it is gone. One that cannot be removed is told of and left: others can."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a file cannot be removed", extra={"file": path.name, "reason": error.strerror})
        return False
    return True


def _is_older(path: Path, end_ns: int) -> bool:
    with contextlib.suppress(OSError):
        status = path.lstat()
        return status.st_mode & 0o170000 == 0o100000 and status.st_mtime_ns < end_ns
    return False


def _newest_ns(folder: Path) -> int:
    times = [0]
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(OSError):
            times.append(path.lstat().st_mtime_ns)
    return max(times)


def _work_name(path: Path) -> tuple[str, int] | None:
    found = _WORK_FOLDER.fullmatch(path.name)
    return (found[1], int(found[2])) if found else None

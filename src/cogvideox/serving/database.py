"""A database that holds a job store: SQLite for one machine, PostgreSQL for several; transactions and clocks of both.

Times come from the database's side alone, so no worker's clock can steal a job. PostgreSQL has its server's clock.
SQLite runs in our processes on one machine: times that are shown are that machine's wall clock; leases and the like are
told by a *steady* clock that goes on from the wall clock as it was when the store was first opened after the boot, and
that nobody sets.
"""

import collections
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from cogvideox.durable_files import sync_folder
from cogvideox.serving.job import StoreError, StoreUnavailableError
from cogvideox.serving.libraries import psycopg, sqlalchemy
from cogvideox.serving.schema import ENDED_BY_BOOT_US, HEAD, check_revision, jobs, migrate, revision_of, store_state

sa = sqlalchemy()

BUSY_TIMEOUT_S = 5
OPEN_S = 30.0
"""For a store to be opened that others open too, and bring up to date."""
BUSY_WORDS = ("database is locked", "due to lock timeout", "due to statement timeout")
"""Of SQLite, and of PostgreSQL in English; in other languages it is not waited for."""
NETWORK_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "ceph",
    "fuse",
    "gluster",
    "lustre",
    "beegfs",
    "gpfs",
    "vboxsf",
)
"""Beginnings of their names. WAL needs memory that all processes share, and locks that hold."""
LOCAL_FUSE = ("fuseblk", "fuse.fuse-overlayfs")
SQLITE_HEADER = b"SQLite format 3\0"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MOUNTS = Path("/proc/self/mountinfo")
OLDEST_POSTGRESQL = 13
SERIAL_LOCKS = {"migrate": 0x636F6701, "submit": 0x636F6702, "claim": 0x636F6703}
"""Advisory locks of PostgreSQL: what must see all that went before it. SQLite has one writer anyway."""
Serial = Literal["migrate", "submit", "claim"]
COUNT_PREFIX = "count:"
"""Of names of tallies in ``store_state``."""

Clock = Callable[[], int]
"""Microseconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """A transaction and its time."""

    connection: Any
    now_us: int
    steady_us: int
    change: int
    """What rows are marked with that it changes; 0 if it only reads."""
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    """What is added to the tallies of the store when it ends."""


class Database:
    """Connections to a database with the tables of a job store. For any number of threads, but not across a fork."""

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        """Connect, and bring the tables up to date.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``.
            clock: what to take for the time instead of the database's clock; for tests.

        Raises:
            StoreError: it cannot be used; the message says why and what to do.
        """
        self._clock = clock
        self._steady_offset_us = 0
        parsed = _parsed(url)
        self.kind: Literal["sqlite", "postgresql"] = parsed.get_backend_name()
        self.path: Path | None = None
        """The file of SQLite."""
        self._file_key: tuple[int, int] | None = None
        """Tells that file from any other that is put in its place."""
        self.name = parsed.set(query={}).render_as_string(hide_password=True)  # a query may hold a password too
        self._write_lock = threading.Lock()
        if self.kind == "sqlite":
            self.path = Path(parsed.database).absolute()
            _check_sqlite(self.path)
            self.engine = _sqlite_engine(self.path)
            self._file_key = _file_key(self.path)
        else:
            self.engine = _postgresql_engine(parsed)
        try:
            self._prepare_in_turn()
        except (StoreUnavailableError, sa.exc.DBAPIError) as error:
            self.close()
            told = error
            if not isinstance(error, StoreUnavailableError):
                told = f"job store: {self.name}: {_first_line(error.orig)}"
            fix = "look at its folder" if self.kind == "sqlite" else "start the database, or correct --store"
            raise StoreError(f"{told}; {fix}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @property
    def is_in_place(self) -> bool:
        """Whether the file of SQLite is where it was opened; always of PostgreSQL."""
        return self.path is None or _file_key(self.path) == self._file_key

    def check_in_place(self) -> None:
        """Raise StoreUnavailableError if the file of SQLite was moved or replaced: what is written is found no more."""
        if not self.is_in_place:
            raise StoreUnavailableError(
                f"job store: {self.path} was moved or replaced; put it back, or start all anew that use it"
            )

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Give a transaction that only reads. Raises StoreUnavailableError if the database does not answer."""
        self.check_in_place()
        with self._translated_errors(), self.engine.connect() as connection, connection.begin():
            now_us = self._now_us(connection)
            yield Transaction(connection=connection, now_us=now_us, steady_us=self._steady_us(now_us), change=0)

    @contextmanager
    def writing(self, serial: Serial | None = None) -> Iterator[Transaction]:
        """Give a transaction that writes, and is on the disk when the block has ended.

        Args:
            serial: no two transactions of this kind run at the same time.

        Raises:
            StoreUnavailableError: the database does not answer. Whether a change was made that was being committed
                is not known then: asking again must be harmless.
        """
        with self._translated_errors(), self._only_writer(), self._connected_in_place() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                if serial is not None and self.kind == "postgresql":
                    key = SERIAL_LOCKS[serial]
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
                change = self._next_change(connection)
                now_us = self._now_us(connection)
                transaction = Transaction(
                    connection=connection, now_us=now_us, steady_us=self._steady_us(now_us), change=change
                )
                yield transaction
                add_counts(connection, transaction.counts)

    def change_mark(self, transaction: Transaction) -> int:
        """Return a number: every change that this transaction cannot see is at least as large.

        Transactions of PostgreSQL end in another order than they begin: changes from the oldest one on that still runs
        may be yet to come.
        """
        if self.kind == "postgresql":
            mark = sa.text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)")
            return transaction.connection.execute(mark).scalar_one()
        counter = sa.select(store_state.c.number).where(store_state.c.name == "change")
        return transaction.connection.execute(counter).scalar_one() + 1

    def _next_change(self, connection: Any) -> int:
        if self.kind == "postgresql":
            return connection.execute(sa.text("SELECT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)")).scalar_one()
        return next_number(connection, "change")

    def _now_us(self, connection: Any) -> int:
        if self._clock is not None:
            return self._clock()
        if self.kind == "postgresql":
            clock = sa.text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
            return connection.execute(clock).scalar_one()
        return time.time_ns() // 1000

    def _steady_us(self, now_us: int) -> int:
        if self._clock is not None or self.kind == "postgresql" or self._steady_offset_us == 0:
            return now_us
        return self._steady_offset_us + time.monotonic_ns() // 1000

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Let threads of this process wait in line: waiting for SQLite's own lock is neither fair nor quick."""
        if self.kind == "postgresql":
            yield
            return
        if not self._write_lock.acquire(timeout=BUSY_TIMEOUT_S):
            raise StoreUnavailableError(f"job store: {self.name} is busy")
        try:
            yield
        finally:
            self._write_lock.release()

    def _connected_in_place(self) -> Any:
        self.check_in_place()  # after the wait for other writers, and before SQLite would make a new file
        return self.engine.connect()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, sa.exc.InternalError) as error:
            reason = _first_line(getattr(error, "orig", None) or error)
            raise StoreUnavailableError(f"job store: {self.name} does not answer: {reason}") from None
        except sa.exc.DatabaseError as error:
            if not isinstance(error.orig, sqlite3.DatabaseError) or type(error) is not sa.exc.DatabaseError:
                raise
            raise StoreError(f"job store: {self.name}: {_first_line(error.orig)}; restore a backup") from None

    def _prepare_in_turn(self) -> None:
        """Prepare the store; wait for others who do the same just now, on a slow machine for longer than one lock."""
        end_s = time.monotonic() + OPEN_S
        while True:
            try:
                return self._prepare()
            except StoreUnavailableError as error:
                is_busy = any(words in str(error) for words in BUSY_WORDS)
                if not is_busy or time.monotonic() > end_s:
                    raise
                time.sleep(0.1)

    def _prepare(self) -> None:
        with self._translated_errors(), self.engine.connect() as connection, connection.begin():
            if self.kind == "postgresql":
                _check_postgresql(connection, self.name)
            revision = revision_of(connection)
            check_revision(revision)
        if revision != HEAD:
            with self._translated_errors(), self.engine.connect() as connection:
                connection = connection.execution_options(writes=True)
                with connection.begin():
                    if self.kind == "postgresql":
                        key = SERIAL_LOCKS["migrate"]
                        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
                    migrate(connection)
            if self.path is not None:
                sync_folder(self.path.parent)
                sync_folder(self.path.parent.parent)
        if self.kind == "sqlite" and self._clock is None and BOOT_ID.exists():
            self._steady_offset_us = self._start_steady_clock(BOOT_ID.read_text().strip())

    def _start_steady_clock(self, boot: str) -> int:
        """Return what to add to the monotonic clock; a boot ends all leases, as no worker lives through it."""
        offset = sa.select(store_state.c.number, store_state.c.text).where(store_state.c.name == "steady_clock")
        with self.reading() as transaction:
            row = transaction.connection.execute(offset).one_or_none()
        if row is not None and row.text == boot:
            return row.number
        with self.writing() as transaction:
            row = transaction.connection.execute(offset).one_or_none()
            if row is not None and row.text == boot:  # another process was first
                return row.number
            number = transaction.now_us - time.monotonic_ns() // 1000
            values = {"name": "steady_clock", "number": number, "text": boot}
            transaction.connection.execute(sa.delete(store_state).where(store_state.c.name == "steady_clock"))
            transaction.connection.execute(sa.insert(store_state).values(values))
            transaction.connection.execute(
                sa.update(jobs).where(jobs.c.lease_until_us.is_not(None)).values(lease_until_us=ENDED_BY_BOOT_US)
            )
            transaction.connection.execute(sa.update(jobs).values(not_before_us=0))
            return number


def next_number(connection: Any, name: Literal["change", "claim"]) -> int:
    """Return the next value of a counter of the store."""
    counting = sa.update(store_state).where(store_state.c.name == name).values(number=store_state.c.number + 1)
    return connection.execute(counting.returning(store_state.c.number)).scalar_one()


def add_counts(connection: Any, counts: Mapping[str, int]) -> None:
    """Add to tallies of the store: last in a transaction and always in one order, so that none waits for another."""
    adding = sa.text(
        "INSERT INTO store_state (name, number, text) VALUES (:name, :number, '') "
        "ON CONFLICT (name) DO UPDATE SET number = store_state.number + excluded.number"
    )
    for name in sorted(counts):
        connection.execute(adding, {"name": f"{COUNT_PREFIX}{name}", "number": counts[name]})


def file_system_of(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the name of the file system that a folder is on; empty where the system does not tell."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place, found, longest = folder.resolve(), "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = Path(before.split(" ")[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        # Of two mounts at one place the later one is on top.
        if place.is_relative_to(mount) and len(mount.parts) >= longest:
            found, longest = after.split(" ")[0], len(mount.parts)
    return found


def is_store_there(url: str) -> bool:
    """Whether somebody has made a store, as far as files tell: True of PostgreSQL. Raises StoreError for other URLs."""
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return True
    try:
        return Path(parsed.database).stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # something is there, and whoever opens it is told what is wrong
        return True


def is_network_file_system(name: str) -> bool:
    """Whether SQLite cannot be trusted on a file system of that name."""
    return name.lower().startswith(NETWORK_FILE_SYSTEMS) and name.lower() not in LOCAL_FUSE


def _parsed(url: str) -> Any:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (sa.exc.ArgumentError, ValueError):  # nothing of it is repeated: it may hold a password
        raise StoreError("job store: expected sqlite:///FILE or postgresql://USER@HOST/NAME, got no such URL") from None
    if not re.fullmatch(r"[\w.:/-]*", parsed.host or ""):
        raise StoreError("job store: the URL has no host that could be one; write @ in a password as %40, / as %2F")
    if backend == "postgres":
        parsed, backend = parsed.set(drivername="postgresql"), "postgresql"
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"job store: expected sqlite:///FILE or postgresql://USER@HOST/NAME, got {backend}://...")
    if backend == "sqlite" and (not parsed.database or parsed.database == ":memory:" or parsed.query):
        raise StoreError("job store: expected sqlite:///FILE with the name of a file, as a store outlives its process")
    return parsed


def _check_sqlite(path: Path) -> None:
    """Create the folder; refuse, without touching it, a file that cannot be used. Raises StoreError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts are nobody else's business
    except OSError as error:
        raise StoreError(f"job store: {path.parent}: {error.strerror}; choose another --data-dir") from None
    if path.is_symlink():  # prompts would be where nobody looks for them
        raise StoreError(
            f"job store: {path} is a link; move the file itself there, or name its place with --store sqlite:///FILE"
        )
    kind = file_system_of(path.parent)
    if is_network_file_system(kind):
        raise StoreError(
            f"job store: {path.parent} is on a network file system ({kind}), where SQLite loses data; choose a "
            "--data-dir on a local disk, or --store postgresql://..."
        )
    is_read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY or not os.access(path.parent, os.W_OK | os.X_OK)
    if is_read_only or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        raise StoreError(f"job store: {path} cannot be written; give this user the right, or choose another --data-dir")
    if not path.exists() or path.stat().st_size == 0:
        return
    damaged = f"job store: {path} is damaged or no SQLite database ({{}}); move it away, or restore a backup"
    try:
        with path.open("rb") as file:
            if file.read(len(SQLITE_HEADER)) != SQLITE_HEADER:
                raise StoreError(damaged.format("its first bytes are others"))
    except OSError as error:
        raise StoreError(f"job store: {path}: {error.strerror}; choose another --data-dir") from None
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S),
        poolclass=sa.pool.NullPool,
    )
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if found != "ok":
                raise StoreError(damaged.format(_first_line(found)))
            if (revision := revision_of(connection)) is None and sa.inspect(connection).get_table_names():
                raise StoreError(f"job store: {path} is a database of something else; choose another --data-dir")
            check_revision(revision)
    except sa.exc.OperationalError as error:
        raise StoreError(f"job store: {path}: {_first_line(error.orig)}; look at its folder") from None
    except sa.exc.DatabaseError as error:
        raise StoreError(damaged.format(_first_line(error.orig))) from None


def _sqlite_engine(path: Path) -> Any:
    # Prompts are nobody else's business; SQLite gives the files beside it the same rights.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},
        pool_size=8,
        max_overflow=24,
        pool_timeout=BUSY_TIMEOUT_S,
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
        _write_ahead(connection)
        # With NORMAL the last commits are lost when the power goes.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_size_limit = 67108864")

    @sa.event.listens_for(engine, "begin")
    def _began(connection: Any) -> None:
        # A transaction that reads first and writes later could not wait for its turn: it would be refused.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _file_key(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from others; None if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write_ahead(connection: Any) -> None:
    """Turn on the write-ahead log. Doing so does not wait for other processes by itself."""
    end_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end_s:
                raise
            time.sleep(0.02)


def _postgresql_engine(parsed: Any) -> Any:
    psycopg()
    seconds = {"statement_timeout": 15, "lock_timeout": BUSY_TIMEOUT_S, "idle_in_transaction_session_timeout": 10}
    options = [f"-c {name}={value}s" for name, value in seconds.items()]  # a stopped process holds up nobody for long
    options.append("-c synchronous_commit=on")
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        connect_args={
            "connect_timeout": BUSY_TIMEOUT_S,
            "options": " ".join(options),
            "application_name": "cogvideox",
            "tcp_user_timeout": 10_000,
        },
        isolation_level="READ COMMITTED",
        pool_size=8,
        max_overflow=24,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_pre_ping=True,
    )


def _check_postgresql(connection: Any, name: str) -> None:
    version = connection.dialect.server_version_info[0]
    if version < OLDEST_POSTGRESQL:
        raise StoreError(f"job store: {name} is PostgreSQL {version}; version {OLDEST_POSTGRESQL} or newer is needed")
    if connection.execute(sa.text("SELECT pg_is_in_recovery()")).scalar_one():
        raise StoreError(f"job store: {name} is a standby, which takes no writes; give --store the primary")


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""A real PostgreSQL for tests, from the system's package: its own folder, a free port, gone with the test."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from real_videos import give_up


def find_program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL: the newest that the system's package has, or of the path."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(packaged[-1]) if packaged else shutil.which(name)


@dataclass
class PostgresServer:
    """A server that listens on loopback."""

    folder: Path
    port: int
    is_durable: bool

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        name = f"test_{uuid.uuid4().hex}"
        self.run_sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def run_sql(self, command: str, database: str = "postgres") -> str:
        psql = find_program("psql")
        assert psql is not None
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database, "-Atqc", command]
        return subprocess.run([psql, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options += f" -c fsync={'on' if self.is_durable else 'off'} -c max_connections=200 -c shared_buffers=32MB"
        self._control("start", "-w", "-t", "30", "-o", options, "-l", str(self.folder / "log"))
        # A test run that is killed leaves no server behind.
        script = 'while kill -0 "$1" && kill -0 "$2"; do sleep 1; done; kill -INT "$2" && sleep 2 && rm -rf "$3"'
        arguments = [str(os.getpid()), str(self._pid()), str(self.folder)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.Popen(["sh", "-c", script, "sh", *arguments], start_new_session=True, **quiet)

    def stop(self) -> None:
        """Stop it at once: open connections break."""
        self._control("stop", "-m", "fast", "-w")

    def kill(self) -> None:
        """Kill the process that all others of the server are children of (they end by themselves)."""
        os.kill(self._pid(), signal.SIGKILL)

    def _pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def _control(self, *arguments: str) -> None:
        program = find_program("pg_ctl")
        assert program is not None
        run_as_user([program, "-D", str(self.folder / "data"), *arguments])


def run_as_user(command: list[str]) -> None:
    """Run a program of PostgreSQL, as another user if we are root, whom it refuses."""
    if os.getuid() == 0:
        command = ["setpriv", f"--reuid={user().pw_uid}", f"--regid={user().pw_gid}", "--clear-groups", *command]
    # Without a pipe: the server would keep it open.
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    assert done.returncode == 0, command


def user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@contextlib.contextmanager
def postgres_server(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """Run a server; skip the test if PostgreSQL is not installed (`make system-packages`).

    Args:
        is_durable: whether what is committed is on the disk; slower.
    """
    initdb = find_program("initdb")
    if initdb is None:
        give_up("PostgreSQL is not installed: make system-packages")
    folder = Path(tempfile.mkdtemp(prefix="cogvideox-postgres-"))
    try:
        if os.getuid() == 0:
            os.chown(folder, user().pw_uid, user().pw_gid)
        run_as_user([initdb, "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = PostgresServer(folder=folder, port=port, is_durable=is_durable)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):  # a test may have stopped or killed it
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

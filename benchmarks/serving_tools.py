"""What the measurements of the server share: a service whose processes are found and watched, requests to it, figures.

Every process of a service carries a mark in its environment, so that those are found too whose parent was killed, and
no others ever get a signal.
"""

import contextlib
import http.client
import json
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["supervisor", "api", "worker", "engine", "decoder", "other"]
StoreKind = Literal["sqlite", "postgresql"]
STORE_KINDS: tuple[StoreKind, ...] = ("sqlite", "postgresql")
MARK = "COGVIDEOX_BENCHMARK"
TESTS = Path(__file__).parent.parent / "tests"
MODULES: dict[str, Role] = {
    "cogvideox.serving.api_main": "api",
    "cogvideox.serving.worker_main": "worker",
    "cogvideox.serving.engine_child": "engine",
    "cogvideox.serving.decode_child": "decoder",
}
VERBS: dict[str, Role] = {"serve": "supervisor", "worker": "worker"}
START_S = 120.0
RESTART_S = 0.5
USER_FIELD, START_FIELD = 11, 19
"""Of ``/proc/PID/stat``, counted behind the name of the program."""


@dataclass(frozen=True)
class Process:
    """A process of a service; its number may be another one's later, its number and start never."""

    pid: int
    start_ticks: str
    role: Role

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        return _start_ticks(self.pid) == self.start_ticks

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.is_there:
                os.kill(self.pid, number)
                return True
        return False

    def status(self, key: str) -> int:
        """Return a number of ``/proc/PID/status``, ``VmRSS`` in bytes; 0 if it has ended."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith(f"{key}:"):
                    return int(line.split()[1]) * (1024 if line.endswith("kB") else 1)
        return 0

    def cpu_s(self) -> float:
        """Return the processor time that it has taken, in seconds; 0 if it has ended."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[USER_FIELD]) + int(fields[USER_FIELD + 1])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def num_files(self) -> int:
        """Return how many files it has open; 0 if it has ended."""
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        return 0


@dataclass
class Unit:
    """A command that is started again whenever it ends, as the system does it for services."""

    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    num_starts: int = 0
    started_s: float = 0.0


@dataclass
class Fleet:
    """The commands of a service and all their processes."""

    folder: Path
    """For logs."""
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    units: list[Unit] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    """Of commands that ended by themselves."""

    def add(self, *arguments: str) -> Unit:
        """Start ``cogvideox`` with these arguments, now and whenever `look` finds it ended."""
        unit = Unit(arguments)
        self.units.append(unit)
        self._start(unit)
        return unit

    def look(self) -> None:
        """Start again what has ended."""
        for unit in self.units:
            code = None if unit.process is None else unit.process.poll()
            if code is not None and time.monotonic() - unit.started_s > RESTART_S:
                if code >= 0:
                    self.exit_codes.append(code)
                self._start(unit)

    def processes(self) -> list[Process]:
        """Return all processes that run, those without a parent too."""
        found = []
        wanted = f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    start = _start_ticks(int(folder.name))
                    if start is not None:
                        found.append(Process(int(folder.name), start, _role(words)))
        return found

    def of(self, role: Role) -> list[Process]:
        """Return the processes of a role."""
        return [process for process in self.processes() if process.role == role]

    def end(self, *, wait_s: float) -> list[int | None]:
        """Ask all commands to end, and return their exit codes; None for one that had to be killed."""
        for unit in self.units:
            if unit.process is not None:
                unit.process.send_signal(signal.SIGTERM)
        codes: list[int | None] = []
        end_s = time.monotonic() + wait_s
        for unit in self.units:
            try:
                codes.append(None if unit.process is None else unit.process.wait(max(end_s - time.monotonic(), 0.1)))
            except subprocess.TimeoutExpired:
                codes.append(None)
        return codes

    def kill(self) -> list[Process]:
        """Kill everything that is left, and return what that was."""
        left = self.processes()
        while found := self.processes():
            for process in found:
                process.signal(signal.SIGKILL)
            for unit in self.units:
                if unit.process is not None:
                    unit.process.poll()
            time.sleep(0.05)
        return left

    def _start(self, unit: Unit) -> None:
        with (self.folder / "service.log").open("ab") as log:
            unit.process = subprocess.Popen(
                [sys.executable, "-m", "cogvideox", *unit.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {MARK: self.mark},
                start_new_session=True,
            )
        unit.started_s = time.monotonic()
        unit.num_starts += 1


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Give a fleet without commands; whatever of it still runs at the end is killed, also at an end by SIGTERM."""
    made = Fleet(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield made
    finally:
        made.kill()


@dataclass(frozen=True)
class Answer:
    """Of the API."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> dict[str, Any]:
        """Return the content. Raises ValueError if it is not JSON."""
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The code of a refusal; empty if it has none."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(self.json()["error"]["code"])
        return ""


def exchange(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 20.0,
) -> Answer:
    """Send one request and return its answer. Raises OSError or HTTPException if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def wait_until_ready(port: int, *, path: str = "/readyz") -> None:
    """Wait until a service is ready. Raises TimeoutError."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if exchange(port, "GET", path, timeout_s=5).status == http.client.OK:
                return
        time.sleep(0.2)
    raise TimeoutError(f"the service is not ready after {START_S:.0f} s")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def store_of(kind: StoreKind, folder: Path) -> Iterator[tuple[str, Any]]:
    """Give the URL of an empty store, and the server of PostgreSQL if it is one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/jobs.sqlite3", None
        return
    sys.path.insert(0, str(TESTS))
    from tests.postgres_server import postgres_server

    with postgres_server() as server:
        yield server.new_database(), server


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed; NaN if there are none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def in_ms(values: Sequence[float]) -> str:
    """Describe times in seconds: how many there are, and their percentiles in milliseconds."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    shown = ", ".join(f"{name} {1000 * percentile(values, share):.1f}" for name, share in shares.items())
    return f"{shown} ms of {len(values)}"


def slope(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Return how much values grow in an hour, by least squares; 0 for fewer than two."""
    if len(times_s) < 2:
        return 0.0
    mean_s, mean = sum(times_s) / len(times_s), sum(values) / len(values)
    spread = sum((time_s - mean_s) ** 2 for time_s in times_s)
    return sum((t - mean_s) * (v - mean) for t, v in zip(times_s, values, strict=True)) / max(spread, 1e-9) * 3600


def folder_bytes(folder: Path) -> tuple[int, int]:
    """Return how many files are below a folder, and their size."""
    num_files = num_bytes = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                num_files, num_bytes = num_files + 1, num_bytes + path.stat().st_size
    return num_files, num_bytes


def _role(words: Sequence[str]) -> Role:
    for word in words:
        if word in MODULES:
            return MODULES[word]
    verb = words[3] if len(words) > 3 else ""
    return VERBS.get(verb, "other")


def _start_ticks(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[START_FIELD]

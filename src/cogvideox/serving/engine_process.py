"""An engine in a process of its own, seen from its worker: it can be asked, listened to, and killed at any moment."""

import contextlib
import dataclasses
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cogvideox.serving.engine_protocol import EngineJob, EngineSettings, LineReader, encode

MEMORY_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
MACHINE_EVENTS = Path("/proc/vmstat")
RECENT_S = 2.0
"""Kills for want of memory count as the engine's if they were no longer ago than once or twice this."""


class EngineProcess:
    """A running engine. Start it from the main thread: on Linux it dies with the thread that started it."""

    def __init__(self, settings: EngineSettings) -> None:
        """Start the process; it says ``ready`` when it has read the model."""
        self._count_kills()
        self._is_killed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cogvideox.serving.engine_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C of a terminal is for the worker, which asks its engine
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, stdout = self._process.stdin, self._process.stdout
        os.set_blocking(stdout.fileno(), False)
        self._reader = LineReader(stdout.fileno())
        self._selector = selectors.DefaultSelector()
        self._selector.register(stdout, selectors.EVENT_READ)
        self._stdout = stdout
        self._send("start", settings=dataclasses.asdict(settings))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def run(self, job: EngineJob) -> None:
        """Begin a job; the engine has none now."""
        self._count_kills()
        self._send("run", job=dataclasses.asdict(job))

    def cancel(self) -> None:
        """Ask it to stop at the next step; it says ``stopped``."""
        self._send("cancel")

    def pause(self) -> None:
        """Ask it to stop at the next step with a checkpoint; it says ``checkpoint`` and ``stopped``, or ``done``."""
        self._send("pause")

    def messages(self, timeout_s: float) -> list[dict[str, Any]]:
        """Return what it has said; wait for something at most so long. Raises ProtocolError if it makes no sense."""
        if time.monotonic() - self._counted_s > RECENT_S:
            # A kill of some other process long ago tells nothing of this one.
            self._num_killed, self._num_counted = self._num_counted, killed_for_memory()
            self._counted_s = time.monotonic()
        if self._reader.is_at_end or not self._selector.select(timeout_s):
            return []
        return self._reader.read()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended and all it said was read."""
        if not self._reader.is_at_end:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        return self._process.returncode is not None

    @property
    def exit_code(self) -> int | None:
        """Of the process; negative if a signal ended it."""
        return self._process.returncode

    @property
    def died_of_memory(self) -> bool:
        """Whether the system killed it because memory ran out, as far as its counters tell."""
        is_killed = self._process.returncode == -signal.SIGKILL and not self._is_killed
        return is_killed and killed_for_memory() > self._num_killed

    def kill(self) -> None:
        """End it at once, with everything that it started, and let go of its pipes; again does nothing."""
        if self._process.returncode is None:
            self._is_killed = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.is_at_end = True
        self._selector.close()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def _count_kills(self) -> None:
        self._num_killed = self._num_counted = killed_for_memory()
        self._counted_s = time.monotonic()

    def _send(self, kind: str, **values: Any) -> None:
        """Send a message; an engine that is gone does not get it, which shows at the next read."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(encode(kind, **values))
            self._stdin.flush()


def killed_for_memory() -> int:
    """Return how many processes the system has killed for want of memory, by its counters; only differences count."""
    num_killed = 0
    for path in (*MEMORY_EVENTS, MACHINE_EVENTS):
        with contextlib.suppress(OSError, ValueError):
            fields = dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if " " in line)
            num_killed += int(fields.get("oom_kill", 0))
    return num_killed

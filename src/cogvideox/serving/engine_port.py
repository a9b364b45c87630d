"""What an engine needs of its process: a way to speak to its worker, and to hear that it is to stop."""

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cogvideox.serving.engine_protocol import encode

ALIVE_S = 2.0
"""Between two signs of life inside a step."""


class JobStopped(Exception):
    """The worker asked to stop; raised between two steps."""


class UserError(ValueError):
    """A job cannot be done as it was asked for, here or anywhere; with one of the stable error codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Port:
    """How an engine speaks to its worker. For any number of threads."""

    def __init__(self, descriptor: int) -> None:
        """Write to a descriptor."""
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._last_s = 0.0
        self.is_cancel_asked = threading.Event()
        self.is_pause_asked = threading.Event()

    def send(self, kind: str, **values: Any) -> None:
        """Send a message; waits while the pipe is full, as when the worker is stopped."""
        line = encode(kind, **values)
        with self._lock:
            self._last_s = time.monotonic()
            while line:
                line = line[os.write(self._descriptor, line) :]

    def stage(self, name: str, *, progress: int | None = None) -> None:
        """Tell which part of the work begins or goes on."""
        self.send("progress", stage=name, progress=progress)

    def step(self, step: int, num_steps: int, step_s: float) -> None:
        """Tell that a step of denoising is done, and how long it took."""
        self.send("progress", stage="denoise", step=step, num_steps=num_steps, step_s=step_s)

    def alive(self) -> None:
        """Tell that work goes on inside a step, not too often."""
        if time.monotonic() - self._last_s > ALIVE_S:
            self.send("alive")

    def file(self, role: str, path: Path, media_type: str, **values: Any) -> None:
        """Hand over a file of the job's folder, ``preview`` or ``checkpoint``; the worker removes it."""
        self.send("file", role=role, name=path.name, media_type=media_type, **values)

    def done(self, files: Mapping[str, tuple[Path, str]], facts: Mapping[str, Any]) -> None:
        """Hand over the result: paths in the job's folder with their media types, by role."""
        listed = {role: {"name": path.name, "media_type": kind} for role, (path, kind) in files.items()}
        self.send("done", files=listed, facts=dict(facts))

    def check(self) -> None:
        """Raise JobStopped if the worker wants the job to be cancelled."""
        if self.is_cancel_asked.is_set():
            raise JobStopped

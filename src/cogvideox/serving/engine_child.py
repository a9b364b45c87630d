"""The process of an engine: it takes jobs from its worker one after the other and ends with it.

Run as ``python -m cogvideox.serving.engine_child`` by `cogvideox.serving.engine_process`.
"""

import contextlib
import ctypes
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from cogvideox.errors import CheckpointError, DoesNotFitError, MissingPackageError
from cogvideox.serving.engine_port import JobStopped, Port, UserError
from cogvideox.serving.engine_protocol import (
    BAD_MODEL,
    DEVICE_FAULT,
    INTERNAL,
    OUT_OF_MEMORY,
    STORAGE_FULL,
    EngineJob,
    EngineSettings,
    LineReader,
    is_disk_full,
    job_of,
)
from cogvideox.serving.job import MAX_MESSAGE_LENGTH
from cogvideox.settings import build_dataclass

OUT_OF_MEMORY_ADVICE = "this video takes more memory than there is; ask for fewer frames or a smaller size"
STORAGE_FULL_MESSAGE = "the disk of the server is full; try again when there is room"
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc")
_DEVICE_FAULTS = ("cuda error", "device-side assert", "cudnn error", "cublas error")
_SET_DEATH_SIGNAL = 1
"""``PR_SET_PDEATHSIG`` of Linux's prctl."""


class Engine(Protocol):
    """What makes videos of jobs."""

    facts: Mapping[str, Any]
    """Device, versions, model; JSON values."""

    def run(self, job: EngineJob, port: Port) -> None:
        """Make a video and tell so with `Port.done`. Raises `JobStopped` when it is asked to stop."""
        ...


def main() -> int:
    """Serve a worker until it goes."""
    _die_with_parent()
    # What libraries print must not get between the messages.
    port = Port(os.dup(1))
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    jobs: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(port, jobs), daemon=True).start()
    settings = build_dataclass(EngineSettings, jobs.get()["settings"], where="settings")
    try:
        engine = _load(settings)
    except (CheckpointError, MissingPackageError, ValueError) as error:
        port.send("failed", code=BAD_MODEL, message=str(error))
        return 3
    except MemoryError as error:
        port.send("failed", code=BAD_MODEL, message=f"the model does not fit into memory ({error})")
        return 4
    port.send("ready", facts=dict(engine.facts))
    while True:
        job = job_of(jobs.get()["job"])
        if not _run(engine, job, port):
            return 1


def _load(settings: EngineSettings) -> Engine:
    if settings.engine == "fake":
        from cogvideox.serving.fake_engine import FakeEngine

        return FakeEngine(settings)
    from cogvideox.serving.torch_engine import TorchEngine

    return TorchEngine(settings)


def _run(engine: Engine, job: EngineJob, port: Port) -> bool:
    """Do a job; return whether the process may do another."""
    try:
        engine.run(job, port)
    except JobStopped:
        port.send("stopped")
    except Exception as error:
        code, message = told(error)
        if code in (INTERNAL, DEVICE_FAULT):
            traceback.print_exc()
        port.send("failed", code=code, message=message)
        # Memory may be in pieces, and a device that has failed once fails for the rest of the process.
        return code not in (OUT_OF_MEMORY, INTERNAL, DEVICE_FAULT)
    return True


def told(error: BaseException) -> tuple[str, str]:
    """Return the code and message of an error; nothing of paths or traces for faults that are ours.

    Only what the user can change is told as the user's: engines raise UserError for it. What is not known is ours.
    """
    text = " ".join(str(error).split())[:MAX_MESSAGE_LENGTH]
    if isinstance(error, UserError):
        return error.code, text
    if isinstance(error, DoesNotFitError):
        return OUT_OF_MEMORY, text
    is_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if is_memory or _has(error, *_OUT_OF_MEMORY):
        return OUT_OF_MEMORY, OUT_OF_MEMORY_ADVICE
    if is_disk_full(error):
        return STORAGE_FULL, STORAGE_FULL_MESSAGE
    if isinstance(error, CheckpointError | MissingPackageError):
        return INTERNAL, "the server's model cannot be used; its operator finds the reason in the log"
    if _has(error, *_DEVICE_FAULTS):
        return DEVICE_FAULT, "the device failed"
    return INTERNAL, "the server failed; its operator finds the reason in the log"


def _has(error: BaseException, *parts: str) -> bool:
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in parts)


def _listen(port: Port, jobs: "SimpleQueue[Mapping[str, Any]]") -> None:
    """Take in what the worker says, also while a step runs; end the process when the worker is gone."""
    reader = LineReader(0)
    while not reader.is_at_end:
        for message in reader.read():
            kind = message["kind"]
            if kind == "run":
                port.is_cancel_asked.clear()
                port.is_pause_asked.clear()
            asked: dict[str, Callable[[], None]] = {
                "cancel": port.is_cancel_asked.set,
                "pause": port.is_pause_asked.set,
            }
            if kind in asked:
                asked[kind]()
            else:
                jobs.put(message)
    os._exit(0)


def _die_with_parent() -> None:
    """Let the system kill this process when its worker goes, and first of all when memory runs out."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    sys.exit(main())

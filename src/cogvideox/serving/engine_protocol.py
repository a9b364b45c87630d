"""What a worker and its engine say to each other: one JSON object a line, over pipes. Never pickle.

The worker asks an engine to ``run`` a job, to ``cancel`` it, or to ``pause`` it at the next step with a checkpoint. The
engine tells when it is ``ready``, how far it is, what it has written into the folder that it was given, and the end.
"""

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cogvideox.serving.files import StorageFullError

EngineName = Literal["torch", "fake"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

MAX_LINE_BYTES = 2**20
"""Of one message; a longer one is a fault of the other side."""

INVALID_PARAM = "invalid_param"
MEDIA_DECODE_FAILED = "media_decode_failed"
OUT_OF_MEMORY = "out_of_memory"
STORAGE_FULL = "storage_full"
INTERNAL = "internal"
DEVICE_FAULT = "device_fault"
"""The device does not work any more in that process; no code of the API: the job is tried again elsewhere."""

BAD_MODEL = "bad_model"
"""An engine cannot start, and another try would not help; no code of the API."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = "no space left on device"


class ProtocolError(ValueError):
    """The other side said something that no side says."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What an engine is, told to it first."""

    engine: EngineName = "torch"
    model: str = "tiny"
    """A name, a hub id or a checkpoint directory."""
    device: str = "cpu"
    dtype: str = "auto"
    cache_folder: Path
    """Where it keeps what it can make again."""
    fake_step_s: float = 0.05
    """Of the engine ``fake``: how long a step takes."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"engine: expected one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.fake_step_s < 0:
            raise ValueError(f"fake_step_s: expected at least 0, got {self.fake_step_s}")


@dataclass(frozen=True, kw_only=True)
class EngineJob:
    """One try of one job, as an engine gets it."""

    job_id: str
    attempt: int
    model: str
    """As jobs name it."""
    seed: int
    params: Mapping[str, Any]
    """Of `cogvideox.serving.video_params.VideoParams`."""
    folder: Path
    """Where it writes, and where ``inputs`` and ``checkpoint`` are."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Names of files by role: ``image``, ``video``."""
    input_digests: Mapping[str, str] = field(default_factory=dict)
    """Their SHA-256."""
    checkpoint: str | None = None
    """Name of the file with the state that an earlier try left, whole but not yet looked into."""


def job_of(values: Mapping[str, Any]) -> EngineJob:
    """Return a job out of a message."""
    return EngineJob(**{**values, "folder": Path(values["folder"])})


def encode(kind: str, **values: Any) -> bytes:
    """Return a message as a line. Raises ProtocolError if it is too long."""
    line = json.dumps({"kind": kind, **values}, allow_nan=False, default=_plain).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"message {kind!r}: expected at most {MAX_LINE_BYTES} bytes, got {len(line)}")
    return line


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"expected a JSON value, got {type(value).__name__}")


class LineReader:
    """Messages out of a pipe, as they come."""

    def __init__(self, descriptor: int) -> None:
        """Read from a descriptor, blocking or not."""
        self._descriptor = descriptor
        self._rest = b""
        self.is_at_end = False
        """The other side has closed it."""

    def read(self) -> list[dict[str, Any]]:
        """Return the messages that have come, none if none has. Raises ProtocolError."""
        try:
            content = os.read(self._descriptor, 2**16)
        except BlockingIOError:
            return []
        if not content:
            self.is_at_end = True
            return []
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES or any(len(line) > MAX_LINE_BYTES for line in lines):
            raise ProtocolError(f"message: expected at most {MAX_LINE_BYTES} bytes")
        return [_decode(line) for line in lines if line]


def _decode(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        raise ProtocolError(f"message: expected JSON, got {line[:80]!r}") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ProtocolError(f"message: expected an object with a kind, got {line[:80]!r}")
    return message


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error says that there was no space to write to, itself or as what it was raised for."""
    while error is not None:
        is_told = _FULL_TEXT in str(error).lower()  # libraries that are not written in Python have no numbers
        if isinstance(error, StorageFullError) or getattr(error, "errno", None) in _FULL or is_told:
            return True
        error = error.__cause__ or error.__context__
    return False


def file_in(folder: Path, name: Any) -> Path:
    """Return a file that an engine says to have written. Raises ProtocolError for a name that leaves the folder."""
    if not isinstance(name, str) or not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ProtocolError(f"file: expected the name of a file in the job's folder, got {name!r}")
    return folder / name

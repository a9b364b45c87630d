"""Jobs as the store keeps them, what callers ask of it and what it answers."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

State = Literal["queued", "in_progress", "completed", "failed"]
STATES: tuple[State, ...] = ("queued", "in_progress", "completed", "failed")
TERMINAL_STATES: tuple[State, ...] = ("completed", "failed")
Order = Literal["asc", "desc"]
ORDERS: tuple[Order, ...] = ("asc", "desc")
Outcome = Literal["completed", "failed", "queued", "canceled", "lost"]
"""What became of a job that a worker gave back; ``lost``: it is no longer this worker's, and nothing was changed."""
WorkerState = Literal["starting", "ready", "busy", "draining", "stopped"]
WORKER_STATES: tuple[WorkerState, ...] = ("starting", "ready", "busy", "draining", "stopped")

CANCELED = "canceled"
WORKER_LOST = "worker_lost"
TIMEOUT = "timeout"

JOB_ID = re.compile(r"video_[0-9a-f]{32}")
MAX_NAME_LENGTH = 255
"""Of owners, models, idempotency keys and workers, in characters."""
MAX_MESSAGE_LENGTH = 2000
MAX_SEED = 2**63 - 1
MAX_CRASHES = 2
"""Deaths of workers without progress between them after which a job is not tried again: it may be what kills them."""
MAX_PAGE = 100

_NO_FILES: Mapping[str, "FileRef"] = MappingProxyType({})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class StoreError(ValueError):
    """A job store cannot be opened or is not what it should be; the message has the cause and the fix in one line."""


class StoreUnavailableError(OSError):
    """The store does not answer now (locked, restarting, disk full); what was asked may be asked again."""


class IdempotencyConflictError(ValueError):
    """An idempotency key was used before with other parameters."""


class QueueFullError(ValueError):
    """There is no room in the queue."""

    def __init__(self, scope: Literal["total", "owner"], max_jobs: int, retry_after_s: int) -> None:
        """Say which limit was met, and in how many seconds there may be room."""
        whose = "the queue has" if scope == "total" else "this key has"
        super().__init__(f"queue: {whose} its {max_jobs} jobs already; try again in about {retry_after_s} s")
        self.scope = scope
        self.max_jobs = max_jobs
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class FileRef:
    """A file in the store of files, by its content."""

    sha256: str
    """64 lower-case hexadecimal digits."""
    num_bytes: int
    media_type: str = ""
    """As found by looking at the content, not as a client said."""
    name: str = ""
    """What a client called it. Only ever shown, never part of a path."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256: expected 64 hexadecimal digits, got {self.sha256!r}")
        if self.num_bytes < 0:
            raise ValueError(f"num_bytes: expected at least 0, got {self.num_bytes}")


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What is to be done, as a client asked for it and as the server understood it."""

    owner: str
    """Whose it is; others never see it."""
    model: str
    """Only workers that have this model take it."""
    params: Mapping[str, Any]
    """Effective settings; JSON values, not looked into by the store."""
    params_digest: str
    """Names what the client sent, files by their content: the same digest is the same request (P8)."""
    seed: int
    """Drawn before it is stored, so that a second try makes the same video; 0 to 2^63 - 1."""
    num_steps: int = 0
    """Denoising steps, for progress; 0 if not known yet."""
    priority: int = 0
    """Higher ones come first, whoever owns them."""
    files: Mapping[str, FileRef] = dataclasses.field(default_factory=lambda: _NO_FILES)
    """Inputs by role, such as ``image``. They are on the disk already."""
    warnings: tuple[Mapping[str, Any], ...] = ()
    remixed_from: str | None = None
    max_attempts: int = 3
    """Tries when the system fails; a user's error is never tried again, and after a crash see `MAX_CRASHES`."""
    retention_s: int = 7 * 24 * 3600
    """How long its files are kept after it has ended."""
    deadline_s: int = 48 * 3600
    """After this time from now it is ended with ``timeout``, wherever it is."""

    def __post_init__(self) -> None:
        check_name("owner", self.owner)
        check_name("model", self.model)
        check_name("params_digest", self.params_digest)
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed: expected 0 to 2^63 - 1, got {self.seed}")
        for name in ("max_attempts", "retention_s", "deadline_s"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.num_steps < 0:
            raise ValueError(f"num_steps: expected at least 0, got {self.num_steps}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it stands. Times are the wall clock's, in microseconds since 1970, and never decrease along its life."""

    id: str
    """``video_`` and 32 hexadecimal digits of a UUID of version 7: later jobs have larger ids."""
    owner: str
    model: str
    state: State
    priority: int
    params: Mapping[str, Any]
    params_digest: str
    seed: int
    attempt: int
    """Tries begun, the present one included; one that a worker gave back in order is not counted."""
    max_attempts: int
    """One more for each death of a worker that the job had advanced before: such deaths are not the job's fault."""
    num_crashes: int
    """Times that its worker died since the job advanced last."""
    lease_token: str | None
    """What its worker proves itself with. Not for clients."""
    worker_id: str | None
    """Who works on it, or did last."""
    is_cancel_requested: bool
    stage: str
    """Where the worker is, in its own words; empty before the first."""
    step: int
    num_steps: int
    progress: int
    """0 to 100."""
    files: Mapping[str, FileRef]
    """By role: inputs, ``preview``, ``checkpoint``, ``result``, ``thumbnail``, ..."""
    facts: Mapping[str, Any]
    """What the worker measured of a completed job."""
    warnings: tuple[Mapping[str, Any], ...]
    error_code: str | None
    error_message: str | None
    remixed_from: str | None
    created_us: int
    started_us: int | None
    """Of the first try."""
    finished_us: int | None
    expires_us: int | None
    """When its files may go; set when it ends."""
    is_expired: bool
    """Its files are gone, or about to."""
    is_deleted: bool
    """Its owner does not see it any more."""
    change: int
    """Grows with each change of the job."""

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.state in TERMINAL_STATES


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A job that is stored for good."""

    job: Job
    is_replay: bool
    """It was there already: the request was sent twice."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some jobs of a list."""

    jobs: tuple[Job, ...]
    has_more: bool


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a worker is with a job. What is None stays as it is."""

    stage: str | None = None
    step: int | None = None
    num_steps: int | None = None
    progress: int | None = None
    """0 to 100."""
    files: Mapping[str, FileRef] = dataclasses.field(default_factory=lambda: _NO_FILES)
    """Replaces files of the same roles: ``preview``, ``checkpoint``."""

    def __post_init__(self) -> None:
        if self.progress is not None and not 0 <= self.progress <= 100:
            raise ValueError(f"progress: expected 0 to 100, got {self.progress}")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What the store tells a worker that reports."""

    is_lost: bool
    """The job is no longer this worker's: stop, and publish nothing."""
    is_cancel_requested: bool
    """Stop, and give it back with `JobStore.fail` and the code ``canceled``."""


@dataclass(frozen=True, kw_only=True)
class Reaped:
    """A job that was taken from a worker that did not report, or that ran out of time."""

    job_id: str
    outcome: Outcome
    error_code: str | None


@dataclass(frozen=True, kw_only=True)
class QueueLimits:
    """How much the queue takes and how it is shared (P10). 0 is no limit."""

    max_queued: int = 100
    max_queued_per_owner: int = 10
    max_running_per_owner: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name}: expected at least 0, got {getattr(self, field.name)}")


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a job stands in the queue."""

    num_ahead: int
    """Queued jobs that come before it, the shares of owners considered."""
    wait_s: int
    """Until it begins: an estimate from the last jobs and the workers that are there."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many jobs there are that are not deleted, and who works."""

    by_state: Mapping[State, int]
    queued_by_priority: Mapping[int, int]
    num_workers: int
    """Those that reported lately and take or do jobs."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place in the history of a store. Not to be looked into."""

    number: int
    told: frozenset[tuple[str, int]] = frozenset()
    """Ids and changes from ``number`` on that were told already, while older transactions still ran."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Jobs that changed, deleted ones too, as they stand now: each change that was not overtaken is told once."""

    jobs: tuple[Job, ...]
    mark: Mark
    """Ask for changes since this one next."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker as it reports itself."""

    id: str
    host: str
    pid: int
    models: tuple[str, ...]
    device: str = ""
    state: WorkerState = "starting"
    job_id: str | None = None
    """What it works on."""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _NOTHING)
    """Memory, versions and the like; JSON values."""
    registered_us: int = 0
    """Set by the store."""
    silent_s: float = 0.0
    """Since it last reported; set by the store."""

    def __post_init__(self) -> None:
        check_name("id", self.id)
        if self.state not in WORKER_STATES:
            raise ValueError(f"state: expected one of {', '.join(WORKER_STATES)}, got {self.state!r}")


def check_name(field: str, value: str) -> None:
    """Raise ValueError unless a name has 1 to 255 characters that any database stores."""
    if not 1 <= len(value) <= MAX_NAME_LENGTH or "\0" in value or any("\ud800" <= mark <= "\udfff" for mark in value):
        shown = value if len(value) < 40 else f"{value[:40]}... ({len(value)} characters)"
        raise ValueError(f"{field}: expected 1 to {MAX_NAME_LENGTH} characters of text, got {shown!r}")


def is_job_id(text: str) -> bool:
    """Whether text has the form of an id of a job."""
    return JOB_ID.fullmatch(text) is not None


def storable_text(text: str, max_length: int = MAX_MESSAGE_LENGTH) -> str:
    """Return text that any database stores: shortened, without NUL and lone surrogates."""
    return text[:max_length].replace("\0", "").encode("utf-8", "replace").decode("utf-8")

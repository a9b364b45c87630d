"""One try of one job, as its worker keeps account of it: how far it is, what was kept, when it is late."""

import collections
import contextlib
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cogvideox.serving.engine_protocol import EngineJob, ProtocolError, file_in
from cogvideox.serving.files import BLOCK_BYTES, FileStore, Kept
from cogvideox.serving.job import FileRef, Job, Progress

End = Literal["done", "failed", "stopped"]
StopReason = Literal["canceled", "lost", "draining"]
TEXT_PROGRESS, DECODE_PROGRESS = 1, 95
"""Of 100: before the first step, and after the last."""
MAX_STEP_TIMES = 100
STALL_STEPS = 10
"""A step that takes so many times the usual one hangs."""
OTHER_STAGES_FACTOR = 10
"""What is not a step may be silent so many times longer: weights may be read from a slow disk."""
SECOND_STEP = 2


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last word of an engine on a job."""

    end: End
    code: str = ""
    message: str = ""
    files: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] | None = None


class Attempt:
    """What a worker knows of the job that it has."""

    def __init__(self, job: Job, files: FileStore, *, min_stall_s: float) -> None:
        """Begin a try; the job has just been claimed."""
        assert job.lease_token is not None
        self.job = job
        self.token: str = job.lease_token
        self.folder = files.work_folder(job.id, job.attempt)
        self.stage = ""
        self.step = 0
        self.num_steps = job.num_steps
        self.ended: Ended | None = None
        self.stop_reason: StopReason | None = None
        self.kill_at_s: float | None = None
        """When an engine that was asked to stop is killed."""
        self.is_urgent = False
        """There is something to report at once."""
        self._files = files
        self._min_stall_s = min_stall_s
        self._step_times_s: collections.deque[float] = collections.deque(maxlen=MAX_STEP_TIMES)
        self._heard_s = time.monotonic()
        self._changed: dict[str, Any] = {}
        self._new_files: dict[str, FileRef] = {}
        self._kept: dict[str, Kept] = {}
        self._replaced: list[tuple[str, Kept]] = []
        self._outdated: list[tuple[str, Kept]] = []

    def prepare(self) -> tuple[EngineJob, str | None]:
        """Return the job for the engine, its files beside it, and what is wrong with its checkpoint if something is.

        Raises:
            FileNotFoundError: an input is gone.
        """
        inputs = {role: self.job.files[role] for role in ("image", "video") if role in self.job.files}
        for role, file in inputs.items():
            self._copy(file, self.folder / f"input-{role}")
        checkpoint, fault = self.job.files.get("checkpoint"), None
        if checkpoint is not None and not self._files.is_whole(checkpoint):
            checkpoint, fault = None, "the checkpoint is gone or damaged: starting again"
        if checkpoint is not None:
            self._copy(checkpoint, self.folder / "input-checkpoint")
        engine_job = EngineJob(
            job_id=self.job.id,
            attempt=self.job.attempt,
            model=self.job.model,
            seed=self.job.seed,
            params=self.job.params,
            folder=self.folder,
            inputs={role: f"input-{role}" for role in inputs},
            input_digests={role: file.sha256 for role, file in inputs.items()},
            checkpoint=None if checkpoint is None else "input-checkpoint",
        )
        return engine_job, fault

    def _copy(self, file: FileRef, path: Path) -> None:
        with self._files.open(file) as source, path.open("wb") as target:
            while block := source.read(BLOCK_BYTES):
                target.write(block)

    def take(self, message: Mapping[str, Any]) -> str | None:
        """Take in a message of the engine; return what the operator should know of it. Raises ProtocolError."""
        self._heard_s = time.monotonic()
        match message["kind"]:
            case "alive":
                return None
            case "progress":
                self._note(message)
            case "file":
                return self._keep(message)
            case "done":
                self.ended = Ended(end="done", files=message["files"], facts=message["facts"])
            case "failed":
                self.ended = Ended(end="failed", code=str(message["code"]), message=str(message["message"]))
            case "stopped":
                self.ended = Ended(end="stopped")
            case other:
                raise ProtocolError(f"kind: expected one of an engine's, got {other!r}")
        return None

    def _note(self, message: Mapping[str, Any]) -> None:
        stage = str(message["stage"])
        changed: dict[str, Any] = {"stage": stage}
        if "step" in message:
            self.step, self.num_steps = int(message["step"]), int(message["num_steps"])
            self._step_times_s.append(float(message["step_s"]))
            share = self.step / max(self.num_steps, 1)
            progress = TEXT_PROGRESS + int((DECODE_PROGRESS - TEXT_PROGRESS) * min(share, 1.0))
            changed |= {"step": self.step, "num_steps": self.num_steps, "progress": progress}
        elif (progress := message.get("progress")) is not None:
            changed["progress"] = min(max(int(progress), 0), 99)
        self.is_urgent = self.is_urgent or stage != self.stage
        self.stage = stage
        self._changed |= changed

    def _keep(self, message: Mapping[str, Any]) -> str | None:
        role, path = str(message["role"]), file_in(self.folder, message["name"])
        try:
            kept = self._files.keep_file(path, media_type=str(message["media_type"]))
        except OSError as error:  # the job may still end well
            return f"{role}: {error}"
        finally:
            path.unlink(missing_ok=True)
        if (before := self._kept.get(role)) is not None and before.file.sha256 != kept.file.sha256:
            self._replaced.append((role, before))
        self._kept[role] = kept
        self._new_files[role] = kept.file
        self.is_urgent = True
        return None

    @property
    def has_news(self) -> bool:
        """Whether there is progress to report."""
        return bool(self._changed or self._new_files)

    def news(self) -> Progress:
        """Return what has changed since the last report."""
        return Progress(files=dict(self._new_files), **self._changed)

    def told(self) -> None:
        """Forget news that the store has; files that it no longer names go one report later, they may be read now."""
        self._changed, self._new_files, self.is_urgent = {}, {}, False
        for _, kept in self._outdated:
            self._files.discard(kept)
        self._outdated, self._replaced = self._replaced, []

    def discard_unnamed(self, *, has_state: bool = True) -> None:
        """Remove files that this try has kept and that its job does not name.

        Args:
            has_state: whether the job still names its checkpoint, for another try.
        """
        unnamed = [*self._outdated]
        unnamed += [(role, self._kept[role]) for role in self._new_files if role in self._kept]
        if not has_state:
            unnamed += [item for item in (*self._kept.items(), *self._replaced) if item[0] == "checkpoint"]
        for _, kept in unnamed:
            self._files.discard(kept)
        self._outdated = []

    def keep_result(self, ended: Ended) -> dict[str, FileRef]:
        """Keep the files of the end and return them by role, for `named`. Raises StorageFullError, ProtocolError."""
        for role, listed in (ended.files or {}).items():
            path = file_in(self.folder, listed["name"])
            self._kept[role] = self._files.keep_file(path, media_type=str(listed["media_type"]))
            self._new_files[role] = self._kept[role].file
        return {role: self._kept[role].file for role in ended.files or {}}

    def named(self, files: Mapping[str, FileRef]) -> None:
        """Note that the job names files now."""
        for role in files:
            self._new_files.pop(role, None)

    def remove_folder(self) -> None:
        """Remove the folder of this try. Before the job is given back: the next try may have the same number."""
        with contextlib.suppress(OSError):
            self._files.remove_work_folder(self.job.id, self.job.attempt)

    def ask_to_stop(self, reason: StopReason, grace_s: float) -> None:
        """Note that the engine was asked to stop, and when it is killed if it does not."""
        self.stop_reason = reason
        self.kill_at_s = time.monotonic() + max(grace_s, 1.5 * (self.step_s or 0.0))

    def forgive(self) -> None:
        """Count silence from now on: this process was stopped itself."""
        self._heard_s = time.monotonic()

    @property
    def step_s(self) -> float | None:
        """How long a step takes, the median; None before the second, as the first one is slower."""
        times = self._step_times_s
        return None if len(times) < SECOND_STEP else statistics.median(times)

    @property
    def is_stalled(self) -> bool:
        """Whether the engine has been silent for so long that it must hang."""
        limit_s = max(self._min_stall_s, STALL_STEPS * (self.step_s or 0.0))
        if self.stage != "denoise":
            limit_s *= OTHER_STAGES_FACTOR
        return time.monotonic() - self._heard_s > limit_s

    def remaining_s(self) -> float | None:
        """Return how long the rest will take, about; None if that is not known yet."""
        if self.stage == "decode":
            return 0.0
        step_s = self.step_s
        return None if step_s is None else 1.2 * step_s * (self.num_steps - self.step) + 2 * step_s

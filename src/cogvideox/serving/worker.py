"""A worker: takes jobs from the store, has an engine in another process do them, and publishes what comes out.

It never imports torch. The engine can be killed at any moment, and so can the worker: what counts is in the store.
The lease of a job is prolonged only while its engine shows signs of life (P3 to P6, P9).
"""

import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import cogvideox
from cogvideox.serving.attempt import Attempt, Ended
from cogvideox.serving.data_folder import join_folder
from cogvideox.serving.dead_workers import process_facts
from cogvideox.serving.engine_keeper import EngineKeeper
from cogvideox.serving.engine_process import EngineProcess
from cogvideox.serving.engine_protocol import (
    DEVICE_FAULT,
    INTERNAL,
    OUT_OF_MEMORY,
    STORAGE_FULL,
    EngineSettings,
    ProtocolError,
    is_disk_full,
)
from cogvideox.serving.files import FileStore
from cogvideox.serving.job import (
    CANCELED,
    TIMEOUT,
    WORKER_LOST,
    Job,
    Outcome,
    QueueLimits,
    Signal,
    StoreUnavailableError,
    Worker,
    WorkerState,
)
from cogvideox.serving.job_store import LEASE_S, JobStore

T = TypeVar("T")
log = logging.getLogger(__name__)

REPORT_S = 5.0
"""Between two reports of the worker itself."""
NEWS_S = 0.5
"""Between two reports of a job's progress, and two looks whether it was cancelled."""
MAX_DEVICE_FAULTS = 2
QUARANTINE_S = 600.0
MAX_PUBLISH_S = 3600.0
"""How long a result waits for a store that does not answer."""
STOPPED_S = 5.0
"""A loop that takes this long was stopped by somebody: silence of the engine is no fault of the engine then."""
FAULT_DELAY_S = 2.0
"""Before a job is tried again that met a fault of ours: another worker may take it first."""
INTERNAL_MESSAGE = "the server failed; its operator finds the reason in the log"
STORAGE_FULL_MESSAGE = "the disk of the server is full; try again when there is room"
OUT_OF_MEMORY_MESSAGE = "this video took more memory than there is; ask for fewer frames or a smaller size"


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker is."""

    store: str
    """URL of the store of jobs."""
    data_dir: Path
    """Where files of jobs are; the same for all who use the store."""
    engine: EngineSettings
    worker_id: str = ""
    """By default made of host and process."""
    grace_s: float = 30.0
    """After SIGTERM: a job that does not end within this time is left to another worker."""
    lease_s: float = LEASE_S
    min_stall_s: float = 60.0
    """An engine is not taken for hanging before it has been silent for this long."""
    cancel_grace_s: float = 3.0
    """For an engine to stop by itself, if a step does not take longer."""
    poll_s: float = 0.25
    """Between two looks for work."""
    limits: QueueLimits = field(default_factory=QueueLimits)

    def __post_init__(self) -> None:
        for name in ("lease_s", "min_stall_s", "poll_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        for name in ("grace_s", "cancel_grace_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")


class JobWorker:
    """Does jobs until it is told to stop."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Open the store and the files that belong to it. Raises StoreError."""
        self.settings = settings
        self.id = settings.worker_id or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.store = JobStore.open(settings.store, limits=settings.limits)
        try:
            self.files = FileStore(settings.data_dir)
            join_folder(self.store.database, self.files.folder)
        except BaseException:
            self.store.close()
            raise
        self._keeper = EngineKeeper(settings.engine)
        self._process_facts = process_facts()
        self._num_device_faults = 0
        self._stop_at_s: float | None = None
        self._is_hurried = False
        self._state: WorkerState = "starting"
        self._reported_s = -REPORT_S
        self._num_done = 0
        self._job_id: str | None = None

    def run(self) -> None:
        """Work until `stop` is called, from a signal say.

        Raises:
            CheckpointError: the model cannot be used.
        """
        self._register()
        try:
            while self._stop_at_s is None:
                if self._has_engine() and (job := self._claim()) is not None:
                    self._do(job)
        finally:
            self._keeper.end()
            self._ask(lambda: self.store.remove_worker(self.id), for_s=1.0)
            self.store.close()

    def stop(self) -> None:
        """Take no more jobs, and give back the one at hand in time; at once if called again."""
        self._is_hurried = self._stop_at_s is not None
        self._stop_at_s = self._stop_at_s or time.monotonic() + self.settings.grace_s

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT call `stop`."""

        def stop(_: int, __: FrameType | None) -> None:
            self.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def _has_engine(self) -> bool:
        """Whether an engine is ready; wait a little for it, or for work, if not."""
        self._report("ready" if self._keeper.is_ready else "starting")
        is_new = self._keeper.look(self.settings.poll_s)
        if is_new:
            log.info("engine ready", extra={"worker_id": self.id, "facts": self._keeper.facts})
            self._report("ready", is_now=True)
        return self._keeper.is_ready

    # A job

    def _claim(self) -> Job | None:
        models = [self.settings.engine.model]
        return self._ask(lambda: self.store.claim(self.id, models=models, lease_s=self.settings.lease_s), for_s=0.0)

    def _do(self, job: Job) -> None:
        self._log(job, "job begins", attempt=job.attempt)
        self._job_id = job.id
        self._report("busy", is_now=True)
        try:
            attempt = self._begin(job)
            if attempt is not None:
                self._watch(attempt, self._keeper.engine)
        finally:
            self._job_id = None
            self._reported_s = -REPORT_S

    def _begin(self, job: Job) -> Attempt | None:
        """Give a job to the engine, or back if that cannot be."""
        attempt = None
        try:
            attempt = Attempt(job, self.files, min_stall_s=self.settings.min_stall_s)
            engine_job, fault = attempt.prepare()
        except OSError as error:
            self._log(job, f"cannot begin: {error}")
            self._fail_of_files(job, error, attempt)
            return None
        if fault is not None:
            self._log(job, fault)
        self._keeper.engine.run(engine_job)
        return attempt

    def _watch(self, attempt: Attempt, engine: EngineProcess) -> None:
        """See a job to its end."""
        looked_s = looped_s = time.monotonic()
        while True:
            for message in self._keeper.messages(min(self.settings.poll_s, NEWS_S)):
                self._take(attempt, engine, message)
            now_s = time.monotonic()
            if now_s - looped_s > STOPPED_S:
                attempt.forgive()
            looped_s = now_s
            if attempt.ended is not None:
                return self._close(attempt, attempt.ended)
            if engine.is_gone:
                return self._close_crashed(attempt, engine)
            if attempt.is_stalled:
                return self._close_stalled(attempt)
            if attempt.kill_at_s is not None and now_s > attempt.kill_at_s:
                self._keeper.end()
                return self._close(attempt, Ended(end="stopped"))
            if now_s - looked_s >= NEWS_S or attempt.is_urgent:
                looked_s = now_s
                self._exchange(attempt, engine)
            self._drain(attempt, engine)
            self._report("busy" if self._stop_at_s is None else "draining")

    def _take(self, attempt: Attempt, engine: EngineProcess, message: dict[str, Any]) -> None:
        try:
            if (remark := attempt.take(message)) is not None:
                self._log(attempt.job, remark)
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            self._log(attempt.job, f"engine makes no sense: {error}")
            engine.kill()

    def _exchange(self, attempt: Attempt, engine: EngineProcess) -> None:
        """Tell the store what is new, and hear whether to go on."""
        if attempt.stop_reason in ("lost", "canceled"):
            return
        signal_ = self._ask(lambda: self._heartbeat(attempt), for_s=0.0)
        if signal_ is None:
            return
        if not signal_.is_lost:
            attempt.told()
        if signal_.is_lost or signal_.is_cancel_requested:
            reason = "lost" if signal_.is_lost else "canceled"
            self._log(attempt.job, f"job {reason}")
            engine.cancel()
            attempt.ask_to_stop(reason, self.settings.cancel_grace_s)

    def _heartbeat(self, attempt: Attempt) -> Signal:
        news = attempt.news()
        return self.store.heartbeat(attempt.job.id, attempt.token, news, lease_s=self.settings.lease_s)

    def _drain(self, attempt: Attempt, engine: EngineProcess) -> None:
        """After SIGTERM, let the engine stop with a checkpoint if the job will not end in time."""
        if self._stop_at_s is None:
            return
        now_s = time.monotonic()
        if self._is_hurried:
            attempt.stop_reason = attempt.stop_reason or "draining"
            attempt.kill_at_s = now_s
        elif attempt.stop_reason is None:
            left_s, remaining_s = self._stop_at_s - now_s, attempt.remaining_s()
            reserve_s = max(1.0, 2 * (attempt.step_s or 0.0))
            if left_s <= reserve_s or (remaining_s is not None and remaining_s > left_s):
                engine.pause()
                attempt.ask_to_stop("draining", 0.0)
                attempt.kill_at_s = max(self._stop_at_s, now_s + 0.5)

    # The end of a job

    def _close(self, attempt: Attempt, ended: Ended) -> None:
        job = attempt.job
        if ended.end == "done":
            self._publish(attempt, ended)
        elif ended.end == "failed":
            self._close_failed(attempt, ended)
        elif attempt.stop_reason == "draining":
            self._tell_rest(attempt, for_s=2.0)
            attempt.remove_folder()
            outcome = self._ask(lambda: self.store.release(job.id, attempt.token), for_s=2.0)
            self._log(job, "job released", outcome=outcome)
            attempt.discard_unnamed()
        elif attempt.stop_reason == "canceled":
            self._fail(job, CANCELED, "the job was canceled", attempt=attempt)
        else:
            self._log(job, "job dropped")
            attempt.remove_folder()
            attempt.discard_unnamed()

    def _publish(self, attempt: Attempt, ended: Ended) -> None:
        job = attempt.job
        facts = dict(ended.facts or {}) | {"worker_id": self.id, "attempt": job.attempt}
        try:
            files = attempt.keep_result(ended)
        except (ProtocolError, KeyError, TypeError, OSError) as error:
            self._log(job, f"the result cannot be kept: {error}")
            attempt.discard_unnamed()
            self._fail_of_files(job, error, attempt)
            return
        attempt.remove_folder()
        outcome = self._ask(
            lambda: self.store.complete(job.id, attempt.token, files=files, facts=facts), for_s=MAX_PUBLISH_S
        )
        self._log(job, "job ends", outcome=outcome)
        if outcome == "completed":
            self._num_done += 1
            self._num_device_faults = 0
            attempt.named(files)
        if outcome is not None:  # else the store may have published it
            attempt.discard_unnamed(has_state=outcome != "completed")

    def _fail_of_files(self, job: Job, error: Exception, attempt: Attempt | None) -> None:
        """Give a job back whose files could not be read or written: only a full disk is no matter of another try."""
        if is_disk_full(error):
            self._fail(job, STORAGE_FULL, STORAGE_FULL_MESSAGE, attempt=attempt)
        else:
            self._fail(job, INTERNAL, INTERNAL_MESSAGE, attempt=attempt, is_retryable=True, delay_s=FAULT_DELAY_S)

    def _close_failed(self, attempt: Attempt, ended: Ended) -> None:
        job, code = attempt.job, ended.code
        is_device_fault = code == DEVICE_FAULT
        is_ours = code in (INTERNAL, DEVICE_FAULT)
        if is_ours or code == OUT_OF_MEMORY:
            self._num_device_faults += is_device_fault
            wait_s = None
            if self._num_device_faults >= MAX_DEVICE_FAULTS:
                wait_s = QUARANTINE_S
                log.error("device failed %d times: no jobs for %.0f s", self._num_device_faults, wait_s)
            self._keeper.end(is_fault=is_ours, wait_s=wait_s)
        self._fail(
            job,
            INTERNAL if is_device_fault else code,
            ended.message,
            attempt=attempt,
            is_retryable=is_ours,
            is_crash=is_device_fault,
            delay_s=FAULT_DELAY_S if is_ours else 0.0,
        )

    def _close_crashed(self, attempt: Attempt, engine: EngineProcess) -> None:
        is_memory, exit_code = engine.died_of_memory, engine.exit_code
        self._keeper.end(is_fault=True)
        if attempt.stop_reason is not None:
            self._close(attempt, Ended(end="stopped"))
            return
        self._log(attempt.job, "engine died", exit_code=exit_code, is_memory=is_memory)
        if is_memory:
            self._fail(attempt.job, OUT_OF_MEMORY, OUT_OF_MEMORY_MESSAGE, attempt=attempt)
            return
        message = "what made the video died of it, twice at the same place"
        self._fail(attempt.job, WORKER_LOST, message, attempt=attempt, is_retryable=True, is_crash=True)

    def _close_stalled(self, attempt: Attempt) -> None:
        self._log(attempt.job, "engine hangs", stage=attempt.stage, step=attempt.step)
        self._keeper.end(is_fault=True)
        message = "the video made no progress for too long, in every try"
        self._fail(attempt.job, TIMEOUT, message, attempt=attempt, is_retryable=True)

    def _fail(self, job: Job, code: str, message: str, *, attempt: Attempt | None = None, **how: Any) -> None:
        assert job.lease_token is not None
        token = job.lease_token
        if attempt is not None:
            self._tell_rest(attempt, for_s=10.0)
            attempt.remove_folder()
        outcome: Outcome | None = self._ask(
            lambda: self.store.fail(job.id, token, code, message, **how), for_s=MAX_PUBLISH_S
        )
        self._log(job, "job ends", outcome=outcome, code=code)
        if attempt is not None:
            attempt.discard_unnamed(has_state=outcome not in ("failed", "canceled"))

    def _tell_rest(self, attempt: Attempt, *, for_s: float) -> None:
        """Tell the store of the last checkpoint, which the next try begins with."""
        if attempt.has_news:
            told = self._ask(lambda: self._heartbeat(attempt), for_s=for_s)
            if told is not None and not told.is_lost:
                attempt.told()

    # The store

    def _ask(self, call: Callable[[], T], *, for_s: float) -> T | None:
        """Ask the store, again and again for so long if it does not answer; None if it did not."""
        end_s, wait_s = time.monotonic() + for_s, 0.2
        while True:
            try:
                return call()
            except StoreUnavailableError as error:
                log.warning("%s", error, extra={"worker_id": self.id})
            if self._stop_at_s is not None:
                end_s = min(end_s, self._stop_at_s + 5.0)
            if time.monotonic() + wait_s > end_s or self._is_hurried:
                if for_s == 0.0:
                    time.sleep(wait_s)
                return None
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 5.0)

    def _register(self) -> None:
        settings = self.settings.engine
        worker = Worker(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            models=(settings.model,),
            device=settings.device,
            state=self._state,
            job_id=self._job_id,
            facts=self._facts(),
        )
        self._ask(lambda: self.store.register_worker(worker), for_s=30.0)

    def _facts(self) -> dict[str, Any]:
        own = {"version": cogvideox.__version__, "num_done": self._num_done}
        return own | self._process_facts | self._keeper.facts

    def _report(self, state: WorkerState, *, is_now: bool = False) -> None:
        """Tell the store that this worker is there, every few seconds and when asked to."""
        now_s = time.monotonic()
        if now_s - self._reported_s < REPORT_S and not (is_now or state != self._state):
            return
        self._state, self._reported_s = state, now_s
        is_known = self._ask(
            lambda: self.store.report_worker(self.id, state, job_id=self._job_id, facts=self._facts()), for_s=0.0
        )
        if is_known is False:
            self._register()

    def _log(self, job: Job, event: str, **values: Any) -> None:
        log.info(event, extra={"worker_id": self.id, "job_id": job.id, **values})

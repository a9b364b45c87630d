"""The engine that a worker has: started when there is none, given up when it takes too long, started again."""

import logging
import time
from typing import Any

from cogvideox.errors import CheckpointError
from cogvideox.serving.engine_process import EngineProcess
from cogvideox.serving.engine_protocol import BAD_MODEL, EngineSettings, ProtocolError

log = logging.getLogger(__name__)

MAX_BACKOFF_S = 30.0
LOAD_S = 1800.0
"""For reading a model; an engine that takes longer hangs."""


class EngineKeeper:
    """One engine at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        """Start none yet."""
        self._settings = settings
        self._engine: EngineProcess | None = None
        self._begun_s = 0.0
        self._start_at_s = 0.0
        self._num_failures = 0
        self.is_ready = False
        """Whether it can do jobs."""
        self.facts: dict[str, Any] = {}
        """Device, versions, model, as the last one said."""

    @property
    def engine(self) -> EngineProcess:
        """The engine, which is there while `is_ready`."""
        assert self._engine is not None
        return self._engine

    def look(self, wait_s: float) -> bool:
        """Start an engine if there is none, and see how it is; return whether it has just become ready.

        Takes about as long as said: an engine without a job says nothing.

        Raises:
            CheckpointError: the model cannot be used.
        """
        if self._engine is None:
            if (left_s := self._start_at_s - time.monotonic()) > 0:
                time.sleep(min(left_s, wait_s))
                return False
            self._engine, self._begun_s = EngineProcess(self._settings), time.monotonic()
        is_new = False
        for message in self.messages(wait_s):
            if message["kind"] == "ready":
                self.is_ready = is_new = True
                self.facts, self._num_failures = dict(message["facts"]), 0
            elif message["kind"] == "failed" and message["code"] == BAD_MODEL:
                raise CheckpointError(str(message["message"]))
        is_late = not self.is_ready and time.monotonic() - self._begun_s > LOAD_S
        if self._engine.is_gone or is_late:
            log.error("engine ended without a job", extra={"exit_code": self._engine.exit_code, "is_late": is_late})
            self.end(is_fault=True)
        return is_new and self.is_ready

    def messages(self, timeout_s: float) -> list[dict[str, Any]]:
        """Return what the engine says; one that makes no sense is killed."""
        try:
            return self.engine.messages(timeout_s)
        except ProtocolError as error:
            log.error("engine: %s", error)
            self.engine.kill()
            return []

    def end(self, *, is_fault: bool = False, wait_s: float | None = None) -> None:
        """Kill the engine; the next one starts at the next look, after repeated faults not at once.

        Args:
            is_fault: it did not end as it should.
            wait_s: until the next one starts.
        """
        if self._engine is not None:
            self._engine.kill()
        self._engine, self.is_ready = None, False
        self._num_failures = self._num_failures + 1 if is_fault else 0
        backoff_s = min(0.5 * 2.0 ** (self._num_failures - 1), MAX_BACKOFF_S) if self._num_failures > 1 else 0.0
        self._start_at_s = time.monotonic() + (backoff_s if wait_s is None else wait_s)

"""What stands between the questions of many threads and the models: how many at once, what they cost, when to stop."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from cogvideox.data.captioning.recipe import BackendSettings
from cogvideox.data.captioning.request import CaptionBackend

MAX_FAILURES = 20
"""Of one backend in a row; then it is taken to be gone."""

T = TypeVar("T")
StopKind = Literal["settings", "gone", "budget", "interrupted", "broken"]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why nothing is asked any more."""

    kind: StopKind
    message: str
    error: BaseException | None = None
    """What went wrong, if that is to be raised as it is."""


class StopFlag:
    """Raised once, by whoever is first; all threads look at it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stop: Stop | None = None

    def __call__(self) -> bool:
        """Whether it is raised."""
        return self.stop is not None

    def set(self, stop: Stop) -> None:
        """Raise it, unless it is."""
        with self._lock:
            self.stop = self.stop or stop


class Budget:
    """Dollars that may be spent, by all threads of this process.

    What is on its way is counted with what one question has cost so far, so that questions at the same time go over the
    limit by no more than their costs differ.
    """

    def __init__(self, max_dollars: float | None) -> None:
        """Start with nothing spent; None is no limit."""
        self._max_dollars = max_dollars
        self._lock = threading.Lock()
        self._spent = 0.0
        self._num_paid = self._num_running = 0

    @contextmanager
    def question(self) -> Iterator[bool]:
        """Count a question as on its way until the context ends; yield whether there is money for it."""
        with self._lock:
            usual = self._spent / self._num_paid if self._num_paid else 0.0
            committed = self._spent + usual * self._num_running
            may_ask = self._max_dollars is None or committed < self._max_dollars
            self._num_running += 1
        try:
            yield may_ask
        finally:
            with self._lock:
                self._num_running -= 1

    def pay(self, dollars: float) -> None:
        """Note what a question has cost."""
        with self._lock:
            self._spent += dollars
            self._num_paid += 1


class Gate:
    """The way to one backend."""

    def __init__(self, settings: BackendSettings, backend: CaptionBackend, stop: StopFlag) -> None:
        self.settings, self.backend = settings, backend
        self._stop = stop
        self._places = threading.BoundedSemaphore(max(1, backend.concurrency))
        self._lock = threading.Lock()
        self._num_failures = 0
        self.num_asked = self.num_answered = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for one of the places at the backend, and keep it until the context ends."""
        with self._places:
            yield

    def asks(self) -> None:
        """Note that a question goes out."""
        with self._lock:
            self.num_asked += 1

    def succeeds(self) -> None:
        """Note that it was answered."""
        with self._lock:
            self._num_failures = 0
            self.num_answered += 1

    def fails(self, message: str, *, is_settings: bool) -> None:
        """Note that it was not, and stop the run if it is no use to go on."""
        with self._lock:
            self._num_failures += 1
            is_hopeless = is_settings and not self.num_answered
            is_gone = self._num_failures >= MAX_FAILURES
        if is_hopeless:
            self._stop.set(Stop(kind="settings", message=message))
        elif is_gone:
            kind: StopKind = "settings" if is_settings else "gone"
            said = f"{self.settings.name} seems to be gone, {MAX_FAILURES} questions in a row failed: {message}"
            self._stop.set(Stop(kind=kind, message=said))


class DaemonPool:
    """Threads that do not keep the process from ending, whatever they wait for."""

    def __init__(self, num_threads: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(num_threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Have a call made by one of the threads."""
        future: Future[T] = Future()
        self._calls.put((call, future))
        return future

    def each(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what calls return, in their order."""
        futures = [self.submit(call) for call in calls]
        return [future.result() for future in futures]

    def close(self, timeout_s: float) -> bool:
        """Let the threads end when all calls are made; return whether they have within the time."""
        for _ in self._threads:
            self._calls.put(None)
        give_up_at_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, give_up_at_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            try:
                future.set_result(call())
            except BaseException as error:  # whoever waits for it gets it
                future.set_exception(error)

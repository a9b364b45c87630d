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

MAX_FAILURES, MIN_FAILED_CLIPS = 20, 3
"""Of one backend in a row, about so many clips: it is taken to be gone. What one clip alone meets may be its fault."""

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

    What is on its way is counted with what it is expected to cost, or more if others have cost more than that. A
    question for which too little is left then waits until those have been paid: the limit is passed by no more than
    the expectation is wrong.
    """

    def __init__(self, max_dollars: float | None) -> None:
        """Start with nothing spent; None is no limit."""
        self._max_dollars = max_dollars
        self._changed = threading.Condition()
        self._spent = self._expected = self._reserved = 0.0
        self._num_running = 0

    @contextmanager
    def question(self, expected_dollars: float) -> Iterator[bool]:
        """Count a question as on its way until the context ends; yield whether there is money for it."""
        with self._changed:
            while self._num_running and not self._has_left():
                self._changed.wait()
            may_ask = self._has_left()
            self._num_running += 1
            self._reserved += expected_dollars
        try:
            yield may_ask
        finally:
            with self._changed:
                self._num_running -= 1
                self._reserved = self._reserved - expected_dollars if self._num_running else 0.0
                self._expected += expected_dollars
                self._changed.notify_all()

    def pay(self, dollars: float) -> None:
        """Note what a question has cost."""
        with self._changed:
            self._spent += dollars

    def _has_left(self) -> bool:
        if self._max_dollars is None:
            return True
        excess = max(self._spent / self._expected, 1.0) if self._expected else 1.0
        return self._spent + excess * self._reserved < self._max_dollars


class Gate:
    """The way to one backend."""

    def __init__(
        self, settings: BackendSettings, backend: CaptionBackend, stop: StopFlag, *, has_answered: bool = False
    ) -> None:
        """Open the way; ``has_answered`` says whether an earlier run had answers of this backend."""
        self.settings, self.backend = settings, backend
        self._stop, self._has_answered = stop, has_answered
        self._places = threading.BoundedSemaphore(max(1, backend.concurrency))
        self._lock = threading.Lock()
        self._num_failures = 0
        self._failed_clips: set[str] = set()
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
            self._failed_clips.clear()
            self.num_answered += 1
            self._has_answered = True

    def fails(self, message: str, *, clip: str, is_settings: bool) -> None:
        """Note that it was not, about which clip, and stop the run if it is no use to go on."""
        with self._lock:
            self._num_failures += 1
            self._failed_clips.add(clip)
            is_hopeless = is_settings and not self._has_answered
            is_gone = self._num_failures >= MAX_FAILURES and len(self._failed_clips) >= MIN_FAILED_CLIPS
        if is_hopeless:
            self._stop.set(Stop(kind="settings", message=message))
        elif is_gone:
            kind: StopKind = "settings" if is_settings else "gone"
            said = f"{self.settings.name} seems to be gone, {self._num_failures} questions in a row failed: {message}"
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

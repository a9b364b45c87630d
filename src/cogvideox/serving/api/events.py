"""Tells clients what becomes of their videos, as it happens: one thread asks the store for all of them."""

import asyncio
import collections
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from cogvideox.serving.errors import ApiError
from cogvideox.serving.job import Job, Mark, StoreUnavailableError
from cogvideox.serving.job_store import JobStore

KEEP_ALIVE_S = 15.0
LOOK_S = 1.0
RETRY_S = 0.5
REFRESH_S = 2.0
"""How often those that wait are told of their place in the queue."""
ASK_S = 5.0
"""How often it is asked whether who listens still may: keys expire, and are revoked."""
MAX_STREAMS = 600
MAX_STREAMS_OF_OWNER = 200
"""Where there are keys. A browser has one for each page that shows a video being made."""
IDLE_S = 5.0
"""After the last listener the thread stays so long."""

logger = logging.getLogger(__name__)


class EventHub:
    """Jobs as they change, for any number of listeners of one event loop or several."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._listeners: dict[str, set[Listener]] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def listen(self, job_id: str) -> "Listener":
        """Return a listener of a job; everything that changes from now on is told."""
        listener = Listener(job_id, asyncio.get_running_loop())
        with self._lock:
            self._listeners.setdefault(job_id, set()).add(listener)
        return listener

    def start(self) -> None:
        """Have the thread run; what changes from now on is told to those who listen already. Asks the store."""
        if self._thread is not None:
            return
        mark = self._store.change_mark()  # without the lock, which the loop takes: a store may be slow
        with self._lock:
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, args=(mark,), name="events", daemon=True)
                self._thread.start()

    def leave(self, listener: "Listener") -> None:
        """Tell a listener no more."""
        with self._lock:
            listeners = self._listeners.get(listener.job_id, set())
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(listener.job_id, None)

    def close(self) -> None:
        """End all streams."""
        with self._lock:
            self._is_closed = True
            listeners = [listener for group in self._listeners.values() for listener in group]
        for listener in listeners:
            listener.end()

    def _run(self, mark: Mark) -> None:
        idle_since_s = time.monotonic()
        while True:
            with self._lock:
                if self._listeners:
                    idle_since_s = time.monotonic()
                if self._is_closed or time.monotonic() - idle_since_s > IDLE_S:
                    self._thread = None
                    return
            try:
                changes = self._store.wait_for_change(mark, timeout_s=LOOK_S)
            except StoreUnavailableError:
                time.sleep(RETRY_S)
                continue
            except Exception:  # whatever it is, streams go on
                logger.exception("the store does not say what changed")
                time.sleep(RETRY_S)
                continue
            mark = changes.mark
            for job in changes.jobs:
                with self._lock:
                    listeners = tuple(self._listeners.get(job.id, ()))
                for listener in listeners:
                    listener.tell(job)


class StreamPlaces:
    """Counts the open streams of one event loop, of which there is room for so many."""

    def __init__(self, gauge: Any) -> None:
        """Tell a gauge how many there are."""
        self._gauge = gauge
        self._num_open: collections.Counter[str | None] = collections.Counter()

    def enter(self, owner: str | None) -> "StreamPlace":
        """Take a place for an owner; None is anybody where no keys are asked for. Raises ApiError if all are taken."""
        is_full_for_owner = owner is not None and self._num_open[owner] >= MAX_STREAMS_OF_OWNER
        if is_full_for_owner or self._num_open.total() >= MAX_STREAMS:
            told = "too many event streams are open; close some, or ask for the video now and then"
            raise ApiError("rate_limited", told, headers={"retry-after": "5"})
        self._num_open[owner] += 1
        self._gauge.inc()
        return StreamPlace(self, owner)

    def leave(self, owner: str | None) -> None:
        """Give a place back."""
        self._num_open[owner] -= 1
        self._num_open += collections.Counter()  # without those that have none
        self._gauge.dec()


class StreamPlace:
    """The place of one stream, given back once."""

    def __init__(self, places: StreamPlaces, owner: str | None) -> None:
        self._places: StreamPlaces | None = places
        self._owner = owner

    def leave(self) -> None:
        """Give it back."""
        places, self._places = self._places, None
        if places is not None:
            places.leave(self._owner)


class Listener:
    """Hears of one job. Only the newest state is kept: each tells all."""

    def __init__(self, job_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.job_id = job_id
        self.is_ended = False
        self._loop = loop
        self._news: Job | None = None
        self._is_there = asyncio.Event()

    def tell(self, job: Job) -> None:
        """Give it a state; from any thread."""
        self._call(lambda: self._set(job))

    def end(self) -> None:
        """Let it hear no more; from any thread."""
        self._call(lambda: self._set(None))

    def _call(self, what: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            logger.debug("the loop of a listener has ended")

    def _set(self, job: Job | None) -> None:
        self.is_ended |= job is None
        if job is not None and (self._news is None or job.change >= self._news.change):
            self._news = job
        self._is_there.set()

    async def next(self, timeout_s: float) -> Job | None:
        """Return the newest state that was not returned yet; None if there is none in that time."""
        try:
            await asyncio.wait_for(self._is_there.wait(), timeout_s)
        except TimeoutError:
            return None
        self._is_there.clear()
        news, self._news = self._news, None
        return news


async def event_stream(
    listener: Listener, first: Job, describe: Callable[[Job], Any], is_allowed: Callable[[], Any]
) -> AsyncIterator[str]:
    """Yield the events of a job: all of it each time, comments between, and an end when the job has ended.

    Args:
        listener: of the job.
        first: its state at the beginning.
        describe: an asynchronous call that returns a state as JSON values.
        is_allowed: an asynchronous call that returns whether who listens still may; nothing is sent to others.
    """
    job, told = first, ""
    quiet_since_s = asked_s = time.monotonic()
    while True:
        try:
            if time.monotonic() - asked_s >= ASK_S:
                if not await is_allowed():
                    return
                asked_s = time.monotonic()
            text = "" if job.is_deleted else json.dumps(await describe(job))
        except StoreUnavailableError:  # keys and places in the queue are asked for
            if listener.is_ended:
                return
            await asyncio.sleep(RETRY_S)
            continue
        if job.is_deleted:
            gone = {"id": job.id, "object": "video.deleted", "deleted": True}
            yield f"event: deleted\ndata: {json.dumps(gone)}\n\n"
            return
        if text != told:
            told, quiet_since_s = text, time.monotonic()
            yield f"event: video\ndata: {text}\n\n"
        if job.is_terminal or listener.is_ended:
            return
        # One that waits moves up without changing itself.
        wait_s = REFRESH_S if job.state == "queued" else ASK_S
        job = await listener.next(wait_s) or job
        if time.monotonic() - quiet_since_s >= KEEP_ALIVE_S:
            quiet_since_s = time.monotonic()
            yield ": still there\n\n"

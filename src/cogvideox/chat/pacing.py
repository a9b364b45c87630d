"""How fast a service is asked, by all threads of this process together, and how long they wait when it is busy."""

import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

FIRST_PAUSE_S = 1.0
"""Before the second try, twice that before the third and so on, if the service does not say when to come back."""

MAX_PAUSE_S = 60.0
"""A service that asks for a longer pause is given up."""

_MAX_REQUESTED_PAUSE_S = 7 * 24 * 3600.0
"""A service that asks for a longer pause does not know what it says."""

_JITTER = 0.25
"""Share by which pauses differ, so that those who failed together do not come back together."""

_MINUTE_S = 60.0
_GROWTH = 0.5
"""Of the number of requests at once, for as many successes as are made at once."""


class StoppedError(RuntimeError):
    """`Pacer.stop` was called: nothing is asked any more."""


@dataclass(eq=False)
class Admission:
    """A request that may be made now."""

    started_at_s: float
    num_reserved_tokens: float
    num_tokens: int = 0
    """That it took, read and written; set by whoever makes the request."""
    was_busy: bool = False
    """Whether the service had too much to do; set by whoever makes the request."""


class Pacer:
    """Lets requests through at the pace that a service allows; one is shared by all threads that ask it.

    Requests are spread evenly over a minute. When the service says that it is busy, fewer are made at once, half as
    many each time; each success lets that number grow again.

    Args:
        max_requests_per_minute: 0 for no limit.
        max_tokens_per_minute: read and written, as the service counts them; 0 for no limit, and none is kept if the
            service counts no tokens.
        first_pause_s: `FIRST_PAUSE_S`.
        generator: of the pauses' small differences; another one in each process by default.

    Raises:
        ValueError: a limit is below 0, or no number.
    """

    def __init__(
        self,
        max_requests_per_minute: float = 0,
        max_tokens_per_minute: float = 0,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        generator: random.Random | None = None,
    ) -> None:
        limits = {"max_requests_per_minute": max_requests_per_minute, "max_tokens_per_minute": max_tokens_per_minute}
        for name, value in (limits | {"first_pause_s": first_pause_s}).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected 0 or more, got {value}")
        self._request_gap_s = _MINUTE_S / max_requests_per_minute if max_requests_per_minute else 0.0
        self._token_gap_s = _MINUTE_S / max_tokens_per_minute if max_tokens_per_minute else 0.0
        self._first_pause_s = first_pause_s
        self._generator = random.Random() if generator is None else generator
        self._changed = threading.Condition()
        self._is_stopped = False
        self._num_running = 0
        self._max_running = math.inf
        self._slowed_at_s = -math.inf
        self._num_slowed = 0
        self._busy_since_s = math.inf
        self._next_request_at_s = self._tokens_free_at_s = self._held_until_s = -math.inf
        self._usual_tokens: float | None = None

    @contextmanager
    def admission(self) -> Iterator[Admission]:
        """Wait until a request may be made, and count it as one until the context ends.

        Raises:
            StoppedError: `stop` was called, before or meanwhile.
        """
        with self._changed:
            while (wait_s := self._wait_s(time.monotonic())) > 0:
                self._changed.wait(None if math.isinf(wait_s) else wait_s)
            now_s = time.monotonic()
            self._next_request_at_s = max(self._next_request_at_s, now_s) + self._request_gap_s
            admission = Admission(now_s, self._usual_tokens or 0.0)
            self._add_tokens(admission.num_reserved_tokens, now_s)
            self._num_running += 1
        is_success = False
        try:
            yield admission
            is_success = not admission.was_busy
        finally:
            with self._changed:
                self._end(admission, is_success=is_success)
                self._changed.notify_all()

    def hold(self, pause_s: float) -> None:
        """Let nobody through for so long."""
        with self._changed:
            self._held_until_s = max(self._held_until_s, time.monotonic() + pause_s)

    def hold_busy(self) -> None:
        """Let nobody through for a while, because the service is busy and does not say for how long: twice as long
        each time that it still is.
        """
        with self._changed:
            self._held_until_s = max(self._held_until_s, time.monotonic() + self._pause_s(self._num_slowed - 1))

    def busy_for_s(self) -> float:
        """Return for how long the service has done nothing but say that it is busy."""
        with self._changed:
            return max(time.monotonic() - self._busy_since_s, 0.0)

    def back_off(self, try_index: int) -> None:
        """Wait after the failure of a try, counted from 0. Raises StoppedError if `stop` is called."""
        with self._changed:
            end_s = time.monotonic() + self._pause_s(try_index)
            while (wait_s := end_s - time.monotonic()) > 0:
                self.check_running()
                self._changed.wait(wait_s)

    def stop(self) -> None:
        """Wake everybody who waits here, with StoppedError; requests that are under way are given up too."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def check_running(self) -> None:
        """Raise StoppedError if `stop` was called."""
        if self._is_stopped:
            raise StoppedError("it was stopped before the answer came")

    def _pause_s(self, try_index: int) -> float:
        spread = 1 + self._generator.uniform(-_JITTER, _JITTER)
        return min(self._first_pause_s * 2.0 ** min(max(try_index, 0), 30), MAX_PAUSE_S) * spread

    def _wait_s(self, now_s: float) -> float:
        """Return for how long nobody may pass; infinity until another request ends."""
        self.check_running()
        # What a request takes is known only once the first one has ended.
        max_running = 1 if self._token_gap_s and self._usual_tokens is None else max(self._max_running, 1)
        if self._num_running + 1 > max_running:
            return math.inf
        return max(self._next_request_at_s, self._tokens_free_at_s, self._held_until_s) - now_s

    def _add_tokens(self, num_tokens: float, now_s: float) -> None:
        self._tokens_free_at_s = max(self._tokens_free_at_s, now_s) + num_tokens * self._token_gap_s

    def _end(self, admission: Admission, *, is_success: bool) -> None:
        self._add_tokens(admission.num_tokens - admission.num_reserved_tokens, time.monotonic())
        if is_success:
            usual = admission.num_tokens if self._usual_tokens is None else self._usual_tokens
            self._usual_tokens = usual + (admission.num_tokens - usual) / 8
            self._max_running += _GROWTH / self._max_running
            self._num_slowed, self._busy_since_s = 0, math.inf
        elif admission.was_busy and admission.started_at_s > self._slowed_at_s:  # once for those that ran together
            self._max_running = max(min(self._num_running, self._max_running) / 2, 1.0)
            self._slowed_at_s = time.monotonic()
            self._num_slowed += 1
            self._busy_since_s = min(self._busy_since_s, self._slowed_at_s)
        self._num_running -= 1


def requested_pause_s(headers: Any) -> float | None:
    """Return the pause that the headers of an answer ask for, None if it asks for none or for nonsense."""
    text = str(headers.get("Retry-After") or "").strip()
    pause_s = math.nan
    try:
        pause_s = float(str(headers.get("Retry-After-Ms") or "")) / 1000
    except ValueError:
        try:
            pause_s = float(text)
        except ValueError:
            try:
                until = parsedate_to_datetime(text)
                until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
                pause_s = (until - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError, IndexError, OverflowError):
                return None
    return pause_s if 0 < pause_s <= _MAX_REQUESTED_PAUSE_S else None

"""The pace of requests: spread over the minute, held together, stopped at once."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cogvideox.chat.pacing import Pacer, StoppedError


def admitted_at_s(pacer: Pacer, num_threads: int, num_tokens: int = 0, lasts_s: float = 0.0) -> list[float]:
    """Return when so many threads were let through, from now."""
    start_s = time.monotonic()

    def ask(_) -> float:
        with pacer.admission() as admission:
            passed_s = time.monotonic() - start_s
            time.sleep(lasts_s)
            admission.num_tokens = num_tokens
            return passed_s

    with ThreadPoolExecutor(num_threads) as threads:
        return sorted(threads.map(ask, range(num_threads)))


def test_without_limits_nobody_waits() -> None:
    assert admitted_at_s(Pacer(), 8, num_tokens=10**6)[-1] < 0.2


def test_requests_are_spread_over_the_minute() -> None:
    times_s = admitted_at_s(Pacer(max_requests_per_minute=60 / 0.05), 6)
    for index, time_s in enumerate(times_s):
        assert 0.05 * index - 0.005 <= time_s < 0.05 * index + 0.15


def test_tokens_are_spread_over_the_minute() -> None:
    # 100 tokens each at 1,000 a second: one request every 0.1 s, the first ones too.
    times_s = admitted_at_s(Pacer(max_tokens_per_minute=60_000), 5, num_tokens=100, lasts_s=0.01)
    for index, time_s in enumerate(times_s):
        assert 0.1 * index - 0.01 <= time_s < 0.1 * index + 0.2


def test_service_that_counts_no_tokens_is_not_slowed() -> None:
    assert admitted_at_s(Pacer(max_tokens_per_minute=1), 5)[-1] < 0.3


def test_failed_requests_give_their_tokens_back() -> None:
    pacer = Pacer(max_tokens_per_minute=60)
    with pacer.admission() as admission:
        admission.num_tokens = 0
    for _ in range(3):
        with pytest.raises(OSError), pacer.admission():
            raise OSError
    assert admitted_at_s(pacer, 1)[0] < 0.1


def test_busy_service_has_fewer_requests_at_once_for_a_while() -> None:
    pacer = Pacer()
    all_in, running, most = threading.Barrier(8), [0], [0]

    def be_refused(_) -> None:
        with pacer.admission() as admission:
            all_in.wait()
            admission.was_busy = True

    def ask(_) -> None:
        with pacer.admission():
            running[0] += 1
            most[0] = max(most[0], running[0])
            time.sleep(0.01)
            running[0] -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(be_refused, range(8)))
        list(threads.map(ask, range(6)))
        assert most[0] <= 5  # half of 8, and one for its successes; not an eighth
        assert most[0] >= 3
        list(threads.map(ask, range(60)))
        assert most[0] >= 7


def test_pauses_double_and_differ() -> None:
    pacer = Pacer(first_pause_s=0.04, generator=random.Random(0))
    for try_index in range(3):
        start_s = time.monotonic()
        pacer.back_off(try_index)
        took_s = time.monotonic() - start_s
        assert 0.03 * 2**try_index <= took_s < 0.05 * 2**try_index + 0.05


def test_stop_wakes_all_who_wait_and_lets_nobody_in() -> None:
    pacer = Pacer(max_requests_per_minute=1, first_pause_s=30)
    with pacer.admission():
        """The one of this minute."""
    pacer.hold(30)

    def wait(number: int) -> None:
        if number % 2:
            pacer.back_off(0)
        else:
            with pacer.admission():
                pytest.fail("it was let in")

    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(wait, number) for number in range(6)]
        time.sleep(0.1)
        assert not any(future.done() for future in futures)
        start_s = time.monotonic()
        pacer.stop()
        for future in futures:
            with pytest.raises(StoppedError):
                future.result()
        assert time.monotonic() - start_s < 0.5
    with pytest.raises(StoppedError), pacer.admission():
        pass


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_limits_that_are_none(limit: float) -> None:
    with pytest.raises(ValueError, match="max_tokens_per_minute: expected 0 or more"):
        Pacer(max_tokens_per_minute=limit)

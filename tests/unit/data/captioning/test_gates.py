"""What stands between many threads and the models: the money, and when to stop."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cogvideox.data.captioning.gates import MAX_FAILURES, Budget, Gate, StopFlag
from cogvideox.data.captioning.recipe import BackendSettings


class Backend:
    source = "there"
    concurrency = 4

    def caption(self, _: Any) -> Any: ...

    def release(self) -> None: ...


def gate_of(stop: StopFlag, **options: Any) -> Gate:
    return Gate(BackendSettings(name="eyes", kind="function", function="a:b"), Backend(), stop, **options)


@pytest.mark.parametrize(("expected", "most"), [(1.0, 10), (0.1, 17), (100.0, 10), (0.0, 17)])
def test_a_first_wave_is_no_larger_than_the_money(expected: float, most: int) -> None:
    budget, lock, paid = Budget(10.0), threading.Lock(), []

    def ask(_: int) -> None:
        with budget.question(expected) as may_ask:
            if may_ask:
                time.sleep(0.02)
                with lock:
                    paid.append(1.0)
                budget.pay(1.0)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(40)))
    assert 10 <= len(paid) <= most, "and all of it is used"


def test_a_question_waits_for_others_to_be_paid_and_then_has_its_turn() -> None:
    budget = Budget(1.0)

    def ask() -> bool:
        with budget.question(0.6) as may_ask:
            return may_ask

    with ThreadPoolExecutor(1) as threads:
        with budget.question(0.6) as first, budget.question(0.6) as second:
            assert first and second
            later = threads.submit(ask)
            time.sleep(0.05)
            assert not later.done()
            budget.pay(0.5)
        assert later.result(5)
        budget.pay(0.5)
        assert not ask()


def test_one_clip_alone_does_not_make_a_model_gone() -> None:
    for num_clips, is_gone in ((1, False), (2, False), (3, True), (40, True)):
        stop = StopFlag()
        gate = gate_of(stop)
        for number in range(2 * MAX_FAILURES):
            gate.fails("no answer", clip=str(number % num_clips), is_settings=False)
        assert stop() == is_gone
    stop = StopFlag()
    gate = gate_of(stop)
    for number in range(4 * MAX_FAILURES):
        gate.fails("no answer", clip=str(number), is_settings=False)
        if number % (MAX_FAILURES - 1) == 0:
            gate.succeeds()
    assert not stop()


def test_a_refused_key_stops_at_once_unless_there_were_answers_before() -> None:
    for has_answered in (False, True):
        stop = StopFlag()
        gate = gate_of(stop, has_answered=has_answered)
        gate.fails("the key is refused", clip="a", is_settings=True)
        assert stop() != has_answered
        for number in range(MAX_FAILURES):
            gate.fails("the key is refused", clip=str(number), is_settings=True)
        assert stop.stop is not None and stop.stop.kind == "settings"

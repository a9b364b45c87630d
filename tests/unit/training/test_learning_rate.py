from itertools import pairwise

import pytest

from cogvideox.training.learning_rate import Schedule, scheduled_rate
from cogvideox.training.loop import RunSettings


def rates(schedule: Schedule, num_warmup_steps: int = 10, decay_share: float = 0.2) -> list[float]:
    return [
        scheduled_rate(
            step,
            num_steps=100,
            peak=1.0,
            num_warmup_steps=num_warmup_steps,
            schedule=schedule,
            decay_share=decay_share,
        )
        for step in range(100)
    ]


@pytest.mark.parametrize("schedule", ["hold", "cosine", "constant"])
def test_warms_up_linearly(schedule: Schedule) -> None:
    made = rates(schedule)
    assert made[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates(schedule, num_warmup_steps=0)[0] == 1.0


def test_hold_decays_along_the_last_part() -> None:
    made = rates("hold")
    assert made[9] == made[50] == made[79] == made[80] == 1.0
    assert made[90] == pytest.approx(0.5) and made[99] == pytest.approx(0.05)
    assert rates("hold", decay_share=0.0)[99] == 1.0


def test_cosine_falls_to_zero_over_the_rest() -> None:
    made = rates("cosine")
    assert made[10] == 1.0 and made[55] == pytest.approx(0.5) and 0 < made[99] < 1e-3
    assert all(later < earlier for earlier, later in pairwise(made[10:]))


def test_a_cosine_shorter_than_its_warm_up_stays_finite() -> None:
    rate = scheduled_rate(3, num_steps=4, peak=1.0, num_warmup_steps=8, schedule="cosine", decay_share=0.0)
    assert rate == 0.5


def test_constant_stays() -> None:
    assert set(rates("constant")[9:]) == {1.0}


def test_a_run_holds() -> None:
    settings = RunSettings(num_steps=100, batch_size=1, learning_rate=1.0, num_warmup_steps=10, decay_share=0.2)
    assert [settings.learning_rate_at(step) for step in range(100)] == rates("hold")

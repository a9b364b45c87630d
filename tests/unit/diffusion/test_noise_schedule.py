"""The noise schedule: known values, plans, and timesteps for training."""

import pytest
import torch

from cogvideox.configs import NoiseScheduleConfig
from cogvideox.diffusion.noise_schedule import NoiseSchedule

SCHEDULE = NoiseSchedule(NoiseScheduleConfig())


def test_published_plan_of_50_steps() -> None:
    plan = SCHEDULE.plan(50)
    assert plan.train_timesteps == tuple(range(999, 0, -20))
    assert plan.alpha_bars[0] == 0
    assert plan.alpha_bars_previous[:-1] == plan.alpha_bars[1:]
    assert plan.alpha_bars_previous[-1] == 1


def test_published_plan_of_30_steps_ends_its_steps_elsewhere_than_the_next_starts() -> None:
    plan = SCHEDULE.plan(30)
    assert plan.train_timesteps[:4] == (999, 966, 932, 899)
    assert plan.alpha_bars_previous[1] == SCHEDULE.alpha_bar[933].item() != plan.alpha_bars[2]


def test_known_values_of_2b() -> None:
    alpha_bar = NoiseSchedule(NoiseScheduleConfig(snr_shift_scale=3.0)).alpha_bar
    assert alpha_bar.dtype == torch.float64
    assert alpha_bar[0].item() == pytest.approx(0.99745, abs=5e-6)
    assert alpha_bar[-1].item() == 0


@pytest.mark.parametrize("num_steps", [0, 1001])
def test_impossible_number_of_steps_is_refused(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"num_steps: expected 1 to 1000, got {num_steps}"):
        SCHEDULE.plan(num_steps)


@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 1), (4, 1), (8, 5), (3, 7)])
def test_drawn_timesteps_fall_one_into_each_interval(batch_size: int, world_size: int) -> None:
    num_intervals = batch_size * world_size
    drawn = []
    for rank in range(world_size):
        generator = torch.Generator().manual_seed(rank)
        timesteps = SCHEDULE.draw_train_timesteps(
            batch_size, rank=rank, world_size=world_size, generator=generator
        ).tolist()
        assert all(rank / world_size * 1000 - 1 <= t <= (rank + 1) / world_size * 1000 for t in timesteps)
        drawn += timesteps
    for index, timestep in enumerate(sorted(drawn)):
        assert index * 1000 / num_intervals - 1 < timestep < (index + 1) * 1000 / num_intervals


def test_drawn_timesteps_are_uniform_and_shuffled() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([SCHEDULE.draw_train_timesteps(4, generator=generator) for _ in range(20_000)])
    assert draws.dtype == torch.int64
    assert draws.min() == 0 and draws.max() == 999
    counts = draws.flatten().bincount(minlength=1000)
    assert counts.min() > 40 and counts.max() < 130  # 80 expected, deviation 9
    means = draws.double().mean(0)  # of each place in the batch: 499.5, deviation 2
    assert ((means - 499.5).abs() < 10).all()


def test_same_generator_state_draws_the_same() -> None:
    first, second = (SCHEDULE.draw_train_timesteps(9, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("batch_size", "rank", "message"),
    [
        (0, 0, "batch_size: expected at least 1, got 0"),
        (1, 2, "rank: expected 0 to world_size - 1 .1., got 2"),
        (1, -1, "rank: expected 0 to world_size - 1 .1., got -1"),
    ],
)
def test_wrong_draws_are_refused(batch_size: int, rank: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SCHEDULE.draw_train_timesteps(batch_size, rank=rank, world_size=2)

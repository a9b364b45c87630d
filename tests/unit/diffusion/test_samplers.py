"""Samplers by what they must do whatever the model is."""

from typing import get_args

import torch

from cogvideox.configs import NoiseScheduleConfig
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import add_noise
from cogvideox.diffusion.samplers import SAMPLERS, SamplerName, ddim_step

PLAN = NoiseSchedule(NoiseScheduleConfig()).plan(10)


def test_names_and_table_agree() -> None:
    assert set(SAMPLERS) == set(get_args(SamplerName))


def test_ddim_follows_the_line_of_a_perfect_prediction() -> None:
    clean, noise = torch.randn(2, 1, 4, 2, 3, 3, dtype=torch.float64)
    latents = noise
    for step_index in range(PLAN.num_steps):
        torch.testing.assert_close(latents, add_noise(clean, noise, PLAN.alpha_bars[step_index]))
        latents, previous = ddim_step(latents, clean, PLAN, step_index)
        assert previous is None
    torch.testing.assert_close(latents, clean)


def test_ddim_draws_no_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    state = rng.get_state()
    ddim_step(torch.ones(1), torch.zeros(1), PLAN, 3, None, rng)
    assert torch.equal(rng.get_state(), state)

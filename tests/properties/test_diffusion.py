"""What holds for the diffusion mathematics at every timestep and configuration."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cogvideox.configs import NoiseScheduleConfig
from cogvideox.diffusion.guidance import guide
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import (
    add_noise,
    clean_from_velocity,
    noise_from_velocity,
    velocity_from_clean,
    velocity_from_clean_and_noise,
)


@given(alpha_bar=st.floats(0, 0.9999), seed=st.integers(0, 1000))
def test_velocity_clean_velocity_round_trip(alpha_bar: float, seed: int) -> None:
    clean, noise = torch.randn(2, 1, 4, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    noisy = add_noise(clean, noise, alpha_bar)
    velocity = velocity_from_clean_and_noise(clean, noise, alpha_bar)
    torch.testing.assert_close(clean_from_velocity(noisy, velocity, alpha_bar), clean)
    torch.testing.assert_close(noise_from_velocity(noisy, velocity, alpha_bar), noise)
    torch.testing.assert_close(velocity_from_clean(noisy, clean, alpha_bar), velocity, atol=1e-8, rtol=1e-6)


@given(snr_shift_scale=st.floats(0.5, 10), num_train_timesteps=st.integers(2, 2000))
def test_terminal_snr_is_zero_and_noise_only_grows(snr_shift_scale: float, num_train_timesteps: int) -> None:
    config = NoiseScheduleConfig(snr_shift_scale=snr_shift_scale, num_train_timesteps=num_train_timesteps)
    alpha_bar = NoiseSchedule(config).alpha_bar
    assert alpha_bar[-1].item() == 0
    assert (alpha_bar.diff() < 0).all()
    assert 0.99 < alpha_bar[0] < 1


@given(num_steps=st.integers(1, 1000))
def test_a_plan_starts_at_pure_noise_and_ends_clean_or_nearly(num_steps: int) -> None:
    schedule = NoiseSchedule(NoiseScheduleConfig())
    plan = schedule.plan(num_steps)
    assert plan.alpha_bars[0] == 0
    assert len(plan.train_timesteps) == len(plan.alpha_bars) == len(plan.alpha_bars_previous) == num_steps
    assert all(0 <= t <= 999 for t in plan.train_timesteps)
    assert all(a > b for a, b in zip(plan.train_timesteps, plan.train_timesteps[1:], strict=False))
    assert all(after > before for before, after in zip(plan.alpha_bars, plan.alpha_bars_previous, strict=True))


@given(seed=st.integers(0, 1000))
def test_guidance_of_one_is_the_conditional_prediction(seed: int) -> None:
    unconditional, conditional = torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(guide(unconditional, conditional, 1.0), conditional)
    assert guide(unconditional, conditional, 0.0).tolist() == pytest.approx(unconditional.tolist())

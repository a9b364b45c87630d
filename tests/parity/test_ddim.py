"""Noise schedule, sampling plan and DDIM steps against diffusers."""

from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler

from cogvideox.configs import NoiseScheduleConfig
from cogvideox.diffusion.guidance import guide
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import add_noise, clean_from_velocity, velocity_from_clean_and_noise
from cogvideox.diffusion.samplers import SAMPLERS

CONFIGS = [NoiseScheduleConfig(), NoiseScheduleConfig(snr_shift_scale=3.0)]
IDS = ["5b", "2b"]


def reference(config: NoiseScheduleConfig) -> Any:
    values = config.to_json()
    return CogVideoXDDIMScheduler(**values)


@pytest.mark.parametrize(
    "config",
    [
        *CONFIGS,
        NoiseScheduleConfig(rescale_betas_zero_snr=False),
        NoiseScheduleConfig(num_train_timesteps=100, beta_end=0.02),
        NoiseScheduleConfig(beta_schedule="linear"),
        NoiseScheduleConfig(beta_schedule="squaredcos_cap_v2", rescale_betas_zero_snr=False),
        NoiseScheduleConfig(num_train_timesteps=4, trained_betas=(0.1, 0.2, 0.3, 0.4), rescale_betas_zero_snr=False),
    ],
    ids=[*IDS, "no-rescale", "100-steps", "linear", "cosine", "written out"],
)
def test_alpha_bar_matches(config: NoiseScheduleConfig) -> None:
    expected = reference(config).alphas_cumprod
    tolerance = 1e-14 if expected.dtype == torch.float64 else 1e-6
    torch.testing.assert_close(NoiseSchedule(config).alpha_bar.double(), expected.double(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_other_spacings_match(spacing: str) -> None:
    config = NoiseScheduleConfig(timestep_spacing=spacing, steps_offset=1)  # pyright: ignore[reportArgumentType]
    schedule, scheduler = NoiseSchedule(config), reference(config)
    for num_steps in range(1, 1000):
        scheduler.set_timesteps(num_steps)
        expected = scheduler.timesteps.tolist()
        if expected[0] < 1000:
            assert list(schedule.plan(num_steps).train_timesteps) == expected, num_steps
        else:
            with pytest.raises(ValueError, match="steps_offset of 1 begin beyond the last timestep"):
                schedule.plan(num_steps)


def test_a_file_with_missing_fields_means_the_same() -> None:
    config = NoiseScheduleConfig.from_json({"snr_shift_scale": 1.0})
    values = config.to_json()
    expected = dict(CogVideoXDDIMScheduler(snr_shift_scale=1.0).config)
    assert {name: expected[name] for name in values} == values


@pytest.mark.parametrize("config", [NoiseScheduleConfig(), NoiseScheduleConfig(set_alpha_to_one=False)])
def test_plan_matches_for_every_number_of_steps(config: NoiseScheduleConfig) -> None:
    schedule, scheduler = NoiseSchedule(config), reference(config)
    for num_steps in [*range(1, 260), 333, 500, 999, 1000]:
        plan = schedule.plan(num_steps)
        scheduler.set_timesteps(num_steps)
        # numpy's arange may give one timestep more, -1, where 1000 / n is not exact; no sampler should visit it.
        assert list(plan.train_timesteps) == scheduler.timesteps.tolist()[:num_steps], num_steps
        assert plan.num_steps == num_steps
    # One step in the middle by the step itself: with clean = 0 and latents = 1 the result is a function of both shares.
    scheduler.set_timesteps(30)
    plan = schedule.plan(30)
    for step_index, timestep in enumerate(scheduler.timesteps):
        velocity, latents = torch.tensor([0.7], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)
        expected = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        clean = clean_from_velocity(latents, velocity, plan.alpha_bars[step_index])
        stepped, _ = SAMPLERS["ddim"](latents, clean, plan, step_index, None, None)
        torch.testing.assert_close(stepped, expected, atol=1e-7, rtol=0)  # their final alpha is a float32 tensor


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 25, 30, 50])
def test_whole_run_matches(config: NoiseScheduleConfig, num_steps: int) -> None:
    scheduler, plan = reference(config), NoiseSchedule(config).plan(num_steps)
    scheduler.set_timesteps(num_steps)
    generator = torch.Generator().manual_seed(0)
    ours = theirs = torch.randn(1, 4, 2, 3, 3, generator=generator)
    weight = torch.randn(4, 4, generator=generator) / 2

    def predict(latents: torch.Tensor) -> torch.Tensor:
        conditional = torch.einsum("oc,bcthw->bothw", weight, latents).tanh()
        return guide(0.5 * conditional.roll(1, -1), conditional, 6.0)

    previous = None
    for step_index, timestep in enumerate(scheduler.timesteps):
        theirs, their_clean = scheduler.step(predict(theirs), timestep, theirs, return_dict=False)
        clean = clean_from_velocity(ours, predict(ours), plan.alpha_bars[step_index])
        ours, previous = SAMPLERS["ddim"](ours, clean, plan, step_index, previous, None)
        torch.testing.assert_close(clean, their_clean, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_noisy_sample_and_velocity_match(config: NoiseScheduleConfig) -> None:
    scheduler, schedule = reference(config), NoiseSchedule(config)
    clean, noise = torch.randn(2, 4, 3, 2, 5, 5)
    train_timestep = torch.tensor([0, 1, 500, 999])
    alpha_bar = schedule.alpha_bar_at(train_timestep)
    expected = scheduler.add_noise(clean, noise, train_timestep)
    torch.testing.assert_close(add_noise(clean, noise, alpha_bar), expected)
    velocity = velocity_from_clean_and_noise(clean, noise, alpha_bar)
    torch.testing.assert_close(velocity, scheduler.get_velocity(clean, noise, train_timestep))

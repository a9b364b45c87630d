"""The published stochastic sampler against diffusers: its steps and its random draws."""

import pytest
import torch
from diffusers import CogVideoXDPMScheduler

from cogvideox.configs import NoiseScheduleConfig
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import clean_from_prediction
from cogvideox.diffusion.samplers import SAMPLERS, NoiseSource

CONFIGS = {
    "5b": NoiseScheduleConfig(),
    "2b": NoiseScheduleConfig(snr_shift_scale=3.0),
    "leading": NoiseScheduleConfig(timestep_spacing="leading", rescale_betas_zero_snr=False, set_alpha_to_one=False),
    "linspace": NoiseScheduleConfig(timestep_spacing="linspace", prediction_type="sample", beta_schedule="linear"),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 25, 30, 50])
def test_whole_run_matches(config: NoiseScheduleConfig, num_steps: int) -> None:
    values = config.to_json()
    del values["trained_betas"]
    scheduler, plan = CogVideoXDPMScheduler(**values), NoiseSchedule(config).plan(num_steps)
    scheduler.set_timesteps(num_steps)
    assert list(plan.train_timesteps) == scheduler.timesteps.tolist()
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 2

    def predict(latents: torch.Tensor) -> torch.Tensor:
        return torch.einsum("oc,bcthw->bothw", weight, latents).tanh()

    rng = NoiseSource.from_seeds([5], torch.float64)
    ours = rng.draw((1, 4, 2, 3, 3), torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    theirs = torch.randn(1, 2, 4, 3, 3, generator=generator, dtype=torch.float64)  # frames before channels
    previous = old_clean = None
    for step_index, timestep in enumerate(scheduler.timesteps):
        output = predict(theirs.transpose(1, 2)).transpose(1, 2)
        back = scheduler.timesteps[step_index - 1] if step_index else None
        theirs, old_clean = scheduler.step(output, old_clean, timestep, back, theirs, generator=generator)
        clean = clean_from_prediction(ours, predict(ours), plan.alpha_bars[step_index], config.prediction_type)
        ours, previous = SAMPLERS["dpm-published"](ours, clean, plan, step_index, previous, rng)
        torch.testing.assert_close(ours, theirs.transpose(1, 2), atol=1e-6, rtol=1e-6)  # a float32 final alpha
    assert torch.equal(rng.generators[0].get_state(), generator.get_state())

"""Samplers by what they must do whatever the model is."""

import math
from typing import get_args

import pytest
import torch

from cogvideox.configs import NoiseScheduleConfig
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import add_noise
from cogvideox.diffusion.samplers import SAMPLERS, NoiseSource, SamplerName, ddim_step

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


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp-2m"])
def test_deterministic_samplers_draw_no_noise(sampler: SamplerName) -> None:
    rng = NoiseSource.from_seeds([0], torch.float32)
    state = rng.get_state()
    latents, clean = torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1)
    SAMPLERS[sampler](latents, clean, PLAN, 3, clean, rng)
    assert torch.equal(rng.get_state(), state)


@pytest.mark.parametrize("sampler", get_args(SamplerName))
@pytest.mark.parametrize("num_steps", [1, 2, 3, 30, 62, 1000])
def test_a_perfect_prediction_is_reached_in_any_number_of_steps(sampler: SamplerName, num_steps: int) -> None:
    plan = NoiseSchedule(NoiseScheduleConfig()).plan(num_steps)
    clean = torch.randn(1, 4, 2, 3, 3, dtype=torch.float64)
    rng = NoiseSource.from_seeds([1], torch.float64)
    latents, previous = rng.draw(clean.shape, clean.device), None
    for step_index in range(num_steps):
        latents, previous = SAMPLERS[sampler](latents, clean, plan, step_index, previous, rng)
    remaining_noise = 1 - plan.alpha_bars_previous[-1] if sampler in ("ddim", "dpm-published") else 0.0
    assert (latents - clean).abs().max() < 1e-9 + 6 * remaining_noise**0.5


def posterior_mean(latents: torch.Tensor, alpha_bar: float, deviation: float = 0.5) -> torch.Tensor:
    """The exact clean estimate for data that is normal around 0.7: the analytic score."""
    mean, variance = 0.7, deviation**2
    signal = alpha_bar**0.5
    gain = signal * variance / (alpha_bar * variance + 1 - alpha_bar)
    return mean + gain * (latents - signal * mean)


def sample_analytically(
    sampler: SamplerName, num_steps: int, noise: torch.Tensor, deviation: float = 0.5
) -> torch.Tensor:
    plan = NoiseSchedule(NoiseScheduleConfig()).plan(num_steps)
    rng = NoiseSource.from_seeds([7], torch.float64)
    latents, previous = noise, None
    for step_index in range(num_steps):
        clean = posterior_mean(latents, plan.alpha_bars[step_index], deviation)
        latents, previous = SAMPLERS[sampler](latents, clean, plan, step_index, previous, rng)
    return latents


NOISE = torch.randn(1, 8, 5, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("deviation", "few_steps", "many_steps"), [(0.5, 100, 500), (2.0, 25, 100), (2.0, 50, 250), (1.2, 25, 100)]
)
def test_dpmpp_2m_has_second_order_on_an_analytic_score(deviation: float, few_steps: int, many_steps: int) -> None:
    """The exact solution maps noise z to 0.7 + deviation z. From pure noise to exactly clean, published timesteps.

    The narrower the data, the more steps it takes until the order shows (docs/decisions.md).
    """

    def error(sampler: SamplerName, num_steps: int) -> float:
        made = sample_analytically(sampler, num_steps, NOISE, deviation)
        return (made - (0.7 + deviation * NOISE)).square().mean().sqrt().item()

    order = math.log(error("dpmpp-2m", few_steps) / error("dpmpp-2m", many_steps)) / math.log(many_steps / few_steps)
    assert order >= 1.9
    assert error("dpmpp-2m", few_steps) < 0.2 * error("ddim", few_steps)


@pytest.mark.parametrize("sampler", ["dpmpp-2m-sde", "dpm-published"])
def test_stochastic_samplers_draw_from_the_data(sampler: SamplerName) -> None:
    made = sample_analytically(sampler, 100, NOISE)
    assert made.mean().item() == pytest.approx(0.7, abs=0.02)
    assert made.std().item() == pytest.approx(0.5, abs=0.02)


def test_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    shape = (2, 4, 3, 2, 2)
    together = NoiseSource.from_seeds([1, 2], torch.float32)
    alone = NoiseSource.from_seeds([2], torch.float32)
    for _ in range(2):
        batch = together.draw(shape, torch.device("cpu"))
        assert torch.equal(batch[1:], alone.draw((1, *shape[1:]), torch.device("cpu")))
    resumed = NoiseSource.from_state(together.get_state(), torch.float32)
    expected = together.draw(shape, torch.device("cpu"))
    assert torch.equal(resumed.draw(shape, torch.device("cpu")), expected)

"""Samplers: one step of the way from noise to a clean sample.

A sampler sees the model's prediction as a clean sample and keeps no state; what it needs from the step before
(``previous_clean``) is passed in and out, and so is the source of its noise.

With alpha = sqrt(alpha-bar) and sigma = sqrt(1 - alpha-bar), a step from (alpha, sigma) to (alpha', sigma') follows
x / sigma = integral of clean over alpha / sigma, or its stochastic twin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from cogvideox.configs import SamplerName
from cogvideox.diffusion.noise_schedule import SamplingPlan


@dataclass(frozen=True)
class NoiseSource:
    """Draws the noise of a batch, each sample's from a generator of its own: a sample does not depend on its batch."""

    generators: tuple[torch.Generator, ...]
    """One per sample, on the CPU."""
    dtype: torch.dtype
    """In which numbers are drawn: the model's, because the same seed gives other numbers in another one."""

    @classmethod
    def from_seeds(cls, seeds: Sequence[int], dtype: torch.dtype) -> Self:
        """Start from one seed per sample."""
        return cls(tuple(torch.Generator().manual_seed(seed) for seed in seeds), dtype)

    @classmethod
    def from_state(cls, state: Tensor, dtype: torch.dtype) -> Self:
        """Go on from what `get_state` returned."""
        generators = tuple(torch.Generator() for _ in state)
        for generator, row in zip(generators, state, strict=True):
            generator.set_state(row.clone())  # a view of a larger tensor crashes torch 2.13
        return cls(generators, dtype)

    def get_state(self) -> Tensor:
        """Return the generators' states, uint8 (B, bytes)."""
        return torch.stack([generator.get_state() for generator in self.generators])

    def draw(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Draw unit noise (B, C, T, H, W) with B the number of generators, in float32 at least."""
        _, channels, time, height, width = shape
        # Parity: drawn frames first (tests/parity/test_pipeline.py).
        samples = [
            torch.randn((time, channels, height, width), generator=generator, dtype=self.dtype).transpose(0, 1)
            for generator in self.generators
        ]
        return torch.stack(samples).to(device, torch.promote_types(self.dtype, torch.float32))


class SamplerStep(Protocol):
    """The signature all samplers share."""

    def __call__(
        self,
        latents: Tensor,
        clean: Tensor,
        plan: SamplingPlan,
        step_index: int,
        previous_clean: Tensor | None,
        rng: NoiseSource | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Take one step.

        Args:
            latents: noisy latents before the step, (B, C, T, H, W).
            clean: the model's estimate of the clean latents, same shape.
            plan: all steps.
            step_index: which of them this is.
            previous_clean: what the step before returned; None at the first.
            rng: source of noise, for samplers that add some.

        Returns:
            Latents after the step, and the ``previous_clean`` of the next.
        """
        ...


def ddim_step(
    latents: Tensor,
    clean: Tensor,
    plan: SamplingPlan,
    step_index: int,
    previous_clean: Tensor | None = None,
    rng: NoiseSource | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Take a deterministic DDIM step (Song et al., arXiv 2010.02502): keep the noise, change its share."""
    alpha_bar, alpha_bar_previous = plan.alpha_bars[step_index], plan.alpha_bars_previous[step_index]
    latents_factor = math.sqrt((1 - alpha_bar_previous) / (1 - alpha_bar))
    clean_factor = math.sqrt(alpha_bar_previous) - math.sqrt(alpha_bar) * latents_factor
    return latents_factor * latents + clean_factor * clean, None


def dpm_published_step(
    latents: Tensor,
    clean: Tensor,
    plan: SamplingPlan,
    step_index: int,
    previous_clean: Tensor | None,
    rng: NoiseSource | None,
) -> tuple[Tensor, Tensor | None]:
    """Take a step of the published stochastic sampler, DPM-Solver++(2M) SDE (Lu et al., arXiv 2211.01095).

    Equal to the public code in its random draws and at its ends, where half the log signal-to-noise ratio is infinite.
    """
    assert rng is not None, "this sampler needs a source of noise"
    alpha_bar, alpha_bar_next = plan.alpha_bars[step_index], plan.alpha_bars_previous[step_index]
    step = _half_log_snr(alpha_bar_next) - _half_log_snr(alpha_bar)
    noise = rng.draw(latents.shape, latents.device)
    estimate = clean
    if previous_clean is not None and plan.train_timesteps_previous[step_index] >= 0:
        # Parity: a step of second order draws twice and uses the second draw (tests/parity/test_dpm.py).
        noise = rng.draw(latents.shape, latents.device)
        step_before = _half_log_snr(alpha_bar) - _half_log_snr(plan.alpha_bars[step_index - 1])
        estimate = clean + (clean - previous_clean) / (2 * step_before / step)
    latents_factor = math.sqrt((1 - alpha_bar_next) / (1 - alpha_bar)) * math.exp(-step)
    clean_factor = -math.expm1(-2 * step) * math.sqrt(alpha_bar_next)
    noise_factor = math.sqrt(1 - alpha_bar_next) * math.sqrt(-math.expm1(-2 * step))
    return latents_factor * latents + clean_factor * estimate + noise_factor * noise, clean


def dpmpp_2m_step(
    latents: Tensor,
    clean: Tensor,
    plan: SamplingPlan,
    step_index: int,
    previous_clean: Tensor | None,
    rng: NoiseSource | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Take a deterministic multistep step of second order, from pure noise to exactly clean.

    As DPM-Solver++(2M) it integrates the clean estimate exactly against the linear part of the equation, but takes it
    as a line in alpha, not in the log signal-to-noise ratio: that ratio is infinite at both ends of a zero-terminal
    schedule, where the published form falls back to first order (docs/decisions.md has the measured orders).
    """
    alpha, sigma, alpha_next, sigma_next = _ends(plan, step_index)
    # sin and 1 - cos of the angle between the two points on the circle alpha^2 + sigma^2 = 1.
    sine = alpha_next * sigma - sigma_next * alpha
    one_minus_cosine = 1 - (alpha * alpha_next + sigma * sigma_next)
    stepped = (sigma_next / sigma) * latents + (sine / sigma) * clean
    if previous_clean is not None:
        alpha_before = math.sqrt(plan.alpha_bars[step_index - 1])
        stepped = stepped + (one_minus_cosine / (alpha - alpha_before)) * (clean - previous_clean)
    return stepped, clean


def dpmpp_2m_sde_step(
    latents: Tensor,
    clean: Tensor,
    plan: SamplingPlan,
    step_index: int,
    previous_clean: Tensor | None,
    rng: NoiseSource | None,
) -> tuple[Tensor, Tensor | None]:
    """Take a step of the stochastic twin of `dpmpp_2m_step`: the same line, all old noise replaced at its own rate."""
    assert rng is not None, "this sampler needs a source of noise"
    alpha, sigma, alpha_next, sigma_next = _ends(plan, step_index)
    decay = sigma_next * alpha / (alpha_next * sigma)
    estimate = clean
    if previous_clean is not None:
        alpha_before = math.sqrt(plan.alpha_bars[step_index - 1])
        reach = _mean_reach(alpha, sigma, alpha_next, sigma_next)
        estimate = clean + (reach / (alpha - alpha_before)) * (clean - previous_clean)
    noise = rng.draw(latents.shape, latents.device)
    kept = (sigma_next / sigma) * decay
    return (
        kept * latents + alpha_next * (1 - decay**2) * estimate + sigma_next * math.sqrt(1 - decay**2) * noise,
        clean,
    )


def _ends(plan: SamplingPlan, step_index: int) -> tuple[float, float, float, float]:
    """Return alpha and sigma where a step starts and where the next one starts; after the last step all is clean."""
    is_last = step_index + 1 == plan.num_steps
    alpha_bar, alpha_bar_next = plan.alpha_bars[step_index], 1.0 if is_last else plan.alpha_bars[step_index + 1]
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), math.sqrt(alpha_bar_next), math.sqrt(1 - alpha_bar_next)


def _mean_reach(alpha: float, sigma: float, alpha_next: float, sigma_next: float) -> float:
    """Return how far beyond ``alpha`` the clean estimate is needed: the mean over the step, weighted by d(snr)."""
    length = alpha_next - alpha
    if sigma_next == 0:
        return length
    snr, snr_next = (alpha / sigma) ** 2, (alpha_next / sigma_next) ** 2
    area = math.atanh(alpha_next) - alpha_next - math.atanh(alpha) + alpha
    return (length * snr_next - area) / (snr_next - snr)


def _half_log_snr(alpha_bar: float) -> float:
    if alpha_bar in (0.0, 1.0):
        return math.inf if alpha_bar else -math.inf
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))


SAMPLERS: dict[SamplerName, SamplerStep] = {
    "ddim": ddim_step,
    "dpm-published": dpm_published_step,
    "dpmpp-2m": dpmpp_2m_step,
    "dpmpp-2m-sde": dpmpp_2m_sde_step,
}

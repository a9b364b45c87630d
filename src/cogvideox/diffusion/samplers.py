"""Samplers: one step of the way from noise to a clean sample.

A sampler sees the model's prediction as a clean sample and keeps no state; what it needs from the step before
(``previous_clean``) is passed in and out.
"""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor

from cogvideox.diffusion.noise_schedule import SamplingPlan

SamplerName = Literal["ddim"]


class SamplerStep(Protocol):
    """The signature all samplers share."""

    def __call__(
        self,
        latents: Tensor,
        clean: Tensor,
        plan: SamplingPlan,
        step_index: int,
        previous_clean: Tensor | None,
        rng: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Take one step.

        Args:
            latents: noisy latents before the step, any shape.
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
    rng: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Take a deterministic DDIM step (Song et al., arXiv 2010.02502): keep the noise, change its share."""
    alpha_bar, alpha_bar_previous = plan.alpha_bars[step_index], plan.alpha_bars_previous[step_index]
    latents_factor = math.sqrt((1 - alpha_bar_previous) / (1 - alpha_bar))
    clean_factor = math.sqrt(alpha_bar_previous) - math.sqrt(alpha_bar) * latents_factor
    return latents_factor * latents + clean_factor * clean, None


SAMPLERS: dict[SamplerName, SamplerStep] = {"ddim": ddim_step}

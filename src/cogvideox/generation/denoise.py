"""The denoising loop, once for every task: a generator of states.

Because each state is a value, progress, preview, cancelling, checkpointing and resuming need no hooks.

Axes: B videos, C latent channels, T latent frames, H W latent rows and columns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from cogvideox.configs import SamplerName
from cogvideox.diffusion.guidance import guidance_scale_at, guide
from cogvideox.diffusion.noise_schedule import SamplingPlan
from cogvideox.diffusion.prediction import PredictionType, clean_from_prediction
from cogvideox.diffusion.samplers import SAMPLERS, NoiseSource
from cogvideox.generation.conditioning import Conditioning

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents (B, C, T, H, W), text (B, L, D), train_timestep (B,)) -> velocity (B, C, T, H, W): the transformer.

The latents have those of the conditioning's image behind their own channels, if there are any.
"""


@dataclass(frozen=True)
class DenoiseState:
    """Everything needed to go on from a step."""

    step_index: int
    """Steps done."""
    latents: Tensor
    """(B, C, T, H, W) float32, as noisy as the schedule says."""
    previous_clean: Tensor | None = None
    """What the step before took for the clean latents: to be looked at, and for samplers of second order."""
    rng_state: Tensor | None = None
    """Of the generators that draw the sampler's noise, uint8 (B, bytes)."""
    step_cache: dict[str, Tensor] = field(default_factory=dict)
    """What step caching keeps between steps."""

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, to be saved as safetensors."""
        tensors = {"step_index": torch.tensor(self.step_index), "latents": self.latents}
        optional = {"previous_clean": self.previous_clean, "rng_state": self.rng_state}
        tensors |= {name: value for name, value in optional.items() if value is not None}
        return tensors | {f"step_cache.{name}": value for name, value in self.step_cache.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """Restore what `to_tensors` returned."""
        prefix = "step_cache."
        return cls(
            step_index=int(tensors["step_index"]),
            latents=tensors["latents"],
            previous_clean=tensors.get("previous_clean"),
            rng_state=tensors.get("rng_state"),
            step_cache={name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)},
        )


@torch.no_grad()
def denoise(
    predict: Predict,
    state: DenoiseState,
    plan: SamplingPlan,
    conditioning: Conditioning,
    *,
    sampler: SamplerName = "ddim",
    prediction_type: PredictionType = "v_prediction",
    has_sequential_guidance: bool = False,
) -> Iterator[DenoiseState]:
    """Yield the state after every remaining step; the last one holds clean latents.

    Args:
        predict: the transformer; sees latents in the text's dtype.
        state: where to start: noise at step 0, or any state yielded before.
        plan: the steps.
        conditioning: what steers.
        sampler: how a step is taken; stochastic ones need a state with an ``rng_state``.
        prediction_type: what the model's output means.
        has_sequential_guidance: call the transformer for the negative prompt and for the prompt, one after the other.
    """
    sampler_step = SAMPLERS[sampler]
    rng = None if state.rng_state is None else NoiseSource.from_state(state.rng_state, conditioning.text.dtype)
    latents, previous_clean = state.latents, state.previous_clean
    for step_index in range(state.step_index, plan.num_steps):
        output = _guided_output(predict, latents, plan, step_index, conditioning, has_sequential_guidance)
        clean = clean_from_prediction(latents, output.to(latents.dtype), plan.alpha_bars[step_index], prediction_type)
        latents, previous_clean = sampler_step(latents, clean, plan, step_index, previous_clean, rng)
        rng_state = None if rng is None else rng.get_state()
        seen = clean if previous_clean is None else previous_clean
        yield DenoiseState(step_index + 1, latents, seen, rng_state, state.step_cache)


def _guided_output(
    predict: Predict,
    latents: Tensor,
    plan: SamplingPlan,
    step_index: int,
    conditioning: Conditioning,
    has_sequential_guidance: bool,
) -> Tensor:
    train_timestep = plan.train_timesteps[step_index]
    model_input = latents.to(conditioning.text.dtype)
    if conditioning.image_latents is not None:
        model_input = torch.cat([model_input, conditioning.image_latents], dim=1)
    timesteps = torch.full((len(latents),), train_timestep, device=latents.device)
    if conditioning.negative_text is None:
        return predict(model_input, conditioning.text, timesteps)
    texts = (conditioning.negative_text, conditioning.text)
    if has_sequential_guidance:
        unconditional, conditional = (predict(model_input, text, timesteps) for text in texts)
    else:
        # Parity: one batch, negative prompts first (tests/parity/test_pipeline.py).
        output = predict(torch.cat([model_input] * 2), torch.cat(texts), timesteps.repeat(2))
        unconditional, conditional = output.chunk(2)
    scale = guidance_scale_at(
        conditioning.guidance_mode,
        step_index=step_index,
        num_steps=plan.num_steps,
        train_timestep=train_timestep,
        scale=conditioning.guidance_scale,
    )
    return guide(unconditional, conditional, scale)

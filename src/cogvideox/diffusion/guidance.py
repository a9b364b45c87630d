"""Classifier-free guidance: how far to go beyond the conditional prediction, by step.

Axes: any; predictions with and without the prompt have the same shape.
"""

import math
from typing import assert_never

import torch
from torch import Tensor

from cogvideox.configs import GuidanceMode


def guide(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Return unconditional + scale * (conditional - unconditional); scale 1 gives the conditional prediction.

    The result is float32 for half-precision predictions: their difference is small and is multiplied.
    """
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    unconditional, conditional = unconditional.to(dtype), conditional.to(dtype)
    return unconditional + scale * (conditional - unconditional)


def guidance_scale_at(
    mode: GuidanceMode, *, step_index: int, num_steps: int, train_timestep: int, scale: float
) -> float:
    """Return the guidance scale of one step.

    - "constant": ``scale`` at every step.
    - "rising": from 1 at the first step towards 1 + scale, most of it in the last third.
    - "falling": from 1 + scale at the first step, most of the way to 1 in the first third.
    - "published": the wave of both public codes, where the training timestep (999 and down) is put where the step
      index was meant; it jumps between 1 and 1 + scale. Its authors call it an accident and keep it
      (zai-org/CogVideo#267).
    """
    if mode == "constant":
        return scale
    if mode == "rising":
        progress = step_index / num_steps
    elif mode == "falling":
        progress = (num_steps - step_index) / num_steps
    elif mode == "published":
        progress = (num_steps - train_timestep) / num_steps
    else:
        assert_never(mode)
    return 1 + scale * (1 - math.cos(math.pi * progress**5)) / 2

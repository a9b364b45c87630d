"""Training loss: mean squared error of the velocity.

Equal to the squared error of the clean sample weighted by 1 / (1 - alpha_bar), the form of the public training scripts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def velocity_losses(predicted: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the mean squared error of each sample's latent elements, float32 (B,).

    Args:
        predicted: a batch (B, C, T, H, W), or samples (C, T, H, W) of any sizes.
        target: the same shapes.
    """
    pairs = list(zip(predicted, target, strict=True))
    for sample, wanted in pairs:
        assert sample.shape == wanted.shape, (sample.shape, wanted.shape)
    if isinstance(predicted, Tensor) and isinstance(target, Tensor):
        return functional.mse_loss(predicted.float(), target.float(), reduction="none").flatten(1).mean(1)
    return torch.stack([functional.mse_loss(sample.float(), wanted.float()) for sample, wanted in pairs])


def velocity_loss(predicted: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the mean over samples of `velocity_losses`, (): in a pack, a long clip weighs no more than a short one."""
    return velocity_losses(predicted, target).mean()

"""The losses of the VAE: reconstruction, perceptual distance, KL, and the two sides of a hinge GAN.

Every loss is a mean over all elements of a step, however many clips, frames and processes it has: functions here return
one value a frame, or a sum beside a count, and `autoencoder_step` divides by the count of the whole step.

Axes: B batch, T frames, t latent frames, H W rows and columns, N frames of all clips.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cogvideox.models.autoencoder import GaussianPosterior
from cogvideox.models.lpips import Lpips
from cogvideox.training.autoencoder_recipe import AutoencoderLossSettings
from cogvideox.training.transformer_recipe import recipe_path

FrameDistance = Callable[[Tensor, Tensor], Tensor]
"""Distance of frames (N, 3, H, W) in [-1, 1] from others, (N,)."""

MIN_PYRAMID_SIDE_PX = 8
"""A pyramid ends before its frames have shorter sides."""
MAX_PYRAMID_LEVELS = 5
NUM_FRAMES_PER_CALL = 16
"""A perceptual distance keeps activations of so many frames at a time."""


def frame_means(values: Tensor) -> Tensor:
    """Return the means of all frames (B, T) of (B, C, T, H, W)."""
    return values.mean((1, 3, 4))


def kl_of_frames(posterior: GaussianPosterior) -> Tensor:
    """Return the divergence from the unit Gaussian in nats, mean over the elements of each latent frame (B, t)."""
    mean, log_variance = posterior.mean.float(), posterior.log_variance.float()
    return frame_means(0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance))


def sample_with(posterior: GaussianPosterior, noise: Tensor) -> Tensor:
    """Return latents (B, Z, t, h, w) drawn with this unit noise of the same shape."""
    return posterior.mean + torch.exp(0.5 * posterior.log_variance) * noise.to(posterior.mean)


def pyramid_distance(made: Tensor, real: Tensor) -> Tensor:
    """Return the L1 distance of the Laplacian pyramids of frames (N, 3, H, W), (N,).

    It compares edges of all sizes rather than single pixels, and needs no trained weights. Source: P. Bojanowski et al.
    2018, "Optimizing the latent space of generative networks" (arXiv 1707.05776), whose weights 4^j of the levels' sums
    are equal weights of their means. A pyramid is linear, so that of the difference is taken.
    """
    level = (made - real).float()
    distance = level.new_zeros(len(level))
    for _ in range(MAX_PYRAMID_LEVELS - 1):
        if min(level.shape[2:]) < 2 * MIN_PYRAMID_SIDE_PX:
            break
        coarse = _reduce(level)
        detail = level - functional.interpolate(coarse, size=level.shape[2:], mode="bilinear", align_corners=False)
        distance = distance + detail.abs().mean((1, 2, 3))
        level = coarse
    return distance + level.abs().mean((1, 2, 3))


def _reduce(frames: Tensor) -> Tensor:
    """Halve (N, C, H, W) with the kernel 1 3 3 1, which is three means of two."""
    padded = functional.pad(frames, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):
        padded = functional.avg_pool2d(padded, 2, stride=1)
    return functional.avg_pool2d(padded, 2, stride=2)


def load_perceptual(settings: AutoencoderLossSettings, device: torch.device) -> FrameDistance | None:
    """Return a recipe's perceptual distance; None for "none".

    Raises:
        CheckpointError: a file of LPIPS is missing or damaged.
    """
    if settings.perceptual == "none" or settings.perceptual_weight == 0:
        return None
    if settings.perceptual == "pyramid":
        return pyramid_distance
    assert settings.lpips_backbone is not None and settings.lpips_heads is not None, "the recipe checks it"
    return Lpips.load(recipe_path(settings.lpips_backbone), recipe_path(settings.lpips_heads), device=device)


def hinge_sums(real_logits: Tensor, made_logits: Tensor) -> Tensor:
    """Return the discriminator's hinge loss, summed: half of max(0, 1 - real) and half of max(0, 1 + made)."""
    return 0.5 * (functional.relu(1.0 - real_logits).sum() + functional.relu(1.0 + made_logits).sum())


def squared_gradient(discriminate: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Return the sum of squares of the gradient of all logits by real pixels (B, 3, T, H, W): the R1 penalty's.

    Differentiable by the discriminator's weights. Source: L. Mescheder et al. 2018 (arXiv 1801.04406). A pixel reaches
    a limited patch of logits, so its gradient, and the mean of the squares, do not grow with the size of the clip.
    """
    pixels = real.detach().to(torch.promote_types(real.dtype, torch.float32)).requires_grad_()
    with torch.autocast(pixels.device.type, enabled=False):
        logits = discriminate(pixels)
        (gradient,) = torch.autograd.grad(logits.sum(), pixels, create_graph=True)
    return gradient.square().sum()


def perceptual_value_and_gradient(
    distance: FrameDistance, made: Tensor, real: Tensor, is_seen: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the sum of the distances of some frames, and the gradient of ``scale`` times it by the pixels made.

    Args:
        distance: of frames; its graph is kept for a few of them at a time.
        made: (B, 3, T, H, W).
        real: the same.
        is_seen: (B, T) which frames.
        scale: of the gradient.
    """
    gradient = torch.zeros_like(made)
    total = made.new_zeros(())
    samples, frames = is_seen.nonzero(as_tuple=True)
    for places in zip(samples.split(NUM_FRAMES_PER_CALL), frames.split(NUM_FRAMES_PER_CALL), strict=True):
        some_made, some_real = (video.transpose(1, 2)[places] for video in (made, real))
        value, of_some = value_and_gradient(some_made, lambda x, real=some_real: distance(x, real).sum())
        gradient.transpose(1, 2)[places] = scale * of_some
        total = total + value
    return total, gradient


def value_and_gradient(pixels: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return a loss of some pixels and its gradient by them; nothing behind the pixels is computed."""
    leaf = pixels.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def gradient_norms(
    pixels: Tensor,
    gradients: Sequence[Tensor],
    weight: Tensor,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> list[float]:
    """Return the norms at a weight of losses whose gradients at the pixels that it makes are known.

    Args:
        pixels: made by ``weight``, with their graph, which is kept.
        gradients: of each loss by the pixels.
        weight: of the last layer, so that little is computed.
        reduce: adds a tensor up over processes whose losses are parts of one.
    """
    at_weight = [torch.autograd.grad(pixels, weight, gradient, retain_graph=True)[0].float() for gradient in gradients]
    stacked = torch.stack(at_weight)
    if reduce is not None:
        stacked = reduce(stacked)
    return stacked.flatten(1).norm(dim=1).tolist()


def adaptive_weight(reconstruction_norm: float, gan_norm: float, *, maximum: float) -> float:
    """Return what the GAN's loss is multiplied by to move the last layer as much as the reconstruction's does.

    Source: P. Esser et al. 2021 (arXiv 2012.09841), equation 7.
    """
    return min(max(reconstruction_norm / (gan_norm + 1e-4), 0.0), maximum)

"""What steers generation: one value for every task, consumed by one loop.

Axes: B videos, L text tokens, D width of the text encoder, C latent channels, T latent frames, H W latent rows and
columns.
"""

from dataclasses import dataclass

from torch import Tensor

from cogvideox.configs import GuidanceMode


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Text, how strongly it is followed, and pictures that the model sees."""

    text: Tensor
    """(B, L, D), of the prompts."""
    negative_text: Tensor | None
    """(B, L, D), of what to steer away from; None without guidance (a scale of at most 1)."""
    guidance_scale: float = 6.0
    guidance_mode: GuidanceMode = "constant"
    image_latents: Tensor | None = None
    """(B, C, T, H, W), zero in frames to be made up; joined to the latents' channels for image-to-video models."""

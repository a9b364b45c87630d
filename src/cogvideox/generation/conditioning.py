"""What steers generation: one value for every task, consumed by one loop.

Axes: B videos, L text tokens, D width of the text encoder.
"""

from dataclasses import dataclass

from torch import Tensor

from cogvideox.diffusion.guidance import GuidanceMode


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Text, and how strongly it is followed."""

    text: Tensor
    """(B, L, D), of the prompts."""
    negative_text: Tensor | None
    """(B, L, D), of what to steer away from; None without guidance (a scale of at most 1)."""
    guidance_scale: float = 6.0
    guidance_mode: GuidanceMode = "constant"

"""The 3D causal discriminator that the VAE's GAN loss is made of; no part of any checkpoint.

After the discriminator of MAGVIT-2 (L. Yu et al. 2023, arXiv 2310.05737), which the published loss code builds on:
residual blocks, blurred downsampling, the first blocks 3D and causal, later ones 2D. It has no norms, so chunks and
processes make no difference, and it judges patches, so it takes clips of any size and length and single frames.

Axes: B batch, C channels, T frames, H W rows and columns (lower case: of the map of logits).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.models.autoencoder_blocks import ChunkPass
from cogvideox.models.causal_conv import CausalConv3d

NEGATIVE_SLOPE = 0.1
"""Of the leaky ReLU, as published."""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Shape of the discriminator."""

    num_channels: int = 64
    """Of the first block; every block doubles them."""
    max_channels: int = 512
    """No block has more."""
    num_3d_blocks: int = 2
    """Each halves time, rows and columns."""
    num_2d_blocks: int = 2
    """Behind those; each halves rows and columns, frame by frame."""

    def __post_init__(self) -> None:
        for field, minimum in (("num_channels", 1), ("max_channels", 1), ("num_3d_blocks", 0), ("num_2d_blocks", 0)):
            if getattr(self, field) < minimum:
                raise ValueError(f"{field}: expected at least {minimum}, got {getattr(self, field)}")
        if self.num_3d_blocks + self.num_2d_blocks < 1:
            raise ValueError("num_3d_blocks, num_2d_blocks: expected at least one block, got none")


class Discriminator(nn.Module):
    """Logits of patches of a video: positive for what looks real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        num_blocks = config.num_3d_blocks + config.num_2d_blocks
        widths = [min(config.num_channels * 2**level, config.max_channels) for level in range(num_blocks)]
        self.blocks = nn.ModuleList(
            _Block(in_channels, width, is_3d=level < config.num_3d_blocks)
            for level, (in_channels, width) in enumerate(zip([3, *widths], widths, strict=False))
        )
        self.conv_last = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.to_logit = nn.Conv2d(widths[-1], 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):  # PyTorch's defaults would shrink signals at every layer
                nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE, nonlinearity="leaky_relu")

    def forward(self, pixels: Tensor, chunk: ChunkPass | None = None) -> Tensor:
        """Judge a clip, or one chunk of it.

        Args:
            pixels: (B, 3, T, H, W) in [-1, 1], of any size and length.
            chunk: what the chunk before left, and who holds the rest of the clip; None for a whole clip. With more
                chunks than one, those after the first have a multiple of ``2 ** num_3d_blocks`` frames and the first
                that or 1 more.

        Returns:
            (B, 1, t, h, w). It has second derivatives, for the gradient penalty.
        """
        if chunk is None:
            chunk = ChunkPass((), None, is_end_of_clip=True)
        x = pixels
        for block in self.blocks:
            x = block(x, chunk)
        x = functional.leaky_relu(_by_frames(self.conv_last, x), NEGATIVE_SLOPE)
        return _by_frames(self.to_logit, x)


class _Block(nn.Module):
    """Two convolutions beside a shortcut, both blurred and reduced."""

    def __init__(self, in_channels: int, out_channels: int, *, is_3d: bool) -> None:
        super().__init__()
        self.is_3d = is_3d
        convolution = CausalConv3d if is_3d else partial(nn.Conv2d, padding=1)
        self.conv1 = convolution(in_channels, out_channels, 3)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, chunk: ChunkPass) -> Tensor:
        """Map (B, C_in, T, H, W) to (B, C_out, t, ceil(H / 2), ceil(W / 2))."""
        hidden = x
        for conv in (self.conv1, self.conv2):
            hidden = chunk.convolve(conv, hidden) if isinstance(conv, CausalConv3d) else _by_frames(conv, hidden)
            hidden = functional.leaky_relu(hidden, NEGATIVE_SLOPE)
        shortcut = _by_frames(self.shortcut, self._reduce(x, chunk))
        return (self._reduce(hidden, chunk) + shortcut) * 2**-0.5

    def _reduce(self, x: Tensor, chunk: ChunkPass) -> Tensor:
        if self.is_3d and x.shape[2] > 1:
            num_alone = 1 if chunk.has_first_frame_alone(x.shape[2]) else 0
            pairs = x[:, :, num_alone:].unflatten(2, (-1, 2)).mean(3)
            x = torch.cat([x[:, :, :num_alone], pairs], dim=2)
        return _by_frames(_blur_and_halve, x)


def _blur_and_halve(frames: Tensor) -> Tensor:
    """Reduce (N, C, H, W) with the kernel 1 2 1, which is two means of two, stride 2."""
    padded = functional.pad(frames, (1, 1, 1, 1), mode="replicate")
    return functional.avg_pool2d(functional.avg_pool2d(padded, 2, stride=1), 2, stride=2)


def _by_frames(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    frames = function(rearrange(x, "b c t h w -> (b t) c h w"))
    return rearrange(frames, "(b t) c h w -> b c t h w", b=len(x))

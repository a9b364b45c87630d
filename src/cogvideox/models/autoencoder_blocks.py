"""Building blocks of the 3D causal VAE: residual block, resampling, latent-conditioned norm.

Chunks: a clip is processed in chunks of frames. Every causal convolution needs the last frames of the chunk before;
`Pasts` hands them out and collects the new ones in the order in which the convolutions run.

Axes: B batch, C channels, T frames, t latent frames, H W rows and columns, h w latent rows and columns.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.configs import ActivationName
from cogvideox.models.activations import ACTIVATIONS
from cogvideox.models.causal_conv import CausalConv3d


class Pasts:
    """The pasts of one pass over one chunk: read front to back, written in the same order."""

    def __init__(self, pasts: tuple[Tensor, ...]) -> None:
        self._old: Iterator[Tensor] | None = iter(pasts) if pasts else None
        self._new: list[Tensor] = []

    @property
    def is_start_of_clip(self) -> bool:
        """Whether no chunk came before."""
        return self._old is None

    def convolve(self, conv: CausalConv3d, x: Tensor) -> Tensor:
        """Run ``conv`` on (B, C, T, H, W) with its own past."""
        result, new_past = conv(x, None if self._old is None else next(self._old))
        self._new.append(new_past)
        return result

    def collect(self) -> tuple[Tensor, ...]:
        """Return the pasts of the next chunk. They own their memory, so the chunk's activations can be freed."""
        return tuple(past if past.requires_grad else past.clone() for past in self._new)


def has_separate_first_frame(num_frames: int, is_start_of_clip: bool) -> bool:
    """Whether frame 0 is resampled alone in time: a clip of 1 + 4k frames starts with a latent of its own.

    Parity: clips of 4k frames have no such frame, neither in the encoder nor in the decoder (tests/parity).
    """
    return is_start_of_clip and num_frames % 2 == 1


NormScope = Literal["chunk", "clip", "frame"]
"""Over which frames a group norm pools: those of a chunk (published), of the whole clip, or of each frame alone."""


class ScopedGroupNorm(nn.GroupNorm):
    """Group norm over the frames of its input, or with scope "frame" over each frame alone.

    "chunk" and "clip" differ only in what is passed in: with "clip" a whole clip is one chunk.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float, scope: NormScope) -> None:
        super().__init__(num_groups, num_channels, eps=eps)
        self.scope: NormScope = scope

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, T, H, W)."""
        if self.scope != "frame":
            return super().forward(input)
        frames = super().forward(rearrange(input, "b c t h w -> (b t) c h w"))
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(input))


class LatentNorm(nn.Module):
    """Group norm whose scale and shift are read off the latent at the same place ("spatial norm" of the decoder).

    Parity: the scale has no ``1 +``.
    """

    def __init__(self, num_channels: int, num_latent_channels: int, num_groups: int, scope: NormScope) -> None:
        super().__init__()
        self.norm_layer = ScopedGroupNorm(num_groups, num_channels, 1e-6, scope)
        self.conv_y = CausalConv3d(num_latent_channels, num_channels, kernel_size=1)
        self.conv_b = CausalConv3d(num_latent_channels, num_channels, kernel_size=1)

    def forward(self, x: Tensor, latents: Tensor, is_start_of_clip: bool) -> Tensor:
        """Normalise (B, C, T, H, W) by (B, Z, t, h, w); H, W are multiples of h, w.

        A 1x1x1 convolution commutes with nearest-neighbour resizing, so both run at the latents' resolution.
        """
        frames = _latent_frame_of_each_frame(x.shape[2], latents.shape[2], is_start_of_clip).to(x.device)
        if frames.numel() != latents.shape[2]:
            latents = latents.index_select(2, frames)
        scale, shift = self.conv_y.conv(latents), self.conv_b.conv(latents)
        normed = self.norm_layer(x)
        if normed.shape[3:] == scale.shape[3:]:
            return torch.addcmul(shift, normed, scale)
        rows, columns = x.shape[3] // latents.shape[3], x.shape[4] // latents.shape[4]
        tiles = normed.unflatten(4, (-1, columns)).unflatten(3, (-1, rows))
        scale, shift = scale[:, :, :, :, None, :, None], shift[:, :, :, :, None, :, None]
        return torch.addcmul(shift, tiles, scale).flatten(5, 6).flatten(3, 4)


def _latent_frame_of_each_frame(num_frames: int, num_latent_frames: int, is_start_of_clip: bool) -> Tensor:
    if has_separate_first_frame(num_frames, is_start_of_clip) and num_frames > 1:
        repeats = (num_frames - 1) // (num_latent_frames - 1)
        rest = torch.arange(1, num_latent_frames).repeat_interleave(repeats)
        return torch.cat([torch.zeros(1, dtype=rest.dtype), rest])
    return torch.arange(num_latent_frames).repeat_interleave(num_frames // num_latent_frames)


class ResidualBlock(nn.Module):
    """norm, activation, causal convolution, twice, plus the input; normed by the latents in the decoder."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_groups: int,
        norm_eps: float,
        norm_scope: NormScope,
        activation: ActivationName,
        num_latent_channels: int | None,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.norm1 = _make_norm(in_channels, num_groups, norm_eps, norm_scope, num_latent_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels, kernel_size=3)
        self.norm2 = _make_norm(out_channels, num_groups, norm_eps, norm_scope, num_latent_channels)
        self.conv2 = CausalConv3d(out_channels, out_channels, kernel_size=3)
        self.conv_shortcut = nn.Conv3d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, latents: Tensor | None, pasts: Pasts) -> Tensor:
        """Map (B, C_in, T, H, W) to (B, C_out, T, H, W)."""
        hidden = self.activation(apply_norm(self.norm1, x, latents, pasts.is_start_of_clip))
        hidden = pasts.convolve(self.conv1, hidden)
        hidden = self.activation(apply_norm(self.norm2, hidden, latents, pasts.is_start_of_clip))
        hidden = pasts.convolve(self.conv2, hidden)
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def _make_norm(
    num_channels: int, num_groups: int, eps: float, scope: NormScope, num_latent_channels: int | None
) -> ScopedGroupNorm | LatentNorm:
    if num_latent_channels is None:
        return ScopedGroupNorm(num_groups, num_channels, eps, scope)
    return LatentNorm(num_channels, num_latent_channels, num_groups, scope)


def apply_norm(norm: ScopedGroupNorm | LatentNorm, x: Tensor, latents: Tensor | None, is_start_of_clip: bool) -> Tensor:
    """Apply either kind of norm to (B, C, T, H, W)."""
    if isinstance(norm, LatentNorm):
        assert latents is not None
        return norm(x, latents, is_start_of_clip)
    return norm(x)


class Downsample(nn.Module):
    """Halve rows and columns by a strided convolution and, on request, frames by averaging pairs."""

    def __init__(self, num_channels: int, *, halves_time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_channels, num_channels, 3, stride=2)
        self.halves_time = halves_time

    def forward(self, x: Tensor, is_start_of_clip: bool) -> Tensor:
        """Map (B, C, T, H, W) to (B, C, ceil(T / 2) or T, H / 2, W / 2)."""
        if self.halves_time and x.shape[2] > 1:
            if has_separate_first_frame(x.shape[2], is_start_of_clip):
                x = torch.cat([x[:, :, :1], x[:, :, 1:].unflatten(2, (-1, 2)).mean(3)], dim=2)
            else:
                x = x.unflatten(2, (-1, 2)).mean(3)
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        frames = self.conv(functional.pad(frames, (0, 1, 0, 1)))
        return rearrange(frames, "(b t) c h w -> b c t h w", b=x.shape[0])


class Upsample(nn.Module):
    """Double rows and columns by repetition and a convolution and, on request, frames by repetition."""

    def __init__(self, num_channels: int, *, doubles_time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        self.doubles_time = doubles_time

    def forward(self, x: Tensor, is_start_of_clip: bool) -> Tensor:
        """Map (B, C, T, H, W) to (B, C, 2T, 2T - 1 or T, 2H, 2W).

        The convolution runs per frame, so each distinct frame is convolved once and repeated afterwards.
        """
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        frames = self.conv(functional.interpolate(frames, scale_factor=2, mode="nearest"))
        result = rearrange(frames, "(b t) c h w -> b c t h w", b=x.shape[0])
        if not self.doubles_time or (x.shape[2] == 1 and is_start_of_clip):
            return result
        if has_separate_first_frame(x.shape[2], is_start_of_clip):
            order = torch.arange(1, 2 * x.shape[2], device=x.device) // 2
        else:
            order = torch.arange(2 * x.shape[2], device=x.device) // 2
        return result.index_select(2, order)

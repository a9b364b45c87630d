"""Building blocks of the 3D causal VAE: residual block, resampling, latent-conditioned norm.

Chunks: a clip is processed in chunks of frames. Every causal convolution needs the last frames of the chunk before;
`ChunkPass` hands them out and collects the new ones in the order in which the convolutions run. It also chooses between
the two orders of computing: differentiable modules, or in place where no gradient is needed (`frame_windows`).

Axes: B batch, C channels, T frames, t latent frames, H W rows and columns, h w latent rows and columns.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.configs import ActivationName, NormScope
from cogvideox.models.activations import ACTIVATIONS
from cogvideox.models.causal_conv import CausalConv3d
from cogvideox.models.frame_windows import (
    BlockNorm,
    LatentModulation,
    convolve_frames,
    convolve_in_windows,
    num_frames_per_call,
    pool_moments,
)
from cogvideox.models.neighbours import ALONE, Neighbours
from cogvideox.models.norm_silu import norm_silu
from cogvideox.models.reused_memory import Workspace, computes_in_place


class ChunkPass:
    """One pass over one chunk: what all layers share, and the pasts, read front to back, written in the same order."""

    def __init__(
        self,
        pasts: tuple[Tensor, ...],
        latents: Tensor | None,
        workspace: Workspace | None = None,
        *,
        is_end_of_clip: bool = False,
        neighbours: Neighbours = ALONE,
    ) -> None:
        """Start a pass.

        Args:
            pasts: of all causal convolutions in running order; empty at the start of a clip.
            latents: (B, Z, t, h, w) that condition the norms; None in the encoder.
            workspace: reused from chunk to chunk; given one, a pass without gradients writes over ``pasts`` too.
            is_end_of_clip: no chunk follows, so no pasts are kept for it.
            neighbours: where the clip is cut, who has the rest; cut in time, they hold the pasts.
        """
        self.neighbours = neighbours
        is_cut_in_time = neighbours.with_past is not None
        self.is_start_of_clip = neighbours.is_start_of_clip if is_cut_in_time else not pasts
        self.is_end_of_clip = is_end_of_clip or is_cut_in_time
        self.latents = latents
        self.workspace = Workspace() if workspace is None else workspace
        self._may_write_over_pasts = workspace is not None
        self._old: Iterator[Tensor] = iter(pasts)
        self._new: list[Tensor] = []

    def is_in_place(self, x: Tensor) -> bool:
        """Whether results may be written over what they are made of: no gradients, on a CPU, rows not cut."""
        return computes_in_place(x) and self.neighbours.with_rows is None

    def has_first_frame_alone(self, num_frames: int) -> bool:
        """Whether frame 0 of the pass is resampled alone in time: a clip of 1 + 4k frames starts with its own latent.

        Parity: clips of 4k frames have no such frame, neither in the encoder nor in the decoder (tests/parity).
        """
        is_odd = self.neighbours.has_odd_clip
        return self.is_start_of_clip and (num_frames % 2 == 1 if is_odd is None else is_odd)

    def convolve(self, conv: CausalConv3d, x: Tensor) -> Tensor:
        """Run ``conv`` on (B, C, T, H, W) with its own past."""
        if conv.num_past_frames == 0:
            return conv.conv(x)
        if self.neighbours.with_past is not None:
            return self._convolve_padded(conv, self.neighbours.with_past(x, conv.num_past_frames))
        past = self._next_past()
        if past is None:
            past = x[:, :, :1].expand(-1, -1, conv.num_past_frames, -1, -1)
        return self._convolve_padded(conv, torch.cat([past, x], dim=2))

    def norm_activate_convolve(
        self,
        norm: "ScopedGroupNorm | LatentNorm",
        activation: Callable[[Tensor], Tensor],
        conv: CausalConv3d,
        x: Tensor,
        residual: Tensor | None = None,
        is_kept: bool = False,
    ) -> Tensor:
        """Return conv(activation(norm(x))) + residual.

        Without gradients, the residual's memory is written over, and the result's is taken from the workspace unless it
        ``is_kept`` beyond the pass.
        """
        is_in_place, neighbours = self.is_in_place(x), self.neighbours
        is_fused = activation is functional.silu and neighbours.gather_moments is None
        if norm.scope == "frame" or not (is_in_place or is_fused):
            result = self.convolve(conv, activation(self.normalize(norm, x)))
            return result if residual is None else residual + result
        modulation = None
        if isinstance(norm, LatentNorm):
            assert self.latents is not None
            modulation = norm.modulation(self.latents, x.shape[2], self.has_first_frame_alone(x.shape[2]))
            norm = norm.norm_layer
        num_past_frames = conv.num_past_frames
        if not is_in_place:
            scale_and_shift = None if modulation is None else modulation.of_each_frame()
            if neighbours.with_past is None:
                padded = norm_silu(norm, x, scale_and_shift, self._next_past(), num_past_frames)
            else:
                padded = neighbours.with_past(norm_silu(norm, x, scale_and_shift, None, 0), num_past_frames)
            result = self._convolve_padded(conv, padded)
            return result if residual is None else residual + result
        shape = (len(x), conv.conv.out_channels, *x.shape[2:])
        if residual is not None:
            out = residual
        elif is_kept:
            out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last_3d)
        else:
            out = self.workspace.empty(shape, like=x)
        gather_moments = neighbours.gather_moments
        norms = [BlockNorm(norm, activation, x, modulation, sample, gather_moments) for sample in range(len(x))]
        new_past = None
        if neighbours.hand_on is None:
            past = self._next_past()
        else:
            past = neighbours.hand_on(_last_frames(norms, x, num_past_frames), num_past_frames)
        if not self.is_end_of_clip:
            if past is not None and self._may_write_over_pasts:
                new_past = past
            else:
                new_past = x.new_empty((*x.shape[:2], num_past_frames, *x.shape[3:]))
            self._new.append(new_past)
        convolve_in_windows(
            conv.conv, norms, past, out, self.workspace, is_added=residual is not None, new_pasts=new_past
        )
        return out

    def project(self, conv: nn.Conv3d, x: Tensor) -> Tensor:
        """Run a 1x1x1 convolution."""
        if not self.is_in_place(x):
            return conv(x)
        out = self.workspace.empty((len(x), conv.out_channels, *x.shape[2:]), like=x)
        convolve_frames(conv, x, out)
        return out

    def normalize(self, norm: "ScopedGroupNorm | LatentNorm", x: Tensor) -> Tensor:
        """Apply either kind of norm to (B, C, T, H, W)."""
        if isinstance(norm, LatentNorm):
            assert self.latents is not None
            return norm(x, self.latents, self)
        return norm(x, self.neighbours.gather_moments)

    def collect(self) -> tuple[Tensor, ...]:
        """Return the pasts of the next chunk, if one follows."""
        return tuple(self._new)

    def _convolve_padded(self, conv: CausalConv3d, padded: Tensor) -> Tensor:
        """Convolve (B, C, P + T, H, W), and keep the past of the next chunk if it is this process's."""
        if not self.is_end_of_clip:
            new_past = padded[:, :, padded.shape[2] - conv.num_past_frames :]
            # Pasts own their memory, so that the chunk's activations can be freed.
            self._new.append(new_past if new_past.requires_grad else new_past.clone())
        if self.neighbours.with_rows is None:
            return conv.convolve_padded(padded)
        num_rows = conv.conv.kernel_size[1] // 2
        return conv.convolve_padded(self.neighbours.with_rows(padded, num_rows, num_rows), has_all_rows=True)

    def _next_past(self) -> Tensor | None:
        return None if self.is_start_of_clip else next(self._old)


def _last_frames(norms: Sequence[BlockNorm], x: Tensor, num_frames: int) -> Tensor:
    """Return the last of the frames (B, C, T, H, W), normed and activated."""
    num_frames = min(num_frames, x.shape[2])
    shape = (len(x), num_frames, *x.shape[3:], x.shape[1])
    last = torch.empty(shape, dtype=x.dtype, device=x.device).permute(0, 4, 1, 2, 3)
    for sample, norm in enumerate(norms):
        norm.write(x.shape[2] - num_frames, last[sample : sample + 1])
    return last


class ScopedGroupNorm(nn.GroupNorm):
    """Group norm over the frames of its input, or with scope "frame" over each frame alone.

    "chunk" and "clip" differ only in what is passed in: with "clip" a whole clip is one chunk.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float, scope: NormScope) -> None:
        super().__init__(num_groups, num_channels, eps=eps)
        self.scope: NormScope = scope

    def forward(self, input: Tensor, gather_moments: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Normalise (B, C, T, H, W); ``gather_moments`` as in `Neighbours`, where the frames are a part of those."""
        frames = rearrange(input, "b c t h w -> (b t) c h w") if self.scope == "frame" else input
        frames = super().forward(frames) if gather_moments is None else self._normalize_part(frames, gather_moments)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(input)) if self.scope == "frame" else frames

    def _normalize_part(self, x: Tensor, gather_moments: Callable[[Tensor], Tensor]) -> Tensor:
        """Normalise (B, C, ...) by the moments of all parts, which may differ in size."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        groups = wide.unflatten(1, (self.num_groups, -1)).flatten(2)
        variance, mean = torch.var_mean(groups, dim=2, correction=0)
        count = torch.full_like(mean, groups.shape[2])
        mean, variance = pool_moments(gather_moments(torch.stack([mean, variance, count])))
        normed = ((groups - mean[:, :, None]) * (variance + self.eps).rsqrt()[:, :, None]).view_as(wide)
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (normed * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)


class LatentNorm(nn.Module):
    """Group norm whose scale and shift are read off the latent at the same place ("spatial norm" of the decoder).

    Parity: the scale has no ``1 +``.
    """

    def __init__(self, num_channels: int, num_latent_channels: int, num_groups: int, scope: NormScope) -> None:
        super().__init__()
        self.norm_layer = ScopedGroupNorm(num_groups, num_channels, 1e-6, scope)
        self.conv_y = CausalConv3d(num_latent_channels, num_channels, kernel_size=1)
        self.conv_b = CausalConv3d(num_latent_channels, num_channels, kernel_size=1)

    @property
    def scope(self) -> NormScope:
        """Over which frames it pools."""
        return self.norm_layer.scope

    def modulation(self, latents: Tensor, num_frames: int, has_first_frame_alone: bool) -> LatentModulation:
        """Return the scale and shift of T frames from the latents (B, Z, t, h, w); the first may be of one frame alone.

        A 1x1x1 convolution commutes with nearest-neighbour resizing, so both run at the latents' resolution.
        """
        frames = _latent_frame_of_each_frame(num_frames, latents.shape[2], has_first_frame_alone)
        return LatentModulation(self.conv_y.conv(latents), self.conv_b.conv(latents), frames.to(latents.device))

    def forward(self, x: Tensor, latents: Tensor, chunk: ChunkPass) -> Tensor:
        """Normalise (B, C, T, H, W) by (B, Z, t, h, w); H, W are multiples of h, w."""
        has_first_frame_alone = chunk.has_first_frame_alone(x.shape[2])
        scale, shift = self.modulation(latents, x.shape[2], has_first_frame_alone).of_each_frame()
        normed = self.norm_layer(x, chunk.neighbours.gather_moments)
        if normed.shape[3:] == scale.shape[3:]:
            return torch.addcmul(shift, normed, scale)
        rows, columns = x.shape[3] // latents.shape[3], x.shape[4] // latents.shape[4]
        tiles = normed.unflatten(4, (-1, columns)).unflatten(3, (-1, rows))
        scale, shift = scale[:, :, :, :, None, :, None], shift[:, :, :, :, None, :, None]
        return torch.addcmul(shift, tiles, scale).flatten(5, 6).flatten(3, 4)


def _latent_frame_of_each_frame(num_frames: int, num_latent_frames: int, has_first_frame_alone: bool) -> Tensor:
    if has_first_frame_alone and num_latent_frames > 1:
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

    def forward(self, x: Tensor, chunk: ChunkPass) -> Tensor:
        """Map (B, C_in, T, H, W) to (B, C_out, T, H, W); without gradients, the input's memory is used again."""
        hidden = chunk.norm_activate_convolve(self.norm1, self.activation, self.conv1, x)
        shortcut = x
        if self.conv_shortcut is not None:
            shortcut = chunk.project(self.conv_shortcut, x)
            chunk.workspace.give_back(x)
        result = chunk.norm_activate_convolve(self.norm2, self.activation, self.conv2, hidden, shortcut)
        chunk.workspace.give_back(hidden)
        return result


def _make_norm(
    num_channels: int, num_groups: int, eps: float, scope: NormScope, num_latent_channels: int | None
) -> ScopedGroupNorm | LatentNorm:
    if num_latent_channels is None:
        return ScopedGroupNorm(num_groups, num_channels, eps, scope)
    return LatentNorm(num_channels, num_latent_channels, num_groups, scope)


class Downsample(nn.Module):
    """Halve rows and columns by a strided convolution and, on request, frames by averaging pairs."""

    def __init__(self, num_channels: int, *, halves_time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_channels, num_channels, 3, stride=2)
        self.halves_time = halves_time

    def forward(self, x: Tensor, chunk: ChunkPass) -> Tensor:
        """Map (B, C, T, H, W) to (B, C, ceil(T / 2) or T, H / 2, W / 2)."""
        sources = [slice(frame, frame + 1) for frame in range(x.shape[2])]
        if self.halves_time and x.shape[2] > 1:
            num_alone = 1 if chunk.has_first_frame_alone(x.shape[2]) else 0
            pairs = [slice(frame, frame + 2) for frame in range(num_alone, x.shape[2], 2)]
            sources = sources[:num_alone] + pairs
        if chunk.is_in_place(x):
            return self._downsample_by_frames(x, sources, chunk.workspace)
        if len(sources) < x.shape[2]:
            alone, pairs = x[:, :, : 2 * len(sources) - x.shape[2]], x[:, :, 2 * len(sources) - x.shape[2] :]
            x = torch.cat([alone, pairs.unflatten(2, (-1, 2)).mean(3)], dim=2)
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        if chunk.neighbours.with_rows is None:
            frames = functional.pad(frames, (0, 1, 0, 1))
        else:
            frames = functional.pad(chunk.neighbours.with_rows(frames, 0, 1), (0, 1))
        frames = self.conv(frames)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=x.shape[0])

    def _downsample_by_frames(self, x: Tensor, sources: list[slice], workspace: Workspace) -> Tensor:
        """Return the same, a frame at a time: the padded copy is that of one frame."""
        batch, channels, _, height, width = x.shape
        out = workspace.empty((batch, channels, len(sources), height // 2, width // 2), like=x)
        padded = x.new_zeros(batch, channels, height + 1, width + 1).to(memory_format=torch.channels_last)
        inside = padded[:, :, :-1, :-1]
        for frame, source in enumerate(sources):
            frames = x[:, :, source].unbind(2)
            inside.copy_(frames[0]) if len(frames) == 1 else torch.add(*frames, out=inside).mul_(0.5)
            out[:, :, frame] = self.conv(padded)
        workspace.give_back(x)
        return out


class Upsample(nn.Module):
    """Double rows and columns by repetition and a convolution and, on request, frames by repetition."""

    def __init__(self, num_channels: int, *, doubles_time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        self.doubles_time = doubles_time

    def forward(self, x: Tensor, chunk: ChunkPass) -> Tensor:
        """Map (B, C, T, H, W) to (B, C, 2T, 2T - 1 or T, 2H, 2W).

        The convolution runs per frame, so each distinct frame is convolved once and repeated afterwards.
        """
        sources = list(range(x.shape[2]))
        if self.doubles_time:
            skipped = 1 if chunk.has_first_frame_alone(x.shape[2]) else 0
            sources = [frame // 2 for frame in range(skipped, 2 * x.shape[2])]
        if chunk.is_in_place(x):
            return self._upsample_by_phases(x, sources, chunk.workspace)
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        with_rows = chunk.neighbours.with_rows
        frames = frames if with_rows is None else with_rows(frames, 1, 1)
        phases = [
            self._phase(frames, self._phase_weight(row, column), row, column, has_rows=with_rows is not None)
            for row, column in itertools.product((0, 1), repeat=2)
        ]
        rows = [torch.stack(phases[:2], dim=3), torch.stack(phases[2:], dim=3)]
        frames = torch.stack(rows, dim=2).flatten(3, 4).flatten(1, 2)
        result = rearrange(frames, "(b t) h w c -> b c t h w", b=x.shape[0])
        return result if len(sources) == x.shape[2] else result[:, :, sources]

    def _phase_weight(self, row: int, column: int) -> Tensor:
        """Return the kernel that makes the pixels at one position in every tile of 2x2 px from the small frame.

        Three rows of the kernel see two rows of the small frame, so two of them can be added first. This takes 4/9 of
        the products, and the enlarged frames never exist.
        """
        return _add_neighbours(_add_neighbours(self.conv.weight, row, dim=2), column, dim=3)

    def _phase(self, frames: Tensor, weight: Tensor, row: int, column: int, *, has_rows: bool = False) -> Tensor:
        """Return these pixels (n, H, W, C) of frames (n, C, H, W), or (n, C, H + 2, W) with the rows around them."""
        height, width = frames.shape[2] - 2 * has_rows, frames.shape[3]
        phase = functional.conv2d(frames, weight, self.conv.bias, padding=(0 if has_rows else 1, 1))
        return phase.permute(0, 2, 3, 1)[:, row : row + height, column : column + width]

    def _upsample_by_phases(self, x: Tensor, sources: list[int], workspace: Workspace) -> Tensor:
        """Return the same in the workspace's memory, a few frames at a time."""
        batch, channels, _, height, width = x.shape
        out = workspace.empty((batch, channels, len(sources), 2 * height, 2 * width), like=x)
        tiles = out.permute(0, 2, 3, 4, 1).view(batch, len(sources), height, 2, width, 2, channels)
        step = num_frames_per_call(x)
        for row, column in itertools.product((0, 1), repeat=2):
            weight = self._phase_weight(row, column)
            for sample, start in itertools.product(range(batch), range(0, x.shape[2], step)):
                phase = self._phase(x[sample, :, start : start + step].transpose(0, 1), weight, row, column)
                for frame, source in enumerate(sources):
                    if start <= source < start + step:
                        tiles[sample, frame, :, row, :, column] = phase[source - start]
        workspace.give_back(x)
        return out


def _add_neighbours(weight: Tensor, phase: int, dim: int) -> Tensor:
    """Make 2 of 3 kernel rows or columns: in an enlarged frame, the last two (phase 0) or first two see the same."""
    first, middle, last = weight.to(torch.promote_types(weight.dtype, torch.float32)).unbind(dim)
    pair = [first, middle + last] if phase == 0 else [first + middle, last]
    return torch.stack(pair, dim).to(weight.dtype, memory_format=torch.channels_last)

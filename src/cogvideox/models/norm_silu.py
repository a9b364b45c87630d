"""Group norm, modulation and SiLU as one differentiable step that keeps one result, written for memory traffic.

As modules, the three keep three results for the gradients, and the gradients of a modulation that is as small as the
latents pass over full-size products once more. Here the normed input is kept, and the rest is computed anew.

Axes: B batch, C channels, T frames, P past frames, H W rows and columns, t h w those of the latents, G groups.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def norm_silu(
    norm: nn.GroupNorm,
    x: Tensor,
    modulation: tuple[Tensor, Tensor] | None,
    past: Tensor | None,
    num_past_frames: int,
) -> Tensor:
    """Return a batch normed, modulated and activated, with the frames before it in front.

    Args:
        norm: over all frames.
        x: (B, C, T, H, W).
        modulation: scale and shift (B, C, T, h, w) of what is normed; H, W are multiples of h, w.
        past: (B, C, P, H, W), normed and activated; None repeats the first frame.
        num_past_frames: P.

    Returns:
        (B, C, P + T, H, W), channels last. It has first derivatives only.
    """
    scale, shift = (None, None) if modulation is None else modulation
    result = _NormSilu.apply(x, norm.weight, norm.bias, scale, shift, past, num_past_frames, norm.num_groups, norm.eps)
    assert isinstance(result, Tensor)
    return result


class _NormSilu(torch.autograd.Function):
    """silu(n w s + b s + r): n is x normed, w and b the norm's weight and bias, s and r scale and shift."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        past: Tensor | None,
        num_past_frames: int,
        num_groups: int,
        eps: float,
    ) -> Tensor:
        pixels, wide = _as_pixels(x), _wide(x)
        normed, inverse_deviation = _normalize(pixels, num_groups, eps)
        before_silu = _multiply_add(normed, *_slope_and_offset(weight, bias, scale, shift, wide))
        padded = pixels.new_empty(len(x), num_past_frames + x.shape[2], *pixels.shape[2:])
        frames = padded[:, num_past_frames:]
        torch.ops.aten.silu.out(before_silu, out=frames)
        padded[:, :num_past_frames] = frames[:, :1] if past is None else _as_pixels(past)
        ctx.save_for_backward(normed, inverse_deviation, weight, bias, scale, shift)
        ctx.num_past_frames, ctx.repeats_first_frame = num_past_frames, past is None
        return _as_video(padded)

    @staticmethod
    @once_differentiable  # whose type stub hides the names of parameters
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        normed, inverse_deviation, weight, bias, scale, shift = ctx.saved_tensors
        of_padded = _as_pixels(gradients[0])
        of_past, of_frames = of_padded[:, : ctx.num_past_frames], of_padded[:, ctx.num_past_frames :]
        if ctx.repeats_first_frame:
            of_frames = of_frames.clone()
            of_frames[:, 0] += of_past.sum(1)
        wide = _wide(normed)
        slope, offset = _slope_and_offset(weight, bias, scale, shift, wide)
        before_silu = _multiply_add(normed, slope, offset)
        of_modulated = torch.ops.aten.silu_backward(of_frames, before_silu)
        # All other gradients follow from two sums over the pixels that share a scale and a shift.
        sums = _sum_tiles(of_modulated, slope)
        sums_with_normed = _sum_tiles(torch.mul(of_modulated, normed, out=before_silu), slope)
        wide_scale = 1.0 if scale is None else _as_pixels(scale).to(wide)
        of_bias, of_weight = ((wide_scale * values).sum((1, 2, 3)) for values in (sums, sums_with_normed))
        # dx = (dn - mean(dn) - n mean(dn n)) / deviation, with means over the group.
        num_groups = inverse_deviation.shape[1]
        means = [
            (weight.to(wide) * values).unflatten(1, (num_groups, -1)).sum(2) * num_groups / normed[0].numel()
            for values in (of_bias, of_weight)
        ]
        factors = (-inverse_deviation * means[1], -inverse_deviation * means[0], inverse_deviation)
        by_channel = [values.repeat_interleave(len(weight) // num_groups, 1)[:, None, None, None] for values in factors]
        of_x = _multiply_add(of_modulated, by_channel[2] * slope, _multiply_add(normed, *by_channel[:2]))
        of_scale = of_shift = None
        if scale is not None:
            of_scale = _as_video(weight.to(wide) * sums_with_normed + bias.to(wide) * sums).to(scale.dtype)
            of_shift = _as_video(sums).to(scale.dtype)
        return (
            _as_video(of_x),
            of_weight.sum(0).to(weight.dtype),
            of_bias.sum(0).to(bias.dtype),
            of_scale,
            of_shift,
            None if ctx.repeats_first_frame else _as_video(of_past),
            None,
            None,
            None,
        )


def _normalize(pixels: Tensor, num_groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """Return (B, T, H, W, C) normed by group, without weight and bias, and inverse deviations (B, G)."""
    batch, frames, height, width, channels = pixels.shape
    # One image per sample. Strides in full: the kernel reads the format off them, also where a size is 1.
    shape, row = (batch, channels, frames * height, width), width * channels
    images = pixels.as_strided(shape, (frames * height * row, 1, row, channels))
    # Statistics come in the dtype of weight and bias; so they are never bfloat16.
    weight = torch.ones(channels, dtype=_wide(pixels), device=pixels.device)
    normed, _, inverse_deviation = torch.native_group_norm(
        images, weight, torch.zeros_like(weight), batch, channels, frames * height * width, num_groups, eps
    )
    return normed.permute(0, 2, 3, 1).contiguous().view_as(pixels), inverse_deviation


def _slope_and_offset(
    weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Join weight and bias with the modulation, if there is one: (B, T, h, w, C), else (1, 1, 1, 1, C)."""
    weight, bias = weight.to(dtype)[None, None, None, None], bias.to(dtype)[None, None, None, None]
    if scale is None or shift is None:
        return weight, bias
    scale, shift = _as_pixels(scale).to(dtype), _as_pixels(shift).to(dtype)
    return weight * scale, torch.addcmul(shift, bias, scale)


def _multiply_add(pixels: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Return pixels * slope + offset (B, T, H, W, C), of what broadcasts in tiles, (B or 1, T or 1, h, w, C)."""
    num_rows, width = slope.shape[2], pixels.shape[3]

    def in_tiles(values: Tensor) -> Tensor:
        values = values.to(pixels.dtype)
        if values.shape[3] < width:
            # Columns are repeated, so that kernels run over whole rows; few rows make that cheap.
            values = values.repeat_interleave(width // values.shape[3], 3)
        return values.unflatten(2, (num_rows, -1))

    return torch.addcmul(in_tiles(offset), in_tiles(pixels), in_tiles(slope)).flatten(2, 3)


def _sum_tiles(pixels: Tensor, like: Tensor) -> Tensor:
    """Sum (B, T, H, W, C) over the tiles of ``like`` (B, T, h, w, C), or over samples if that is (1, 1, 1, 1, C)."""
    sums = pixels.unflatten(2, (like.shape[2], -1)).sum(3, dtype=like.dtype)
    sums = sums.unflatten(3, (like.shape[3], -1)).sum(4)
    return sums if like.shape[1] == sums.shape[1] else sums.sum(1, keepdim=True)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _as_pixels(video: Tensor) -> Tensor:
    """View (B, C, T, H, W) as (B, T, H, W, C), contiguous."""
    return video.permute(0, 2, 3, 4, 1).contiguous()


def _as_video(pixels: Tensor) -> Tensor:
    """View (B, T, H, W, C) as (B, C, T, H, W), channels last."""
    return pixels.permute(0, 4, 1, 2, 3)

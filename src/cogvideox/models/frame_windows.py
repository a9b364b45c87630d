"""Norm, activation and causal convolution without autograd: in place, a few frames at a time.

The same mathematics as the differentiable modules in another order of memory accesses: buffers are reused, elementwise
work runs in blocks that fit the cache, and a convolution sees a window of a few frames, which also bounds memory.

Axes: B batch, C channels, T frames, P past frames, H W rows and columns, t h w those of the latents, G groups.
Everything is laid out channels last, so whole frames, and whole rows of a frame, are contiguous.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.models.reused_memory import RESULT_BYTES, Workspace

BLOCK_BYTES = 2**21
"""Elementwise work on this much at a time stays in the second-level caches."""
WINDOW_BYTES = 192 * 2**20
"""A window has at least `MIN_WINDOW_FRAMES`, however large they are."""
MIN_WINDOW_FRAMES = 4
MIN_PIXELS_OF_SUMMED_KERNELS = 512
"""In smaller frames, adding up kernels takes longer than it saves."""


@dataclass(frozen=True)
class LatentModulation:
    """Scale and shift (B, C, t, h, w) of what is normed, and the latent frame of each of its T frames."""

    scale: Tensor
    shift: Tensor
    latent_frame_of_each: Tensor

    def of_each_frame(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift (B, C, T, h, w), channels last."""
        if self.latent_frame_of_each.numel() == self.scale.shape[2]:
            return self.scale, self.shift
        scale, shift = (
            values.permute(0, 2, 3, 4, 1).index_select(1, self.latent_frame_of_each).permute(0, 4, 1, 2, 3)
            for values in (self.scale, self.shift)
        )
        return scale, shift


class BlockNorm:
    """A group norm over the frames of one sample, its modulation and its activation, applied block by block."""

    def __init__(
        self,
        norm: nn.GroupNorm,
        activation: Callable[[Tensor], Tensor],
        x: Tensor,
        modulation: LatentModulation | None,
        sample: int,
        gather_moments: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Take the statistics of one sample.

        Args:
            norm: over all frames.
            activation: applied last.
            x: (B, C, T, H, W).
            modulation: of what is normed; H, W are multiples of its h, w.
            sample: which of the B.
            gather_moments: as in `Neighbours`, where the frames are a part of those that are normed.
        """
        x = x[sample : sample + 1]
        self._frames = _as_frames(x).contiguous()  # no copy, unless a convolution chose another format
        self._activation = activation
        # Statistics come in the dtype of these two; so they are never bfloat16.
        wide = torch.promote_types(x.dtype, torch.float32)
        self._weight, self._bias, self._eps = norm.weight.to(wide), norm.bias.to(wide), norm.eps
        self._mean, self._variance = self._statistics(norm.num_groups)
        if gather_moments is not None:
            self._pool(norm.num_groups, gather_moments)
        self._modulation = None
        if modulation is not None:
            self._tile_rows = x.shape[3] // modulation.scale.shape[3]
            self._latent_frames = modulation.latent_frame_of_each
            scale, shift = (_as_frames(v[sample : sample + 1]) for v in (modulation.scale, modulation.shift))
            self._modulation = self._with_norm(scale, shift)

    @property
    def is_modulated(self) -> bool:
        """Whether latents modulate it, as in a decoder."""
        return self._modulation is not None

    def _statistics(self, num_groups: int) -> tuple[Tensor, Tensor]:
        """Return the mean and variance of every channel's group (C)."""
        images = [_as_image(self._frames[block]) for block in _blocks(self._frames, row_multiple=1)]
        unused = self._weight.new_empty(self._weight.shape)
        moments = [torch.batch_norm_update_stats(image, unused, unused, 0.0) for image in images]
        means, variances = (torch.stack(values) for values in zip(*moments, strict=True))
        shares = torch.tensor([[image.numel() / self._frames.numel()] for image in images], dtype=means.dtype)
        mean = (shares * means).sum(0).unflatten(0, (num_groups, -1)).mean(1)
        square = (shares * (variances + means.square())).sum(0).unflatten(0, (num_groups, -1)).mean(1)
        repeats = means.shape[1] // num_groups
        return mean.repeat_interleave(repeats), (square - mean.square()).clamp_min(0).repeat_interleave(repeats)

    def _pool(self, num_groups: int, gather_moments: Callable[[Tensor], Tensor]) -> None:
        """Take the statistics of all parts in the place of this one's."""
        repeats = len(self._mean) // num_groups
        mean, variance = self._mean[None, ::repeats], self._variance[None, ::repeats]
        count = torch.full_like(mean, self._frames.numel() // num_groups)
        mean, variance = pool_moments(gather_moments(torch.stack([mean, variance, count])))
        self._mean, self._variance = (values[0].repeat_interleave(repeats) for values in (mean, variance))

    def _with_norm(self, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factor and the term (t, h, w, C) that norm and modulate in one step.

        The term makes up for the rounding of the factor at the channel's mean, so that no digits are lost in their
        difference.
        """
        wide_scale = scale.to(self._mean.dtype)
        factor = (wide_scale * (self._weight * (self._variance + self._eps).rsqrt())).to(scale.dtype)
        term = torch.addcmul(shift, wide_scale, self._bias).addcmul_(factor, self._mean, value=-1)
        return factor, term.to(scale.dtype)

    def write(self, start: int, target: Tensor) -> None:
        """Write frames from ``start`` on into ``target`` (1, C, n, H, W), channels last."""
        target = _as_frames(target)
        for frames, rows in _blocks(target, 1 if self._modulation is None else self._tile_rows):
            written = target[frames, rows]
            from_start = slice(start + frames.start, start + frames.stop)
            if self._modulation is None:
                self._normalize(self._frames[from_start, rows], written)
            else:
                self._modulate(from_start, rows, written)
            if self._activation is functional.silu:  # that of all published models
                functional.silu(written, inplace=True)
            else:
                written.copy_(self._activation(written))

    def _normalize(self, source: Tensor, target: Tensor) -> None:
        unused = self._mean.new_empty(0)
        torch.native_batch_norm(
            _as_image(source),
            self._weight,
            self._bias,
            self._mean,
            self._variance,
            False,
            0.0,
            self._eps,
            out=(_as_image(target), unused, unused.clone()),
        )

    def _modulate(self, frames: slice, rows: slice, target: Tensor) -> None:
        assert self._modulation is not None
        latent_rows = slice(rows.start // self._tile_rows, rows.stop // self._tile_rows)
        latent_frames = self._latent_frames[frames]
        factor, term = (values[latent_frames, latent_rows, None, :, None] for values in self._modulation)

        def tiles(pixels: Tensor) -> Tensor:
            """View (n, rows, W, C) with one latent's pixels together: (n, h, H / h, w, W / w, C)."""
            return pixels.unflatten(2, (factor.shape[3], -1)).unflatten(1, (factor.shape[1], -1))

        torch.addcmul(term, tiles(self._frames[frames, rows]), factor, out=tiles(target))


def pool_moments(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (B, G) of all parts from mean, variance and count of each (R, 3, B, G)."""
    means, variances, counts = moments.unbind(1)
    shares = counts / counts.sum(0)
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


def convolve_in_windows(
    conv: nn.Conv3d,
    norms: Sequence[BlockNorm],
    pasts: Tensor | None,
    out: Tensor,
    workspace: Workspace,
    *,
    is_added: bool,
    new_pasts: Tensor | None,
) -> None:
    """Norm, activate and convolve a batch over time, causally.

    Args:
        conv: the convolution, without padding in time.
        norms: of each sample.
        pasts: (B, C, P, H, W), the frames before these, normed and activated; None repeats the first frame.
        out: (B, C_out, T, H, W), channels last, receives the result.
        workspace: where the window comes from.
        is_added: add to ``out`` instead of writing over it.
        new_pasts: (B, C, P, H, W), receives the past of the next chunk; may be ``pasts``, None if no chunk follows.
    """
    num_past_frames, channels = conv.kernel_size[0] - 1, conv.in_channels
    num_frames, height, width = out.shape[2:]
    frame_bytes = channels * height * width * out.element_size()
    num_window_frames = min(num_frames, max(MIN_WINDOW_FRAMES, WINDOW_BYTES // frame_bytes))
    window = workspace.empty((1, channels, num_past_frames + num_window_frames, height, width), like=out)
    for sample, norm in enumerate(norms):
        for start in range(0, num_frames, num_window_frames):
            stop = min(start + num_window_frames, num_frames)
            if start > 0:
                for frame in range(num_past_frames):  # one by one: they may overlap where they came from
                    window[:, :, frame] = window[:, :, num_window_frames + frame]
            norm.write(start, window[:, :, num_past_frames : num_past_frames + stop - start])
            filled = window[:, :, : num_past_frames + stop - start]
            target = out[sample : sample + 1, :, start:stop]
            # A latent frame alone is decoded as it is: nothing after it evens out that sums of kernels are rounded.
            is_alone = norm.is_modulated and num_frames == 1
            if start == 0 and pasts is None and not is_alone and _sums_kernels(out):
                _convolve_first_frames(conv, filled[:, :, num_past_frames:], target, is_added=is_added)
                if new_pasts is not None and stop < 2 * num_past_frames:
                    filled[:, :, :num_past_frames] = filled[:, :, num_past_frames : num_past_frames + 1]
            else:
                if start == 0:
                    first = window[:, :, num_past_frames : num_past_frames + 1]
                    window[:, :, :num_past_frames] = first if pasts is None else pasts[sample]
                convolve_frames(conv, filled, target, is_added=is_added)
            if new_pasts is not None and stop == num_frames:
                new_pasts[sample] = filled[0, :, -num_past_frames:]
    workspace.give_back(window)


def _convolve_first_frames(conv: nn.Conv3d, x: Tensor, out: Tensor, *, is_added: bool) -> None:
    """Convolve the start of a clip (1, C, T, H, W), whose past is its first frame over and over, as `convolve_frames`.

    What sees the same frame several times adds up the kernel instead: of the products, those of one frame are saved.
    """
    num_past_frames = conv.kernel_size[0] - 1
    num_early_frames = min(num_past_frames, out.shape[2])
    taps = conv.weight.permute(2, 0, 3, 4, 1)  # the order of memory, in which sums are fast
    total = taps[0].to(torch.promote_types(x.dtype, torch.float32))
    for num_added in range(1, num_past_frames + 1):
        total = total + taps[num_added]
        frame = num_past_frames - num_added
        if frame < num_early_frames:
            kernel = torch.stack([total.to(x.dtype), *taps[num_added + 1 :]], dim=1).permute(0, 4, 1, 2, 3)
            convolve_frames(conv, x[:, :, : frame + 1], out[:, :, frame : frame + 1], kernel=kernel, is_added=is_added)
    if out.shape[2] > num_early_frames:
        convolve_frames(conv, x, out[:, :, num_past_frames:], is_added=is_added)


def convolve_frames(
    conv: nn.Conv3d, x: Tensor, out: Tensor, *, kernel: Tensor | None = None, is_added: bool = False
) -> None:
    """Convolve (B, C, T + P, H, W) into ``out`` (B, C_out, T, H, W), or add to it; ``kernel`` replaces the weight."""
    weight = conv.weight if kernel is None else kernel
    num_past_frames = x.shape[2] - out.shape[2]
    is_accumulated = _accumulates(out)
    step = out.shape[2] if is_accumulated else num_frames_per_call(out)
    for sample, start in itertools.product(range(len(x)), range(0, out.shape[2], step)):
        target = out[sample : sample + 1, :, start : start + step]
        source = x[sample : sample + 1, :, start : start + num_past_frames + target.shape[2]]
        if is_accumulated and _is_channels_last(source) and _is_channels_last(target):
            if not is_added:
                target.zero_()
            _accumulate_convolution(conv, weight, source, target)
        else:
            result = functional.conv3d(source, weight, conv.bias, conv.stride, conv.padding)
            target.add_(result) if is_added else target.copy_(result)


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d)


def _accumulates(out: Tensor) -> bool:
    """Whether `_accumulate_convolution` can add to this, if it is channels last."""
    return out.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _sums_kernels(out: Tensor) -> bool:
    """Whether that is faster; float32 convolutions of one frame take memory for a copy per place of the kernel."""
    return _accumulates(out) and out.shape[3] * out.shape[4] >= MIN_PIXELS_OF_SUMMED_KERNELS


def _accumulate_convolution(conv: nn.Conv3d, weight: Tensor, x: Tensor, total: Tensor) -> None:
    """Add the convolution of (1, C, T + P, H, W) to ``total`` (1, C_out, T, H, W), where it is.

    A convolution as usual makes a result of its own; taking fresh pages for it and adding it up cost a quarter of the
    time. From zeros it is faster so too, and each sum is rounded once.
    """
    strides = (conv.padding, conv.stride, conv.dilation, conv.groups)
    torch.ops.mkldnn._convolution_pointwise_.binary(
        _as_video(total), _as_video(x), weight, conv.bias, *strides, "add", 1.0, None, [], None
    )


def num_frames_per_call(out: Tensor) -> int:
    """Return the frames of (B, C, T, H, W) whose convolution for one sample makes at most `RESULT_BYTES`."""
    frame_bytes = out.shape[1] * out.shape[3] * out.shape[4] * out.element_size()
    return max(1, RESULT_BYTES // frame_bytes)


def _as_frames(x: Tensor) -> Tensor:
    """View (1, C, T, H, W), channels last, as (T, H, W, C)."""
    return x.permute(0, 2, 3, 4, 1)[0]


def _as_image(frames: Tensor) -> Tensor:
    """View whole frames, or rows of one frame, (n, rows, W, C) as one image (1, C, n * rows, W), channels last."""
    height, width, channels = frames.shape[0] * frames.shape[1], frames.shape[2], frames.shape[3]
    # Strides in full: kernels read the format off them, also where a size is 1 and views would leave any stride.
    return frames.as_strided((1, channels, height, width), (height * width * channels, 1, width * channels, channels))


def _as_video(x: Tensor) -> Tensor:
    """View (1, C, T, H, W), channels last, with strides in full: see `_as_image`."""
    _, channels, frames, height, width = x.shape
    row, frame = width * channels, height * width * channels
    return x.as_strided(x.shape, (frames * frame, 1, frame, row, channels))


def _blocks(frames: Tensor, row_multiple: int) -> Iterator[tuple[slice, slice]]:
    """Cut (T, H, W, C) into several whole frames, or some rows of one, of about `BLOCK_BYTES`."""
    num_frames, height, width, channels = frames.shape
    frame_bytes = height * width * channels * frames.element_size()
    if frame_bytes <= BLOCK_BYTES:
        step = BLOCK_BYTES // frame_bytes
        for start in range(0, num_frames, step):
            yield slice(start, min(start + step, num_frames)), slice(0, height)
        return
    step = max(BLOCK_BYTES * height // frame_bytes // row_multiple, 1) * row_multiple
    for frame in range(num_frames):
        for start in range(0, height, step):
            yield slice(frame, frame + 1), slice(start, min(start + step, height))

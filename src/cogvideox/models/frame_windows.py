"""Norm, activation and causal convolution without autograd: in place, a few frames at a time.

The same mathematics as the differentiable modules in another order of memory accesses. On a CPU a fresh buffer of
hundreds of MB costs more than the arithmetic on it, because its pages are handed out and zeroed anew: filling such a
tensor takes eight times as long as filling an old one. So buffers are reused (`Workspace`), elementwise work runs in
blocks that fit the cache, and a convolution sees a window of a few frames, which also bounds memory.

Axes: B batch, C channels, T frames, P past frames, H W rows and columns, t h w those of the latents, G groups.
Everything is laid out channels last, so whole frames, and whole rows of a frame, are contiguous.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

BLOCK_BYTES = 2**21
"""Elementwise work on this much at a time stays in the second-level caches."""
RESULT_BYTES = 24 * 2**20
"""Convolution results up to here come from memory that malloc keeps; glibc maps those over 32 MiB anew each time."""
WINDOW_BYTES = 64 * 2**20
"""A window has at least `MIN_WINDOW_FRAMES`, however large they are."""
MIN_WINDOW_FRAMES = 4


def computes_in_place(x: Tensor) -> bool:
    """Whether nothing needs gradients, on a CPU; elsewhere allocators keep memory themselves."""
    return x.device.type == "cpu" and not torch.is_grad_enabled()


class Workspace:
    """Memory that is used again and again, in tensors of any size."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lent: dict[int, Tensor] = {}

    def empty(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialized (B, C, T, H, W), channels last, with the dtype and device of ``like``."""
        size = math.prod(shape)
        fitting = [buffer for buffer in self._free if buffer.numel() >= size and buffer.dtype == like.dtype]
        if fitting:
            buffer = min(fitting, key=Tensor.numel)
            self._forget(buffer)
        else:
            if self._free:  # A larger one takes its place, or memory would grow from stage to stage.
                self._forget(max(self._free, key=Tensor.numel))
            buffer = torch.empty(size, dtype=like.dtype, device=like.device)
        self._lent[buffer.data_ptr()] = buffer
        batch, channels, frames, height, width = shape
        return buffer[:size].view(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)

    def give_back(self, tensor: Tensor) -> None:
        """Let the memory of a tensor from `empty` be used again; any other tensor is left alone."""
        buffer = self._lent.pop(tensor.data_ptr(), None)
        if buffer is not None:
            self._free.append(buffer)

    def _forget(self, buffer: Tensor) -> None:
        self._free = [other for other in self._free if other is not buffer]


class BlockNorm:
    """A group norm over the frames of one sample, its modulation and its activation, applied block by block."""

    def __init__(
        self,
        norm: nn.GroupNorm,
        activation: Callable[[Tensor], Tensor],
        x: Tensor,
        modulation: tuple[Tensor, Tensor] | None,
    ) -> None:
        """Take the statistics of ``x``.

        Args:
            norm: over all frames.
            activation: applied last.
            x: (1, C, T, H, W).
            modulation: scale and shift (1, C, T, h, w) of what is normed; H, W are multiples of h, w.
        """
        self._frames = _as_frames(x).contiguous()  # no copy, unless a convolution chose another format
        self._activation = activation
        self._modulation = None if modulation is None else (_as_frames(modulation[0]), _as_frames(modulation[1]))
        self._tile_rows = 1 if modulation is None else x.shape[3] // modulation[0].shape[3]
        # Statistics come in the dtype of these two; so they are never bfloat16.
        wide = torch.promote_types(x.dtype, torch.float32)
        self._weight, self._bias, self._eps = norm.weight.to(wide), norm.bias.to(wide), norm.eps
        total = mean = square = 0.0
        for block in _blocks(self._frames, row_multiple=1):
            rows = _as_image(self._frames[block])
            count = rows.shape[2] * rows.shape[3]
            _, block_mean, block_rstd = torch.native_group_norm(
                rows, self._weight, self._bias, 1, x.shape[1], count, norm.num_groups, norm.eps
            )
            total, mean = total + count, mean + count * block_mean
            square = square + count * (block_rstd.pow(-2) - norm.eps + block_mean.square())
        repeats = x.shape[1] // norm.num_groups
        mean = torch.as_tensor(mean / total)
        variance = torch.as_tensor(square / total) - mean.square()
        self._mean = mean[0].repeat_interleave(repeats)
        self._variance = variance[0].clamp_min(0).repeat_interleave(repeats)

    def write(self, start: int, target: Tensor) -> None:
        """Write frames from ``start`` on into ``target`` (1, C, n, H, W), channels last."""
        written = _as_frames(target)
        for frames, rows in _blocks(written, self._tile_rows):
            shifted = slice(start + frames.start, start + frames.stop)
            written[frames, rows] = self._activation(self._modulated(shifted, rows))

    def _modulated(self, frames: slice, rows: slice) -> Tensor:
        normed = self._normed(self._frames[frames, rows])
        if self._modulation is None:
            return normed
        latent_rows = slice(rows.start // self._tile_rows, rows.stop // self._tile_rows)
        scale, shift = (values[frames, latent_rows] for values in self._modulation)
        # One latent modulates a tile of pixels.
        tiles = normed.unflatten(2, (scale.shape[2], -1)).unflatten(1, (scale.shape[1], -1))
        return torch.addcmul(shift[:, :, None, :, None], tiles, scale[:, :, None, :, None]).view_as(normed)

    def _normed(self, frames: Tensor) -> Tensor:
        normed = torch.batch_norm(
            _as_image(frames), self._weight, self._bias, self._mean, self._variance, False, 0.0, self._eps, False
        )
        return normed.permute(0, 2, 3, 1).view_as(frames)


def convolve_in_windows(
    conv: nn.Conv3d,
    norms: Sequence[BlockNorm],
    pasts: Tensor | None,
    new_pasts: Tensor,
    out: Tensor,
    workspace: Workspace,
    *,
    is_added: bool,
) -> None:
    """Norm, activate and convolve a batch over time, causally.

    Args:
        conv: the convolution, without padding in time.
        norms: of each sample.
        pasts: (B, C, P, H, W), the frames before these, normed and activated; None repeats the first frame.
        new_pasts: (B, C, P, H, W), filled with the past of the next chunk.
        out: (B, C_out, T, H, W), channels last, receives the result.
        workspace: where the window comes from.
        is_added: add to ``out`` instead of writing over it.
    """
    _, channels, num_past_frames, height, width = new_pasts.shape
    num_frames = out.shape[2]
    frame_bytes = channels * height * width * out.element_size()
    num_window_frames = min(num_frames, max(MIN_WINDOW_FRAMES, WINDOW_BYTES // frame_bytes))
    window = workspace.empty((1, channels, num_past_frames + num_window_frames, height, width), like=out)
    for sample, norm in enumerate(norms):
        for start in range(0, num_frames, num_window_frames):
            stop = min(start + num_window_frames, num_frames)
            norm.write(start, window[:, :, num_past_frames : num_past_frames + stop - start])
            if start == 0:
                first = window[:, :, num_past_frames : num_past_frames + 1]
                window[:, :, :num_past_frames] = first if pasts is None else pasts[sample]
            convolve_frames(
                conv,
                window[:, :, : num_past_frames + stop - start],
                out[sample : sample + 1, :, start:stop],
                is_added=is_added,
            )
            for frame in range(num_past_frames):  # one by one: they may overlap where they came from
                window[:, :, frame] = window[:, :, stop - start + frame]
        new_pasts[sample] = window[0, :, :num_past_frames]
    workspace.give_back(window)


def convolve_frames(conv: nn.Conv3d, x: Tensor, out: Tensor, *, is_added: bool = False) -> None:
    """Convolve (B, C, T + P, H, W) into ``out`` (B, C_out, T, H, W), or add to it, a few frames per call."""
    num_past_frames = x.shape[2] - out.shape[2]
    step = num_frames_per_call(out)
    for sample, start in itertools.product(range(len(x)), range(0, out.shape[2], step)):
        target = out[sample : sample + 1, :, start : start + step]
        result = conv(x[sample : sample + 1, :, start : start + num_past_frames + target.shape[2]])
        target.add_(result) if is_added else target.copy_(result)


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

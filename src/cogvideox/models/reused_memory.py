"""Memory that is used again: on a CPU, a fresh buffer of many MB costs more than the arithmetic on it.

The system hands out and zeroes its pages anew: filling such a tensor takes eight times as long as filling an old one
(docs/decisions.md). Gradients need every intermediate result, so all of this is for computing without them.
"""

import math

import torch
from torch import Tensor

RESULT_BYTES = 24 * 2**20
"""Results up to here come from memory that malloc keeps; glibc maps those over 32 MiB anew each time."""


def computes_in_place(x: Tensor) -> bool:
    """Whether nothing needs gradients, on a CPU; elsewhere allocators keep memory themselves.

    Not under autocast, where results have other dtypes than what they would be written over.
    """
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


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

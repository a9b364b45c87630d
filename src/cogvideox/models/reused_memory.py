"""Memory that is used again: on a CPU, a fresh buffer of many MB costs more than the arithmetic on it.

The system hands out and zeroes its pages anew: filling such a tensor takes eight times as long as filling an old one
(docs/decisions.md). Gradients need every intermediate result, so all of this is for computing without them.
"""

import contextlib
import math
import mmap
from collections.abc import Iterator

import torch
from torch import Tensor

RESULT_BYTES = 24 * 2**20
"""Results up to here come from memory that malloc keeps; glibc maps those over 32 MiB anew each time."""

HUGE_PAGE_BYTES = 2 * 2**20
"""Taking pages of this size from the system costs half of taking as much in those of 4 KiB."""


def computes_in_place(x: Tensor) -> bool:
    """Whether nothing needs gradients, on a CPU; elsewhere allocators keep memory themselves.

    Not under autocast, where results have other dtypes than what they would be written over.
    """
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


class Workspace:
    """Memory that is used again and again, in tensors of any size.

    Copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lent: dict[int, Tensor] = {}
        self._pages: dict[int, mmap.mmap] = {}

    def __reduce__(self) -> tuple[type["Workspace"], tuple[()]]:
        return Workspace, ()

    def empty(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialized (B, C, T, H, W), channels last, with the dtype of ``like``."""
        size = math.prod(shape)
        fitting = [buffer for buffer in self._free if buffer.numel() >= size and buffer.dtype == like.dtype]
        if fitting:
            buffer = min(fitting, key=Tensor.numel)
            self._forget(buffer)
        else:
            if self._free:  # A larger one takes its place, or memory would grow from stage to stage.
                largest = max(self._free, key=Tensor.numel)
                self._forget(largest)
                self._pages.pop(largest.data_ptr(), None)
            buffer = self._allocate(size, like.dtype)
        self._lent[buffer.data_ptr()] = buffer
        batch, channels, frames, height, width = shape
        return buffer[:size].view(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)

    def give_back(self, tensor: Tensor) -> None:
        """Let the memory of a tensor from `empty` be used again; any other tensor is left alone."""
        buffer = self._lent.pop(tensor.data_ptr(), None)
        if buffer is not None:
            self._free.append(buffer)

    def rest(self) -> None:
        """Keep the memory, lent or not, for the next use, unless the system needs it before."""
        self._free = [buffer for buffer in [*self._free, *self._lent.values()] if buffer.data_ptr() in self._pages]
        self._lent.clear()
        try:
            for pages in self._pages.values():
                pages.madvise(mmap.MADV_FREE)
        except OSError:  # a kernel that could not take them back: nothing is kept
            self._free.clear()
            self._pages.clear()

    def _forget(self, buffer: Tensor) -> None:
        self._free = [other for other in self._free if other is not buffer]

    def _allocate(self, size: int, dtype: torch.dtype) -> Tensor:
        """Return an uninitialized vector on the CPU, in pages of 2 MiB where the system has them."""
        num_bytes = size * dtype.itemsize
        if num_bytes < HUGE_PAGE_BYTES or not hasattr(mmap, "MADV_FREE"):
            return torch.empty(size, dtype=dtype)
        pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them
                pages.madvise(mmap.MADV_HUGEPAGE)
        buffer = torch.frombuffer(pages, dtype=dtype)
        self._pages[buffer.data_ptr()] = pages
        return buffer


@contextlib.contextmanager
def borrow_workspace(kept: list[Workspace]) -> Iterator[Workspace]:
    """Take one of those kept, or a new one, and keep it afterwards."""
    workspace = kept.pop() if kept else Workspace()
    try:
        yield workspace
    finally:
        workspace.rest()
        kept.append(workspace)

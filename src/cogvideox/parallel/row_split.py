"""A frame whose rows are spread over processes: exact decoding and encoding of frames too large or too slow for one.

Every convolution takes the rows beyond its part from the processes above and below, and every group norm pools over all
parts, so the result is that of one process. Without gradients.

Axes: B batch, C channels, T frames, H W rows and columns, G groups, R parts.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from cogvideox.models.neighbours import Neighbours
from cogvideox.parallel.frame_split import gather_differentiably


class RowSplit:
    """One process's place in frames that are cut into bands of rows, from the top by rank in a group."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
        self._above = distributed.get_global_rank(group, self.rank - 1) if self.rank > 0 else None
        self._below = distributed.get_global_rank(group, self.rank + 1) if self.rank + 1 < self.size else None

    def neighbours(self) -> Neighbours:
        """Return the functions that a pass over the band calls."""
        return Neighbours(
            with_rows=self.with_rows, gather_moments=lambda moments: gather_differentiably(moments, self._group)
        )

    def part_of(self, num_rows: int) -> slice:
        """Return this process's rows of so many; counts differ by at most one."""
        return _bounds(num_rows, self.size)[self.rank]

    def with_rows(self, x: Tensor, num_above: int, num_below: int) -> Tensor:
        """Add so many rows of the bands above and below to (..., H, W), zeros beyond the frame."""
        height = x.shape[-2]
        rows_above = x.new_zeros((*x.shape[:-2], num_above, x.shape[-1]))
        rows_below = x.new_zeros((*x.shape[:-2], num_below, x.shape[-1]))
        first, last = x[..., :num_below, :].contiguous(), x[..., height - num_above :, :].contiguous()
        operations: list[distributed.P2POp] = []
        for rank, sent, received in ((self._above, first, rows_above), (self._below, last, rows_below)):
            for operation, rows in ((distributed.isend, sent), (distributed.irecv, received)):
                if rank is not None and rows.shape[-2]:
                    operations.append(distributed.P2POp(operation, rows, rank, self._group))
        if operations:
            for work in distributed.batch_isend_irecv(operations):
                work.wait()
        return torch.cat([rows_above, x, rows_below], dim=-2)


def _bounds(num_rows: int, num_parts: int) -> Sequence[slice]:
    edges = [num_rows * part // num_parts for part in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

"""Where text and video tokens lie in the joint token tensor.

A segment is one sample: its text tokens first, then its video tokens, row-major with frames outermost. Segments of
equal length are the rows of a batch, tokens (S, N, D); segments of unequal length are packed behind each other,
(1, N_total, D). Neighbours of equal length in a pack are a run, and are computed like a batch.

Axes: S segments, s segments of a run, N tokens, L text tokens, D width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class SequenceLayout:
    """The segments of a token tensor, in plain integers: comparable, hashable, computed without tensors."""

    num_text_tokens: int
    """Text tokens of every segment (always padded to the same length)."""
    grids_THW: tuple[tuple[int, int, int], ...]
    """Video tokens of each segment by frame, row and column."""
    offsets: tuple[int, ...]
    """First token of each segment when all are laid out behind each other."""

    @classmethod
    def of_grids(cls, num_text_tokens: int, grids_THW: Sequence[tuple[int, int, int]]) -> Self:
        """Lay out segments with these grids behind each other."""
        assert grids_THW, "a layout has at least one segment"
        offsets = [0]
        for grid in grids_THW[:-1]:
            offsets.append(offsets[-1] + num_text_tokens + math.prod(grid))
        return cls(num_text_tokens, tuple(grids_THW), tuple(offsets))

    @property
    def segment_lengths(self) -> tuple[int, ...]:
        """Text and video tokens of each segment."""
        return tuple(self.num_text_tokens + math.prod(grid) for grid in self.grids_THW)

    @property
    def is_batch(self) -> bool:
        """Whether the segments are the rows of a batch (equal lengths) rather than packed."""
        return len(set(self.segment_lengths)) == 1

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Neighbouring segments of equal length: their number, and their tokens each."""
        return tuple((len(list(run)), length) for length, run in groupby(self.segment_lengths))

    def split_runs(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Cut tokens (of any axes behind the second one) into views (s, N, ...), one per run."""
        if self.is_batch:
            return (tokens,)
        parts = tokens.split([number * length for number, length in self.runs], dim=1)
        shapes = [(number, length, *tokens.shape[2:]) for number, length in self.runs]
        return tuple(part.view(shape) for part, shape in zip(parts, shapes, strict=True))

    def join_runs(self, runs: Sequence[Tensor]) -> Tensor:
        """Undo `split_runs`."""
        return runs[0] if self.is_batch else torch.cat([run.flatten(0, 1) for run in runs])[None]

    def as_batch(self, packed: Tensor) -> Tensor:
        """View packed tokens (1, N_total, D) as (S, N, D) if all segments are equally long, else return them."""
        return packed.view(len(self.offsets), self.segment_lengths[0], -1) if self.is_batch else packed

    def split_experts(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Cut tokens into views that share one set of modulation values each: text, video, text, video, ...

        Every run gives one pair (s, L, D), (s, N - L, D); a batch is one run.
        """
        return tuple(
            part
            for run in self.split_runs(tokens)
            for part in run.split([self.num_text_tokens, run.shape[1] - self.num_text_tokens], dim=1)
        )

    def join_experts(self, parts: Sequence[Tensor]) -> Tensor:
        """Undo `split_experts`."""
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return self.join_runs([torch.cat(pair, dim=1) for pair in pairs])

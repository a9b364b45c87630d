"""Where text and video tokens lie in the joint token tensor.

A segment is one sample: its text tokens first, then its video tokens, row-major with frames outermost. Segments of
equal length are the rows of a batch, tokens (S, N, D); segments of unequal length are packed behind each other,
(1, N_total, D).

Axes: S segments, N tokens, L text tokens, D width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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

    def as_batch(self, packed: Tensor) -> Tensor:
        """View packed tokens (1, N_total, D) as (S, N, D) if all segments are equally long, else return them."""
        return packed.view(len(self.offsets), self.segment_lengths[0], -1) if self.is_batch else packed

    def split_experts(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Cut tokens into views that share one set of modulation values, in order: text, video, text, video, ...

        A batch gives one pair (S, L, D), (S, N - L, D); a pack gives one pair (1, L, D), (1, n, D) per segment.
        """
        num_pairs = 1 if self.is_batch else len(self.grids_THW)
        sizes = [size for grid in self.grids_THW[:num_pairs] for size in (self.num_text_tokens, math.prod(grid))]
        return tokens.split(sizes, dim=1)

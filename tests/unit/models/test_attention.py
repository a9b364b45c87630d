"""The one attention function against its formula."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from cogvideox.models.attention import AttentionBackend, attention
from cogvideox.models.sequence_layout import SequenceLayout


def by_formula(query: Tensor, key: Tensor, value: Tensor, segment_of_token: Tensor) -> Tensor:
    """Softmax over all tokens of the same segment, with an explicit mask."""
    scores = torch.einsum("snkd,smkd->sknm", query, key) / math.sqrt(query.shape[-1])
    scores = scores.masked_fill(segment_of_token[:, None] != segment_of_token, -math.inf)
    return torch.einsum("sknm,smkd->snkd", scores.softmax(-1), value)


@pytest.mark.parametrize(
    ("grids", "shape"),
    [([(1, 2, 3)] * 2, (2, 9)), ([(1, 2, 3), (2, 1, 1), (1, 5, 1)], (1, 22)), ([(1, 2, 3), (3, 2, 1)], (2, 9))],
    ids=["batch", "pack", "batch of different grids"],
)
@pytest.mark.parametrize("backend", get_args(AttentionBackend))
def test_formula(grids: list[tuple[int, int, int]], shape: tuple[int, int], backend: AttentionBackend) -> None:
    layout = SequenceLayout.of_grids(3, grids)
    query, key, value = torch.randn(3, *shape, 2, 4, dtype=torch.float64)
    lengths = torch.tensor(layout.segment_lengths)
    segments = torch.zeros(shape[1]) if layout.is_batch else torch.arange(len(grids)).repeat_interleave(lengths)
    attended = attention(query, key, value, layout, backend=backend)
    torch.testing.assert_close(attended, by_formula(query, key, value, segments))

"""The one attention function against its formula."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from cogvideox.models import attention as attention_module
from cogvideox.models.attention import AttentionBackend, attention, choose_backend
from cogvideox.models.sequence_layout import SequenceLayout

RUNS_IN_FLOAT64 = [backend for backend in get_args(AttentionBackend) if backend not in ("amx", "varlen")]


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
@pytest.mark.parametrize("backend", RUNS_IN_FLOAT64)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_formula(grids: list[tuple[int, int, int]], shape: tuple[int, int], backend: AttentionBackend) -> None:
    layout = SequenceLayout.of_grids(3, grids)
    query, key, value = torch.randn(3, *shape, 2, 4, dtype=torch.float64)
    lengths = torch.tensor(layout.segment_lengths)
    segments = torch.zeros(shape[1]) if layout.is_batch else torch.arange(len(grids)).repeat_interleave(lengths)
    attended = attention(query, key, value, layout, backend=backend)
    tolerances = {"atol": 1e-6, "rtol": 1e-5} if backend == "flex" else {}  # it computes in float32 inside
    torch.testing.assert_close(attended, by_formula(query, key, value, segments), **tolerances)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="varlen attention needs CUDA")
def test_varlen_equals_sdpa() -> None:
    layout = SequenceLayout.of_grids(3, [(1, 2, 3), (2, 1, 1), (1, 5, 1)])
    query, key, value = torch.randn(3, 1, 22, 2, 64, dtype=torch.bfloat16, device="cuda")
    expected = attention(query, key, value, layout)
    torch.testing.assert_close(attention(query, key, value, layout, backend="varlen"), expected, atol=2e-2, rtol=2e-2)


def test_varlen_says_what_it_needs() -> None:
    layout = SequenceLayout.of_grids(3, [(1, 2, 3)])
    with pytest.raises(ValueError, match="varlen needs CUDA"):
        attention(*torch.randn(3, 1, 9, 2, 4), layout, backend="varlen")


@pytest.mark.parametrize("max_block_rows", [1, 4, 100])
def test_blockwise_with_any_size_of_blocks(monkeypatch, max_block_rows: int) -> None:
    monkeypatch.setattr(attention_module, "MAX_BLOCK_ROWS", max_block_rows)
    layout = SequenceLayout.of_grids(3, [(1, 2, 3)] * 2)
    query, key, value = torch.randn(3, 2, 9, 3, 4, dtype=torch.float64)
    attended = attention(query, key, value, layout, backend="blockwise")
    torch.testing.assert_close(attended, by_formula(query, key, value, torch.zeros(9)))


def test_blockwise_refuses_gradients() -> None:
    layout = SequenceLayout.of_grids(3, [(1, 2, 3)])
    with pytest.raises(ValueError, match="no gradients"):
        attention(*torch.randn(3, 1, 9, 2, 4, requires_grad=True), layout, backend="blockwise")


def test_choice(monkeypatch) -> None:
    query = torch.empty(1, 600, 2, 64, dtype=torch.bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with torch.no_grad():
        assert choose_backend(query, lambda: 8.0) == "blockwise"
        assert choose_backend(query, lambda: 11.0) == "sdpa", "large scores must not be rounded"
        assert (
            choose_backend(query[:, :500], lambda: 8.0) == "sdpa"
            and choose_backend(query.float(), lambda: 8.0) == "sdpa"
        )
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
        assert choose_backend(query, lambda: 8.0) == "sdpa"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert choose_backend(query, lambda: 8.0) == "sdpa", "gradients"

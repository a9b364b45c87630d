"""Expert norms against their formula, with distinct values for text and video and for every segment."""

import torch
from torch import Tensor

from cogvideox.models.expert_norm import ExpertNorm, OutputNorm, gated_residual
from cogvideox.models.sequence_layout import SequenceLayout

WIDTH, NUM_TEXT = 6, 2
BATCH = SequenceLayout.of_grids(NUM_TEXT, [(1, 1, 3), (3, 1, 1)])
PACK = SequenceLayout.of_grids(NUM_TEXT, [(1, 1, 3), (2, 2, 1)])


def make_norm() -> ExpertNorm:
    torch.manual_seed(0)
    norm = ExpertNorm(5, WIDTH, 1e-3, True).double()
    with torch.no_grad():
        norm.norm.weight.normal_()
        norm.norm.bias.normal_()
    return norm


def by_formula(norm: ExpertNorm, tokens: Tensor, modulation: Tensor, update: Tensor) -> tuple[Tensor, Tensor]:
    """Modulated tokens and gated residual of one segment (N, D), with its modulation (6, D)."""
    modulated, residual = torch.empty_like(tokens), torch.empty_like(tokens)
    for index, token in enumerate(tokens):
        shift, scale, gate = modulation[3:] if index < NUM_TEXT else modulation[:3]
        normalized = (token - token.mean()) / (token.var(unbiased=False) + 1e-3).sqrt()
        modulated[index] = (normalized * norm.norm.weight + norm.norm.bias) * (1 + scale) + shift
        residual[index] = token + gate * update[index]
    return modulated, residual


def check(layout: SequenceLayout, num_rows: int) -> None:
    norm = make_norm()
    shape = (2, 5, WIDTH) if layout.is_batch else (1, 5 + 6, WIDTH)
    tokens, update = torch.randn(2, *shape, dtype=torch.float64)
    modulation = norm.modulation(torch.randn(num_rows, 5, dtype=torch.float64))
    assert modulation.shape == (num_rows, 6, WIDTH)
    modulated = norm(tokens, modulation, layout).view(-1, WIDTH)
    residual = gated_residual(tokens, update, modulation, layout).view(-1, WIDTH)
    tokens, update = tokens.view(-1, WIDTH), update.view(-1, WIDTH)
    for index, (offset, length) in enumerate(zip(layout.offsets, layout.segment_lengths, strict=True)):
        part = slice(offset, offset + length)
        expected = by_formula(norm, tokens[part], modulation[min(index, num_rows - 1)], update[part])
        torch.testing.assert_close((modulated[part], residual[part]), expected)


def test_batch() -> None:
    check(BATCH, 2)


def test_pack() -> None:
    assert not PACK.is_batch
    check(PACK, 2)


def test_one_timestep_for_all_segments() -> None:
    check(BATCH, 1)
    check(PACK, 1)


def test_output_norm() -> None:
    torch.manual_seed(0)
    norm = OutputNorm(5, WIDTH, 1e-3, True).double()
    with torch.no_grad():
        norm.norm.weight.normal_()
        norm.norm.bias.normal_()
    tokens = torch.randn(2, 4, WIDTH, dtype=torch.float64)
    modulation = norm.modulation(torch.randn(2, 5, dtype=torch.float64))
    expected = norm.norm(tokens) * (1 + modulation[:, 1:]) + modulation[:, :1]
    torch.testing.assert_close(norm(tokens, modulation), expected)

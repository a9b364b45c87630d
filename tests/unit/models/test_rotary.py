"""Rotary tables and rotation by their formulas."""

import math

import pytest
import torch

from cogvideox.configs import TransformerConfig
from cogvideox.models.rotary import rotary_table, rotate
from cogvideox.models.sequence_layout import SequenceLayout

CONFIG = TransformerConfig(
    num_attention_heads=1, sample_height=12, sample_width=20, use_rotary_positional_embeddings=True
)  # native token grid 6 x 10
CPU = torch.device("cpu")


def test_native_size_counts_frames_rows_and_columns() -> None:
    layout = SequenceLayout.of_grids(0, [(4, 6, 10)])
    angles = rotary_table(CONFIG, layout, CPU)[0, :, 0].angle().view(4, 6, 10, 32)
    frame, row, column = 3, 2, 1  # angles below pi, so they do not wrap
    expected = [frame * 10_000 ** (-2 * index / 16) for index in range(8)]
    expected += [row * 10_000 ** (-2 * index / 24) for index in range(12)]
    expected += [column * 10_000 ** (-2 * index / 24) for index in range(12)]
    torch.testing.assert_close(angles[frame, row, column], torch.tensor(expected))


def test_smaller_size_is_stretched_over_the_native_window() -> None:
    layout = SequenceLayout.of_grids(0, [(1, 3, 3)])  # a square: the window is 6 x 6, columns 2 to 8
    angles = rotary_table(CONFIG, layout, CPU)[0, :, 0].angle().view(3, 3, 32)
    torch.testing.assert_close(angles[:, 0, 8 + 1], torch.tensor([0, 2, 4]) * 10_000 ** (-1 / 12))
    stop = 8 * 2 / 3  # the published end: stretched by its distance from 0, not from the window's start
    torch.testing.assert_close(angles[0, :, 20 + 3], torch.tensor([2, (2 + stop) / 2, stop]) * 10_000 ** (-3 / 12))


def test_text_is_not_rotated() -> None:
    table = rotary_table(CONFIG, SequenceLayout.of_grids(5, [(2, 6, 10)]), CPU)
    x = torch.randn(1, 125, 3, 64)
    turned = rotate(x, table)
    assert torch.equal(turned[:, :5], x[:, :5])
    assert not torch.isclose(turned[:, 70:], x[:, 70:]).all()


def test_table_shapes_broadcast_against_heads() -> None:
    same, different = (2, 2, 3), (3, 2, 2)
    shapes = {
        (same, same): (1, 13, 1, 32),
        (same, different): (2, 13, 1, 32),
        (same, (1, 1, 1), same): (1, 13 + 2 + 13, 1, 32),
    }
    for grids, shape in shapes.items():
        table = rotary_table(CONFIG, SequenceLayout.of_grids(1, list(grids)), CPU)
        assert table.shape == shape
        assert table.dtype == torch.complex64


def test_neighbouring_channels_turn_by_the_angle() -> None:
    angle = 0.3
    x = torch.tensor([[[[1.0, 0.0, 0.0, 2.0]]]])
    turned = rotate(x, torch.polar(torch.ones(2), torch.tensor([angle, -angle])))
    expected = [math.cos(angle), math.sin(angle), 2 * math.sin(angle), 2 * math.cos(angle)]
    assert turned.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_result_keeps_the_dtype_and_is_rounded_once(dtype: torch.dtype) -> None:
    table = rotary_table(CONFIG, SequenceLayout.of_grids(0, [(2, 6, 10)]), CPU)
    x = torch.randn(1, 120, 2, 64).to(dtype)
    turned = rotate(x, table)
    assert turned.dtype == dtype
    exact = rotate(x.double(), table)
    assert ((turned.double() - exact).abs() <= 0.51 * torch.finfo(dtype).eps * exact.abs() + 1e-6).all()

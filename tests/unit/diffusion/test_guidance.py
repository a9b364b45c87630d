"""Guidance: combination and the four modes."""

import pytest
import torch

from cogvideox.diffusion.guidance import GuidanceMode, guidance_scale_at, guide

# step_index, train_timestep of 50 steps, scale expected for 6.0. The published wave: measured on the public code.
EXPECTED: list[tuple[GuidanceMode, int, int, float]] = [
    ("constant", 0, 999, 6.0),
    ("constant", 49, 19, 6.0),
    ("published", 0, 999, 2.29),
    ("published", 1, 979, 2.54),
    ("published", 2, 959, 6.97),
    ("published", 3, 939, 6.42),
    ("published", 4, 919, 2.79),
    ("published", 5, 899, 4.27),
    ("published", 6, 879, 1.04),
    ("published", 7, 859, 4.17),
    ("published", 8, 839, 1.62),
    ("published", 9, 819, 6.98),
    ("rising", 0, 999, 1.0),
    ("rising", 25, 499, 1.01),
    ("rising", 40, 199, 2.45),
    ("rising", 49, 19, 6.86),
    ("falling", 0, 999, 7.0),
    ("falling", 10, 799, 2.45),
    ("falling", 25, 499, 1.01),
    ("falling", 49, 19, 1.0),
]


@pytest.mark.parametrize(("mode", "step_index", "train_timestep", "expected"), EXPECTED)
def test_scale(mode: GuidanceMode, step_index: int, train_timestep: int, expected: float) -> None:
    scale = guidance_scale_at(mode, step_index=step_index, num_steps=50, train_timestep=train_timestep, scale=6.0)
    assert scale == pytest.approx(expected, abs=0.0051)


def test_guide_interpolates_and_extrapolates() -> None:
    unconditional, conditional = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.0])
    assert guide(unconditional, conditional, 0.0).tolist() == [1, 2]
    assert guide(unconditional, conditional, 1.0).tolist() == [2, 0]
    assert guide(unconditional, conditional, 6.0).tolist() == [7, -10]


def test_guide_works_in_float32() -> None:
    unconditional, conditional = torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0078125]).bfloat16()
    guided = guide(unconditional, conditional, 6.1)
    assert guided.dtype == torch.float32
    assert guided.item() == pytest.approx(1 + 6.1 * 0.0078125, abs=1e-6)  # bfloat16 would give 1.0469
    assert guide(unconditional.double(), conditional.double(), 2.0).dtype == torch.float64

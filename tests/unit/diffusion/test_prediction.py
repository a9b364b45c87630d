"""Conversions at the two ends of the schedule, and their dtypes."""

import pytest
import torch

from cogvideox.diffusion.prediction import (
    add_noise,
    clean_from_velocity,
    noise_from_velocity,
    velocity_from_clean_and_noise,
)

CLEAN, NOISE = torch.randn(2, 2, 3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_ends_of_the_schedule() -> None:
    assert torch.equal(add_noise(CLEAN, NOISE, 1.0), CLEAN)
    assert torch.equal(add_noise(CLEAN, NOISE, 0.0), NOISE)
    assert torch.equal(velocity_from_clean_and_noise(CLEAN, NOISE, 1.0), NOISE)
    assert torch.equal(velocity_from_clean_and_noise(CLEAN, NOISE, 0.0), -CLEAN)


def test_one_share_per_sample_equals_numbers() -> None:
    shares = torch.tensor([0.3, 0.9], dtype=torch.float64)
    for function in (add_noise, velocity_from_clean_and_noise, clean_from_velocity, noise_from_velocity):
        together = function(CLEAN, NOISE, shares)
        for index, share in enumerate((0.3, 0.9)):
            torch.testing.assert_close(together[index], function(CLEAN[index], NOISE[index], share))


@pytest.mark.parametrize(
    ("sample", "result"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_per_sample_results_are_float32_at_least(sample: torch.dtype, result: torch.dtype) -> None:
    shares = torch.tensor([0.3, 0.9], dtype=torch.float64)
    assert add_noise(CLEAN.to(sample), NOISE.to(sample), shares).dtype == result

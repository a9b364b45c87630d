"""The training loss."""

import pytest
import torch

from cogvideox.configs import NoiseScheduleConfig
from cogvideox.diffusion.loss import velocity_loss, velocity_losses
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import add_noise, clean_from_velocity, velocity_from_clean_and_noise


def test_mean_over_elements_then_over_samples() -> None:
    predicted = [torch.zeros(1, 1, 1, 1), torch.zeros(1, 2, 2, 2)]
    target = [torch.full((1, 1, 1, 1), 2.0), torch.full((1, 2, 2, 2), 4.0)]
    assert velocity_losses(predicted, target).tolist() == [4, 16]
    assert velocity_loss(predicted, target).item() == 10  # not weighted by size, which would give 14.67


def test_batch_equals_its_samples() -> None:
    predicted, target = torch.randn(2, 3, 4, 2, 5, 5)
    torch.testing.assert_close(velocity_losses(predicted, target), velocity_losses(list(predicted), list(target)))
    torch.testing.assert_close(velocity_loss(predicted, target), (predicted - target).square().mean())


def test_half_precision_is_summed_in_float32() -> None:
    predicted, target = torch.randn(2, 2, 4, 4, 16, 16).bfloat16()
    losses = velocity_losses(predicted, target)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, velocity_losses(predicted.float(), target.float()))


def test_shapes_must_agree() -> None:
    with pytest.raises(AssertionError):
        velocity_losses(torch.zeros(2, 4, 1, 2, 2), torch.zeros(2, 4, 1, 2, 1))
    with pytest.raises(ValueError):
        velocity_losses(torch.zeros(2, 4, 1, 2, 2), torch.zeros(3, 4, 1, 2, 2))


def test_equals_the_published_weighted_loss_of_the_clean_sample() -> None:
    schedule = NoiseSchedule(NoiseScheduleConfig())
    alpha_bar = schedule.alpha_bar_at(torch.tensor([3, 500, 999]))
    clean, noise, predicted = torch.randn(3, 3, 4, 2, 5, 5, dtype=torch.float64)
    noisy = add_noise(clean, noise, alpha_bar)
    predicted_clean = clean_from_velocity(noisy, predicted, alpha_bar)
    published = ((predicted_clean - clean) ** 2).flatten(1).mean(1) / (1 - alpha_bar)
    losses = velocity_losses(predicted, velocity_from_clean_and_noise(clean, noise, alpha_bar))
    torch.testing.assert_close(losses.double(), published, atol=1e-6, rtol=1e-6)

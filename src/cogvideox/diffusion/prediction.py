"""Conversions between clean sample, noise, noisy sample and velocity.

With a = alpha-bar: noisy = sqrt(a) clean + sqrt(1-a) noise, velocity = sqrt(a) noise - sqrt(1-a) clean (Salimans and
Ho, arXiv 2202.00512), a rotation in the plane of clean and noise.

``alpha_bar`` is a number or one value per sample (B,). With a tensor, results are float32 at least.
"""

import math
from typing import Literal

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction"]


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """Return the noisy sample."""
    signal, sigma = _amplitudes(alpha_bar, clean)
    return signal * clean + sigma * noise


def velocity_from_clean_and_noise(clean: Tensor, noise: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """Return the velocity, which is what the model learns to predict."""
    signal, sigma = _amplitudes(alpha_bar, clean)
    return signal * noise - sigma * clean


def clean_from_velocity(noisy: Tensor, velocity: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """Return the clean sample that a velocity at a noisy sample stands for."""
    signal, sigma = _amplitudes(alpha_bar, noisy)
    return signal * noisy - sigma * velocity


def clean_from_noise(noisy: Tensor, noise: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """Return the clean sample that a noise at a noisy sample stands for; alpha-bar must be above 0."""
    signal, sigma = _amplitudes(alpha_bar, noisy)
    return (noisy - sigma * noise) / signal


def noise_from_velocity(noisy: Tensor, velocity: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """Return the noise that a velocity at a noisy sample stands for."""
    signal, sigma = _amplitudes(alpha_bar, noisy)
    return sigma * noisy + signal * velocity


def velocity_from_clean(noisy: Tensor, clean: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """Return the velocity that a clean sample at a noisy sample stands for; alpha-bar must be below 1."""
    signal, sigma = _amplitudes(alpha_bar, noisy)
    return (signal * noisy - clean) / sigma


def clean_from_prediction(
    noisy: Tensor, prediction: Tensor, alpha_bar: float | Tensor, prediction_type: PredictionType
) -> Tensor:
    """Return the clean sample that a model's output at a noisy sample stands for."""
    if prediction_type == "v_prediction":
        return clean_from_velocity(noisy, prediction, alpha_bar)
    return prediction if prediction_type == "sample" else clean_from_noise(noisy, prediction, alpha_bar)


def _amplitudes(alpha_bar: float | Tensor, like: Tensor) -> tuple[float, float] | tuple[Tensor, Tensor]:
    """Return sqrt(a) and sqrt(1-a), shaped to broadcast against samples."""
    if isinstance(alpha_bar, Tensor):
        dtype = torch.promote_types(like.dtype, torch.float32)
        shape = (-1, *(1,) * (like.ndim - 1))
        # Roots in the given precision: in float32, 1 - a loses digits where there is little noise. Two conversions
        # because not every device has float64.
        signal, sigma = (part.sqrt().to(dtype).to(like.device).view(shape) for part in (alpha_bar, 1 - alpha_bar))
        return signal, sigma
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)

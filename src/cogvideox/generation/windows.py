"""Clips longer than a model was trained for: overlapping windows, fused in latent space at every step, decoded once.

After MultiDiffusion (Bar-Tal et al., arXiv 2302.08113), over time: each window is predicted as a clip of its own, and
where windows overlap their predictions are averaged. Nothing is encoded again, so no colours drift by that.
"""

import torch
from torch import Tensor

from cogvideox.generation.denoise import Predict
from cogvideox.generation.model_limits import window_starts


def repeat_noise(noise: Tensor, window_latent_frames: int) -> Tensor:
    """Return noise (B, C, T, H, W) whose frames after the first window are that window's, in orders of their own.

    What is alike in all windows stays alike in the video (FreeNoise, Qiu et al., arXiv 2310.15169).
    """
    order = torch.Generator().manual_seed(0)
    frames = list(range(min(window_latent_frames, noise.shape[2])))
    while len(frames) < noise.shape[2]:
        # The first latent stands for one frame, others for four.
        frames += (1 + torch.randperm(window_latent_frames - 1, generator=order)).tolist()
    return noise[:, :, frames[: noise.shape[2]]]


class WindowedPredict:
    """A `cogvideox.generation.denoise.Predict` for clips of any length by one for clips of a window's length."""

    def __init__(self, predict: Predict, window_latent_frames: int) -> None:
        """Predict windows of so many latent frames."""
        self._predict, self._size = predict, window_latent_frames

    def __call__(self, latents: Tensor, text: Tensor, train_timestep: Tensor) -> Tensor:
        """Predict as the transformer does, for latents (B, C, T, H, W) with any T."""
        total, weights = None, latents.new_zeros(latents.shape[2], dtype=torch.float32)
        for start in window_starts(latents.shape[2], self._size):
            window = slice(start, start + self._size)
            output = self._predict(latents[:, :, window], text, train_timestep).float()
            if total is None:
                total = output.new_zeros(*output.shape[:2], latents.shape[2], *output.shape[3:])
            weight = self._weights(output.shape[2], start == 0).to(latents.device)
            total[:, :, window] += weight[:, None, None] * output
            weights[window] += weight
        assert total is not None
        return (total / weights[:, None, None]).to(latents.dtype)

    @staticmethod
    def _weights(num_frames: int, is_first: bool) -> Tensor:
        """Return a ramp up and down; a clip's first latent, which stands for one frame, not four, counts least."""
        ramp = torch.minimum(torch.arange(num_frames) + 1.0, num_frames - torch.arange(num_frames))
        if not is_first:
            ramp[0] = 1e-3
        return ramp

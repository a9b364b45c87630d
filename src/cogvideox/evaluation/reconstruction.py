"""How well the autoencoder reconstructs: PSNR and flicker."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cogvideox.data.stage_world import Art, render_scene, sample_scene
from cogvideox.models.autoencoder import VideoAutoencoder

CLIP_SEED_DOMAIN = 880_000_003
"""First entry of the seeds of the clips scored here, which no training uses."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionScores:
    """Over held-out clips, rendered and reconstructed."""

    num_clips: int
    psnr_mean_db: float
    """Mean of the clips' own ratios."""
    psnr_worst_db: float
    """Of the worst clip."""
    flicker_made: float
    """Mean absolute difference of neighbouring frames of the reconstructions, of a range of 2."""
    flicker_real: float
    """The same of the renders."""

    @property
    def flicker_ratio(self) -> float:
        """Above 1 the reconstructions flicker, below 1 they lose motion."""
        return self.flicker_made / self.flicker_real


def psnr_db(made: Tensor, real: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of two videos (..., T, H, W) in [-1, 1], a scalar.

    The mean squared error is taken over all elements, then one ratio is formed.
    """
    error = (made.float() - real.float()).square().mean()
    return 10 * torch.log10(4.0 / error.clamp_min(1e-12))


def flicker(video: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring frames of (..., T, H, W), a scalar."""
    return (video[..., 1:, :, :].float() - video[..., :-1, :, :].float()).abs().mean()


@torch.no_grad()
def evaluate_reconstruction(
    autoencoder: VideoAutoencoder,
    *,
    num_clips: int,
    seed: int,
    art: Art,
    batch_size: int = 4,
    on_progress: Callable[[int, int], None] | None = None,
) -> ReconstructionScores:
    """Encode (to the posterior's mode) and decode held-out renders, 17 frames of 96x64 px.

    Args:
        autoencoder: on any device, in any dtype.
        num_clips: how many clips, at least 1.
        seed: of the clips.
        art: draws them; scenes are limited to the actors it holds.
        batch_size: clips reconstructed at a time.
        on_progress: called with the clips done so far and `num_clips`.

    Raises:
        ValueError: a number below 1.
    """
    for argument, value in (("num_clips", num_clips), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{argument}: expected at least 1, got {value}")
    device = next(autoencoder.parameters()).device
    rows: list[tuple[float, float, float]] = []
    for first in range(0, num_clips, batch_size):
        clips = [_render_clip(seed, index, art) for index in range(first, min(first + batch_size, num_clips))]
        real = torch.from_numpy(np.stack(clips)).movedim(-1, 1).float().to(device) / 127.5 - 1
        made = autoencoder.decode(autoencoder.encode(real.to(autoencoder.dtype)).mode()).float().clamp(-1, 1)
        for one_made, one_real in zip(made, real, strict=True):
            rows.append((float(psnr_db(one_made, one_real)), float(flicker(one_made)), float(flicker(one_real))))
        if on_progress is not None:
            on_progress(len(rows), num_clips)
    psnrs_db, made_flickers, real_flickers = (np.array(column) for column in zip(*rows, strict=True))
    return ReconstructionScores(
        num_clips=num_clips,
        psnr_mean_db=float(psnrs_db.mean()),
        psnr_worst_db=float(psnrs_db.min()),
        flicker_made=float(made_flickers.mean()),
        flicker_real=float(real_flickers.mean()),
    )


def _render_clip(seed: int, index: int, art: Art) -> np.ndarray:
    rng = np.random.default_rng((CLIP_SEED_DOMAIN, seed, index))
    return render_scene(sample_scene(rng, split="held_out", actors=art.actors), art)

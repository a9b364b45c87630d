"""Pictures of latents while a video is made: one linear map from latent channels to colours, fitted for each VAE.

The map is a least-squares fit on synthetic clips of coloured fields that the VAE itself encodes. It takes a fraction of
a millisecond where decoding takes seconds, and is good enough to see what comes.

Axes: C latent channels, T latent frames, H W latent rows and columns.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from cogvideox.durable_files import replacing
from cogvideox.models.autoencoder import VideoAutoencoder

NUM_FIT_CLIPS = 24
FIT_LATENTS = 8
"""Height and width of the synthetic clips."""
FIT_LATENT_FRAMES = 2
"""A clip's first latent stands for one frame, others for several."""
RIDGE = 1e-3
PREVIEW_PX = 160
"""Longer side."""
MAX_PREVIEW_FRAMES = 12
MAX_SHARE = 0.01
"""Of the time that previews may take."""
MIN_PAUSE_S = 0.7
FIRST_PAUSE_S = 0.3
QUALITY = 70


@dataclass(frozen=True, kw_only=True)
class LatentColours:
    """What colour a latent has, about."""

    weights: Tensor
    """(C + 1, 3) float32: of scaled latents, and the constant, to colours in [-1, 1]."""
    explained: float
    """Share of the variance of the synthetic clips' colours, 0 to 1."""

    @classmethod
    @torch.no_grad()
    def fit(cls, autoencoder: VideoAutoencoder) -> Self:
        """Fit the map of a VAE: takes about as long as encoding some small clips."""
        config = autoencoder.config
        ratio, ratio_time = config.spatial_compression_ratio, config.temporal_compression_ratio
        num_frames = 1 + (FIT_LATENT_FRAMES - 1) * ratio_time
        latents, colours = [], []
        for index in range(NUM_FIT_CLIPS):
            clip = _coloured_clip(index, num_frames, FIT_LATENTS * ratio)
            pixels = clip[None].to(autoencoder.device, autoencoder.dtype)
            encoded = autoencoder.encode(pixels).mode().float().cpu()[0] * config.scaling_factor
            # The first frame is a latent frame of its own.
            rest = avg_pool3d(clip[:, 1:], (ratio_time, ratio, ratio))
            seen = torch.cat([avg_pool3d(clip[:, :1], (1, ratio, ratio)), rest], dim=1)
            latents.append(encoded.flatten(1).T)
            colours.append(seen.flatten(1).T)
        inputs, wanted = _with_one(torch.cat(latents)).double(), torch.cat(colours).double()
        scale = inputs.pow(2).mean(0)
        normal = inputs.T @ inputs + RIDGE * len(inputs) * torch.diag(scale)
        weights = torch.linalg.solve(normal, inputs.T @ wanted)
        error = (inputs @ weights - wanted).var() / wanted.var()
        return cls(weights=weights.float().contiguous(), explained=float(1 - error))

    @classmethod
    def of(cls, autoencoder: VideoAutoencoder, digest: str, folder: Path) -> Self:
        """Return the map of a VAE, kept in a folder by the digest of its weights."""
        path = folder / f"colours-{digest[:32]}.safetensors"
        try:
            kept = load_file(path)
            return cls(weights=kept["weights"], explained=float(kept["explained"]))
        except (OSError, SafetensorError, KeyError):
            fitted = cls.fit(autoencoder)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(save({"weights": fitted.weights, "explained": torch.tensor(fitted.explained)}))
        return fitted

    def frames(self, latents: Tensor) -> np.ndarray:
        """Return (T, H, W, 3) uint8 of scaled latents (C, T, H, W), as small as they are."""
        colours = _with_one(latents.float().cpu().movedim(0, -1)) @ self.weights
        return ((colours / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


class PreviewPace:
    """Says when the next preview is due, so that all of them together take no more than a hundredth of the time."""

    def __init__(self) -> None:
        """Let the first one come soon; after one quick step there is nothing to see yet."""
        self._next_s = time.monotonic() + FIRST_PAUSE_S

    @property
    def is_due(self) -> bool:
        """Whether to make one now."""
        return time.monotonic() >= self._next_s

    def made(self, cost_s: float) -> None:
        """Note how long one took."""
        self._next_s = time.monotonic() + max(MIN_PAUSE_S, cost_s / MAX_SHARE)


def save_preview(frames: np.ndarray, path: Path, *, fps: float) -> None:
    """Write frames (T, H, W, 3) uint8 as an endless WebP, larger than they are.

    Args:
        frames: some of them are left out if there are many.
        path: of the file.
        fps: frames per second of playback.
    """
    stride = -(-len(frames) // MAX_PREVIEW_FRAMES)
    scale = PREVIEW_PX / max(frames.shape[1:3])
    size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
    first, *others = (Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames[::stride])
    duration_ms = max(round(1000 * stride / fps), 20)
    # Method 0 is the fastest: a preview is looked at for a second.
    options = {"quality": QUALITY, "method": 0, "loop": 0, "duration": duration_ms}
    first.save(path, "WEBP", save_all=True, append_images=others, **options)


def _coloured_clip(seed: int, num_frames: int, size_px: int) -> Tensor:
    """Return (3, T, H, W) in [-1, 1]: fields of colour, some sharp, some smooth, brighter or darker at the end."""
    numbers = torch.Generator().manual_seed(seed)
    cells = 1 + seed % 4
    corners = torch.rand((1, 3, cells + 1, cells + 1), generator=numbers) * 2 - 1
    mode = "nearest" if seed % 2 else "bicubic"
    picture = interpolate(corners, size=(size_px, size_px), mode=mode)[0]
    change = torch.rand(3, generator=numbers) * 0.4 - 0.2
    times = torch.linspace(0, 1, num_frames)
    return (picture[:, None] + (change[:, None] * times)[:, :, None, None]).clamp(-1, 1)


def _with_one(latents: Tensor) -> Tensor:
    return torch.cat([latents, latents.new_ones(*latents.shape[:-1], 1)], dim=-1)

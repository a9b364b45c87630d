"""From a planned sample to tensors: its latents and caption, and the picture that an image-to-video model sees.

All randomness of a sample comes from its own generator, so it is the same in whatever pack and process.

Axes: C latent channels, T latent frames, H W latent rows and columns.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cogvideox.data.caption_mixture import CaptionMixture
from cogvideox.data.clips import ClipTable
from cogvideox.data.latent_cache import CachedClip, LatentCache
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.training.step_plan import Sample
from cogvideox.training.transformer_recipe import ImageToVideoSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadedSample:
    """What the loss of one sample is computed from."""

    sample: Sample
    latents: Tensor
    """(C, T, H, W) float32, scaled, clean."""
    noise: Tensor
    """The same shape."""
    caption: str
    """Empty where it was dropped."""
    image_latents: Tensor | None = None
    """(C, T, H, W), for image-to-video models."""


class SampleLoader:
    """Reads samples from a latent cache; what cannot be read is reported once and left out."""

    def __init__(
        self,
        table: ClipTable,
        cache: LatentCache,
        *,
        scaling_factor: float,
        patch_size_t: int,
        caption_dropout: float,
        caption_mixture: CaptionMixture | None = None,
        image_encoder: "ImageEncoder | None" = None,
    ) -> None:
        """Read samples of ``table``.

        Args:
            table: the training set.
            cache: of its latents.
            scaling_factor: latents are multiplied by it.
            patch_size_t: latent frames of a patch; shorter clips begin with their first latent frame more than once.
            caption_dropout: share of empty captions.
            caption_mixture: of the kinds of captions; without, all wordings of a clip are taken alike.
            image_encoder: for image-to-video models.
        """
        self.table, self.cache = table, cache
        self.scaling_factor, self.patch_size_t = scaling_factor, patch_size_t
        self.caption_dropout, self.caption_mixture = caption_dropout, caption_mixture
        self.image_encoder = image_encoder
        self._reported: set[int] = set()

    def load(self, sample: Sample, rng: np.random.Generator) -> LoadedSample | None:
        """Return a sample; None if it cannot be read or is not finite."""
        row = sample.row
        try:
            cached = self.cache.read(self.table.clip_ids[row], self.table.versions[row], sample.shape)
            latents = self._draw_latents(cached, sample, rng)
        except ValueError as error:
            if not self.cache.is_rejected(self.table.clip_ids[row], self.table.versions[row], sample.shape):
                self._report(row, str(error))
            return None
        caption = self._draw_caption(row, rng)
        noise = torch.randn(latents.shape, generator=_torch_generator(rng))
        image_latents = None
        if self.image_encoder is not None:
            is_picture = sample.is_first_frame or sample.shape.num_frames == 1
            image_latents = self.image_encoder.condition(latents, cached.first_frame, rng, is_picture=is_picture)
        return LoadedSample(sample=sample, latents=latents, noise=noise, caption=caption, image_latents=image_latents)

    def _draw_latents(self, cached: CachedClip, sample: Sample, rng: np.random.Generator) -> Tensor:
        mean, log_variance = cached.mean, cached.log_variance
        if sample.is_first_frame:
            mean, log_variance = mean[:, :1], log_variance[:, :1]
        noise = torch.randn(mean.shape, generator=_torch_generator(rng))
        latents = self.scaling_factor * (mean + (0.5 * log_variance).exp() * noise)
        if not torch.isfinite(latents).all():
            raise ValueError("its latents are not finite")
        # Published finetuning does the same: one patch of a picture is that picture twice.
        num_padding_frames = -latents.shape[1] % self.patch_size_t
        return torch.cat([latents[:, :1]] * num_padding_frames + [latents], dim=1)

    def _draw_caption(self, row: int, rng: np.random.Generator) -> str:
        captions = self.table.captions[row]
        is_dropped = rng.random() < self.caption_dropout
        if self.caption_mixture is None:
            wording = int(rng.integers(len(captions)))
        else:
            wording = self.caption_mixture.draw(self.table.kinds(row), rng)
        return "" if is_dropped else captions[wording]

    def _report(self, row: int, reason: str) -> None:
        if row not in self._reported:
            self._reported.add(row)
            logger.warning("%s: left out: %s", self.table.clip_ids[row], reason)


class ImageEncoder:
    """Makes what an image-to-video model sees beside the noisy latents (paper, appendix D)."""

    def __init__(self, autoencoder: VideoAutoencoder, settings: ImageToVideoSettings) -> None:
        """Encode with an autoencoder whose configuration has the run's scaling factor."""
        self.autoencoder, self.settings = autoencoder, settings
        config = autoencoder.config
        self.latent_scale = config.scaling_factor
        # Parity: version 1.5 was trained with its images divided (tests/parity/test_tasks.py).
        self.image_scale = 1 / self.latent_scale if config.invert_scale_latents else self.latent_scale

    def condition(
        self, latents: Tensor, first_frame: Tensor, rng: np.random.Generator, *, is_picture: bool = False
    ) -> Tensor:
        """Return latents (C, T, H, W) that are zero where nothing is given.

        A sample sees its first frame, with noise of its own strength, or several of its first latents with the same
        noise, or nothing. Pictures see nothing: there would be nothing left to make.
        """
        settings = self.settings
        sigma = float(np.exp(rng.normal(settings.noise_log_mean, settings.noise_log_std)))
        is_dropped = rng.random() < settings.dropout
        continues = rng.random() < settings.continuation_share
        generator = _torch_generator(rng)
        condition = torch.zeros_like(latents)
        num_frames = latents.shape[1]
        if is_dropped or is_picture:
            return condition
        if continues:
            num_known = int(rng.integers(1, num_frames))
            known = latents[:, :num_known] * (self.image_scale / self.latent_scale)
            condition[:, :num_known] = known + sigma * torch.randn(known.shape, generator=generator)
        else:
            condition[:, :1] = self.encode(first_frame, sigma, generator)
        return condition

    @torch.no_grad()
    def encode(self, picture: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
        """Return scaled latents (C, 1, H, W) of a picture (3, 1, H, W) with noise of deviation ``sigma``."""
        pixels = picture + sigma * torch.randn(picture.shape, generator=generator)
        weight = next(self.autoencoder.parameters())
        posterior = self.autoencoder.encode(pixels[None].to(weight.device, weight.dtype))
        return self.image_scale * posterior.sample(generator)[0].float().cpu()


def _torch_generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**62)))

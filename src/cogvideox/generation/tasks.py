"""What a video is made of beside its text: where the loop starts, and what the transformer sees.

Axes: B videos, C latent channels, T latent frames, H W latent rows and columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from cogvideox.diffusion.noise_schedule import SamplingPlan
from cogvideox.diffusion.samplers import NoiseSource
from cogvideox.generation.model_limits import Task, check_source, check_strength, num_taken_steps
from cogvideox.generation.windows import repeat_noise
from cogvideox.media.geometry import num_frames_of_latents
from cogvideox.media.pictures import Fit, fit_pictures
from cogvideox.media.video import Video, read_video, to_tensor
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.tiling import Tiling


@dataclass(frozen=True)
class Run:
    """What every task starts from."""

    autoencoder: VideoAutoencoder
    """Encodes pictures."""
    rng: NoiseSource
    """Of the videos, drawn from in the order of the published pipelines."""
    shape: tuple[int, int, int, int]
    """(C, T, H, W) of the videos' latents."""
    num_padding_frames: int
    """Latent frames in front of these, dropped in the end (version 1.5)."""
    plan: SamplingPlan
    """All steps."""
    tiling: Tiling | None = None
    """How large pictures are encoded."""
    window_latent_frames: int | None = None
    """Of windows, if the videos are made of such."""

    def draw_noise(self) -> Tensor:
        """Return (B, C, padding + T, H, W)."""
        channels, time, height, width = self.shape
        shape = (len(self.rng.generators), channels, self.num_padding_frames + time, height, width)
        noise = self.rng.draw(shape, self.autoencoder.device)
        return noise if self.window_latent_frames is None else repeat_noise(noise, self.window_latent_frames)

    def encode(self, clips: Sequence[np.ndarray], fit: Fit) -> Tensor:
        """Draw latents (B, C, t, H, W), not scaled, of clips (T, H, W, 3) uint8 after fitting them."""
        ratio = self.autoencoder.config.spatial_compression_ratio
        height_px, width_px = self.shape[2] * ratio, self.shape[3] * ratio
        latents = []
        for clip, generator in zip(clips, self.rng.generators, strict=True):
            fitted = fit_pictures(clip, height_px=height_px, width_px=width_px, fit=fit)
            pixels = to_tensor(fitted)[None].to(self.autoencoder.device, self.autoencoder.dtype)
            latents.append(self.autoencoder.encode(pixels, tiling=self.tiling).sample(generator))
        return torch.cat(latents)


@dataclass(frozen=True)
class Start:
    """Where the loop starts."""

    latents: Tensor
    """(B, C, T, H, W) float32, as noisy as the plan's first step expects; clean if it has none."""
    plan: SamplingPlan
    """The steps to take."""
    image_latents: Tensor | None = None
    """(B, C, T, H, W) for the conditioning."""


class GenerationTask(Protocol):
    """One of the tasks below."""

    name: ClassVar[Task]

    def check(self, num_videos: int, num_frames: int) -> None:
        """Raise ValueError unless there is what ``num_videos`` of ``num_frames`` each need."""
        ...

    def start(self, run: Run) -> Start:
        """Prepare the loop."""
        ...


@dataclass(frozen=True)
class TextTask:
    """Text alone: start from noise."""

    name: ClassVar[Task] = "text-to-video"

    def check(self, num_videos: int, num_frames: int) -> None:
        """Accept anything."""

    def start(self, run: Run) -> Start:
        """Draw noise."""
        return Start(run.draw_noise(), run.plan)


@dataclass(frozen=True)
class ImageTask:
    """The first frame is given: its latent is seen at every step (paper section 4.2)."""

    images: tuple[np.ndarray, ...]
    """(H, W, 3) uint8 of each video."""
    fit: Fit = "crop"
    last_images: tuple[np.ndarray, ...] = ()
    """(H, W, 3) uint8 that the videos end with, for models that know; none for all others."""
    name: ClassVar[Task] = "image-to-video"

    def check(self, num_videos: int, num_frames: int) -> None:
        """Raise ValueError unless there is one image per video."""
        if len(self.images) != num_videos:
            raise ValueError(f"images: expected one per prompt ({num_videos}), got {len(self.images)}")
        if self.last_images and len(self.last_images) != num_videos:
            raise ValueError(f"last_images: expected one per prompt ({num_videos}), got {len(self.last_images)}")
        if self.last_images and num_frames == 1:
            raise ValueError("last_images: expected a video of more than one frame, got num_frames 1")

    def start(self, run: Run) -> Start:
        """Encode the images, then draw noise."""
        config = run.autoencoder.config
        # Parity: version 1.5 was trained with its images divided (tests/parity/test_tasks.py).
        scale = 1 / config.scaling_factor if config.invert_scale_latents else config.scaling_factor
        first = scale * run.encode([image[None] for image in self.images], self.fit)
        # Parity: the image is in the frame of the padding, if there is one (tests/parity/test_tasks.py).
        rest = first.new_zeros(*first.shape[:2], run.num_padding_frames + run.shape[1] - 1, *first.shape[3:])
        if self.last_images:
            rest[:, :, -1:] = scale * run.encode([image[None] for image in self.last_images], self.fit)
        return Start(run.draw_noise(), run.plan, torch.cat([first, rest], dim=2))


@dataclass(frozen=True)
class VideoTask:
    """A video is given: noise is added to it, and only the last steps are taken."""

    sources: tuple[np.ndarray, ...]
    """(T, H, W, 3) uint8 of each video."""
    strength: float
    """Share of the steps to take, 0 to 1."""
    fit: Fit = "crop"
    name: ClassVar[Task] = "video-to-video"

    def check(self, num_videos: int, num_frames: int) -> None:
        """Raise ValueError for a strength out of range, too few sources or too short ones."""
        check_strength(self.strength)
        if len(self.sources) != num_videos:
            raise ValueError(f"sources: expected one per prompt ({num_videos}), got {len(self.sources)}")
        for source in self.sources:
            check_source(len(source), num_frames)

    def start(self, run: Run) -> Start:
        """Encode the sources, then add noise."""
        config = run.autoencoder.config
        num_frames = num_frames_of_latents(run.shape[1], config.temporal_compression_ratio)
        encoded = run.encode([source[:num_frames] for source in self.sources], self.fit)
        clean = (config.scaling_factor * encoded).float()
        # What is dropped in the end resembles its neighbour; the published pipeline refuses these lengths.
        clean = torch.cat([clean[:, :, :1]] * run.num_padding_frames + [clean], dim=2)
        plan = run.plan.last(num_taken_steps(run.plan.num_steps, self.strength))
        if plan.num_steps == 0:
            return Start(clean, plan)
        alpha_bar = plan.alpha_bars[0]
        return Start(alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * run.draw_noise(), plan)


def read_source(source: Video | np.ndarray | str | Path, fps: float) -> Video:
    """Return a source as a video; an array plays at ``fps``. Raises ValueError if it cannot be read."""
    if isinstance(source, Video):
        return source
    return Video(source, fps) if isinstance(source, np.ndarray) else read_video(source)

"""Clips generated while a transformer is trained, to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.generation.conditioning import Conditioning
from cogvideox.generation.denoise import DenoiseState, denoise
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.media.video import to_frames, write_video
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.training.text_embeddings import TextEmbeddings
from cogvideox.training.transformer_recipe import SampleSettings

NUM_COLUMNS = 6


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """What is generated at every occasion, from the same noise."""

    prompts: Sequence[str]
    shape: tuple[int, int, int, int]
    """(C, T, H, W) of the latents, padding of temporal patches included."""
    num_padding_frames: int
    fps: float
    image_latents: Sequence[Tensor] | None = None
    """(C, 1, H, W) of each prompt, scaled, for image-to-video models."""


@torch.no_grad()
def generate_samples(
    model: ExpertTransformer,
    autoencoder: VideoAutoencoder,
    texts: TextEmbeddings,
    schedule: NoiseSchedule,
    request: SampleRequest,
    settings: SampleSettings,
    *,
    scaling_factor: float,
) -> list[np.ndarray]:
    """Return a video (T, H, W, 3) uint8 per prompt, one at a time as memory goes."""
    device = autoencoder.device
    videos = []
    for index, prompt in enumerate(request.prompts):
        conditioning = Conditioning(
            text=texts.get([prompt]).to(device),
            negative_text=texts.get([""]).to(device) if settings.guidance_scale > 1 else None,
            guidance_scale=settings.guidance_scale,
            image_latents=_whole_condition(request, index, device),
        )
        noise = torch.randn((1, *request.shape), generator=torch.Generator().manual_seed(index)).to(device)
        *_, state = denoise(model, DenoiseState(0, noise), schedule.plan(settings.num_steps), conditioning)
        clean = state.latents[:, :, request.num_padding_frames :]
        videos.append(to_frames(autoencoder.decode(clean / scaling_factor))[0])
    return videos


def _whole_condition(request: SampleRequest, index: int, device: torch.device) -> Tensor | None:
    if request.image_latents is None:
        return None
    condition = torch.zeros(1, *request.shape)
    condition[0, :, :1] = request.image_latents[index]
    return condition.to(device)


def write_sheet(path: Path, videos: Sequence[np.ndarray], prompts: Sequence[str], fps: float) -> None:
    """Write a contact sheet PNG, and beside it each video as an mp4."""
    save_contact_sheet(path, videos, num_columns=min(NUM_COLUMNS, len(videos[0])), titles=prompts)
    for index, video in enumerate(videos):
        write_video(path.with_name(f"{path.stem}_{index}.mp4"), iter([video]), fps=fps)

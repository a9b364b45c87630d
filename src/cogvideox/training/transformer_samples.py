"""Clips generated while a transformer is trained, to look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.generation.conditioning import Conditioning
from cogvideox.generation.denoise import DenoiseState, denoise
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.media.pictures import fit_pictures
from cogvideox.media.video import to_frames, to_tensor, write_video
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.training.sample_loading import ImageEncoder
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
    pictures: Sequence[Callable[[], Tensor]] | None = None
    """Of each prompt, for image-to-video models: what reads (3, 1, height, width) in [-1, 1], of any size."""


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
    image_encoder: ImageEncoder | None = None,
    uses_bfloat16: bool = False,
) -> list[np.ndarray]:
    """Return a video (T, H, W, 3) uint8 per prompt, one at a time as memory goes."""
    device = autoencoder.device
    videos = []
    for index, prompt in enumerate(request.prompts):
        conditioning = Conditioning(
            text=texts.get([prompt]).to(device, model.dtype),
            negative_text=texts.get([""]).to(device, model.dtype) if settings.guidance_scale > 1 else None,
            guidance_scale=settings.guidance_scale,
            image_latents=None
            if image_encoder is None
            else _condition(request, index, image_encoder).to(device, model.dtype),
        )
        noise = torch.randn((1, *request.shape), generator=torch.Generator().manual_seed(index)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16):
            *_, state = denoise(model, DenoiseState(0, noise), schedule.plan(settings.num_steps), conditioning)
        clean = state.latents[:, :, request.num_padding_frames :]
        videos.append(to_frames(autoencoder.decode(clean / scaling_factor))[0])
    return videos


def _condition(request: SampleRequest, index: int, encoder: ImageEncoder) -> Tensor:
    """Return the latents (1, C, T, H, W) of a picture in the first frame, zero behind it."""
    assert request.pictures is not None
    ratio = encoder.autoencoder.config.spatial_compression_ratio
    height_px, width_px = (ratio * side for side in request.shape[2:])
    frame = to_frames(request.pictures[index]()[None])[0]
    picture = to_tensor(fit_pictures(frame, height_px=height_px, width_px=width_px))
    condition = torch.zeros(1, *request.shape)
    condition[0, :, :1] = encoder.encode(picture, 0.0, torch.Generator().manual_seed(index))
    return condition


def write_sheet(path: Path, videos: Sequence[np.ndarray], prompts: Sequence[str], fps: float) -> None:
    """Write a contact sheet PNG, and beside it each video as an mp4."""
    save_contact_sheet(path, videos, num_columns=min(NUM_COLUMNS, len(videos[0])), titles=prompts)
    for index, video in enumerate(videos):
        write_video(path.with_name(f"{path.stem}_{index}.mp4"), iter([video]), fps=fps)

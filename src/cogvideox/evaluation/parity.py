"""Whether diffusers makes the same of a checkpoint on this machine: same weights, prompt and seed, stage by stage."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cogvideox.component_files import read_json
from cogvideox.errors import CheckpointError, MissingPackageError
from cogvideox.generation.generator import VideoGenerator
from cogvideox.media.video import to_frames

FULL_PRECISION_LIMITS = {"text embeddings": 1e-4, "latents": 1e-2, "frames": 1.0}
"""In float32: embeddings and latents relative to the largest value, frames in levels of 255, all at their maximum."""
HALF_PRECISION_LIMITS = {"text embeddings": 5e-2, "latents": None, "frames": 6.0}
"""In half precision, where both round differently and a chain of steps amplifies it: frames on average."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One stage of both."""

    stage: str
    difference: float
    limit: float | None
    """None: only reported."""
    unit: str

    @property
    def agrees(self) -> bool:
        """Whether the difference is what rounding explains."""
        return self.limit is None or self.difference <= self.limit


@dataclass(frozen=True)
class _Result:
    text: torch.Tensor
    latents: torch.Tensor
    """(B, C, T, H, W), without padding."""
    frames: np.ndarray


def compare_with_diffusers(
    directory: Path,
    *,
    prompt: str,
    seed: int,
    num_frames: int | None,
    height_px: int | None,
    width_px: int | None,
    num_steps: int,
    device: str,
    dtype: str,
) -> list[Comparison]:
    """Return the differences of text embeddings, latents and frames; each library has the memory for itself.

    Raises:
        CheckpointError, ValueError: as `VideoGenerator` does.
        ImportError: diffusers is not installed.
    """
    generator = VideoGenerator.load(directory, device=device, dtype=dtype)
    latent_shape = generator.limits.latent_shape(num_frames=num_frames, height_px=height_px, width_px=width_px)
    ratio = generator.limits.autoencoder.spatial_compression_ratio
    size = {"height_px": latent_shape[2] * ratio, "width_px": latent_shape[3] * ratio}
    frames = generator.limits.native_num_frames if num_frames is None else num_frames
    image = _picture(size["height_px"], size["width_px"]) if generator.limits.takes_image else None
    options: dict[str, Any] = {"num_frames": frames, "num_steps": num_steps, **size}
    ours = _run_ours(generator, prompt, image, seed, options)
    num_padding, tokens = generator.limits.num_padding_frames(latent_shape[1]), generator.max_prompt_tokens
    torch_dtype = generator.dtype
    del generator
    gc.collect()
    theirs = _run_diffusers(directory, prompt, image, seed, options, num_padding, tokens, device, torch_dtype)
    is_full = torch_dtype in (torch.float32, torch.float64)
    return list(_compare(ours, theirs, is_full=is_full))


def _run_ours(
    generator: VideoGenerator, prompt: str, image: np.ndarray | None, seed: int, options: dict[str, Any]
) -> _Result:
    text = generator.text_encoder.encode([prompt], generator.max_prompt_tokens)
    if image is None:
        latents = generator.text_to_latents([prompt], [seed], **options)
    else:
        latents = generator.image_to_latents([prompt], [image], [seed], **options)
    return _Result(text.float().cpu(), latents.float().cpu(), np.concatenate(list(generator.decode_frames(latents))))


@torch.no_grad()
def _run_diffusers(
    directory: Path,
    prompt: str,
    image: np.ndarray | None,
    seed: int,
    options: dict[str, Any],
    num_padding_frames: int,
    max_tokens: int,
    device: str,
    dtype: torch.dtype,
) -> _Result:
    try:
        import diffusers
        from transformers.utils import logging as transformers_logging
    except ImportError:
        raise MissingPackageError("verify-parity needs diffusers: pip install diffusers accelerate") from None
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    name = read_json(directory / "model_index.json")["_class_name"]
    if not hasattr(diffusers, str(name)):
        raise CheckpointError(f"{directory}/model_index.json: _class_name: diffusers has no {name!r}")
    pipeline = getattr(diffusers, name).from_pretrained(directory, dtype=dtype).to(device)
    pipeline.set_progress_bar_config(disable=True)
    text, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=max_tokens)
    arguments = {} if image is None else {"image": Image.fromarray(image)}
    latents = pipeline(
        prompt=prompt,
        num_frames=options["num_frames"],
        height=options["height_px"],
        width=options["width_px"],
        num_inference_steps=options["num_steps"],
        generator=torch.Generator().manual_seed(seed),
        max_sequence_length=max_tokens,
        output_type="latent",
        **arguments,
    ).frames[:, num_padding_frames:]
    frames = to_frames(pipeline.decode_latents(latents))[0]
    return _Result(text.float().cpu(), latents.movedim(1, 2).float().cpu(), frames)


def _compare(ours: _Result, theirs: _Result, *, is_full: bool) -> Iterator[Comparison]:
    limits = FULL_PRECISION_LIMITS if is_full else HALF_PRECISION_LIMITS
    stages = (("text embeddings", ours.text, theirs.text), ("latents", ours.latents, theirs.latents))
    for stage, first, second in stages:
        difference = float((first - second).abs().max() / second.abs().max())
        yield Comparison(stage=stage, difference=difference, limit=limits[stage], unit="of the largest value")
    if ours.frames.shape != theirs.frames.shape:
        raise ValueError(f"frames: ours have the shape {ours.frames.shape}, diffusers' {theirs.frames.shape}")
    levels = np.abs(ours.frames.astype(int) - theirs.frames)
    difference, kind = (levels.max(), "at most") if is_full else (levels.mean(), "on average")
    yield Comparison(stage="frames", difference=float(difference), limit=limits["frames"], unit=f"levels, {kind}")


def _picture(height_px: int, width_px: int) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 for image-to-video models: a bright disc before a gradient."""
    rows, columns = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    picture = np.stack([rows / height_px, columns / width_px, 1 - rows / height_px], axis=-1) * 180
    is_disc = (rows / height_px - 0.5) ** 2 + (columns / width_px - 0.5) ** 2 < 0.04
    picture[is_disc] = (250, 220, 60)
    return picture.astype(np.uint8)

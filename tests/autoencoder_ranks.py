"""The body of a process of a gloo group that shares a clip with others, and the same done alone, for its tests."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from cogvideox.configs import AutoencoderConfig, NormScope
from cogvideox.models.autoencoder import GaussianPosterior, VideoAutoencoder
from cogvideox.parallel.autoencoding import ParallelAutoencoder, SplitName
from cogvideox.parallel.frame_split import FrameSplit, sum_gradients
from random_checkpoint import randomise

CONFIG = AutoencoderConfig(block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2, latent_channels=4)
HEIGHT_PX, WIDTH_PX = 24, 16
FRAMES = {2: ([5, 12], [13, 4], [1, 8], [8, 8]), 3: ([5, 8, 4], [1, 4, 12], [4, 8, 4]), 4: ([1, 4, 4, 8],)}
"""Frames of every part of a clip, by the number of processes."""
LENGTHS = {2: (1, 9, 33), 3: (16, 33), 4: (17,)}
"""Frames of videos that are coded by as many processes."""


@dataclasses.dataclass(frozen=True)
class TrainingCase:
    """A clip cut in time, with gradients."""

    parts: list[int]
    scope: NormScope
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    dtype: torch.dtype = torch.float64

    @property
    def config(self) -> AutoencoderConfig:
        return dataclasses.replace(CONFIG, norm_scope=self.scope, **self.changes)

    @property
    def latent_parts(self) -> list[int]:
        ratio = self.config.temporal_compression_ratio
        return [part if ratio == 1 else part // ratio + part % ratio for part in self.parts]

    @property
    def name(self) -> str:
        changes = ",".join(f"{key}={value}" for key, value in self.changes.items())
        return f"{self.parts} {self.scope} {changes} {self.dtype}"


def training_cases(size: int) -> list[TrainingCase]:
    """Return the cases for so many processes."""
    cases = [TrainingCase(parts, scope) for parts in FRAMES[size] for scope in ("chunk", "clip", "frame")]
    first = FRAMES[size][0]
    cases += [TrainingCase(first, "clip", {"upsampling_order": "paper"})]
    cases += [TrainingCase(first, "chunk", dtype=torch.float32), TrainingCase(first, "clip", dtype=torch.float32)]
    cases += [TrainingCase(first, "clip", {"temporal_compression_ratio": 1})]
    return cases


def inference_cases(size: int) -> list[tuple[int, NormScope, SplitName]]:
    """Return lengths in frames, norm scopes and what is spread over so many processes."""
    return list(itertools.product(LENGTHS[size], ("chunk", "clip", "frame"), ("frames", "rows")))


def make_autoencoder(config: AutoencoderConfig, dtype: torch.dtype) -> VideoAutoencoder:
    """Return one with the same random weights in every process."""
    torch.manual_seed(0)
    model = VideoAutoencoder(config)
    randomise(model, seed=1)
    return model.to(dtype)


def random_video(num_frames: int, dtype: torch.dtype) -> Tensor:
    """Return two samples."""
    generator = torch.Generator().manual_seed(2)
    video = torch.rand(2, 3, num_frames, HEIGHT_PX, WIDTH_PX, dtype=torch.float64, generator=generator) * 2 - 1
    return video.to(dtype)


def loss(posterior: GaussianPosterior, pixels: Tensor, first: int, first_latent: int) -> Tensor:
    """Return a sum over places with weights of either sign that depend on where in the clip they are."""
    of_latents = _weigh(posterior.mean, first_latent) + _weigh(posterior.log_variance.square(), first_latent) / 7
    return _weigh(pixels, first) + of_latents


def _weigh(values: Tensor, first: int) -> Tensor:
    """Return the sum of (B, C, T, H, W) from frame ``first`` on, weighted by -1 to 1."""
    generator = torch.Generator().manual_seed(3)
    frames = [torch.rand(values[:, :, 0].shape, generator=generator) * 2 - 1 for _ in range(first + values.shape[2])]
    return (values * torch.stack(frames[first:], dim=2).to(values.dtype)).sum()


def train_alone(case: TrainingCase) -> dict[str, Any]:
    """Return latents, pixels and all gradients of a whole clip."""
    model, video = make_autoencoder(case.config, case.dtype), random_video(sum(case.parts), case.dtype)
    video.requires_grad_()
    is_whole = case.scope == "clip"
    posterior = model.encode(video, chunk_sizes=None if is_whole else case.parts)
    pixels = model.decode(posterior.mean, chunk_sizes=None if is_whole else case.latent_parts)
    loss(posterior, pixels, 0, 0).backward()
    return _results(model, video, posterior, pixels)


def train_part(case: TrainingCase) -> dict[str, Any]:
    """Return the same of this process's part; gradients of weights are summed over processes."""
    split = FrameSplit()
    first, first_latent = sum(case.parts[: split.rank]), sum(case.latent_parts[: split.rank])
    model = make_autoencoder(case.config, case.dtype)
    video = random_video(sum(case.parts), case.dtype)[:, :, first : first + case.parts[split.rank]].clone()
    video.requires_grad_()
    posterior = split.encode(model, video)
    pixels = split.decode(model, posterior.mean)
    loss(posterior, pixels, first, first_latent).backward()
    sum_gradients(list(model.parameters()))
    results = _results(model, video, posterior, pixels)
    with torch.no_grad():  # in place on a CPU, where pasts are handed on before the frames are in one piece
        results["latents_in_place"] = split.encode(model, video).mean
        results["pixels_in_place"] = split.decode(model, posterior.mean)
    return results


def _results(model: VideoAutoencoder, video: Tensor, posterior: GaussianPosterior, pixels: Tensor) -> dict[str, Any]:
    gradients = {name: value.grad for name, value in model.named_parameters()}
    parts = {"latents": posterior.mean.detach(), "pixels": pixels.detach(), "video_gradient": video.grad}
    return parts | {"gradients": gradients}


def run_rank(rank: int, size: int, folder: Path) -> None:
    """Run all cases as one of ``size`` processes and save the results."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=size)
    results: dict[str, Any] = {case.name: train_part(case) for case in training_cases(size)}
    for num_frames, scope, split in inference_cases(size):
        model = make_autoencoder(dataclasses.replace(CONFIG, norm_scope=scope), torch.float64)
        results[f"{num_frames} {scope} {split}"] = infer(ParallelAutoencoder(model, split=split), num_frames)
    model = make_autoencoder(CONFIG, torch.float32)
    for split in ("frames", "rows"):
        results[f"stopped {split}"] = stop_and_decode(ParallelAutoencoder(model, split=split))
        results[f"autocast {split}"] = decode_under_autocast(ParallelAutoencoder(model, split=split))
        try:
            ParallelAutoencoder(model, split=split).encode(torch.zeros(1, 3, 9, 20, 16))
        except ValueError as error:
            results[f"wrong size {split}"] = str(error)
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def random_latents(seed: int) -> Tensor:
    """Return nine latent frames, which are four chunks."""
    return torch.randn(1, 4, 9, 4, 2, generator=torch.Generator().manual_seed(seed))


def stop_and_decode(model: VideoAutoencoder | ParallelAutoencoder) -> Tensor:
    """Return the pixels of latents that are decoded after others were stopped at their first chunk."""
    with torch.no_grad():
        for _ in model.decode_stream(random_latents(4)):
            break
        return model.decode(random_latents(5))


def decode_under_autocast(model: VideoAutoencoder | ParallelAutoencoder) -> Tensor:
    """Return the pixels of a float32 model that computes in bfloat16."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return model.decode(random_latents(6))


def infer(model: VideoAutoencoder | ParallelAutoencoder, num_frames: int) -> str | dict[str, Tensor]:
    """Return moments and pixels, all of them and in pieces, or the reason why not."""
    video = random_video(num_frames, torch.float64)
    try:
        with torch.no_grad():
            posterior = model.encode(video)
            pieces = list(model.encode_stream(video.split(3, dim=2), num_frames))
            pixels = model.decode(posterior.mean)
            latents = posterior.mean
            chunks = list(model.decode_stream(latents.split(1, dim=2), latents.shape[2]))
    except ValueError as error:
        return str(error)
    return {
        "mean": posterior.mean,
        "log_variance": posterior.log_variance,
        "pixels": pixels,
        "mean_of_stream": torch.cat([piece.mean for piece in pieces], dim=2),
        "pixels_of_stream": torch.cat(chunks, dim=2),
        "sizes": torch.tensor([chunk.shape[2] for chunk in chunks]),
    }

"""Latents of rendered clips, encoded once and read many times during transformer training.

A cache is a folder: ``shard_00000.safetensors`` ... with latents (N, C, T, H, W) float16, unscaled posterior means, one
line of captions per clip in ``shard_00000.jsonl``, and ``cache.json`` saying what they were made of. Shards appear
whole, so an interrupted build goes on where it stopped.

Axes: N clips, C latent channels, T latent frames, H W latent rows and columns.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cogvideox.component_files import write_atomically
from cogvideox.data.stage_world import Art, caption_scene, render_scene, sample_scene
from cogvideox.media.video import to_tensor
from cogvideox.models.autoencoder import VideoAutoencoder

NUM_CLIPS_PER_SHARD = 256
NUM_ENCODED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class LatentCacheSettings:
    """Which clips a cache holds."""

    num_clips: int
    seed: int = 1
    num_captions_per_clip: int = 4
    """Wordings of each clip's caption; training picks one at random."""
    num_frames: int = 17

    def __post_init__(self) -> None:
        for name in ("num_clips", "num_captions_per_clip", "num_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class LatentCache:
    """A cache in memory."""

    latents: Tensor
    """(N, C, T, H, W) float16, unscaled."""
    captions: list[list[str]]
    """Wordings per clip."""

    def mean_and_std(self) -> tuple[float, float]:
        """Return mean and standard deviation over all latent elements."""
        values = self.latents.float()
        return float(values.mean()), float(values.std())


def build_latent_cache(
    folder: Path,
    settings: LatentCacheSettings,
    autoencoder: VideoAutoencoder,
    art: Art,
    on_clips: Callable[[int, int], None] | None = None,
    *,
    uses_bfloat16: bool = False,
) -> LatentCache:
    """Render and encode (under bf16 autocast on request) what is missing in ``folder``, then return the whole cache.

    A cache of more clips contains the one of fewer clips. Raises ValueError if the folder holds clips of another
    autoencoder, seed or length.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_origin(folder, settings, autoencoder)
    num_shards = -(-settings.num_clips // NUM_CLIPS_PER_SHARD)
    for shard in range(num_shards):
        if not (folder / f"shard_{shard:05d}.safetensors").exists():
            _build_shard(folder, shard, settings, autoencoder, art, uses_bfloat16)
        if on_clips is not None:
            on_clips(min((shard + 1) * NUM_CLIPS_PER_SHARD, settings.num_clips), settings.num_clips)
    latents: list[Tensor] = []
    captions: list[list[str]] = []
    for shard in range(num_shards):
        latents.append(load_file(folder / f"shard_{shard:05d}.safetensors")["latents"])
        lines = (folder / f"shard_{shard:05d}.jsonl").read_text(encoding="utf-8").splitlines()
        captions += [json.loads(line) for line in lines]
    return LatentCache(torch.cat(latents)[: settings.num_clips], captions[: settings.num_clips])


def _build_shard(
    folder: Path,
    shard: int,
    settings: LatentCacheSettings,
    autoencoder: VideoAutoencoder,
    art: Art,
    uses_bfloat16: bool,
) -> None:
    rng = np.random.default_rng((settings.seed, shard))
    scenes = [sample_scene(rng, actors=art.actors) for _ in range(NUM_CLIPS_PER_SHARD)]
    captions = [[caption_scene(scene, rng) for _ in range(settings.num_captions_per_clip)] for scene in scenes]
    latents: list[Tensor] = []
    weight = next(autoencoder.parameters())
    for start in range(0, len(scenes), NUM_ENCODED_AT_ONCE):
        group = scenes[start : start + NUM_ENCODED_AT_ONCE]
        clips = np.stack([render_scene(scene, art, num_frames=settings.num_frames) for scene in group])
        pixels = to_tensor(clips).to(weight.device, weight.dtype)
        with torch.no_grad(), torch.autocast(weight.device.type, torch.bfloat16, enabled=uses_bfloat16):
            mode = autoencoder.encode(pixels).mode()
        latents.append(mode.cpu().half())
    lines = "".join(json.dumps(texts) + "\n" for texts in captions)
    write_atomically(folder / f"shard_{shard:05d}.jsonl", lines)
    path = folder / f"shard_{shard:05d}.safetensors"
    temporary = path.with_suffix(".tmp")
    save_file({"latents": torch.cat(latents).contiguous()}, temporary)
    temporary.replace(path)


def _check_origin(folder: Path, settings: LatentCacheSettings, autoencoder: VideoAutoencoder) -> None:
    digest = hashlib.sha256()
    for parameter in autoencoder.encoder.parameters():
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    origin = asdict(settings) | {"encoder_sha256": digest.hexdigest()}
    del origin["num_clips"]
    path = folder / "cache.json"
    if not path.exists():
        write_atomically(path, json.dumps(origin, indent=2) + "\n")
    elif json.loads(path.read_text(encoding="utf-8")) != origin:
        raise ValueError(f"{folder}: holds latents of another autoencoder, seed or length; delete it or name another")

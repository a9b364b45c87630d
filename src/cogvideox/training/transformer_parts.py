"""The models of a transformer run: loaded from a start or made from a preset, written as a checkpoint."""

import dataclasses
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from cogvideox.checkpoints.directory import (
    SAMPLER_OF_SCHEDULER,
    SchedulerClass,
    find_checkpoint,
    read_configs,
    write_model_index,
    write_scheduler,
)
from cogvideox.component_files import component_folder, read_config
from cogvideox.configs import AutoencoderConfig, NoiseScheduleConfig, TransformerConfig
from cogvideox.data.clip_folder import open_clips
from cogvideox.data.clips import ClipSource, log_rejected
from cogvideox.data.curation.policy import POLICY_NAME, Policy, read_policy
from cogvideox.data.stage_world.source import StageWorldClips
from cogvideox.machine import cache_folder
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.parallel.world import World
from cogvideox.presets import PRESETS
from cogvideox.training.lora import add_lora, save_lora
from cogvideox.training.transformer_recipe import DataSettings, ImageToVideoSettings, TransformerRecipe, recipe_path


@dataclass(frozen=True, kw_only=True)
class PartConfigs:
    """What the parts are, known before any weight is read."""

    transformer: TransformerConfig
    """Widened, if the run makes an image-to-video model of a text-to-video one."""
    autoencoder: AutoencoderConfig
    noise_schedule: NoiseScheduleConfig
    scheduler_class: SchedulerClass
    image_to_video: ImageToVideoSettings | None
    """None for text-to-video models."""
    start: Path | None
    autoencoder_dir: Path
    text_encoder_dir: Path
    cache_dir: Path


def read_part_configs(recipe: TransformerRecipe) -> PartConfigs:
    """Read what a recipe's models are.

    Raises:
        CheckpointError: one of its checkpoints is missing or damaged.
        ValueError: they do not fit each other or the method.
    """
    start = None if recipe.start is None else find_checkpoint(_expanded(recipe.start))
    autoencoder_dir = _part_dir(recipe.autoencoder, start)
    text_encoder_dir = _part_dir(recipe.text_encoder, start)
    autoencoder = read_config(component_folder(autoencoder_dir, "vae") / "config.json", AutoencoderConfig)
    if start is None:
        preset = PRESETS[recipe.preset]
        transformer, noise_schedule = preset.transformer, preset.noise_schedule
        scheduler_class: SchedulerClass = preset.scheduler_class
    else:
        configs = read_configs(start)
        transformer, noise_schedule = configs.transformer, configs.noise_schedule
        scheduler_class = next(
            name for name in get_args(SchedulerClass) if SAMPLER_OF_SCHEDULER[name] == configs.default_sampler
        )
    if transformer.num_output_channels != autoencoder.latent_channels:
        raise ValueError(
            f"autoencoder: expected {transformer.num_output_channels} latent channels, the transformer's, "
            f"{autoencoder_dir} has {autoencoder.latent_channels}"
        )
    takes_image = transformer.in_channels != autoencoder.latent_channels
    image_to_video = recipe.image_to_video
    if takes_image and image_to_video is None:
        image_to_video = ImageToVideoSettings()
    if image_to_video is not None and not takes_image:
        if recipe.method == "lora":
            raise ValueError('image_to_video: expected none: method "lora" cannot widen a text-to-video model')
        transformer = dataclasses.replace(
            transformer, in_channels=2 * transformer.in_channels, out_channels=transformer.num_output_channels
        )
    if recipe.cache_dir is None:
        digest = hashlib.sha256(str(autoencoder_dir.resolve()).encode()).hexdigest()[:8]
        cache_dir = cache_folder() / "latents" / f"{autoencoder_dir.name}-{digest}"
    else:
        cache_dir = recipe_path(recipe.cache_dir)
    return PartConfigs(
        transformer=transformer,
        autoencoder=autoencoder,
        noise_schedule=noise_schedule,
        scheduler_class=scheduler_class,
        image_to_video=image_to_video,
        start=start,
        autoencoder_dir=autoencoder_dir,
        text_encoder_dir=text_encoder_dir,
        cache_dir=cache_dir,
    )


def _expanded(path: str) -> str:
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _part_dir(path: str | None, start: Path | None) -> Path:
    if path is None:
        assert start is not None, "the recipe checks it"
        return start
    return find_checkpoint(_expanded(path)) if not Path(_expanded(path)).is_dir() else Path(_expanded(path))


def open_source(data: DataSettings) -> ClipSource:
    """Return a recipe's training set; warns of what in a folder cannot be used.

    Raises:
        ValueError: there is nothing to train on.
    """
    if data.stage_world is not None:
        return StageWorldClips(data.stage_world)
    assert data.folder is not None
    source = open_clips(recipe_path(data.folder))
    log_rejected(source.rejected)
    return source


def open_policy(data: DataSettings) -> Policy | None:
    """Return the policy of a recipe's training set: its own, or the one in the folder, or none.

    Raises:
        ValueError: the file cannot be read as a policy.
    """
    if data.policy is not None:
        return read_policy(recipe_path(data.policy))
    path = None if data.folder is None else recipe_path(data.folder) / POLICY_NAME
    return read_policy(path) if path is not None and path.is_file() else None


def make_transformer(recipe: TransformerRecipe, configs: PartConfigs, world: World) -> ExpertTransformer:
    """Return the transformer: new, or the start's, widened or with adapters as the recipe says.

    Trained weights are float32. Frozen ones beside adapters have the dtype that is computed in, but for several
    processes, which spread weights of one dtype only.
    """
    if configs.start is None:
        return ExpertTransformer(configs.transformer).to(world.device)
    is_narrow = recipe.method == "lora" and world.size == 1
    dtype = recipe.compute_dtype if is_narrow else torch.float32
    transformer = ExpertTransformer.load(configs.start, device=world.device, dtype=dtype)
    if transformer.config.in_channels != configs.transformer.in_channels:
        transformer = widen_for_images(transformer, configs.transformer)
    if recipe.method == "lora":
        add_lora(transformer, recipe.lora)
    else:
        transformer.requires_grad_(True)
    return transformer


@torch.no_grad()
def widen_for_images(transformer: ExpertTransformer, config: TransformerConfig) -> ExpertTransformer:
    """Return a transformer that sees an image's latents behind its own; at first it does not heed them."""
    with torch.device("meta"):
        wide = ExpertTransformer(config)
    state = transformer.state_dict()
    weight = state["patch_embed.proj.weight"]
    # Input channels come first in the order of patches too, so the new ones are behind all old ones.
    missing = wide.patch_embed.proj.weight.shape[1] - weight.shape[1]
    state["patch_embed.proj.weight"] = torch.cat([weight, weight.new_zeros(len(weight), missing, *weight.shape[2:])], 1)
    wide.load_state_dict(state, assign=True)
    return wide.requires_grad_(True)


def load_autoencoder(configs: PartConfigs, device: torch.device) -> VideoAutoencoder:
    """Return the frozen autoencoder."""
    return VideoAutoencoder.load(configs.autoencoder_dir, device=device).requires_grad_(False)


def save_checkpoint(
    directory: Path,
    state: dict[str, Tensor],
    recipe: TransformerRecipe,
    configs: PartConfigs,
    transformer_config: TransformerConfig,
    autoencoder: VideoAutoencoder,
) -> None:
    """Write a whole checkpoint in the published layout, bfloat16 where weights were trained; or the adapter alone.

    The text encoder is taken from where it is: hard-linked if the file system can, else copied.
    """
    if recipe.method == "lora":
        save_lora(state, recipe.lora, directory)
        return
    with torch.device("meta"):
        transformer = ExpertTransformer(transformer_config)
    transformer.load_state_dict(state, assign=True)
    transformer.save(directory / "transformer", dtype=torch.bfloat16)
    autoencoder.save(directory / "vae", dtype=torch.bfloat16)
    for name in ("text_encoder", "tokenizer"):
        shutil.copytree(configs.text_encoder_dir / name, directory / name, copy_function=_link_or_copy)
    write_scheduler(directory, configs.noise_schedule, scheduler_class=configs.scheduler_class)
    is_image_to_video = configs.image_to_video is not None
    write_model_index(directory, scheduler_class=configs.scheduler_class, is_image_to_video=is_image_to_video)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Tell the matrices of the blocks, which Muon is for."""
    return name.startswith("transformer_blocks.") and parameter.ndim == 2

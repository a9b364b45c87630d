"""Small transformer runs on drawn art, for the tests of training; also the body of a process of a gloo group."""

import dataclasses
import os
from pathlib import Path

import torch
from torch import distributed

from cogvideox.checkpoints.directory import write_model_index, write_scheduler
from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.data.stage_world import draw_simple_art
from cogvideox.data.stage_world.source import StageWorldClips, StageWorldSettings
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.text_encoder import TextEncoder
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.parallel.world import World
from cogvideox.presets import PRESETS
from cogvideox.training.curriculum import Stage
from cogvideox.training.loop import LoopSettings
from cogvideox.training.training_data import TrainingData
from cogvideox.training.transformer_recipe import DataSettings, TransformerRecipe
from cogvideox.training.transformer_step import TransformerStep

ART = draw_simple_art()
DATA = StageWorldSettings(
    num_clips=12, sizes_px=("32x48", "48x32", "32x32"), lengths=(1, 9, 17), num_captions_per_clip=2
)
STAGE = Stage(
    num_steps=4, learning_rate=1e-2, height_px=32, width_px=48, max_duration_s=2, pack_tokens=160, num_packs_per_step=2
)
TRANSFORMER = dataclasses.replace(
    PRESETS["tiny"].transformer,
    num_layers=2,
    num_attention_heads=1,
    text_embed_dim=48,
    max_text_seq_length=24,
    sample_height=4,
    sample_width=6,
)
AUTOENCODER = AutoencoderConfig(block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=2)


def write_start(folder: Path, text_checkpoint: Path, transformer: TransformerConfig = TRANSFORMER) -> Path:
    """Write a whole random checkpoint whose transformer has all gates open, so that every weight matters."""
    torch.manual_seed(0)
    model = ExpertTransformer(transformer)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if ".norm1.linear" in name or ".norm2.linear" in name or name.startswith("norm_out.linear"):
                value.normal_(std=0.05)
    model.save(folder / "transformer")
    VideoAutoencoder(AUTOENCODER).save(folder / "vae")
    TextEncoder.load(text_checkpoint).save(folder)
    schedule = PRESETS["tiny"].noise_schedule
    write_scheduler(folder, schedule, scheduler_class="CogVideoXDDIMScheduler")
    takes_image = transformer.in_channels != AUTOENCODER.latent_channels
    write_model_index(folder, scheduler_class="CogVideoXDDIMScheduler", is_image_to_video=takes_image)
    return folder


def make_recipe(start: Path, **changes) -> TransformerRecipe:
    """A recipe that trains ``start`` on twelve drawn clips of mixed sizes."""
    defaults = {
        "data": DataSettings(stage_world=DATA),
        "stages": (STAGE,),
        "start": str(start),
        "cache_dir": str(start / "latents"),
        "run": LoopSettings(average_decay=0.5),
    }
    return TransformerRecipe(**(defaults | changes))


def make_step(recipe: TransformerRecipe, world: World | None = None) -> TransformerStep:
    """The recipe's step on drawn art."""
    assert recipe.data.stage_world is not None
    return TransformerStep(TrainingData(recipe, StageWorldClips(recipe.data.stage_world, ART), world))


def run_steps(step: TransformerStep, num_steps: int, first: int = 0, learning_rate: float = 2e-3) -> None:
    """Train without a loop."""
    for index in range(first, first + num_steps):
        step(step.make_batch(index), learning_rate)


def run_rank(rank: int, size: int, port: int, recipe: TransformerRecipe, num_steps: int, out: Path) -> None:
    """Be one process of a group; the first one writes the state after ``num_steps``."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    step = make_step(recipe, World.join("cpu"))
    run_steps(step, num_steps)
    state = step.state_dict()
    if rank == 0:
        torch.save(state, out)
    distributed.barrier()
    # What was gathered can be spread again.
    step.load_state_dict(torch.load(out, weights_only=True))
    distributed.destroy_process_group()

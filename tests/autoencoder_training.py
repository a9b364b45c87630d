"""Small VAE runs on drawn art, for the tests of training; also the body of a process of a gloo group.

As a command it is a run that is killed again and again: ``python autoencoder_training.py RUN_DIR``.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from cogvideox import Video
from cogvideox.data.stage_world import draw_simple_art
from cogvideox.models.discriminator import DiscriminatorConfig
from cogvideox.parallel.world import World
from cogvideox.training.autoencoder_recipe import (
    AutoencoderLossSettings,
    AutoencoderRecipe,
    AutoencoderStage,
    GanSettings,
)
from cogvideox.training.autoencoder_step import AutoencoderStep
from cogvideox.training.loop import LoopSettings, train

ART = draw_simple_art()
MODEL = {"block_out_channels": [4, 8, 8, 8], "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 4}
LOSS = AutoencoderLossSettings(perceptual="pyramid", num_perceptual_frames=3, kl_weight=1e-3)


def make_stage(**changes: Any) -> AutoencoderStage:
    """Return a stage of clips of 9 frames, every third batch single frames."""
    defaults: dict[str, Any] = {
        "num_steps": 6,
        "learning_rate": 5e-3,
        "height_px": 32,
        "width_px": 32,
        "batch_size": 2,
        "num_frames": 9,
        "image_batch_every": 3,
        "image_batch_size": 4,
    }
    return AutoencoderStage(**(defaults | changes))


def make_gan(**changes: Any) -> GanSettings:
    """Return a small adversary that joins at step 2."""
    discriminator = DiscriminatorConfig(num_channels=4, num_3d_blocks=2, num_2d_blocks=1)
    defaults = {"start_step": 2, "gradient_penalty": 1.0, "penalty_every": 2, "discriminator": discriminator}
    return GanSettings(**(defaults | changes))


def make_recipe(**changes: Any) -> AutoencoderRecipe:
    """Return a recipe of one stage, with all losses and a GAN."""
    defaults: dict[str, Any] = {
        "stages": (make_stage(),),
        "model": MODEL,
        "loss": LOSS,
        "gan": make_gan(),
        "run": LoopSettings(average_decay=0.5, log_every_steps=1),
    }
    return AutoencoderRecipe(**(defaults | changes))


def make_step(recipe: AutoencoderRecipe, world: World | None = None) -> AutoencoderStep:
    """Return the recipe's step on drawn art."""
    return AutoencoderStep(recipe, World() if world is None else world, ART)


def run_steps(
    step: AutoencoderStep, num_steps: int, first: int = 0, learning_rate: float = 5e-3
) -> list[dict[str, float]]:
    """Train without a loop; return what was logged."""
    return [
        {name: float(value) for name, value in step(step.make_batch(index), learning_rate).items()}
        for index in range(first, first + num_steps)
    ]


def difference(first: Any, second: Any) -> float:
    """Return the largest difference of numbers in two nested states of the same keys."""
    if isinstance(first, torch.Tensor):
        return float((first.double() - second.double()).abs().max()) if first.numel() else 0.0
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return max((difference(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, list | tuple):
        return max((difference(*pair) for pair in zip(first, second, strict=True)), default=0.0)
    if isinstance(first, float):
        return abs(first - second)
    assert first == second
    return 0.0


def last_state(run_dir: Path) -> dict[str, Any]:
    """Return the newest state of a run."""
    return torch.load(max((run_dir / "state").glob("*.pt")), weights_only=True)["state"]


def write_video(path: Path, num_frames: int, height_px: int = 48, width_px: int = 64, fps: int = 8) -> None:
    """Write a video whose frame t is of one shade, 10 t."""
    shades = np.arange(num_frames, dtype=np.uint8)[:, None, None, None] * 10
    Video(np.broadcast_to(shades, (num_frames, height_px, width_px, 3)).copy(), fps=fps).save(path)


def run_rank(rank: int, size: int, port: int, recipes: dict[str, AutoencoderRecipe], num_steps: int, out: Path) -> None:
    """Be one process of a group; the first one writes the logs and the states of all recipes after ``num_steps``."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    world = World.join("cpu")
    results = {}
    for name, recipe in recipes.items():
        step = make_step(recipe, world)
        logs = run_steps(step, num_steps, learning_rate=1e-4)
        results[name] = (logs, step.state_dict())
    if rank == 0:
        torch.save(results, out)
    distributed.barrier()
    distributed.destroy_process_group()


NUM_KILLS = 4


def run_in_loop(folder: Path, recipe: AutoencoderRecipe) -> None:
    """Train as the command line does."""
    train(
        make_step(recipe),
        recipe.run,
        folder,
        recipe=recipe,
        num_steps=recipe.num_steps,
        learning_rate_at=recipe.learning_rate_at,
    )


def recipe_to_kill(*, is_killed: bool) -> AutoencoderRecipe:
    """Return a recipe of two stages; the run that is killed saves at every step."""
    stages = (make_stage(num_steps=8), make_stage(num_steps=8, num_frames=17, fps=(8, 16)))
    run = LoopSettings(average_decay=0.5, log_every_steps=1, sample_every_steps=7, save_every_steps=int(is_killed))
    return make_recipe(stages=stages, gan=make_gan(start_step=5), run=run)


def _fork_run(folder: Path) -> int:
    pid = os.fork()
    if pid == 0:
        run_in_loop(folder, recipe_to_kill(is_killed=True))
        os._exit(0)
    return pid


def _run_with_kills(folder: Path) -> None:
    """Kill the run at random moments, then let it end; print the exit code and the steps that the kills came after."""
    torch.set_num_threads(1)
    rng = random.Random(0)
    steps: list[int] = []
    for _ in range(NUM_KILLS):
        pid = _fork_run(folder)
        done = newest_step(folder)
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s and newest_step(folder) < done + rng.choice((1, 2)):
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        steps.append(newest_step(folder))
    exit_code = os.waitstatus_to_exitcode(os.waitpid(_fork_run(folder), 0)[1])
    print(json.dumps([exit_code, steps]))


def newest_step(folder: Path) -> int:
    """Return the step of the newest complete state, 0 if there is none."""
    return max((int(path.stem.removeprefix("step_")) for path in folder.glob("state/step_*.json")), default=0)


if __name__ == "__main__":
    _run_with_kills(Path(sys.argv[1]))

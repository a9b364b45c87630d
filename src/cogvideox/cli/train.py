"""``cogvideox train``: one command per trained part, each with a recipe and a run folder that it resumes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK, warnings_shown
from cogvideox.machine import cache_folder

if TYPE_CHECKING:
    from cogvideox.parallel.world import World
    from cogvideox.training.loop import TrainStep
    from cogvideox.training.training_data import TrainingData

Overrides = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=True)]


def autoencoder(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the 3D causal VAE on renders or videos, alone or as a GAN.

    Alone, or on several devices: ``torchrun --nproc-per-node 8 -m cogvideox train autoencoder RECIPE --device cuda``.

    Parameters
    ----------
    recipe
        TOML file, for example recipes/tiny-autoencoder.toml.
    run_dir
        Folder of the run; resumed if it holds one (default: <user cache>/cogvideox/runs/<recipe name>, with its
        folder's name before it unless that is recipes/).
    device
        cpu, cuda, mps.
    overrides
        Recipe values, for example --set data.folder=clips stages.0.num_steps=8000.
    """
    from cogvideox.parallel.world import World
    from cogvideox.settings import read_recipe
    from cogvideox.training.autoencoder_recipe import AutoencoderRecipe
    from cogvideox.training.autoencoder_step import AutoencoderStep

    world = World.join(device)
    settings = read_recipe(recipe, AutoencoderRecipe, overrides or ())
    with warnings_shown(Console(stderr=True, highlight=False, quiet=not world.is_main)):
        step = AutoencoderStep(settings, world)
    return _run(
        step,
        settings,
        recipe,
        run_dir,
        num_steps=settings.num_steps,
        learning_rate_at=settings.learning_rate_at,
        world=world,
    )


def text_encoder(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the small text encoder and its tokenizer. Parameters as for ``train autoencoder``."""
    import torch

    from cogvideox.settings import read_recipe
    from cogvideox.training.text_encoder_step import TextEncoderRecipe, TextEncoderStep

    settings = read_recipe(recipe, TextEncoderRecipe, overrides or ())
    return _run(TextEncoderStep(settings, torch.device(device)), settings, recipe, run_dir)


def transformer(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the expert transformer on packs of clips and pictures, from scratch, whole or as a LoRA.

    Alone, or on several devices: ``torchrun --nproc-per-node 8 -m cogvideox train transformer RECIPE --device cuda``.
    Parameters as for ``train autoencoder``.
    """
    from cogvideox.parallel.world import World
    from cogvideox.training.transformer_step import TransformerStep

    world = World.join(device)
    data = _prepare_data(recipe, overrides, world)
    settings = data.recipe
    return _run(
        TransformerStep(data),
        settings,
        recipe,
        run_dir,
        num_steps=settings.num_steps,
        learning_rate_at=settings.learning_rate_at,
        world=world,
    )


def encode(recipe: Path, *, device: str = "cpu", overrides: Overrides = None) -> int:
    """Encode all that a transformer recipe trains on; training then reads it. Interrupted, it goes on where it was.

    Clips are encoded by the autoencoder in every size that a stage asks for, and captions by the text encoder if the
    recipe says ``has_cached_text``.

    Parameters
    ----------
    recipe
        TOML file, for example recipes/tiny-transformer.toml.
    device
        cpu, cuda, mps.
    overrides
        Recipe values, for example --set data.folder=clips.
    """
    from cogvideox.parallel.world import World

    _prepare_data(recipe, [*(overrides or ()), "is_encoded_ahead=true"], World.join(device))
    return OK


def _prepare_data(recipe: Path, overrides: Overrides, world: "World") -> "TrainingData":
    """Read a transformer recipe, check it against its training set, and encode what is missing."""
    from cogvideox.settings import read_recipe
    from cogvideox.training.training_data import TrainingData
    from cogvideox.training.transformer_parts import open_source
    from cogvideox.training.transformer_recipe import TransformerRecipe

    settings = read_recipe(recipe, TransformerRecipe, overrides or ())
    console = Console(stderr=True, highlight=False, quiet=not world.is_main)
    shown: dict[str, int] = {}

    def show(what: str, num_done: int, num_all: int) -> None:
        tenth = 10 * num_done // num_all
        if shown.get(what) != tenth or num_done == num_all:
            shown[what] = tenth
            console.print(f"encoding {what}: {num_done}/{num_all}", markup=False)

    with warnings_shown(console):
        return TrainingData(settings, open_source(settings.data), world, on_encoded=show)


def judge(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the judge that scores generated clips. Parameters as for ``train autoencoder``."""
    import torch

    from cogvideox.settings import read_recipe
    from cogvideox.training.judge_step import JudgeRecipe, JudgeStep

    settings = read_recipe(recipe, JudgeRecipe, overrides or ())
    return _run(JudgeStep(settings, torch.device(device)), settings, recipe, run_dir)


def _run(
    step_function: "TrainStep",
    settings: Any,
    recipe: Path,
    run_dir: Path | None,
    *,
    num_steps: int | None = None,
    learning_rate_at: Callable[[int], float] | None = None,
    world: "World | None" = None,
) -> int:
    from cogvideox.training.loop import ALONE, train

    num_steps = settings.run.num_steps if num_steps is None else num_steps
    world = ALONE if world is None else world
    folder = run_dir if run_dir is not None else _default_run_dir(recipe)
    console = Console(stderr=True, highlight=False, quiet=not world.is_main)
    console.print(f"run folder: {folder}", markup=False, soft_wrap=True)

    def show(step: int, scalars: dict[str, float]) -> None:
        if scalars:
            text = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            console.print(f"step {step}/{num_steps}  {text}", markup=False, soft_wrap=True)

    with warnings_shown(console):
        train(
            step_function,
            settings.run,
            folder,
            recipe=settings,
            num_steps=num_steps,
            learning_rate_at=learning_rate_at,
            world=world,
            on_step=show,
        )
    console.print(f"checkpoint: {folder / 'checkpoint'}", markup=False, soft_wrap=True)
    return OK


def _default_run_dir(recipe: Path) -> Path:
    folder = recipe.resolve().parent.name
    name = recipe.stem if folder == "recipes" else f"{folder}-{recipe.stem}"
    return cache_folder() / "runs" / name

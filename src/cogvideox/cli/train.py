"""``cogvideox train``: one command per trained part, each with a recipe and a run folder that it resumes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK
from cogvideox.machine import cache_folder

if TYPE_CHECKING:
    from cogvideox.training.loop import TrainStep

Overrides = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=True)]


def autoencoder(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the 3D causal VAE.

    Parameters
    ----------
    recipe
        TOML file, for example recipes/tiny-autoencoder.toml.
    run_dir
        Folder of the run; resumed if it holds one (default: <user cache>/cogvideox/runs/<recipe name>).
    device
        cpu, cuda, mps.
    overrides
        Recipe values, for example --set run.num_steps=8000.
    """
    import torch

    from cogvideox.settings import read_recipe
    from cogvideox.training.autoencoder_step import AutoencoderRecipe, AutoencoderStep

    settings = read_recipe(recipe, AutoencoderRecipe, overrides or ())
    return _run(AutoencoderStep(settings, torch.device(device)), settings, recipe, run_dir)


def text_encoder(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the small text encoder and its tokenizer. Parameters as for ``train autoencoder``."""
    import torch

    from cogvideox.settings import read_recipe
    from cogvideox.training.text_encoder_step import TextEncoderRecipe, TextEncoderStep

    settings = read_recipe(recipe, TextEncoderRecipe, overrides or ())
    return _run(TextEncoderStep(settings, torch.device(device)), settings, recipe, run_dir)


def transformer(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the expert transformer on cached latents. Parameters as for ``train autoencoder``."""
    import torch

    from cogvideox.settings import read_recipe
    from cogvideox.training.transformer_step import TransformerRecipe, TransformerStep

    settings = read_recipe(recipe, TransformerRecipe, overrides or ())
    console = Console(stderr=True, highlight=False)

    def show_encoded(num_done: int, num_all: int) -> None:
        console.print(f"latent cache: {num_done}/{num_all} clips", markup=False)

    step_function = TransformerStep(settings, torch.device(device), on_clips=show_encoded)
    return _run(step_function, settings, recipe, run_dir)


def judge(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train the judge that scores generated clips. Parameters as for ``train autoencoder``."""
    import torch

    from cogvideox.settings import read_recipe
    from cogvideox.training.judge_step import JudgeRecipe, JudgeStep

    settings = read_recipe(recipe, JudgeRecipe, overrides or ())
    return _run(JudgeStep(settings, torch.device(device)), settings, recipe, run_dir)


def _run(step_function: "TrainStep", settings: Any, recipe: Path, run_dir: Path | None) -> int:
    from cogvideox.training.loop import train

    folder = run_dir if run_dir is not None else _default_run_dir(recipe)
    console = Console(stderr=True, highlight=False)
    console.print(f"run folder: {folder}", markup=False)

    def show(step: int, scalars: dict[str, float]) -> None:
        if scalars:
            text = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            console.print(f"step {step}/{settings.run.num_steps}  {text}", markup=False, soft_wrap=True)

    train(step_function, settings.run, folder, recipe=settings, on_step=show)
    console.print(f"checkpoint: {folder / 'checkpoint'}", markup=False)
    return OK


def _default_run_dir(recipe: Path) -> Path:
    return cache_folder() / "runs" / recipe.stem

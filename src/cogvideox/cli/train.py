"""``cogvideox train``: one command per trained part, each with a recipe and a run folder that it resumes."""

import dataclasses
import math
from collections.abc import Callable
from json import dumps as json_text  # json is the name of a flag
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cogvideox.cli.output import OK, StepProgress, print_json, warnings_shown
from cogvideox.machine import cache_folder

if TYPE_CHECKING:
    from cogvideox.data.captioning.students import StudentTask
    from cogvideox.parallel.world import World
    from cogvideox.training.filter_figures import FilterResult
    from cogvideox.training.loop import TrainStep
    from cogvideox.training.lora_student_step import LoraStudentStep
    from cogvideox.training.student_recipe import CaptionerRecipe, SummariserRecipe
    from cogvideox.training.training_data import TrainingData

DEFAULT_FILTERS = Path("filters")

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


def summariser(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train a model that makes one dense caption of a short one and of captions of frames, as a teacher does.

    With form = "lora" it adapts a language model of transformers on what ``cogvideox caption`` exported; with form =
    "small" it trains a small one from scratch on the stage world. ``cogvideox caption`` serves the result: a backend of
    the kind "student", whose model is the folder ``checkpoint`` in the run folder. Parameters as for ``train
    autoencoder``.
    """
    from cogvideox.machine import parse_device
    from cogvideox.settings import read_recipe
    from cogvideox.training.student_recipe import SummariserRecipe

    settings = read_recipe(recipe, SummariserRecipe, overrides or ())
    if settings.form == "lora":
        return _run(_lora_student(settings, "summariser", device), settings, recipe, run_dir)
    from cogvideox.training.summariser_step import SmallSummariserStep

    return _run(SmallSummariserStep(settings, parse_device(device)), settings, recipe, run_dir)


def captioner(recipe: Path, *, run_dir: Path | None = None, device: str = "cpu", overrides: Overrides = None) -> int:
    """Train a model that makes a dense caption of a clip's frames, as the whole chain of teachers does.

    With form = "lora" it adapts a model of transformers that takes pictures or videos; otherwise as for ``train
    summariser``. Parameters as for ``train autoencoder``.
    """
    from cogvideox.machine import parse_device
    from cogvideox.settings import read_recipe
    from cogvideox.training.student_recipe import CaptionerRecipe

    settings = read_recipe(recipe, CaptionerRecipe, overrides or ())
    if settings.form == "lora":
        return _run(_lora_student(settings, "captioner", device), settings, recipe, run_dir)
    from cogvideox.training.captioner_step import SmallCaptionerStep

    return _run(SmallCaptionerStep(settings, parse_device(device)), settings, recipe, run_dir)


def _lora_student(
    settings: "SummariserRecipe | CaptionerRecipe", task: "StudentTask", device: str
) -> "LoraStudentStep":
    from cogvideox.machine import parse_device
    from cogvideox.training.lora_student_step import LoraStudentStep

    with warnings_shown(Console(stderr=True, highlight=False)):
        return LoraStudentStep(settings.lora, settings.run, task, parse_device(device))


def filters(
    recipe: Path,
    *,
    out: Path = DEFAULT_FILTERS,
    backbone: str | None = None,
    run_dir: Path | None = None,
    device: str = "cpu",
    overrides: Overrides = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train the filters of the six kinds of bad video on clips that people have labelled.

    They judge by what ``cogvideox curate`` measured, and take seconds to train. OUT/README.md says how good they are
    on sources that they have not seen. ``[filters] model = "OUT"`` in a recipe of ``curate`` uses them.

    Parameters
    ----------
    recipe
        TOML file, for example recipes/filters.toml; with --backbone recipes/video-filters.toml.
    out
        Folder of the filters, their figures and their model card.
    backbone
        A video-language model (a folder, or its name on the hub) to fine-tune as the classifier, on frames.
    run_dir
        With --backbone: folder of the run; resumed if it holds one (default: as for train autoencoder).
    device
        With --backbone: cpu, cuda, mps.
    overrides
        Recipe values, for example --set target_precision=0.9 trees.num_trees=200.
    json
        End standard output with one JSON object.
    """
    if backbone is not None:
        return _video_filters(recipe, out, backbone, run_dir, device, overrides, json)
    from cogvideox.settings import read_recipe
    from cogvideox.training.filter_recipe import FilterRecipe
    from cogvideox.training.filter_training import train_filters

    settings = read_recipe(recipe, FilterRecipe, overrides or ())
    errors = Console(stderr=True, highlight=False)
    with warnings_shown(errors):
        result = train_filters(settings, out)
    return _report_filters(result, json)


def _video_filters(
    recipe: Path,
    out: Path,
    backbone: str,
    run_dir: Path | None,
    device: str,
    overrides: Overrides,
    json: bool,
) -> int:
    from cogvideox.machine import parse_device
    from cogvideox.settings import read_recipe
    from cogvideox.training.video_filter_recipe import VideoFilterRecipe
    from cogvideox.training.video_filter_training import open_video_filters, publish_video_filters

    settings = read_recipe(recipe, VideoFilterRecipe, [*(overrides or ()), f"backbone={json_text(backbone)}"])
    folder = run_dir if run_dir is not None else _default_run_dir(recipe)
    console = Console(stderr=True, highlight=False)
    with warnings_shown(console), StepProgress("reading clips") as on_progress:
        step = open_video_filters(settings, folder, parse_device(device), on_progress)
    _run(step, settings, recipe, folder)
    with warnings_shown(console):
        result = publish_video_filters(step, settings, folder, out)
    return _report_filters(result, json)


def _report_filters(result: "FilterResult", json: bool) -> int:
    if json:
        data = {"folder": str(result.folder), "num_train": result.num_train, "num_test": result.num_test}
        figures = {
            label: {name: None if math.isnan(value) else value for name, value in dataclasses.asdict(found).items()}
            for label, found in result.figures.items()
        }
        print_json(
            {
                "ok": True,
                "data": data
                | {"figures": figures, "left_out": dict(result.left_out), "not_reached": result.not_reached},
            }
        )
        return OK
    console = Console(highlight=False)
    table = Table("label", "clips with it", "PR-AUC", "precision", "recall", "from probability")
    for label, found in result.figures.items():
        shown = (found.pr_auc, found.precision, found.recall, found.threshold)
        counts = f"{found.num_positives} of {found.num_clips}"
        table.add_row(label, counts, *("none" if math.isnan(value) else f"{value:.3f}" for value in shown))
    console.print(table)
    for label, reason in result.left_out.items():
        console.print(f"{label} has no filter: {reason}", markup=False)
    for label in result.not_reached:
        console.print(
            f"{label} reaches the precision that was asked for nowhere: no clip is said to have it", markup=False
        )
    time = "" if result.duration_s is None else f" in {result.duration_s:.1f} s"
    console.print(
        f"trained on {result.num_train} clips{time}, tested on {result.num_test} of other sources", markup=False
    )
    console.print(f"model card: {result.folder / 'README.md'}", markup=False, soft_wrap=True)
    return OK


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

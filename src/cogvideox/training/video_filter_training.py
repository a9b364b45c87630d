"""Filters on a video-language model: from curated folders and answers to a training step, and from it to a folder."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cogvideox.component_files import write_atomically
from cogvideox.data.curation.clip_frames import CuratedClipFrames
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.settings import resolved_json
from cogvideox.training.filter_card import figures_tables
from cogvideox.training.filter_figures import FilterResult, LabelFigures, label_figures, purity
from cogvideox.training.filter_fit import LabelledClips
from cogvideox.training.filter_training import (
    CARD_NAME,
    FIGURES_NAME,
    RECIPE_NAME,
    read_labelled,
    without_nan,
)
from cogvideox.training.video_filter_recipe import VideoFilterRecipe
from cogvideox.training.video_filter_step import VideoFilterStep

logger = logging.getLogger(__name__)


def open_video_filters(
    recipe: VideoFilterRecipe,
    run_folder: Path,
    device: torch.device,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> VideoFilterStep:
    """Read the frames of all answered clips, and load the model that is to be trained.

    Args:
        recipe: what is trained on, and how.
        run_folder: keeps the frames, unless the recipe names another folder for them.
        device: where the model runs.
        on_progress: called with the sources read, and all.

    Raises:
        ValueError: a folder holds no curation, files of answers are damaged, too few clips are answered, or there is no
            such model.
        MissingPackageError: peft, scikit-learn or what curation needs is not installed.
    """
    clips, test = read_labelled(recipe)
    frames = CuratedClipFrames(
        recipe.curated,
        run_folder / "frames" if recipe.frames_dir is None else recipe.frames_dir,
        inputs=recipe.inputs,
        num_frames=recipe.view.num_frames,
        max_side_px=recipe.view.max_side_px,
    )
    wanted = (*clips.clip_ids, *(test.clip_ids if test is not None else ()))
    failed = frames.prepare(wanted, on_progress=on_progress)
    if failed:
        clip_id, reason = next(iter(failed.items()))
        logger.warning("%d clips are left out, the first: %s: %s", len(failed), clip_id, reason)
    clips = _without(clips, failed)
    return VideoFilterStep(recipe, clips, frames, device, test=None if test is None else _without(test, failed))


def publish_video_filters(
    step: VideoFilterStep, recipe: VideoFilterRecipe, run_folder: Path, folder: Path
) -> FilterResult:
    """Judge the test clips, and write a finished run's filters, their figures and a model card into a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    judged = step.judge_test()
    clips = judged.clips
    thresholds: dict[LabelName, float] = {label: point.threshold for label, point in judged.points.items()}
    figures: dict[LabelName, LabelFigures] = {
        label: label_figures(known, clips.labels[label], clips.groups, thresholds[label])
        for label, known in judged.probabilities.items()
    }
    left = purity(judged.probabilities, clips.labels, thresholds)
    shutil.copytree(run_folder / "checkpoint", folder, dirs_exist_ok=True)
    described = {
        "num_train": len(step.train_part.clip_ids),
        "num_calibration": len(step.calibration_part.clip_ids),
        "num_test": len(clips.clip_ids),
        "test": {label: dataclasses.asdict(found) for label, found in figures.items()},
        "purity": dataclasses.asdict(left),
        "left_out": dict(judged.left_out),
        "reaches_target": dict(judged.reaches_target),
    }
    write_atomically(folder / FIGURES_NAME, json.dumps(without_nan(described), indent=2) + "\n")
    write_atomically(folder / RECIPE_NAME, resolved_json(recipe))
    lines = [
        "# Filters of bad video on a video-language model",
        "",
        f"An adapter (LoRA) and a linear head on `{recipe.backbone}`, which say how likely a clip is to be one of six",
        "kinds of bad video (CogVideoX, arXiv 2408.06072, section 3.3).",
        "",
        "| label | what it means |",
        "|---|---|",
        *(f"| `{label.name}` | {label.title}. {label.meaning} |" for label in LABELS.values()),
        "",
        f"Trained on {len(step.train_part.clip_ids)} clips and calibrated on {len(step.calibration_part.clip_ids)} of",
        "other sources.",
        *(f"\n`{label}` has no filter: {reason}." for label, reason in judged.left_out.items()),
        "",
        "## Figures",
        "",
        f"On {len(clips.clip_ids)} clips of {len(np.unique(clips.groups))} sources that were neither trained nor",
        f"calibrated on, at the probability that was chosen for a precision of {recipe.target_precision:.0%}.",
        "",
        *figures_tables(figures),
    ]
    write_atomically(folder / CARD_NAME, "\n".join(lines))
    return FilterResult(
        folder=folder,
        num_train=len(step.train_part.clip_ids),
        num_test=len(clips.clip_ids),
        figures=figures,
        left_out=judged.left_out,
        not_reached=tuple(label for label, reaches in judged.reaches_target.items() if not reaches),
        purity=left,
    )


def _without(clips: LabelledClips, left_out: dict[str, str]) -> LabelledClips:
    return clips.take(np.array([clip_id not in left_out for clip_id in clips.clip_ids], bool))

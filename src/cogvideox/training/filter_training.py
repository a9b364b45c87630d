"""The whole way from curated folders and answers to filters with their figures and a model card."""

import csv
import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cogvideox.component_files import write_atomically
from cogvideox.data.curation.tables import Curation, read_copies, read_curation, read_versions
from cogvideox.data.filters.filter_model import FilterModel
from cogvideox.data.labelling.answers import Answer, consensus, read_answers, resolve
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.settings import resolved_json
from cogvideox.training.filter_card import model_card
from cogvideox.training.filter_figures import FilterResult, LabelFigures, PurityFigures, label_figures, purity
from cogvideox.training.filter_fit import Array, FittedFilters, LabelledClips, fit_filters, hold_out
from cogvideox.training.filter_recipe import FilterRecipe

if TYPE_CHECKING:
    from cogvideox.training.video_filter_recipe import VideoFilterRecipe

CARD_NAME, FIGURES_NAME, SUSPECTS_NAME, RECIPE_NAME = "README.md", "figures.json", "suspects.csv", "recipe.json"
JUDGING = ("filters.", "video_filters.", "duplicates.")
"""Operators whose columns are no measures of a clip."""
NUM_SUSPECTS = 50
"""Of each label."""


def train_filters(recipe: FilterRecipe, folder: str | Path) -> FilterResult:
    """Train filters on the clips of curated folders that people have answered about, and test them on held-out sources.

    Writes the model, ``README.md`` (a model card), ``figures.json``, ``suspects.csv`` (answers that the filters doubt,
    to look at again) and ``recipe.json``.

    Args:
        recipe: what is trained on, and how.
        folder: of the results.

    Raises:
        MissingPackageError: scikit-learn is not installed.
        ValueError: a folder holds no curation, files of answers are damaged, or too few clips are answered.
        OSError: the folder cannot be written.
    """
    started_s = time.monotonic()
    train, test = read_labelled(recipe, recipe.columns)
    if test is None:
        is_test = hold_out(train, recipe.test_share, recipe.seed)
        train, test = train.take(~is_test), train.take(is_test)
    fitted = fit_filters(train, recipe, _versions(recipe.curated, train.columns))
    figures, left = measure(fitted.model, test)
    folder = Path(folder)
    fitted.model.save(folder)
    _write_suspects(folder / SUSPECTS_NAME, train, fitted)
    result = FilterResult(
        folder=folder,
        num_train=len(train.clip_ids),
        num_test=len(test.clip_ids),
        figures=figures,
        left_out=fitted.left_out,
        not_reached=tuple(label for label, found in fitted.fitted.items() if not found.reaches_target),
        purity=left,
    )
    _write_figures(folder, recipe, result, train, test, fitted)
    return dataclasses.replace(result, duration_s=round(time.monotonic() - started_s, 2))


def measure(model: FilterModel, clips: LabelledClips) -> tuple[dict[LabelName, LabelFigures], PurityFigures]:
    """Return the figures of every label, and of what is left, on clips that were not trained on."""
    probabilities = model.probabilities(dict(zip(clips.columns, clips.values.T, strict=True)))
    thresholds: dict[LabelName, float] = {label: found.threshold for label, found in model.filters.items()}
    figures: dict[LabelName, LabelFigures] = {
        label: label_figures(known, clips.labels[label], clips.groups, thresholds[label])
        for label, known in probabilities.items()
    }
    return figures, purity(probabilities, clips.labels, thresholds)


def read_labelled(
    recipe: "FilterRecipe | VideoFilterRecipe", columns: Sequence[str] = ()
) -> tuple[LabelledClips, LabelledClips | None]:
    """Return the answered clips of a recipe's folders, and apart those of ``test_labels`` if it has such.

    Nothing of a source that is tested on is among the first, whoever answered about it.

    Raises:
        ValueError: a folder holds no curation, files of answers are damaged, no clip is answered, or a column was not
            measured.
    """
    curations = {path: read_curation(path) for path in recipe.curated}
    answers, test_answers = (answers_about(paths, curations) for paths in (recipe.labels, recipe.test_labels))
    groups = _groups(curations, (*answers, *test_answers))
    clips = labelled_clips(curations, answers, groups, columns)
    if not recipe.test_labels:
        return clips, None
    test = labelled_clips(curations, test_answers, groups, clips.columns)
    is_left = ~np.isin(clips.groups, test.groups)
    if not is_left.any():
        raise ValueError("test_labels: expected clips of other sources than labels, got all of the same")
    return clips.take(is_left), test


def labelled_clips(
    curations: Mapping[Path, Curation],
    answers: Iterable[Answer],
    groups: Mapping[str, int],
    columns: Sequence[str] = (),
) -> LabelledClips:
    """Join what was measured with what people said, by clip.

    Args:
        curations: their clips, by folder.
        answers: about clips of them.
        groups: of all clips.
        columns: to take; all that were measured anywhere if empty, but for what filters said.

    Raises:
        ValueError: a column was not measured, the curations do not agree on columns, or no clip is answered.
    """
    agreed = consensus(answers)
    measured = {name for curation in curations.values() for name in curation.clips.scores.values}
    names = list(columns) or sorted(name for name in measured if not name.startswith(JUDGING))
    found: dict[str, Array] = {}
    for folder, curation in curations.items():
        scores = curation.clips.scores
        missing = [name for name in names if name not in scores.values]
        if missing:
            raise ValueError(
                f"curated: {missing[0]!r} was not measured in {folder}; curate it with that operator, or list in "
                "columns what all folders have"
            )
        table = np.stack([scores.values[name] for name in names], axis=1)
        found |= {clip_id: table[i] for i, clip_id in enumerate(scores.clip_ids) if clip_id in agreed}
    if not found:
        raise ValueError(
            f"labels: none of {len(agreed)} answered clips is in the curated folders; answers name clips by the ids of "
            "tables/clips.parquet, or files of tables/sources.parquet"
        )
    values = np.stack(list(found.values()))
    if not columns:
        places = np.flatnonzero(np.isfinite(values).any(axis=0))
        names, values = [names[place] for place in places.tolist()], values[:, places]
    labels: dict[LabelName, Array] = {
        label: np.array([float(agreed[clip_id].get(label, math.nan)) for clip_id in found]) for label in LABELS
    }
    return LabelledClips(
        clip_ids=tuple(found),
        groups=np.array([groups[clip_id] for clip_id in found], np.int64),
        columns=tuple(names),
        values=values,
        labels=labels,
    )


def _groups(curations: Mapping[Path, Curation], answers: Iterable[Answer]) -> dict[str, int]:
    """Return a number for each clip: the same for those of one file, of copies, and of answers that name one source."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    clip_ids: list[str] = []
    for folder, curation in curations.items():
        clip_ids += curation.clips.scores.clip_ids
        for row in curation.clips.rows:
            parents[root(row["clip_id"])] = root(f"file {row['sha256']}")
        for clip_id, copy in read_copies(folder).items():
            if copy["best_clip_id"]:
                parents[root(clip_id)] = root(copy["best_clip_id"])
    for answer in answers:
        if answer.source and answer.clip_id in parents:
            parents[root(answer.clip_id)] = root(f"source {answer.source}")
    numbers: dict[str, int] = {}
    return {clip_id: numbers.setdefault(root(clip_id), len(numbers)) for clip_id in clip_ids}


def answers_about(paths: Sequence[Path], curations: Mapping[Path, Curation]) -> list[Answer]:
    """Return the answers of files and folders that are about clips of curated folders, by their ids."""
    rows = [row for curation in curations.values() for row in curation.clips.rows]
    sources = [row for curation in curations.values() for row in curation.sources]
    return resolve(read_answers(paths), rows, sources)


def _versions(folders: Sequence[Path], columns: Sequence[str]) -> dict[str, int]:
    """Return the versions of the operators that measured columns, which are the same in all folders."""
    used = {name.partition(".")[0] for name in columns}
    found: dict[str, int] = {}
    for folder in folders:
        for name, version in read_versions(folder).items():
            if name in used and found.setdefault(name, version) != version:
                raise ValueError(
                    f"curated: {name!r} of {folder} has version {version}, others have {found[name]}; curate them anew"
                )
    return found


def _write_suspects(path: Path, clips: LabelledClips, fitted: FittedFilters) -> None:
    """Write the answers that the filters doubt most, of models that had not seen the source."""
    rows: list[tuple[str, str, int, float]] = []
    for label, found in fitted.fitted.items():
        truth = clips.labels[label]
        doubt = np.nan_to_num(np.abs(found.probabilities - truth))
        order = np.argsort(-doubt, kind="stable")[:NUM_SUSPECTS]
        rows += [
            (clips.clip_ids[index], label, int(truth[index]), round(float(found.probabilities[index]), 4))
            for index in order
            if doubt[index] > 0.5
        ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("clip_id", "label", "answer", "probability"))
        writer.writerows(rows)


def _write_figures(
    folder: Path,
    recipe: FilterRecipe,
    result: FilterResult,
    train: LabelledClips,
    test: LabelledClips,
    fitted: FittedFilters,
) -> None:
    held_out: dict[LabelName, LabelFigures] = {
        label: label_figures(found.probabilities, train.labels[label], train.groups, found.filter.threshold)
        for label, found in fitted.fitted.items()
    }
    described = {
        "num_train": result.num_train,
        "num_test": result.num_test,
        "test": {label: dataclasses.asdict(found) for label, found in result.figures.items()},
        "cross_validation": {label: dataclasses.asdict(found) for label, found in held_out.items()},
        "purity": dataclasses.asdict(result.purity),
        "left_out": dict(result.left_out),
        "reaches_target": {label: found.reaches_target for label, found in fitted.fitted.items()},
    }
    write_atomically(folder / FIGURES_NAME, json.dumps(without_nan(described), indent=2) + "\n")
    write_atomically(folder / RECIPE_NAME, resolved_json(recipe))
    write_atomically(folder / CARD_NAME, model_card(recipe, result, held_out, train, test, fitted))


def without_nan(value: object) -> object:
    """Return a value for JSON, with null in place of NaN."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value

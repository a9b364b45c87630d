"""Do filters find kinds of bad video that they were never shown? Families and sources are both held out.

    cogvideox label negatives recipes/negatives.toml --out made
    cogvideox curate recipes/curate.toml --inputs made/videos --out made/curated
    python -m benchmarks.held_out_families made/curated made/labels.jsonl

Every video is judged by filters that were trained without its family (static.slides, good.subtitled, ...) and without
anything of its group of sources: families are dealt to five parts, and each part is left out with each group in turn.
Operating points are chosen in the training part alone. All videos are made ones; real clips are reported apart.
"""

import argparse
import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cogvideox.data.curation.tables import read_curation
from cogvideox.data.labelling.labels import LABELS
from cogvideox.training.filter_figures import label_figures
from cogvideox.training.filter_fit import LabelledClips, fit_filters
from cogvideox.training.filter_recipe import FilterRecipe
from cogvideox.training.filter_training import answers_about, read_labelled

NUM_PARTS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="curated folders, each followed by its labels.jsonl")
    parser.add_argument("--precision", type=float, default=0.95)
    parser.add_argument("--columns", nargs="*", default=(), help="columns to leave out")
    parser.add_argument("--set", nargs="*", default=(), dest="settings", help="of the trees, as num_trees=200")
    arguments = parser.parse_args()
    curated, labels = tuple(arguments.folders[::2]), tuple(arguments.folders[1::2])
    recipe = FilterRecipe(curated=curated, labels=labels, target_precision=arguments.precision)
    settings = {name: json.loads(value) for name, value in (text.split("=") for text in arguments.settings)}
    recipe = dataclasses.replace(recipe, trees=dataclasses.replace(recipe.trees, **settings))
    clips, families = read(recipe, arguments.columns)
    judged = {label: np.full(len(families), np.nan) for label in LABELS}
    said = {label: np.full(len(families), np.nan) for label in LABELS}
    for train, test in held_out(clips, families):
        model = fit_filters(clips.take(train), recipe, {}).model
        probabilities = model.probabilities(dict(zip(clips.columns, clips.values[test].T, strict=True)))
        for label, known in probabilities.items():
            judged[label][test] = known
            said[label][test] = known >= model.filters[label].threshold
    report(clips, families, judged, said, arguments.precision)


def read(recipe: FilterRecipe, left_out: tuple[str, ...]) -> tuple[LabelledClips, np.ndarray]:
    """Return the clips, and the family of each."""
    clips, _ = read_labelled(recipe)
    kept = [index for index, name in enumerate(clips.columns) if name not in left_out]
    clips = dataclasses.replace(
        clips, columns=tuple(clips.columns[index] for index in kept), values=clips.values[:, kept]
    )
    curations = {path: read_curation(path) for path in recipe.curated}
    family_of = {answer.clip_id: answer.note for answer in answers_about(recipe.labels, curations)}
    return clips, np.array([family_of[clip_id] for clip_id in clips.clip_ids])


def held_out(clips: LabelledClips, families: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which clips are trained on and which are judged, so that each is judged once."""
    parts: dict[str, int] = {}
    for kind in sorted({name.split(".")[0] for name in families}):
        names = sorted({name for name in families if name.startswith(f"{kind}.")})
        order = np.random.default_rng(0).permutation(len(names))
        parts |= {names[place]: number % NUM_PARTS for number, place in enumerate(order)}
    part = np.array([parts[name] for name in families])
    for number in range(NUM_PARTS):
        for group in np.unique(clips.groups):
            is_test = (part == number) & (clips.groups == group)
            if is_test.any():
                yield (part != number) & (clips.groups != group), is_test


def report(clips: LabelledClips, families: np.ndarray, judged: dict, said: dict, target: float) -> None:
    print(f"{len(families)} clips of {len(np.unique(families))} families, {len(np.unique(clips.groups))} groups")
    print("                                            at the point chosen in training")
    print(f"label        positives  PR-AUC  recall at {target:.0%}    precision  recall")
    rows: list[tuple[float, ...]] = []
    for label in LABELS:
        truth = clips.labels[label]
        known = np.isfinite(truth) & np.isfinite(judged[label])
        found = label_figures(judged[label], truth, clips.groups, 2.0)
        order = np.argsort(-judged[label][known], kind="stable")
        hits = (truth[known][order] == 1).cumsum()
        precision = hits / np.arange(1, len(order) + 1)
        best = hits[precision >= target].max(initial=0) / max(1, hits[-1])
        is_said, is_true = said[label][known] == 1, truth[known] == 1
        num_found = (is_said & is_true).sum()
        rows.append((found.pr_auc, best, num_found / max(1, is_said.sum()), num_found / is_true.sum()))
        print_row(label, str(int(is_true.sum())), rows[-1])
    print_row("mean", "", tuple(np.mean(rows, 0)))
    wrong = np.zeros(len(families), bool)
    recalls: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for name in np.unique(families):
        label, chosen = name.split(".")[0], families == name
        if label in LABELS:
            recalls[label].append((float(np.mean(said[label][chosen] == 1)), name, int(chosen.sum())))
        else:
            wrong |= chosen & np.stack([said[each] == 1 for each in LABELS]).any(0)
    for label, found in recalls.items():
        worst = ", ".join(f"{name.split('.')[1]} {recall:.2f}" for recall, name, _ in sorted(found)[:6])
        print(f"worst of {label}: {worst}")
    good = np.array([name.startswith("good.") for name in families])
    print(f"good clips kept by all filters: {1 - wrong[good].mean():.3f} of {good.sum()}")
    for label in LABELS:
        falsely = good & (said[label] == 1)
        names = defaultdict(int)
        for name in families[falsely]:
            names[name] += 1
        print(f"  said to be {label}: {int(falsely.sum())}", dict(names))


def print_row(name: str, count: str, figures: tuple[float, ...]) -> None:
    area, best, precision, recall = figures
    print(f"{name:12s} {count:>9s}  {area:6.3f}  {best:13.3f}    {precision:9.3f}  {recall:6.3f}")


if __name__ == "__main__":
    main()

"""The model card of trained filters, in Markdown."""

import math
from collections.abc import Mapping

import numpy as np

from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.training.filter_figures import FilterResult, LabelFigures, average_precision
from cogvideox.training.filter_fit import FittedFilters, LabelledClips
from cogvideox.training.filter_recipe import FilterRecipe

NUM_COLUMNS = 5
"""Of each label that are named as the most important."""
NUM_SHUFFLES = 2
MAX_SHUFFLED = 500
"""Test clips that columns are shuffled on."""


def model_card(
    recipe: FilterRecipe,
    result: FilterResult,
    held_out: Mapping[LabelName, LabelFigures],
    train: LabelledClips,
    test: LabelledClips,
    fitted: FittedFilters,
) -> str:
    """Return what the filters are, what they were trained on, how good they are and what they are not for.

    Args:
        recipe: how they were trained.
        result: what came out.
        held_out: figures of cross-validation on the clips trained on.
        train: clips that were trained on.
        test: clips of sources that were not.
        fitted: the filters.
    """
    of_test = f"{len(test.clip_ids)} clips of {_sources(test)} that were not trained on"
    lines = [
        "# Filters of bad video",
        "",
        "Say of a clip how likely it is to be one of six kinds of bad video (CogVideoX, arXiv 2408.06072, section 3.3)",
        "from what `cogvideox curate` measures of it: boosted trees for each label, calibrated by Platt's method on",
        "sources that the trees had not seen.",
        "",
        "```toml",
        "[filters]",
        'model = "this folder"',
        "```",
        "",
        "| label | what it means |",
        "|---|---|",
        *(f"| `{label.name}` | {label.title}. {label.meaning} |" for label in LABELS.values()),
        "",
        "## Trained on",
        "",
        f"{len(train.clip_ids)} clips of {_sources(train)}, {len(train.columns)} columns.",
        "",
        "| label | with it | without it | not known |",
        "|---|---|---|---|",
        *(_counts(label, train) for label in LABELS),
        *(f"\n`{label}` has no filter: {reason}." for label, reason in result.left_out.items()),
        "",
        "## Figures",
        "",
        f"On {of_test}, at the probability that was chosen for a precision of {recipe.target_precision:.0%} in",
        "cross-validation. In brackets, if there are several sources, 5 % and 95 % points over resampled ones.",
        "",
        *figures_tables(result.figures),
        "In cross-validation on the clips trained on, by whole sources:",
        "",
        *_quality_table(held_out),
        *(
            f"`{label}` reaches the target precision nowhere: no clip is said to have it.\n"
            for label, found in fitted.fitted.items()
            if not found.reaches_target
        ),
        "## What is left",
        "",
        f"Of {result.purity.num_clips} test clips {_percent(result.purity.bad_before)} are bad; after all filters "
        f"{_percent(result.purity.bad_after)} of what is left are, and {_percent(result.purity.good_kept)} of the good "
        "ones are kept.",
        "",
        "## What they look at",
        "",
        "Loss of PR-AUC on the test clips when a column is shuffled:",
        "",
        *(f"- `{label}`: {_importance(label, fitted, test)}" for label in fitted.fitted),
        "",
        "## Limits",
        "",
        "The probabilities are those of the mix of clips trained on: where bad video is rarer, fewer of the clips that",
        "are said to be bad are. Look at clips of your own corpus with `cogvideox label`, and train again with them.",
        "",
    ]
    return "\n".join(lines)


def figures_tables(figures: Mapping[LabelName, LabelFigures]) -> list[str]:
    """Return the lines of two tables: how good each filter is, and the paper's form."""
    return [
        *_quality_table(figures),
        "In the form of the paper's table 14, shares of all clips:",
        "",
        "| label | TP | FP | TN | FN | accuracy |",
        "|---|---|---|---|---|---|",
        *(_confusion(label, found) for label, found in figures.items()),
        "",
    ]


def _quality_table(figures: Mapping[LabelName, LabelFigures]) -> list[str]:
    return [
        "| label | clips with it | PR-AUC | precision | recall | chosen from | calibration error | Brier |",
        "|---|---|---|---|---|---|---|---|",
        *(_quality(label, found) for label, found in figures.items()),
        "",
    ]


def _sources(clips: LabelledClips) -> str:
    num_sources = len(np.unique(clips.groups))
    return f"{num_sources} source" + "s" * (num_sources != 1)


def _counts(label: LabelName, clips: LabelledClips) -> str:
    known = clips.labels[label]
    counts = (int((known == 1).sum()), int((known == 0).sum()), int(np.isnan(known).sum()))
    return f"| `{label}` | {' | '.join(str(count) for count in counts)} |"


def _quality(label: LabelName, found: LabelFigures) -> str:
    return (
        f"| `{label}` | {found.num_positives} of {found.num_clips} "
        f"| {_number(found.pr_auc)}{_points(found.pr_auc_low, found.pr_auc_high)} "
        f"| {_number(found.precision)}{_points(found.precision_low)} "
        f"| {_number(found.recall)}{_points(found.recall_low)} "
        f"| {_number(found.threshold)} | {_number(found.calibration_error)} | {_number(found.brier)} |"
    )


def _confusion(label: LabelName, found: LabelFigures) -> str:
    shares = (
        found.true_positives,
        found.false_positives,
        found.true_negatives,
        found.false_negatives,
        found.accuracy,
    )
    return f"| `{label}` | {' | '.join(_number(share) for share in shares)} |"


def _importance(label: LabelName, fitted: FittedFilters, test: LabelledClips) -> str:
    found, known = fitted.fitted[label].filter, np.isfinite(test.labels[label])
    values, truth = test.values[known], test.labels[label][known] == 1
    whole = average_precision(found.probabilities(values), truth)
    if math.isnan(whole):
        return "not known: the test clips are all of one answer"
    if len(values) > MAX_SHUFFLED:
        chosen = np.random.default_rng(0).permutation(len(values))[:MAX_SHUFFLED]
        values, truth = values[chosen], truth[chosen]
        whole = average_precision(found.probabilities(values), truth)
    generator = np.random.default_rng(0)
    losses: dict[str, float] = {}
    for index in np.unique(found.trees.columns[found.trees.columns >= 0]).tolist():
        shuffled = values.copy()
        areas = []
        for _ in range(NUM_SHUFFLES):
            shuffled[:, index] = generator.permutation(values[:, index])
            areas.append(average_precision(found.probabilities(shuffled), truth))
        losses[test.columns[index]] = whole - float(np.mean(areas))
    first = sorted(losses, key=lambda name: -losses[name])[:NUM_COLUMNS]
    return ", ".join(f"{name} ({losses[name]:.3f})" for name in first)


def _points(*values: float) -> str:
    """Return points over resampled sources in brackets; nothing if there were too few sources to resample."""
    return "" if any(math.isnan(value) for value in values) else f" ({' to '.join(map(_number, values))})"


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.1%}"

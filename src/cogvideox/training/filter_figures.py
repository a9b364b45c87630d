"""How well filters find bad video: figures of each label and of what is left.

Axes: N clips.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.labelling.labels import LabelName

NUM_BINS = 10
NUM_RESAMPLES = 500

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """Of one label, on clips whose sources were not trained on; NaN where there is nothing to measure."""

    num_clips: int
    num_positives: int
    pr_auc: float
    """Average precision: the area under precision over recall. Chance gives the share of positives."""
    pr_auc_low: float
    """5 % and 95 % points over resampled sources."""
    pr_auc_high: float
    threshold: float
    precision: float
    """At the threshold."""
    recall: float
    precision_low: float
    recall_low: float
    """5 % points over resampled sources."""
    true_positives: float
    """Shares of all clips, as in the paper's table 14."""
    false_positives: float
    true_negatives: float
    false_negatives: float
    accuracy: float
    calibration_error: float
    """Expected calibration error: mean distance of probability and truth over ten bins of equal width."""
    brier: float
    """Mean squared distance of probability and truth."""


def label_figures(probabilities: Array, truth: Array, groups: NDArray[np.int64], threshold: float) -> LabelFigures:
    """Measure one label.

    Args:
        probabilities: (N,)
        truth: (N,) 0, 1, or NaN for not known: left out.
        groups: (N,) the sources, which are resampled whole.
        threshold: from which on a clip is said to have the label.
    """
    known = np.isfinite(truth) & np.isfinite(probabilities)
    probabilities, is_true, groups = probabilities[known], truth[known] == 1, groups[known]
    is_said = probabilities >= threshold
    shares = [
        float(np.mean(chosen)) if chosen.size else math.nan
        for chosen in (is_said & is_true, is_said & ~is_true, ~is_said & ~is_true, ~is_said & is_true)
    ]
    low, high = _intervals(probabilities, is_true, groups, threshold)
    return LabelFigures(
        num_clips=len(is_true),
        num_positives=int(is_true.sum()),
        pr_auc=average_precision(probabilities, is_true),
        pr_auc_low=low[0],
        pr_auc_high=high[0],
        threshold=threshold,
        precision=_share(is_said & is_true, is_said),
        recall=_share(is_said & is_true, is_true),
        precision_low=low[1],
        recall_low=low[2],
        true_positives=shares[0],
        false_positives=shares[1],
        true_negatives=shares[2],
        false_negatives=shares[3],
        accuracy=shares[0] + shares[2],
        calibration_error=_calibration_error(probabilities, is_true),
        brier=float(np.mean((probabilities - is_true) ** 2)) if len(is_true) else math.nan,
    )


def average_precision(probabilities: Array, is_true: NDArray[np.bool_]) -> float:
    """Return the area under precision over recall, by steps; NaN if only one answer is there."""
    num_true = int(is_true.sum())
    if not num_true or num_true == len(is_true):
        return math.nan
    order = np.argsort(-probabilities, kind="stable")
    found = is_true[order].cumsum()
    # Clips of the same probability are found together.
    is_last = np.append(np.diff(probabilities[order]) != 0, True)
    found, said = found[is_last], np.flatnonzero(is_last) + 1
    return float((np.diff(found, prepend=0) * found / said).sum() / num_true)


@dataclass(frozen=True, kw_only=True)
class PurityFigures:
    """What is left when every clip is dropped that is said to have a label; only clips of which all is known count."""

    num_clips: int
    bad_before: float
    """Share of clips with at least one label."""
    bad_after: float
    """The same of those that are left."""
    good_kept: float
    """Share of clips without any label that are left."""


def purity(
    probabilities: Mapping[LabelName, Array], truth: Mapping[LabelName, Array], thresholds: Mapping[LabelName, float]
) -> PurityFigures:
    """Measure the set that all filters leave, from (N,) probabilities and truths of each label."""
    labels = list(probabilities)
    answers = np.stack([truth[label] for label in labels])
    # A clip is bad by one label that is known, and good only if all are.
    is_bad, is_good = (answers == 1).any(0), (answers == 0).all(0)
    is_said = np.stack([probabilities[label] >= thresholds[label] for label in labels]).any(0)
    known = is_bad | is_good
    return PurityFigures(
        num_clips=int(known.sum()),
        bad_before=_share(is_bad, known),
        bad_after=_share(is_bad & ~is_said, known & ~is_said),
        good_kept=_share(is_good & ~is_said, is_good),
    )


def _share(chosen: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(chosen.sum() / among.sum()) if among.any() else math.nan


def _calibration_error(probabilities: Array, is_true: NDArray[np.bool_]) -> float:
    if not len(is_true):
        return math.nan
    bins = np.minimum((probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    distances = np.bincount(bins, probabilities - is_true, minlength=NUM_BINS)
    return float(np.abs(distances).sum() / len(is_true))


def _intervals(
    probabilities: Array, is_true: NDArray[np.bool_], groups: NDArray[np.int64], threshold: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the 5 % and 95 % points of PR-AUC, precision and recall over resampled sources."""
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    drawn: list[tuple[float, float, float]] = []
    for _ in range(NUM_RESAMPLES if len(members) > 1 else 0):
        places = np.concatenate([members[index] for index in generator.integers(len(members), size=len(members))])
        said, true = probabilities[places] >= threshold, is_true[places]
        area = average_precision(probabilities[places], true)
        drawn.append((area, _share(said & true, said), _share(said & true, true)))
    if not drawn:
        return (math.nan,) * 3, (math.nan,) * 3
    low, high = (
        tuple(
            float(np.quantile(column[np.isfinite(column)], point)) if np.isfinite(column).any() else math.nan
            for column in np.array(drawn).T
        )
        for point in (0.05, 0.95)
    )
    return low, high


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterResult:
    """Trained filters, and how good they are on sources that they have not seen."""

    folder: Path
    num_train: int
    num_test: int
    figures: Mapping[LabelName, LabelFigures]
    left_out: Mapping[LabelName, str]
    """Labels without a filter, and why."""
    not_reached: tuple[LabelName, ...]
    """Labels whose filters reach the precision that was asked for nowhere: no clip is said to have them."""
    purity: PurityFigures
    duration_s: float | None = None

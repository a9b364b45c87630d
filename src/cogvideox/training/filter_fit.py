"""Filters from labelled clips: boosted trees for each label, calibrated on sources that they have not seen.

Axes: N clips, C columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.filters.filter_model import FilterModel, LabelFilter, sigmoid
from cogvideox.data.filters.trees import Trees
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.errors import MissingPackageError
from cogvideox.training.filter_recipe import FilterRecipe, TreeSettings

NOWHERE = 2.0
"""An operating point above all probabilities."""
LEAST = 0.5
NUM_DRAWS = 200
"""Ways to hold sources out, of which the one is taken that keeps the share of every label best."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledClips:
    """Clips, what was measured of them, and what people said."""

    clip_ids: tuple[str, ...]
    groups: NDArray[np.int64]
    """(N,) clips of the same number come from the same material: they are never on both sides of a split."""
    columns: tuple[str, ...]
    values: Array
    """(N, C), NaN where it could not be measured."""
    labels: Mapping[LabelName, Array]
    """(N,) 0, 1, or NaN for not known."""

    def take(self, chosen: NDArray[np.bool_]) -> "LabelledClips":
        """Return the clips (N,) that are chosen."""
        return LabelledClips(
            clip_ids=tuple(clip_id for clip_id, is_chosen in zip(self.clip_ids, chosen, strict=True) if is_chosen),
            groups=self.groups[chosen],
            columns=self.columns,
            values=self.values[chosen],
            labels={label: known[chosen] for label, known in self.labels.items()},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLabel:
    """A filter, and what it said of the clips it was calibrated on while it did not know their sources."""

    filter: LabelFilter
    probabilities: Array
    """(N,) of all clips that were trained on; NaN where the label is not known."""
    reaches_target: bool
    """Whether the precision that was asked for is reached anywhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedFilters:
    """All filters of a recipe."""

    model: FilterModel
    fitted: Mapping[LabelName, FittedLabel]
    left_out: Mapping[LabelName, str]
    """Labels without a filter, and why."""


def hold_out(clips: LabelledClips, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which clips (N,) are held out: whole groups, about ``share`` of all, with every label's share kept."""
    groups, places = np.unique(clips.groups, return_inverse=True)
    if len(groups) < 2:
        raise ValueError("labels: expected clips of at least 2 sources, so that one can be held out, got 1")
    generator = np.random.default_rng(seed)
    known = np.stack([np.isfinite(values) for values in clips.labels.values()])
    positive = np.stack([values == 1 for values in clips.labels.values()])
    best, best_cost = np.zeros(len(clips.clip_ids), bool), np.inf
    for _ in range(NUM_DRAWS):
        order = generator.permutation(len(groups))
        sizes = np.bincount(places, minlength=len(groups))[order].cumsum()
        num_taken = min(max(1, int(np.searchsorted(sizes, share * len(places))) + 1), len(groups) - 1)
        chosen = np.isin(places, order[:num_taken])
        parts = [(side & chosen).sum(1) / np.maximum(side.sum(1), 1) for side in (positive, known & ~positive)]
        cost = float(np.abs(np.concatenate(parts) - share).sum() + abs(chosen.mean() - share))
        if cost < best_cost:
            best, best_cost = chosen, cost
    return best


def fit_filters(clips: LabelledClips, recipe: FilterRecipe, versions: Mapping[str, int]) -> FittedFilters:
    """Train a filter for every label of which enough is known.

    Args:
        clips: to train on.
        recipe: how.
        versions: of the operators that measured the columns.

    Raises:
        MissingPackageError: scikit-learn is not installed.
        ValueError: no label has enough clips.
    """
    fitted: dict[LabelName, FittedLabel] = {}
    left_out: dict[LabelName, str] = {}
    for label in LABELS:
        known = clips.labels.get(label, np.full(len(clips.clip_ids), np.nan))
        reason = _too_few(known, clips.groups, recipe.least_positives)
        if reason:
            left_out[label] = reason
            continue
        found = _fit_label(clips.values, known, clips.groups, recipe)
        if isinstance(found, str):
            left_out[label] = found
        else:
            fitted[label] = found
    if not fitted:
        # The label that people have said most of is the one that was meant.
        num_known = {label: int(np.isfinite(known).sum()) for label, known in clips.labels.items()}
        nearest = max(left_out, key=lambda label: num_known.get(label, 0))
        raise ValueError(f"labels: no label can be trained; {nearest}: {left_out[nearest]}; label more clips")
    model = FilterModel(
        columns=clips.columns, versions=versions, filters={label: found.filter for label, found in fitted.items()}
    )
    return FittedFilters(model=model, fitted=fitted, left_out=left_out)


def _too_few(known: Array, groups: NDArray[np.int64], least: int) -> str:
    for value, what in ((1, "clips with it"), (0, "clips without it")):
        of_value = known == value
        if of_value.sum() < least:
            return f"{int(of_value.sum())} {what}, at least {least} are needed"
        if len(np.unique(groups[of_value])) < 2:
            return f"all {what} are of one source, at least 2 are needed"
    return ""


def _fit_label(values: Array, labels: Array, groups: NDArray[np.int64], recipe: FilterRecipe) -> FittedLabel | str:
    """Return the filter of a label, or why there is none."""
    is_known = np.isfinite(labels)
    known_values, truth, known_groups = values[is_known], labels[is_known].astype(np.int64), groups[is_known]
    margins = np.full(len(truth), np.nan)
    for train, test in _folds(truth, known_groups, recipe):
        margins[test] = _fit_trees(known_values[train], truth[train], recipe.trees, recipe.seed).margins(
            known_values[test]
        )
    judged = np.isfinite(margins)
    if len(np.unique(truth[judged])) < 2:
        return "the sources cannot be divided so that each part has clips with it and without it; label more sources"
    slope, offset = calibration(margins[judged], truth[judged])
    if slope <= 0:
        return "no better than chance on sources that were not trained on"
    probabilities = sigmoid(slope * margins + offset)
    threshold, reaches_target = operating_point(probabilities[judged], truth[judged], recipe.target_precision)
    trees = _fit_trees(known_values, truth, recipe.trees, recipe.seed)
    everyone = np.full(len(labels), np.nan)
    everyone[is_known] = probabilities
    made = LabelFilter(trees=trees, slope=slope, offset=offset, threshold=threshold)
    return FittedLabel(filter=made, probabilities=everyone, reaches_target=reaches_target)


def _folds(
    truth: NDArray[np.int64], groups: NDArray[np.int64], recipe: FilterRecipe
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return places to train on and to judge; those to train on have both answers."""
    least = min(len(np.unique(groups[truth == value])) for value in (0, 1))
    splitter = scikit_learn().model_selection.StratifiedGroupKFold(
        min(recipe.num_folds, max(2, least)), shuffle=True, random_state=recipe.seed
    )
    folds = splitter.split(np.zeros((len(truth), 1)), truth, groups)
    return [(train, test) for train, test in folds if len(np.unique(truth[train])) == 2]


def _fit_trees(values: Array, truth: NDArray[np.int64], settings: TreeSettings, seed: int) -> Trees:
    fewest = int(min(truth.sum(), len(truth) - truth.sum()))
    values = np.where(np.isfinite(values).any(0), values, 0.0)  # the library takes no column without any value
    booster = scikit_learn().ensemble.HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=settings.num_trees,
        max_leaf_nodes=settings.max_leaves,
        min_samples_leaf=max(1, min(settings.min_leaf_clips, fewest // 20)),
        max_features=settings.column_share,
        l2_regularization=settings.l2,
        early_stopping=False,
        random_state=seed,
    )
    # With several threads the library waits for each column in turn, which takes longer than all its work.
    with threadpoolctl().threadpool_limits(1, "openmp"):
        return trees_of(booster.fit(values, truth))


def trees_of(booster: Any) -> Trees:
    """Return the trees of a fitted booster of two classes as plain arrays."""
    parts: dict[str, list[NDArray]] = {
        name: [] for name in ("columns", "thresholds", "missing_left", "left", "right", "values")
    }
    roots: list[int] = []
    num_nodes = 0
    for (predictor,) in booster._predictors:
        nodes = predictor.nodes
        places = num_nodes + np.arange(len(nodes))
        is_leaf = nodes["is_leaf"].astype(bool)
        parts["columns"].append(np.where(is_leaf, -1, nodes["feature_idx"]))
        parts["thresholds"].append(np.where(is_leaf, 0.0, nodes["num_threshold"]))
        parts["missing_left"].append(nodes["missing_go_to_left"].astype(bool))
        parts["left"].append(np.where(is_leaf, places, num_nodes + nodes["left"].astype(np.int64)))
        parts["right"].append(np.where(is_leaf, places, num_nodes + nodes["right"].astype(np.int64)))
        parts["values"].append(np.where(is_leaf, nodes["value"], 0.0))
        roots.append(num_nodes)
        num_nodes += len(nodes)
    types = {"columns": np.int32, "left": np.int32, "right": np.int32, "missing_left": np.bool_}
    arrays = {name: np.concatenate(found).astype(types.get(name, np.float64)) for name, found in parts.items()}
    baseline = np.asarray(booster._baseline_prediction, np.float64).reshape(1)
    return Trees(**arrays, roots=np.array(roots, np.int32), baseline=baseline)


def calibration(margins: Array, truth: NDArray[np.int64]) -> tuple[float, float]:
    """Return slope and offset that make log odds of margins (Platt 1999); a slope of 0 says no better than chance."""
    fitted = scikit_learn().linear_model.LogisticRegression(C=100.0).fit(margins[:, None], truth)
    # A filter that is worse than chance on new sources must not be turned round.
    return max(float(fitted.coef_[0, 0]), 0.0), float(fitted.intercept_[0])


def operating_point(probabilities: Array, truth: NDArray[np.int64], target: float) -> tuple[float, bool]:
    """Return the lowest probability from which on the target precision holds, and whether there is one.

    If there is none it is `NOWHERE`: no clip is said to have the label. It is never below `LEAST`: who is hardly likely
    to have a label is not said to have it, however well the likely ones do.
    """
    order = np.argsort(-probabilities, kind="stable")
    found, said = truth[order].cumsum(), np.arange(1, len(order) + 1)
    # Clips of the same probability are said to have it together.
    is_last = np.append(np.diff(probabilities[order]) != 0, True)
    reached = np.flatnonzero((found / said >= target) & is_last)
    if not reached.size:
        return NOWHERE, False
    last = int(reached[-1])
    following = probabilities[order[last + 1]] if last + 1 < len(order) else 0.0
    return max(LEAST, float((probabilities[order[last]] + following) / 2)), True


def threadpoolctl() -> Any:
    """Return threadpoolctl, which comes with scikit-learn."""
    scikit_learn()
    import threadpoolctl

    return threadpoolctl


def scikit_learn() -> Any:
    """Return sklearn with its modules that are needed here."""
    try:
        import sklearn.ensemble
        import sklearn.linear_model
        import sklearn.metrics
        import sklearn.model_selection
    except ImportError:
        raise MissingPackageError("training filters needs scikit-learn: pip install 'cogvideox[data]'") from None
    return sklearn

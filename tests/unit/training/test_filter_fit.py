from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score

from cogvideox.data.labelling.labels import LABELS
from cogvideox.training.filter_figures import average_precision, label_figures, purity
from cogvideox.training.filter_fit import NOWHERE, LabelledClips, fit_filters, hold_out, operating_point, trees_of
from cogvideox.training.filter_recipe import FilterRecipe, TreeSettings

RECIPE = FilterRecipe(curated=(Path("c"),), labels=(Path("l"),), trees=TreeSettings(num_trees=30))


def clips(num_clips: int = 600, num_groups: int = 30) -> LabelledClips:
    """Clips whose label `editing` follows two columns, and `text` is known of few."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(num_clips, 6))
    truth = (values[:, 0] + np.maximum(values[:, 1], 0) > 0.6).astype(float)
    values[rng.random(values.shape) < 0.05] = np.nan
    few = np.full(num_clips, np.nan)
    few[:9] = 1
    few[9:300] = 0
    return LabelledClips(
        clip_ids=tuple(f"clip{index}" for index in range(num_clips)),
        groups=np.arange(num_clips) % num_groups,
        columns=tuple(f"op.{index}" for index in range(6)),
        values=values,
        labels={label: truth if label == "editing" else few if label == "text" else truth * np.nan for label in LABELS},
    )


def test_our_trees_give_what_scikit_learn_gives() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(500, 4))
    values[rng.random(values.shape) < 0.2] = np.nan
    truth = np.nan_to_num(values[:, 0] * values[:, 1]) > 0.3
    booster = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=9, random_state=0).fit(values, truth)
    unseen = rng.normal(size=(2_000, 4)) * 3
    unseen[rng.random(unseen.shape) < 0.2] = np.nan
    np.testing.assert_allclose(trees_of(booster).margins(unseen), booster.decision_function(unseen), atol=1e-12)


def test_held_out_groups_are_whole_and_keep_the_share_of_labels() -> None:
    made = clips()
    chosen = hold_out(made, 0.2, seed=0)
    assert not set(made.groups[chosen]) & set(made.groups[~chosen])
    assert 0.15 <= chosen.mean() <= 0.25
    truth = made.labels["editing"]
    assert abs(truth[chosen].mean() - truth[~chosen].mean()) < 0.05
    np.testing.assert_array_equal(chosen, hold_out(made, 0.2, seed=0))
    alone = LabelledClips(
        clip_ids=("a",),
        groups=np.zeros(1, int),
        columns=("x",),
        values=np.zeros((1, 1)),
        labels=dict(editing=np.ones(1)),
    )
    with pytest.raises(ValueError, match="at least 2 sources"):
        hold_out(alone, 0.1, seed=0)


def test_filters_find_what_they_were_taught_and_keep_their_promise_on_new_sources() -> None:
    made = clips(3_000, 60)
    chosen = hold_out(made, 0.3, seed=0)
    fitted = fit_filters(made.take(~chosen), RECIPE, {"op": 1})
    assert set(fitted.model.filters) == {"editing"}
    assert "clips with it, at least 10" in fitted.left_out["text"]
    assert "0 clips with it" in fitted.left_out["static"]
    unseen = made.take(chosen)
    said = fitted.model.probabilities(dict(zip(unseen.columns, unseen.values.T, strict=True)))["editing"]
    found = label_figures(said, unseen.labels["editing"], unseen.groups, fitted.model.filters["editing"].threshold)
    assert found.pr_auc > 0.95
    assert found.precision > 0.9
    assert found.recall > 0.7
    assert found.calibration_error < 0.06
    assert found.precision_low <= found.precision
    assert found.pr_auc_low <= found.pr_auc <= found.pr_auc_high


def test_what_is_not_known_of_a_clip_changes_nothing() -> None:
    made = clips()
    labels = dict(made.labels) | {"editing": np.where(np.arange(600) < 100, np.nan, made.labels["editing"])}
    unknown = LabelledClips(**{**vars(made), "labels": labels})
    known = unknown.take(np.arange(600) >= 100)
    of_all, of_known = (fit_filters(each, RECIPE, {}).model.filters["editing"] for each in (unknown, known))
    np.testing.assert_array_equal(of_all.trees.values, of_known.trees.values)
    assert (of_all.slope, of_all.threshold) == (of_known.slope, of_known.threshold)


def test_labels_in_the_wrong_places_are_an_error() -> None:
    made = clips(40, 40)
    with pytest.raises(ValueError, match="no label can be trained; editing: 0 clips without it"):
        fit_filters(made.take(made.labels["editing"] == 1), RECIPE, {})


def test_the_operating_point_is_the_lowest_that_holds_the_precision() -> None:
    truth = np.array([1, 1, 0, 1, 1, 0, 0])
    probabilities = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.1])
    assert operating_point(probabilities, truth, 1.0) == (pytest.approx(0.75), True)
    # The two of 0.5 are said to have it together: 4 of 6.
    assert operating_point(probabilities, truth, 0.75) == (pytest.approx(0.55), True)
    assert operating_point(probabilities, 1 - truth, 0.95) == (NOWHERE, False)
    # All of 0.1 and more have it, but what is hardly likely is not said to have it.
    assert operating_point(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 1]), 0.95) == (0.5, True)


def test_a_filter_that_is_no_better_than_chance_is_left_out() -> None:
    made = clips(400, 20)
    for seed in range(6):
        labels = dict(made.labels) | {"text": (np.random.default_rng(seed).random(400) < 0.2).astype(float)}
        fitted = fit_filters(LabelledClips(**{**vars(made), "labels": labels}), RECIPE, {})
        if "text" in fitted.fitted:
            found = fitted.fitted["text"].filter
            assert (found.probabilities(made.values) >= found.threshold).mean() < 0.1
        else:
            assert "no better than chance" in fitted.left_out["text"]


def test_columns_that_are_known_of_few_clips_do_no_harm() -> None:
    made = clips()
    values = made.values.copy()
    values[:, 3] = np.nan
    values[7, 3] = 1.0
    values[:, 4] = np.where(made.groups == 2, 0.5, np.nan)
    fitted = fit_filters(LabelledClips(**{**vars(made), "values": values}), RECIPE, {})
    assert "editing" in fitted.fitted


@pytest.mark.parametrize("groups", [((17, 0), (9, 10), (2, 4), (3, 0)), ((12, 0), (0, 12)), ((10, 1), (1, 10))])
def test_sources_that_cannot_be_divided_are_a_reason_and_no_crash(groups: tuple[tuple[int, int], ...]) -> None:
    truth = np.concatenate([np.repeat([1.0, 0.0], counts) for counts in groups])
    numbers = np.repeat(np.arange(len(groups)), [sum(counts) for counts in groups])
    values = np.random.default_rng(0).normal(size=(len(truth), 3))
    made = LabelledClips(
        clip_ids=tuple(map(str, range(len(truth)))),
        groups=numbers,
        columns=("a.x", "a.y", "a.z"),
        values=values,
        labels={"editing": truth},
    )
    try:
        fit_filters(made, RECIPE, {})
    except ValueError as error:
        assert str(error).startswith("labels: no label can be trained; editing: ")


def test_figures_are_those_of_a_table_worked_by_hand() -> None:
    probabilities = np.array([0.9, 0.8, 0.4, 0.3, 0.2, 0.9])
    truth = np.array([1.0, 0.0, 1.0, 0.0, 0.0, np.nan])
    found = label_figures(probabilities, truth, np.arange(6), 0.5)
    assert (found.num_clips, found.num_positives) == (5, 2)
    shares = (found.true_positives, found.false_positives, found.true_negatives, found.false_negatives)
    assert shares == (0.2, 0.2, 0.4, 0.2)
    assert (found.precision, found.recall, found.accuracy) == (0.5, 0.5, pytest.approx(0.6))
    assert found.pr_auc == pytest.approx((1 + 2 / 3) / 2)
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.36 + 0.09 + 0.04) / 5)
    assert found.calibration_error == pytest.approx((0.1 + 0.8 + 0.6 + 0.3 + 0.2) / 5)


def test_average_precision_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        probabilities, truth = rng.integers(0, 8, 60) / 8, rng.random(60) < 0.3
        assert average_precision(probabilities, truth) == pytest.approx(average_precision_score(truth, probabilities))


def test_purity_counts_clips_that_are_known() -> None:
    truth = {"editing": np.array([1.0, 0.0, 0.0, np.nan, 0.0]), "text": np.array([0.0, 0.0, 1.0, 0.0, np.nan])}
    said = {"editing": np.array([0.9, 0.8, 0.1, 0.1, 0.1]), "text": np.array([0.1, 0.1, 0.1, 0.9, 0.1])}
    left = purity(said, truth, {"editing": 0.5, "text": 0.5})
    assert (left.num_clips, left.bad_before, left.bad_after, left.good_kept) == (3, pytest.approx(2 / 3), 1.0, 0.0)

from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.filters.filter_model import FilterModel, LabelFilter
from cogvideox.data.filters.trees import Trees


def stump(column: int = 0, threshold: float = 0.5, *, missing_left: bool = True) -> Trees:
    """One tree: -1 up to the threshold, 2 above it."""
    return Trees(
        columns=np.array([column, -1, -1], np.int32),
        thresholds=np.array([threshold, 0, 0]),
        missing_left=np.array([missing_left, False, False]),
        left=np.array([1, 1, 2], np.int32),
        right=np.array([2, 1, 2], np.int32),
        values=np.array([0.0, -1.0, 2.0]),
        roots=np.array([0], np.int32),
        baseline=np.array([10.0]),
    )


def test_rows_go_by_threshold_and_rows_without_a_value_where_the_tree_says() -> None:
    values = np.array([[0.5], [0.6], [np.nan]])
    assert stump().margins(values).tolist() == [9, 12, 9]
    assert stump(missing_left=False).margins(values).tolist() == [9, 12, 12]
    assert stump().margins(np.zeros((0, 1))).shape == (0,)
    assert stump().margins(np.zeros((10_000, 1))).tolist() == [9] * 10_000


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left", np.array([0, 1, 2], np.int32), "children after their parents"),
        ("right", np.array([7, 1, 2], np.int32), "expected places among 3 nodes"),
        ("values", np.zeros(2), "expected shape"),
        ("roots", np.array([3], np.int32), "expected places among 3 nodes"),
    ],
)
def test_trees_that_would_not_end_or_lead_nowhere_are_refused(field: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trees.of_arrays(stump().to_arrays() | {field: value})


def model(columns: tuple[str, ...] = ("a.x", "b.y")) -> FilterModel:
    return FilterModel(
        columns=columns,
        versions={"a": 1, "b": 3},
        filters={
            "editing": LabelFilter(trees=stump(1), slope=0.5, offset=-6.0, threshold=0.25),
            "text": LabelFilter(trees=stump(), slope=1.0, offset=0.0, threshold=0.5),
        },
    )


def test_a_saved_model_says_the_same(tmp_path: Path) -> None:
    model().save(tmp_path / "filters")
    again = FilterModel.load(tmp_path / "filters")
    values = {"b.y": np.array([0.0, 1.0, np.nan]), "a.x": np.array([1.0, np.nan, 0.0])}
    for label, expected in model().probabilities(values).items():
        np.testing.assert_array_equal(again.probabilities(values)[label], expected)
    np.testing.assert_allclose(again.probabilities(values)["editing"], 1 / (1 + np.exp([1.5, 0.0, 1.5])))
    assert (again.columns, dict(again.versions)) == (("a.x", "b.y"), {"a": 1, "b": 3})


def test_damaged_folders_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train filters makes them"):
        FilterModel.load(tmp_path / "none")
    model().save(tmp_path)
    description = (tmp_path / "filters.json").read_text()
    for broken in ("{", description.replace('"format": 1', '"format": 9'), description.replace('"text"', '"words"')):
        (tmp_path / "filters.json").write_text(broken)
        with pytest.raises(ValueError, match="damaged"):
            FilterModel.load(tmp_path)
    model(("a.x",)).save(tmp_path)
    with pytest.raises(ValueError, match="ask for 2 columns, but 1 are named"):
        FilterModel.load(tmp_path)
    model().save(tmp_path)
    weights = tmp_path / "filters.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + bytes(8))
    with pytest.raises(ValueError, match="is not the file"):
        FilterModel.load(tmp_path)

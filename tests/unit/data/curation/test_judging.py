"""Operators on columns: what they are given, and what comes of it when something is missing."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.curation.judging import judge
from cogvideox.data.curation.operators import Column
from cogvideox.data.curation.plan import CurationPlan, PlannedColumnOperator, operator_types
from cogvideox.data.curation.recipe import CurationRecipe
from cogvideox.data.curation.store import Store

DIGEST = "ab" * 32
PLAN = CurationPlan.of(CurationRecipe(inputs=("videos",), operators=("quality", "cues")))


class Brightness:
    name = "brightness"
    version = 1
    columns = (Column(name="score", unit="share", low=0, high=1, meaning=""),)
    inputs = ("quality.luma", "cues.flat_share")
    input_versions: Mapping[str, int] = {}

    def __init__(self, scale: float = 255) -> None:
        self.scale = scale

    def weights(self) -> tuple[str, ...]:
        return ()

    def judge(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert set(values) == set(self.inputs)
        return {"score": values["quality.luma"] / self.scale}


def judged(tmp_path: Path, operator: Brightness, *, failed: str = "") -> list[dict]:
    store = Store(tmp_path)
    for planned in PLAN.operators:
        rows = []
        for number, luma in enumerate((51.0, math.nan, 255.0)):
            values = dict.fromkeys((column.name for column in planned.operator.columns), 0.25)
            values |= {"luma": luma} if planned.name == "quality" else {}
            error = failed if number == 2 and planned.name == "cues" else ""
            rows.append({"clip_id": f"clip{number}"} | values | {"error": error})
        store.write(planned.key, DIGEST, rows, operator_types(planned.operator.columns))
    planned = PlannedColumnOperator(key="brightness-1", operator=operator, needs=PLAN.operators)
    judge(dataclasses.replace(PLAN, column_operators=(planned,)), store, DIGEST)
    return store.read("brightness-1", DIGEST)


def test_clips_are_judged_by_the_columns_of_others(tmp_path: Path) -> None:
    rows = judged(tmp_path, Brightness())
    assert [row["clip_id"] for row in rows] == ["clip0", "clip1", "clip2"]
    np.testing.assert_array_equal([row["score"] for row in rows], [0.2, math.nan, 1.0])
    assert {row["error"] for row in rows} == {""}


def test_what_is_judged_by_something_that_failed_is_an_error_of_that_clip_alone(tmp_path: Path) -> None:
    rows = judged(tmp_path, Brightness(), failed="ValueError: no")
    assert [row["error"] for row in rows] == ["", "", "needs cues, which failed"]
    assert math.isnan(rows[2]["score"])


def test_values_out_of_range_are_an_error(tmp_path: Path) -> None:
    rows = judged(tmp_path, Brightness(scale=100))
    assert all(row["error"].startswith("score: expected 0 to 1, got 0.51 to 2.55") for row in rows)


def test_filters_need_the_operators_that_they_judge_by() -> None:
    with pytest.raises(ValueError, match=r"filters judges by .*, which none of the others measures"):
        CurationPlan.of(CurationRecipe(inputs=("videos",), operators=("quality", "filters")))


def test_the_filters_in_the_package_were_made_for_the_operators_in_it() -> None:
    plan = CurationPlan.of(CurationRecipe(inputs=("videos",)))
    (filters,) = plan.column_operators
    assert filters.operator.input_versions == {each.name: each.operator.version for each in filters.needs}

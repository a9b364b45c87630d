"""What a recipe is planned as: keys that change with what decides results, and columns as documented."""

import dataclasses
import math
import re
from pathlib import Path

import pytest

from cogvideox.data.curation.plan import CurationPlan
from cogvideox.data.curation.policy import Policy, Rule
from cogvideox.data.curation.recipe import CurationRecipe
from cogvideox.settings import read_recipe

ROOT = Path(__file__).parents[4]
RECIPE = CurationRecipe(inputs=("videos",))


def keys(recipe: CurationRecipe) -> dict[str, str]:
    plan = CurationPlan.of(recipe)
    return {"shots": plan.shots_key, "previews": plan.previews_key, "clips": plan.clip_files_key} | {
        planned.name: planned.key for planned in plan.operators
    }


def changed(recipe: CurationRecipe) -> set[str]:
    return {name for name, key in keys(recipe).items() if key != keys(RECIPE)[name]}


def test_a_change_reaches_what_depends_on_it_and_nothing_else() -> None:
    replace = dataclasses.replace
    assert changed(replace(RECIPE, inputs=("others",), max_shard_mib=1)) == set()
    assert changed(replace(RECIPE, policy=Policy(rules=(Rule(column="motion.peak_speed", min=0.1),)))) == set()
    assert changed(replace(RECIPE, motion=replace(RECIPE.motion, min_object_speed=2.0))) == {"motion"}
    assert changed(replace(RECIPE, clips=replace(RECIPE.clips, crf=20))) == {"clips"}
    assert changed(replace(RECIPE, shots=replace(RECIPE.shots, max_duration_s=5.0))) == set(keys(RECIPE))
    assert changed(replace(RECIPE, decoding=replace(RECIPE.decoding, max_silence_s=5.0))) == set()
    assert changed(replace(RECIPE, decoding=replace(RECIPE.decoding, max_duration_s=5.0))) == set(keys(RECIPE))


def test_the_documentation_names_every_column_with_unit_range_and_meaning() -> None:
    def shown(value: float) -> str:
        return "∞" if value == math.inf else f"{value:g}"

    text = (ROOT / "docs" / "curation.md").read_text()
    for name, column in CurationPlan.of(RECIPE).columns.items():
        row = f"| `{name}` | {column.unit} | {shown(column.low)} to {shown(column.high)} | {column.meaning} |"
        assert row in text, f"docs/curation.md lacks the row: {row}"
    signals = text[text.index("## Signals") : text.index("## Policy")]
    documented = set(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", signals, re.MULTILINE))
    assert documented == set(CurationPlan.of(RECIPE).columns)


def test_a_policy_is_checked_before_any_work() -> None:
    rules = Policy(rules=(Rule(column="motion.peek_speed", min=0.1),))
    with pytest.raises(ValueError, match=r"got 'motion.peek_speed'; did you mean 'motion.peak_speed'\?"):
        CurationPlan.of(dataclasses.replace(RECIPE, policy=rules))
    with pytest.raises(ValueError, match="expected a column that the operators measure"):
        only_text = dataclasses.replace(RECIPE, operators=("text",))
        CurationPlan.of(dataclasses.replace(only_text, policy=Policy(rules=(Rule(column="motion.shake", max=1.0),))))


def test_the_plan_of_the_packaged_recipe_says_what_happens() -> None:
    text = CurationPlan.of(read_recipe(ROOT / "recipes" / "curate.toml", CurationRecipe)).describe()
    for part in ("motion.still_share at most 0.85", "shots", "H.264, crf 18", "one decoding pass", "index.parquet"):
        assert part in text

"""A policy keeps what its rules say, at every step, and says why it drops the others."""

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogvideox.data.curation.policy import ClipScores, Policy, Rule, Waypoint, policy_toml, read_policy, write_policy
from cogvideox.settings import build_dataclass, read_recipe

LAST_STEP = 40
COLUMNS = ("motion.speed", "text.area")
NUMBERS = st.integers(-8, 8).map(lambda eighths: eighths / 8)  # ties and bounds that values lie on exactly
TRICKY = NUMBERS | st.floats(-1, 1)
QUANTILES = st.integers(0, 10).map(lambda tenths: tenths / 10)


def clip_scores(**columns: list[float]) -> ClipScores:
    """Columns are named with __ for the point."""
    num_clips = len(next(iter(columns.values())))
    return ClipScores(
        clip_ids=tuple(f"clip{index}" for index in range(num_clips)),
        durations_s=np.ones(num_clips),
        values={name.replace("__", "."): np.array(values, np.float64) for name, values in columns.items()},
    )


@st.composite
def corpora(draw: st.DrawFn) -> ClipScores:
    num_clips = draw(st.integers(1, 30))
    column = st.lists(TRICKY | st.just(math.nan), min_size=num_clips, max_size=num_clips)
    return clip_scores(motion__speed=draw(column), text__area=draw(column))


@st.composite
def rules(draw: st.DrawFn, bounds: tuple[str, ...] = ("min", "max", "min_quantile", "max_quantile")) -> Rule:
    bound = draw(st.sampled_from(bounds))
    numbers = QUANTILES if "quantile" in bound else TRICKY
    steps = sorted(draw(st.sets(st.integers(1, LAST_STEP), max_size=3)))
    fields: dict[str, Any] = {bound: draw(numbers)}
    return Rule(
        column=draw(st.sampled_from(COLUMNS)),
        then=tuple(Waypoint(step=step, bound=draw(numbers)) for step in steps),
        missing=draw(st.sampled_from(("drop", "keep"))),
        **fields,
    )


policies = st.lists(rules(), max_size=5).map(lambda some: Policy(rules=tuple(some)))


@given(corpora(), policies)
def test_ever_keeps_is_what_some_step_keeps(scores: ClipScores, policy: Policy) -> None:
    resolved = policy.resolve(scores)
    by_step = [resolved.keeps(scores, step) for step in range(LAST_STEP + 3)]
    assert resolved.ever_keeps(scores).tolist() == np.any(by_step, axis=0).tolist()


def test_ever_keeps_finds_the_one_step_between_two_waypoints() -> None:
    # The first rule passes the value 5 from step 500 on, the second until step 500, and both meet nowhere for 5.001.
    scores = clip_scores(a__a=[5.0, 5.0, 5.0], b__b=[5.0, 5.001, 4.999])
    falls = Rule(column="a.a", min=10, then=(Waypoint(step=1000, bound=0),))
    sinks = Rule(column="b.b", max=10, then=(Waypoint(step=1000, bound=0),))
    policy = Policy(rules=(falls, sinks))
    assert policy.ever_keeps(scores).tolist() == [True, False, True]
    assert policy.keeps(scores, 500).tolist() == [True, False, True]
    assert not policy.keeps(scores, 499).any() and not policy.keeps(scores, 501).any()


@given(corpora(), rules(("min",)), TRICKY.map(abs), st.integers(0, LAST_STEP))
def test_a_higher_minimum_never_keeps_more(scores: ClipScores, rule: Rule, rise: float, step: int) -> None:
    assert rule.min is not None
    higher = Rule(
        column=rule.column,
        min=rule.min + rise,
        then=tuple(Waypoint(step=point.step, bound=point.bound + rise) for point in rule.then),
        missing=rule.missing,
    )
    kept, kept_higher = (Policy(rules=(either,)).keeps(scores, step) for either in (rule, higher))
    assert not (kept_higher & ~kept).any()


@given(corpora(), rules(("min_quantile", "max_quantile")))
def test_quantiles_are_of_the_clips_with_a_value(scores: ClipScores, rule: Rule) -> None:
    values = scores.column(rule.column)
    known = values[~np.isnan(values)]
    policy = Policy(rules=(rule,)).resolve(scores)
    for point in (0, *(waypoint.step for waypoint in rule.then)):
        kept = policy.keeps(scores, point)
        # Of a column without any value there is no quantile, and no bound.
        assert (kept[np.isnan(values)] == (rule.missing == "keep" or not known.size)).all()
        if not known.size:
            continue
        bound = np.quantile(known, rule.bound_at(point))
        expected = values >= bound if rule.side == "min" else values <= bound
        assert kept[~np.isnan(values)].tolist() == expected[~np.isnan(values)].tolist()


def test_a_moving_quantile_drops_its_share_all_along() -> None:
    # Of skewed values a straight line between the two ends' values would drop 94 % half way.
    scores = clip_scores(a__a=(np.linspace(0, 1, 2001) ** 8).tolist())
    rule = Rule(column="a.a", min_quantile=0.0, then=(Waypoint(step=20_000, bound=0.9),))
    policy = Policy(rules=(rule,)).resolve(scores)
    for step, share in ((0, 0.0), (5_000, 0.225), (10_000, 0.45), (15_111, 0.68), (20_000, 0.9), (99_999, 0.9)):
        assert 1 - policy.keeps(scores, step).mean() == pytest.approx(share, abs=0.002)


def test_a_schedule_is_straight_between_waypoints_and_constant_after() -> None:
    rule = Rule(column="a.a", min=0.3, then=(Waypoint(step=100, bound=0.3), Waypoint(step=200, bound=0.8)))
    assert [round(rule.bound_at(step), 6) for step in (0, 50, 100, 150, 200, 10**9)] == [0.3, 0.3, 0.3, 0.55, 0.8, 0.8]


@given(policies)
def test_a_policy_survives_its_file(policy: Policy) -> None:
    assert build_dataclass(Policy, tomllib.loads(policy_toml(policy))["policy"], where="text") == policy


def test_a_policy_file_may_be_a_recipe(tmp_path: Path) -> None:
    text = """
        name = "weekend"
        [[policy.rules]]
        column = "motion.speed"
        min = 1
        then = [{ step = 10_000, bound = 0.8 }]
        [[policy.rules]]
        column = "text.area"
        max_quantile = 0.9
        missing = "keep"
        label = "subtitles"
    """
    (tmp_path / "recipe.toml").write_text(text)
    policy = read_policy(tmp_path / "recipe.toml")
    assert policy == Policy(
        rules=(
            Rule(column="motion.speed", min=1.0, then=(Waypoint(step=10_000, bound=0.8),)),
            Rule(column="text.area", max_quantile=0.9, missing="keep", label="subtitles"),
        )
    )
    odd = Rule(column='a."\\', max=-math.inf, label="\x7f\x00\n\u202e\U0001f600'\"")
    for written in (policy, Policy(), Policy(rules=(odd,))):
        write_policy(tmp_path / "policy.toml", written)
        assert read_policy(tmp_path / "policy.toml") == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[policy.rules]]\ncolumn='a.a'", "exactly one of min, max, min_quantile, max_quantile, got none"),
        ("[[policy.rules]]\ncolumn='a.a'\nmin=1\nmax=2", "exactly one of .*, got min and max"),
        ("[[policy.rules]]\ncolumn='a.a'\nmin_quantile=1.5", "min_quantile: expected 0 to 1, got 1.5"),
        ("[[policy.rules]]\ncolumn='a.a'\nmax_quantile=nan", "max_quantile: expected 0 to 1, got nan"),
        ("[[policy.rules]]\ncolumn='a.a'\nmin=nan", "min: expected a number, got nan"),
        ("[[policy.rules]]\ncolumn='a.a'\nmin=1\nthen=[{step=0,bound=1}]", "rising steps after 0"),
        ("[[policy.rules]]\ncolumn='a.a'\nmin=1\nmising='keep'", "unknown key 'mising', did you mean 'missing'"),
        ("[[policy.rules]]\ncolumn='a.a'\nmin='x'", "expected float, got 'x'"),
        ("[[rules]]\ncolumn='a.a'\nmin=1", r"expected \[\[policy.rules\]\], got rules"),
        ("policy = 3", "policy: expected a section, got 3"),
        ("policy = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_policy(tmp_path / "policy.toml")


def test_an_unknown_column_names_the_nearest() -> None:
    scores = clip_scores(motion__speed=[1.0], text__area=[0.0])
    policy = Policy(rules=(Rule(column="motion.sped", min=1),))
    for asked in (policy.resolve, policy.ever_keeps, lambda some: policy.keeps(some, 0)):
        with pytest.raises(ValueError, match=r"did you mean 'motion\.speed'\? known: motion\.speed, text\.area"):
            asked(scores)
    with pytest.raises(ValueError, match=r"call Policy\.resolve first"):
        Policy(rules=(Rule(column="text.area", min_quantile=0.5),)).keeps(scores, 0)
    with pytest.raises(ValueError, match="expected shape"):
        ClipScores(clip_ids=("a",), durations_s=np.ones(1), values={"a.a": np.ones(2)})


def test_a_clip_is_explained() -> None:
    scores = clip_scores(motion__speed=[0.5, math.nan], text__area=[0.25, 0.125])
    moving = Rule(column="motion.speed", min=0.5, then=(Waypoint(step=10, bound=1.0),))
    policy = Policy(rules=(moving, Rule(column="text.area", max=0.125)))
    first, second = policy.decide(scores, 0, 5)
    assert (first.value, first.bound, first.passes, first.margin) == (0.5, 0.75, False, -0.25)
    assert (second.value, second.bound, second.passes, second.margin) == (0.25, 0.125, False, -0.125)
    missing, on_the_bound = policy.decide(scores, 1, 0)
    assert (missing.value, missing.passes, missing.margin) == (None, False, None)
    assert (on_the_bound.passes, on_the_bound.margin) == (True, 0.0)


@given(corpora(), policies, st.integers(0, LAST_STEP))
def test_drop_reasons_account_for_every_dropped_clip(scores: ClipScores, policy: Policy, step: int) -> None:
    resolved = policy.resolve(scores)
    reasons = resolved.drop_reasons(scores, step)
    assert (reasons.first_failing < 0).tolist() == resolved.keeps(scores, step).tolist()
    assert sum(reasons.num_dropped_first) == int((reasons.first_failing >= 0).sum())
    for row, first in enumerate(reasons.first_failing):
        failing = [not outcome.passes for outcome in resolved.decide(scores, row, step)]
        assert first == (failing.index(True) if any(failing) else -1)
    for index, rule in enumerate(resolved.rules):
        alone = int((~Policy(rules=(rule,)).keeps(scores, step)).sum())
        others = Policy(rules=resolved.rules[:index] + resolved.rules[index + 1 :])
        won_back = int((others.keeps(scores, step) & ~resolved.keeps(scores, step)).sum())
        assert (reasons.num_dropped_alone[index], reasons.num_dropped_only[index]) == (alone, won_back)


def test_a_recipe_may_hold_a_policy(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Recipe:
        policy: Policy = field(default_factory=Policy)

    (tmp_path / "run.toml").write_text(policy_toml(Policy(rules=(Rule(column="a.a", min=1.0),))))
    recipe = read_recipe(tmp_path / "run.toml", Recipe, ["policy.rules.0.min=0.25"])
    assert recipe.policy.rules[0].min == 0.25

"""What a curated training set's policy does to the samples of a run: thresholds move while it trains."""

import dataclasses

import numpy as np
import pytest

from cogvideox.data.clips import ClipTable
from cogvideox.data.curation.policy import Policy, Rule, Waypoint
from cogvideox.presets import PRESETS
from cogvideox.training.curriculum import Stage
from cogvideox.training.step_plan import StepPlan

NUM_CLIPS = 40
SPEEDS = np.arange(NUM_CLIPS) / NUM_CLIPS


def table() -> ClipTable:
    names = tuple(f"clip{index}" for index in range(NUM_CLIPS))
    return ClipTable(
        clip_ids=names,
        versions=names,
        num_frames=np.full(NUM_CLIPS, 17),
        height_px=np.full(NUM_CLIPS, 64),
        width_px=np.full(NUM_CLIPS, 96),
        fps=np.full(NUM_CLIPS, 8.0),
        captions=(("a clip",),) * NUM_CLIPS,
        scores={"motion.peak_speed": SPEEDS},
    )


def plan_of(policy: Policy | None, *, num_stages: int = 2) -> StepPlan:
    preset = PRESETS["tiny"]
    one = Stage(num_steps=60, learning_rate=1e-3, height_px=64, width_px=96, max_duration_s=3, pack_tokens=600)
    stages = [dataclasses.replace(one, name=str(index)) for index in range(num_stages)]
    configs = [preset.transformer] * num_stages
    return StepPlan(table(), stages, configs, preset.autoencoder, seed=0, policy=policy)


def slowest(plan: StepPlan, step: int) -> float:
    """The lowest score among the samples of the epoch that a step belongs to."""
    plan.step(step)
    state = plan.state_dict()
    first = state["first_step"] + sum(stage.num_steps for stage in plan.stages[: state["stage"]])
    rows: list[int] = []
    for later in range(first, 120):
        planned = plan.step(later)
        if plan.state_dict() != state:
            break
        rows += [sample.row for pack in planned.packs for sample in pack]
    return float(SPEEDS[rows].min())


def test_thresholds_move_with_the_steps_of_the_run() -> None:
    policy = Policy(rules=(Rule(column="motion.peak_speed", min=0.0, then=(Waypoint(step=100, bound=0.8),)),))
    plan = plan_of(policy)
    seen = {step: slowest(plan, step) for step in (0, 30, 61, 90, 119)}
    assert seen[0] == 0.0
    assert list(seen.values()) == sorted(seen.values())
    # An epoch holds 40 clips in packs of about 4: thresholds are those of the step with which it began.
    assert 0.3 <= seen[61] <= 0.61 * 0.8 + 1 / NUM_CLIPS
    assert 0.6 <= seen[119] <= 0.8 + 1 / NUM_CLIPS
    assert slowest(plan_of(None), 30) == 0.0


def test_a_resumed_run_has_the_same_samples() -> None:
    policy = Policy(rules=(Rule(column="motion.peak_speed", min=0.0, then=(Waypoint(step=100, bound=0.8),)),))
    whole, resumed = plan_of(policy), plan_of(policy)
    steps = [whole.step(step) for step in range(100)]
    resumed.load_state_dict(whole.state_dict())
    assert [resumed.step(step) for step in range(100, 120)] == [whole.step(step) for step in range(100, 120)]
    assert plan_of(policy).step(50) == steps[50]


def test_quantiles_are_of_the_training_set() -> None:
    plan = plan_of(Policy(rules=(Rule(column="motion.peak_speed", min_quantile=0.5),)))
    assert slowest(plan, 0) >= np.quantile(SPEEDS, 0.5)
    assert {int(row) for row in plan.clips[0].rows} == set(range(20, 40))


def test_a_policy_that_leaves_nothing_is_refused_before_training() -> None:
    rising = Rule(column="motion.peak_speed", min=0.0, then=(Waypoint(step=90, bound=1.2),))
    with pytest.raises(ValueError, match=r"stages\[1\]: the policy keeps none of 40 clips at step 7[0-9]; move its"):
        plan_of(Policy(rules=(rising,)))
    with pytest.raises(ValueError, match=r"'motion.peek_speed': not measured; did you mean 'motion.peak_speed'"):
        plan_of(Policy(rules=(Rule(column="motion.peek_speed", min=0.0),)))

"""The judge's training step: learns, resumes, sees its own renders, spoils clips without changing what they show."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from cogvideox.data.stage_world import draw_simple_art
from cogvideox.evaluation.judge import Judge, JudgeConfig
from cogvideox.evaluation.tracking import track_direction
from cogvideox.settings import read_recipe
from cogvideox.training import judge_step
from cogvideox.training.judge_step import JudgeRecipe, JudgeStep, spoil_clip
from cogvideox.training.loop import RunSettings, train

RECIPE_FILE = Path(__file__).parents[3] / "recipes" / "tiny-judge.toml"
SMALL = JudgeRecipe(
    run=RunSettings(num_steps=16, batch_size=8, learning_rate=4e-3, num_warmup_steps=2, sample_every_steps=16),
    model=JudgeConfig(actors=("cat", "car"), widths=(8, 16, 16, 24), num_frames=5, height_px=32, width_px=48),
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _step(recipe=SMALL):
    return JudgeStep(recipe, torch.device("cpu"), draw_simple_art())


def test_a_few_steps_on_two_actors_lower_the_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_step, "NUM_SAMPLE_CLIPS", 8)
    step, logged = _step(), []
    settings = dataclasses.replace(SMALL.run, log_every_steps=1, num_steps=40)
    train(step, settings, tmp_path, recipe=SMALL, on_step=lambda _, values: logged.append(values))
    losses = [values["loss"] for values in logged]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert set(logged[-1]) >= {"held_out_clean_actor", "held_out_spoilt_place"}
    assert Judge.load(tmp_path / "checkpoint").config == SMALL.model
    assert list((tmp_path / "samples").glob("*.png"))


def test_batches_follow_from_the_step_alone_and_hold_both_splits():
    first, again, other = _step().make_batch(3), _step().make_batch(3), _step().make_batch(4)
    torch.testing.assert_close(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)
    assert first.pixels.shape == (8, 3, 5, 32, 48)
    assert first.pixels.abs().max() <= 1
    assert set(first.actor.tolist()) <= {0, 1}


def test_a_restored_step_goes_on_as_if_never_stopped():
    step = _step()
    step(step.make_batch(0), 1e-3)
    twin = _step()
    twin.load_state_dict(step.state_dict())
    losses = [one(one.make_batch(1), 1e-3)["loss"] for one in (step, twin)]
    torch.testing.assert_close(losses[0], losses[1])


def test_spoiling_changes_pixels_but_not_the_motion():
    recipe = JudgeRecipe(run=SMALL.run)
    clip = torch.full((3, 17, 64, 96), 0.5)
    for frame in range(17):
        clip[:, frame, 20:44, 3 * frame : 3 * frame + 24] = -0.8
    for seed in range(8):
        spoilt = spoil_clip(clip, recipe, np.random.default_rng(seed))
        assert spoilt.shape == clip.shape
        assert not torch.equal(spoilt, clip)
        assert track_direction(((spoilt + 1) * 127.5).byte().permute(1, 2, 3, 0).numpy()) in ("left", "right")


def test_the_recipe_is_readable_and_covers_all_names():
    recipe = read_recipe(RECIPE_FILE, JudgeRecipe)
    assert recipe.model == JudgeConfig()
    assert recipe.run.num_steps > 0

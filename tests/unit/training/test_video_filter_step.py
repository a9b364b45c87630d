"""Filters on tiny random video-language models: they learn, go on after a kill, are saved, and know what is unknown.

Here they see pictures. Models with a video processor need torchvision; where it does not fit this torch, the same tests
run in a process that gets the part of it which does.
"""

import dataclasses
import math
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from real_videos import give_up
from tiny_video_language_model import OFFER, offer_torchvision, write_tiny_model, write_torchvision

offer_torchvision()

import torch  # noqa: E402

from cogvideox.data.filters.video_backbone import backbone_digest  # noqa: E402
from cogvideox.data.filters.video_filter import VideoFilterModel, ViewSettings  # noqa: E402
from cogvideox.data.labelling.labels import LABELS  # noqa: E402
from cogvideox.data.libraries import has_torchvision  # noqa: E402
from cogvideox.data.low_rank import LowRankSettings  # noqa: E402
from cogvideox.settings import read_recipe  # noqa: E402
from cogvideox.training import video_filter_step  # noqa: E402
from cogvideox.training.filter_fit import LabelledClips  # noqa: E402
from cogvideox.training.loop import RunSettings, train  # noqa: E402
from cogvideox.training.video_filter_recipe import VideoFilterRecipe  # noqa: E402
from cogvideox.training.video_filter_step import VideoFilterBatch, VideoFilterStep, masked_loss  # noqa: E402

KINDS = ("llava_onevision", "qwen2_vl") if has_torchvision() else ("llava",)
NUM_CLIPS, NUM_SOURCES = 48, 24
RECIPE_FILE = Path(__file__).parents[3] / "recipes" / "video-filters.toml"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    """A folder with a tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / request.param, request.param)


@cache
def read_frames(clip_id: str) -> np.ndarray:
    """Even clips are of a white page with dark lines that stands still, odd ones of blots of colour that move."""
    number = int(clip_id)
    rng = np.random.default_rng(number)
    frames = np.zeros((11, 40, 64, 3), np.uint8)
    if number % 2 == 0:
        frames[:] = rng.integers(200, 256)
        for top in range(int(rng.integers(2, 6)), 38, 5):
            frames[:, top : top + 2, 4 : int(rng.integers(30, 60))] = rng.integers(0, 60)
        return frames
    frames[:] = rng.integers(0, 120, 3)
    top, left, speed = rng.integers(0, 20), rng.integers(0, 30), rng.integers(1, 4)
    for index, frame in enumerate(frames):
        start = left + speed * index
        frame[top : top + 16, start : start + 16] = rng.integers(60, 160, 3)
    return frames


def make_clips(num_clips: int = NUM_CLIPS) -> LabelledClips:
    numbers = np.arange(num_clips)
    is_page = (numbers % 2 == 0).astype(float)
    some = np.where(numbers // 2 % 2 == 0, 1 - is_page, np.nan)
    nothing = np.full(num_clips, np.nan)
    labels = {label: {"screenshot": is_page, "low_quality": some}.get(label, nothing) for label in LABELS}
    return LabelledClips(
        clip_ids=tuple(str(number) for number in numbers),
        groups=numbers // 2 % NUM_SOURCES,
        columns=(),
        values=np.zeros((num_clips, 0)),
        labels=labels,
    )


def make_recipe(model: Path, **changes) -> VideoFilterRecipe:
    run = RunSettings(
        num_steps=60, batch_size=3, learning_rate=6e-3, num_warmup_steps=4, average_decay=0.9, sample_every_steps=60
    )
    defaults = {
        "curated": (Path("unused"),),
        "labels": (Path("unused"),),
        "run": run,
        "backbone": str(model),
        "test_share": 0.25,
        "calibration_share": 0.25,
        "least_positives": 5,
        "adapter": LowRankSettings(rank=4, alpha=8.0),
        "view": ViewSettings(num_frames=4, max_side_px=48, question="Which of these six kinds ?"),
    }
    return VideoFilterRecipe(**(defaults | changes))


def make_step(recipe: VideoFilterRecipe) -> VideoFilterStep:
    return VideoFilterStep(recipe, make_clips(), read_frames, torch.device("cpu"))


def frozen_weights(step: VideoFilterStep) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in step.network.named_parameters() if not value.requires_grad}


def test_it_tells_two_kinds_of_clips_apart_and_is_saved_as_it_is(model, tmp_path):
    recipe = make_recipe(model)
    step, logged = make_step(recipe), []
    frozen, digest = frozen_weights(step), backbone_digest(model)
    run = dataclasses.replace(recipe.run, log_every_steps=1)
    train(step, run, tmp_path, recipe=recipe, on_step=lambda _, values: logged.append(values))
    losses = [values["loss"] for values in logged]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    assert logged[-1]["held_out_pr_auc_screenshot"] >= 0.9
    assert list((tmp_path / "samples").glob("*.png"))

    groups = [set(part.groups) for part in (step.train_part, step.calibration_part, step.test_part)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    judged = step.judge_test()
    assert set(judged.probabilities) == {"screenshot", "low_quality"}
    assert set(judged.left_out) == set(LABELS) - {"screenshot", "low_quality"}
    said = judged.probabilities["screenshot"] >= 0.5
    assert np.mean(said == (judged.clips.labels["screenshot"] == 1)) >= 0.9

    for name, value in step.network.named_parameters():
        assert name not in frozen or torch.equal(value, frozen[name])
    assert backbone_digest(model) == digest
    loaded = VideoFilterModel.load(tmp_path / "checkpoint")
    assert loaded.points == judged.points
    for place, clip_id in enumerate(judged.clips.clip_ids[:4]):
        found = loaded.probabilities(read_frames(clip_id))
        assert found == pytest.approx({label: known[place] for label, known in judged.probabilities.items()}, abs=1e-9)


def test_a_run_that_was_killed_goes_on_bit_for_bit(model, tmp_path):
    recipe = make_recipe(model)
    run = dataclasses.replace(recipe.run, num_steps=6, sample_every_steps=6, save_every_steps=3)

    def stop_after_four(done, _):
        if done == 4:
            raise KeyboardInterrupt

    whole = make_step(recipe)
    train(whole, run, tmp_path / "whole", recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        train(make_step(recipe), run, tmp_path / "parts", recipe=recipe, on_step=stop_after_four)
    resumed = make_step(recipe)
    train(resumed, run, tmp_path / "parts", recipe=recipe)
    for name, value in whole.state_dict()["trained"].items():
        assert torch.equal(value, resumed.state_dict()["trained"][name]), name
    names = ("adapter_model.safetensors", "adapter_config.json", "head.safetensors", "video_filters.json")
    for name in names:
        first, second = ((tmp_path / run_name / "checkpoint" / name).read_bytes() for run_name in ("whole", "parts"))
        assert first == second, name


def test_other_clips_are_refused_by_a_run_that_goes_on_or_is_finished(model, tmp_path):
    recipe = make_recipe(model)
    run = dataclasses.replace(recipe.run, num_steps=2, sample_every_steps=2)
    train(make_step(recipe), run, tmp_path, recipe=recipe)
    train(make_step(recipe), run, tmp_path, recipe=recipe)
    more = VideoFilterStep(recipe, make_clips(NUM_CLIPS + 2), read_frames, torch.device("cpu"))
    for num_steps in (2, 3):
        with pytest.raises(ValueError, match=r"2 answered clips are new, 0 are gone.*another run folder"):
            train(more, dataclasses.replace(run, num_steps=num_steps), tmp_path, recipe=recipe)
    other = make_recipe(model, test_share=0.4)
    with pytest.raises(ValueError, match="the same clips were divided otherwise"):
        train(make_step(other), run, tmp_path, recipe=other)


def test_labels_that_are_no_better_than_chance_have_no_filter(model, tmp_path, monkeypatch):
    step = make_step(make_recipe(model))
    num_low_quality = int(np.isfinite(step.calibration_part.labels["low_quality"]).sum())
    assert num_low_quality != len(step.calibration_part.clip_ids)
    monkeypatch.setattr(video_filter_step, "calibration", lambda _, truth: (float(len(truth) != num_low_quality), -1.0))
    judged = step.judge_test()
    assert set(judged.probabilities) == set(judged.points) == set(judged.reaches_target) == {"screenshot"}
    assert judged.left_out["low_quality"] == "no better than chance on sources that were not trained on"
    assert "held_out_pr_auc_low_quality" not in step.write_samples(tmp_path / "samples.png")
    step.save_checkpoint(tmp_path / "checkpoint")
    assert set(VideoFilterModel.load(tmp_path / "checkpoint").points) == {"screenshot"}
    monkeypatch.setattr(video_filter_step, "calibration", lambda *_: (0.0, -1.0))
    step.save_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"no filter is left .*screenshot: no better than chance"):
        step.judge_test()


def test_nobody_is_told_what_only_peft_can_mend(model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        step = make_step(make_recipe(model, has_gradient_checkpointing=True))
        step.save_checkpoint(tmp_path)
        VideoFilterModel.load(tmp_path)


def test_unknown_labels_change_neither_loss_nor_gradients(model):
    step = make_step(make_recipe(model, adapter=LowRankSettings(rank=4, dropout=0.0)))
    frames = (read_frames("0"), read_frames("1"))
    nothing = [math.nan] * 6
    known = torch.tensor([[math.nan, math.nan, 0.0, math.nan, math.nan, 1.0], nothing])

    def gradients(batch):
        step.optimizer.zero_grad()
        torch.manual_seed(0)
        before = {name: value.clone() for name, value in step.network.state_dict().items()}
        loss = step(batch, 1e-3)["loss"]
        found = {name: value.grad.clone() for name, value in step.network.named_parameters() if value.requires_grad}
        step.network.load_state_dict(before)
        return loss, found

    with_unknown = gradients(VideoFilterBatch(frames, known))
    without = gradients(VideoFilterBatch(frames[:1], known[:1]))
    assert torch.equal(with_unknown[0], without[0])
    for name, value in without[1].items():
        torch.testing.assert_close(with_unknown[1][name], value, rtol=0, atol=0)
    head = without[1]["head.weight"]
    assert not head[[0, 1, 3, 4]].any() and head[2].any() and head[5].any()
    assert all(value.any() for name, value in without[1].items() if "lora_B" in name and "layers.1.mlp" in name)


def test_the_loss_counts_positives_as_often_as_it_is_told():
    margins, truth = torch.zeros(2, 6), torch.tensor([[1.0] + [math.nan] * 5, [0.0] + [math.nan] * 5])
    assert masked_loss(margins, truth, torch.full((6,), 3.0)).item() == pytest.approx(4 * math.log(2))


def test_checkpointing_and_bfloat16_train_too(model):
    plain = make_step(make_recipe(model, adapter=LowRankSettings(rank=4, dropout=0.0)))
    thrifty = make_step(
        make_recipe(model, adapter=LowRankSettings(rank=4, dropout=0.0), has_gradient_checkpointing=True)
    )
    small = make_step(make_recipe(model, uses_bfloat16=True))
    steps = {name: step(step.make_batch(0), 1e-3) for name, step in zip("pts", (plain, thrifty, small), strict=True)}
    torch.testing.assert_close(steps["p"]["loss"], steps["t"]["loss"])
    torch.testing.assert_close(steps["p"]["gradient_norm"], steps["t"]["gradient_norm"])
    assert abs(steps["s"]["loss"] - steps["p"]["loss"]) < 0.1
    dtypes = {value.dtype for value in small.network.parameters() if value.requires_grad}
    assert dtypes == {torch.float32}


def test_too_little_is_refused(model):
    nothing = {label: np.full(NUM_CLIPS, np.nan) for label in LABELS}
    with pytest.raises(ValueError, match="no label has enough clips"):
        clips = dataclasses.replace(make_clips(), labels=nothing)
        VideoFilterStep(make_recipe(model), clips, read_frames, torch.device("cpu"))
    with pytest.raises(ValueError, match="at least 3 sources"):
        clips = dataclasses.replace(make_clips(), groups=np.arange(NUM_CLIPS) % 2)
        VideoFilterStep(make_recipe(model), clips, read_frames, torch.device("cpu"))
    with pytest.raises(ValueError, match="backbone: no such folder"):
        make_step(make_recipe(Path("/no/such/model")))


def test_the_recipe_is_readable():
    recipe = read_recipe(RECIPE_FILE, VideoFilterRecipe, ['backbone="somewhere"'])
    assert recipe.backbone_settings.source == "somewhere"
    assert recipe.labels == (recipe.curated[0] / "labels",)  # where cogvideox label writes them
    with pytest.raises(ValueError, match="--backbone"):
        _ = dataclasses.replace(recipe, backbone="").backbone_settings


@pytest.mark.slow
@pytest.mark.skipif(has_torchvision(), reason="the others see videos already")
def test_models_with_a_video_processor_do_the_same(tmp_path):
    if not write_torchvision(tmp_path / "torchvision"):
        give_up("torchvision is not there: make .venv/.dev")
    environment = os.environ | {OFFER: str(tmp_path / "torchvision")}
    files = [__file__, str(Path(__file__).parents[1] / "data" / "filters" / "test_video_filter.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tmp'}", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout

"""The small students' training steps: the same twice, learn, resume; what they write is loaded as a backend."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from cogvideox.data.captioning.request import CaptionRequest, TimedCaption
from cogvideox.data.captioning.small_summariser import SmallSummariser
from cogvideox.data.captioning.video_captioner import SmallCaptioner
from cogvideox.data.stage_world import draw_simple_art
from cogvideox.settings import read_recipe
from cogvideox.training import captioner_step, summariser_step
from cogvideox.training.captioner_step import SmallCaptionerStep, spoil_captioned_clip
from cogvideox.training.loop import RunSettings, train
from cogvideox.training.student_recipe import CaptionerRecipe, SmallTextSettings, SmallVideoSettings, SummariserRecipe
from cogvideox.training.summariser_step import SmallSummariserStep

RECIPES = Path(__file__).parents[3] / "recipes"
RUN = RunSettings(num_steps=30, batch_size=4, learning_rate=3e-3, num_warmup_steps=2, sample_every_steps=30)
TEXT = SmallTextSettings(
    width=32, num_encoder_layers=1, num_decoder_layers=1, num_heads=2, head_width=16, feed_forward_width=32,
    vocab_size=220, max_output_tokens=80,
)  # fmt: skip
VIDEO = SmallVideoSettings(widths=(4, 8, 8, 8), num_layers=1, num_frames=5, height_px=32, width_px=48)
CAPTIONER = CaptionerRecipe(run=RUN, form="small", small=TEXT, video=VIDEO)
SUMMARISER = SummariserRecipe(run=RUN, form="small", small=dataclasses.replace(TEXT, vocab_size=300))


@pytest.fixture(autouse=True)
def small_and_single(monkeypatch):
    monkeypatch.setattr(captioner_step, "NUM_SAMPLE_CLIPS", 4)
    monkeypatch.setattr(captioner_step, "NUM_TOKENIZER_TEXTS", 500)
    monkeypatch.setattr(summariser_step, "NUM_SAMPLES", 24)
    monkeypatch.setattr(summariser_step, "NUM_TOKENIZER_TEXTS", 300)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def art():
    return draw_simple_art()


def _captioner(art):
    return SmallCaptionerStep(CAPTIONER, torch.device("cpu"), art)


def _summariser(art):
    return SmallSummariserStep(SUMMARISER, torch.device("cpu"), art)


@pytest.mark.parametrize("make", [_captioner, _summariser])
def test_a_step_is_the_same_twice_and_goes_on_after_a_restart(make, art):
    one, other = make(art), make(art)
    first = [step(step.make_batch(0), 1e-3)["loss"] for step in (one, other)]
    assert torch.equal(*first)
    resumed = make(art)
    resumed.load_state_dict(one.state_dict())
    later = [step(step.make_batch(1), 1e-3)["loss"] for step in (other, resumed)]
    assert torch.equal(*later)
    assert not torch.equal(one.make_batch(1).labels, one.make_batch(2).labels)


def test_a_short_training_writes_a_captioner(art, tmp_path):
    logged = []
    train(_captioner(art), dataclasses.replace(RUN, log_every_steps=1), tmp_path, recipe=CAPTIONER,
          on_step=lambda _, values: logged.append(values))  # fmt: skip
    losses = [values["caption_loss"] for values in logged]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert list((tmp_path / "samples").glob("*.png"))
    assert {"held_out_clean_actor", "held_out_spoilt_place"} <= set(logged[-1])
    captioner = SmallCaptioner.load(tmp_path / "checkpoint" / "captioner")
    frames = torch.randint(256, (7, 40, 60, 3), dtype=torch.uint8).numpy()
    request = CaptionRequest(
        stage="summary", clip_id="a", prompt="", frames=frames, times_s=tuple(range(7)), duration_s=7.0
    )
    answer = captioner.caption(request)
    assert answer == captioner.caption(request)
    assert answer.num_output_tokens > 0


def test_a_short_training_writes_a_summariser(art, tmp_path):
    logged = []
    train(_summariser(art), dataclasses.replace(RUN, log_every_steps=1), tmp_path, recipe=SUMMARISER,
          on_step=lambda _, values: logged.append(values))  # fmt: skip
    losses = [values["loss"] for values in logged]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert logged[-1]["teacher_all"] == 1
    summariser = SmallSummariser.load(tmp_path / "checkpoint" / "summariser")
    frames = (TimedCaption(time_s=0, text="A cat is on a beach."),)
    request = CaptionRequest(stage="summary", clip_id="a", prompt="", short="A cat hops.", frame_captions=frames)
    assert summariser.caption(request) == summariser.caption(request)


def test_spoiling_does_not_mirror_and_keeps_the_motion():
    clip = torch.full((3, 17, 64, 96), 0.6)
    for frame in range(17):
        clip[:, frame, 20:44, 3 * frame : 3 * frame + 24] = -0.8
    columns = torch.arange(96.0)
    for seed in range(8):
        spoilt = spoil_captioned_clip(clip, SmallVideoSettings(), np.random.default_rng(seed))
        assert spoilt.shape == clip.shape
        assert not torch.equal(spoilt, clip)
        darkness = (1 - spoilt).mean(dim=(0, 2)).square()
        centres = (darkness * columns).sum(dim=1) / darkness.sum(dim=1)
        assert centres[-1] > centres[0] + 3


def test_the_recipes_are_readable():
    captioner = read_recipe(RECIPES / "tiny-captioner.toml", CaptionerRecipe)
    summariser = read_recipe(RECIPES / "tiny-summariser.toml", SummariserRecipe)
    assert captioner.form == summariser.form == "small"

"""The packaged students: right about clips that were never trained, as backends, in any size and number of frames."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from cogvideox.data.captioning import small_summariser, video_captioner
from cogvideox.data.captioning.merger import merge
from cogvideox.data.captioning.recipe import BackendSettings
from cogvideox.data.captioning.request import CaptionRequest, TimedCaption
from cogvideox.data.captioning.small_summariser import SmallSummariser, with_capitals
from cogvideox.data.captioning.stage_captions import describe_scene
from cogvideox.data.captioning.stage_clips import draw_scene
from cogvideox.data.captioning.students import open_student
from cogvideox.data.captioning.video_captioner import SmallCaptioner, fitted_clip
from cogvideox.data.stage_world import load_fluent_art, render_scene
from cogvideox.errors import CheckpointError, FetchError
from cogvideox.evaluation.caption_facts import score_captions
from real_videos import give_up

MAX_PACKAGED_BYTES = 15e6
SETTINGS = BackendSettings(name="student", kind="student")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def art():
    try:
        return load_fluent_art()
    except FetchError as error:
        give_up(str(error))


@pytest.fixture(scope="module")
def captioner():
    return SmallCaptioner.load()


@pytest.fixture(scope="module")
def summariser():
    return SmallSummariser.load()


def _scenes(num_scenes, art):
    rng = np.random.default_rng(24)
    return [draw_scene(rng, "held_out", art) for _ in range(num_scenes)]


def test_the_packaged_captioner_is_right_about_held_out_clips(captioner, art):
    scenes = _scenes(24, art)
    clips = [(render_scene(scene, art), (np.arange(17) / 8).tolist()) for scene in scenes]
    scores = score_captions([answer.text for answer in captioner.caption_clips(clips)], scenes)
    for name, least in (("actor", 0.91), ("place", 0.91), ("direction", 0.91), ("action", 0.83)):
        assert scores.fractions[name] >= least, scores.fractions


def test_size_number_of_frames_and_batch_do_not_matter_much(captioner, art):
    scenes = _scenes(8, art)
    large = [
        (render_scene(scene, art, num_frames=33, height_px=160, width_px=240, fps=16), (np.arange(33) / 16).tolist())
        for scene in scenes
    ]
    together = captioner.caption_clips(large)
    assert score_captions([answer.text for answer in together], scenes).fractions["place"] >= 0.8
    frames, times_s = large[3]
    request = CaptionRequest(
        stage="summary", clip_id="a", prompt="", frames=frames, times_s=tuple(times_s), duration_s=2.1
    )
    alone = open_student("", SETTINGS, task="captioner").caption(request)
    assert alone.text == together[3].text
    assert not alone.is_cut
    assert alone.num_output_tokens > 10


def test_the_packaged_summariser_keeps_what_the_teacher_keeps(summariser, art):
    scenes = _scenes(24, art)
    rng = np.random.default_rng(5)
    given = [
        describe_scene(scene, art, rng, times_s=[0.0, 1.0, 2.0][: 1 + index % 3], duration_s=2.0)
        for index, scene in enumerate(scenes)
    ]
    texts = [answer.text for answer in summariser.summarise([(one.short, one.frames) for one in given])]
    student = score_captions(texts, scenes).fractions
    teacher = score_captions([merge(one.short, one.frames) for one in given], scenes).fractions
    for name in ("actor", "action", "place", "direction", "weather", "second_object", "side"):
        assert student[name] >= teacher[name] - 0.1, (name, student, teacher)


def test_they_refuse_what_they_cannot_answer(captioner, summariser):
    with pytest.raises(ValueError, match="frames, got 0"):
        captioner.caption(CaptionRequest(stage="summary", clip_id="a", prompt="", short="A dog."))
    with pytest.raises(ValueError, match="judge"):
        captioner.caption(CaptionRequest(stage="judge", clip_id="a", prompt=""))
    with pytest.raises(ValueError, match="neither"):
        summariser.caption(CaptionRequest(stage="summary", clip_id="a", prompt=""))
    with pytest.raises(ValueError, match="'short'"):
        summariser.caption(CaptionRequest(stage="short", clip_id="a", prompt="", short="A dog."))


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no student\.json"):
        SmallCaptioner.load(tmp_path)
    folder = tmp_path / "captioner"
    shutil.copytree(video_captioner.PACKAGED_CAPTIONER, folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        SmallCaptioner.load(folder)
    values = json.loads((folder / "student.json").read_text())
    (folder / "student.json").write_text(json.dumps(values | {"form": "lora"}))
    with pytest.raises(CheckpointError, match="lora"):
        SmallCaptioner.load(folder)


def test_the_weights_are_small():
    folders = (video_captioner.PACKAGED_CAPTIONER, small_summariser.PACKAGED_SUMMARISER)
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) <= MAX_PACKAGED_BYTES


def test_clips_are_sampled_by_time():
    frames = np.stack([np.full((4, 4, 3), 10 * index, np.uint8) for index in range(6)])
    fitted = fitted_clip(frames, [0.0, 0.1, 0.2, 0.3, 0.4, 2.0], 3, 4, 4)
    assert ((fitted[0, :, 0, 0] + 1) * 127.5).round().tolist() == [0, 40, 50]
    with pytest.raises(ValueError, match="times_s"):
        fitted_clip(frames, [0.0, 1.0], 3, 4, 4)
    with pytest.raises(ValueError, match="uint8"):
        fitted_clip(frames.astype(np.float32), [0.0] * 6, 3, 4, 4)


def test_capitals_come_back():
    assert with_capitals("a cat hops. the cat is in a t-rex costume.") == "A cat hops. The cat is in a t-rex costume."
    captions = dataclasses.replace(TimedCaption(time_s=1.6, text="A cat."), text="B.")
    assert small_summariser.input_text("", (captions,)) == "short: none | 2 s: B."

"""The oracle: true captions, half of the truth in each kind; its clips on disk; the merger joins the halves."""

import json

import numpy as np
import pytest

from cogvideox.data.captioning.merger import merge
from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.data.captioning.stage_captions import describe_scene, position_at
from cogvideox.data.captioning.stage_clips import describe, draw_scene, scene_of, write_stage_clips
from cogvideox.data.stage_world import draw_simple_art, sample_scene
from cogvideox.evaluation.caption_facts import facts_of, read_facts
from cogvideox.media.reading import read_frames

TIMES_S = (0.0, 1.0, 2.0)


@pytest.fixture(scope="module")
def art():
    return draw_simple_art()


@pytest.mark.parametrize("has_unseen_words", [False, True])
def test_each_caption_tells_its_half_and_the_merger_all(art, has_unseen_words):
    for seed in range(300):
        rng = np.random.default_rng(seed)
        scene = draw_scene(rng, "any", art)
        captions = describe_scene(
            scene, art, rng, times_s=TIMES_S, duration_s=2.0, use_held_out_synonyms=has_unseen_words
        )
        short, frames, truth = read_facts(captions.short), read_facts(captions.frames[0].text), facts_of(scene)
        assert (short.actor, short.action, short.direction) == (truth.actor, truth.action, truth.direction)
        assert (short.place, short.second_object, short.weather) == (None, None, None)
        assert (frames.actor, frames.place, frames.weather) == (truth.actor, truth.place, truth.weather)
        assert (frames.action, frames.direction) == (None, None)
        summary = merge(captions.short, captions.frames)
        assert read_facts(summary) == truth, summary
        positions = {position_at(scene, art, time_s, 2.0) for time_s in TIMES_S}
        assert ("at first" in summary) == (len(positions) > 1), summary


def test_a_traveller_moves_through_the_thirds_in_its_direction(art):
    thirds = ("left", "middle", "right")
    for seed in range(50):
        scene = sample_scene(np.random.default_rng(seed), direction="left", split="any", actors=art.actors)
        places = [thirds.index(position_at(scene, art, time_s, 2.0)) for time_s in np.linspace(0, 2, 9)]
        assert places == sorted(places, reverse=True)


def test_clips_are_files_whose_names_the_oracle_knows(tmp_path, art):
    scenes = write_stage_clips(tmp_path, 3, seed=5, split="held_out", art=art)
    names = sorted(path.name for path in tmp_path.glob("*.mp4"))
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert list(truth) == names
    for name, scene in zip(names, scenes, strict=True):
        assert scene_of(name, art) == scene
        assert scene.is_held_out
        assert truth[name]["actor"] == scene.actor
        frames, fps = read_frames(tmp_path / name)
        assert (frames.shape, fps) == ((17, 64, 96, 3), 8)
    with pytest.raises(ValueError, match=r"fox\.mp4"):
        scene_of("fox.mp4", art)


def test_the_oracle_answers_as_a_function_of_the_recipe(art, monkeypatch):
    monkeypatch.setattr("cogvideox.data.captioning.stage_clips._art", lambda: art)
    name = "folder/stage-held_out-5-00001.mp4"
    short = describe(CaptionRequest(stage="short", clip_id=name, prompt="", times_s=(0.0, 1.0)))
    frame = describe(CaptionRequest(stage="frames", clip_id=name, prompt="", times_s=(1.0,)))
    scene = scene_of(name, art)
    assert read_facts(short).action == scene.action
    assert read_facts(frame).place == scene.place
    with pytest.raises(ValueError, match="summary"):
        describe(CaptionRequest(stage="summary", clip_id=name, prompt=""))

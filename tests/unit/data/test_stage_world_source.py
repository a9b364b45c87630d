"""The stage world as a training set."""

import dataclasses
import time
from typing import Any

import numpy as np
import pytest

from cogvideox.data.clips import ClipShape
from cogvideox.data.stage_world import Art, StageWorldClips, StageWorldSettings, draw_simple_art, sample_scene
from cogvideox.data.stage_world import source as source_module
from cogvideox.settings import build_dataclass

SETTINGS = StageWorldSettings(num_clips=40)
SHAPE = ClipShape(num_frames=17, height_px=64, width_px=96, fps=8)


@pytest.fixture(scope="module")
def art() -> Art:
    return draw_simple_art()


def test_clips_depend_on_seed_and_number_alone(art: Art) -> None:
    clips, again = StageWorldClips(SETTINGS, art), StageWorldClips(SETTINGS, draw_simple_art())
    more = StageWorldClips(dataclasses.replace(SETTINGS, num_clips=50, num_captions_per_clip=6), art)
    other = StageWorldClips(dataclasses.replace(SETTINGS, seed=2), art)
    assert clips.table.versions == again.table.versions == more.table.versions[:40]
    assert clips.table.captions == again.table.captions == tuple(texts[:4] for texts in more.table.captions[:40])
    assert set(clips.table.versions).isdisjoint(other.table.versions)
    assert set(clips.table.clip_ids).isdisjoint(other.table.clip_ids)
    np.testing.assert_array_equal(clips.read(3, SHAPE), more.read(3, SHAPE))
    assert not np.array_equal(clips.read(3, SHAPE), other.read(3, SHAPE))
    assert len(set(clips.table.clip_ids)) == 40 and {len(texts) for texts in clips.table.captions} == {4}


def test_sizes_and_lengths_are_drawn_from_the_lists(art: Art) -> None:
    settings = dataclasses.replace(SETTINGS, num_clips=300, sizes_px=("64x96", "96x64"), lengths=(1, 9, 17))
    table = StageWorldClips(settings, art).table
    shapes = list(zip(table.height_px.tolist(), table.width_px.tolist(), table.num_frames.tolist(), strict=True))
    assert set(shapes) == {(*size, length) for size in ((64, 96), (96, 64)) for length in (1, 9, 17)}
    assert all(30 < shapes.count(shape) < 70 for shape in set(shapes))
    assert ((table.fps == 0) == (table.num_frames == 1)).all()


def test_clips_are_rendered_at_the_shape_s_size_and_cut(art: Art) -> None:
    clips = StageWorldClips(SETTINGS, art)
    whole = clips.read(0, SHAPE)
    np.testing.assert_array_equal(clips.read(0, dataclasses.replace(SHAPE, num_frames=9)), whole[:9])
    np.testing.assert_array_equal(clips.read(0, dataclasses.replace(SHAPE, num_frames=9, fps=4)), whole[::2])
    large = clips.read(0, dataclasses.replace(SHAPE, height_px=128, width_px=192))
    sharpness = [np.abs(np.diff(frames.astype(int), axis=2)).max() for frames in (whole, large)]
    assert large.shape == (17, 128, 192, 3) and sharpness[1] > 0.6 * sharpness[0]
    with pytest.raises(ValueError, match="expected at least 25 frames"):
        clips.read(0, dataclasses.replace(SHAPE, num_frames=25))


def test_versions_change_with_the_pixels(art: Art, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = StageWorldClips(SETTINGS, art).table.versions
    pictures: Any = {name: picture.copy() for name, picture in art.items()}
    pictures["cat"][20, 20] = 255 - pictures["cat"][20, 20]
    assert set(StageWorldClips(SETTINGS, Art(pictures)).table.versions).isdisjoint(versions)
    assert StageWorldClips(dataclasses.replace(SETTINGS, fps=16), art).table.versions[0] != versions[0]
    assert StageWorldClips(dataclasses.replace(SETTINGS, lengths=(9,)), art).table.versions[0] != versions[0]
    monkeypatch.setattr(source_module, "PIXELS_VERSION", 0)
    assert StageWorldClips(SETTINGS, art).table.versions[0] != versions[0]


def test_nothing_held_out_is_shown_and_actors_are_chosen(art: Art) -> None:
    clips = StageWorldClips(dataclasses.replace(SETTINGS, num_clips=400), art)
    assert not any(scene.is_held_out for scene in clips._scenes)
    assert {scene.actor for scene in clips._scenes} == set(art.actors)
    first = clips._scenes[0]
    assert first == sample_scene(np.random.default_rng((1, 0)), actors=art.actors)
    few = StageWorldClips(dataclasses.replace(SETTINGS, actors=("cat", "pig")), art)
    assert {scene.actor for scene in few._scenes} == {"cat", "pig"}
    with pytest.raises(ValueError, match="no picture named 'whale'"):
        StageWorldClips(dataclasses.replace(SETTINGS, actors=("whale",)), art)


def test_a_large_table_is_made_at_once(art: Art) -> None:
    start_s = time.process_time()
    StageWorldClips(StageWorldSettings(num_clips=8192), art)
    assert time.process_time() - start_s < 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_clips": 0}, "num_clips: expected at least 1"),
        ({"fps": 0}, "fps: expected at least 1"),
        ({"sizes_px": ["64"]}, "sizes_px: expected heights and widths"),
        ({"sizes_px": []}, "sizes_px"),
        ({"lengths": []}, "lengths: expected numbers of frames"),
        ({"lengths": [17, 0]}, "lengths"),
        ({"actors": ["unicorn"]}, "expected one of 'cat'"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_dataclass(StageWorldSettings, {"num_clips": 4} | values, where="recipe")

"""The judge: its size, its shapes, its files."""

import json

import numpy as np
import pytest
import torch

from cogvideox.data.stage_world import ACTIONS, ACTORS, PLACES
from cogvideox.errors import CheckpointError
from cogvideox.evaluation.judge import Judge, JudgeConfig, resample_clip

SMALL = JudgeConfig(widths=(8, 8, 16, 16))


def _clip(num_frames=17, height_px=64, width_px=96, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height_px, width_px, 3), dtype=np.uint8)


def test_the_packaged_shape_is_below_three_megabytes():
    parameters = sum(parameter.numel() for parameter in Judge(JudgeConfig()).parameters())
    assert parameters < 700_000
    assert 4 * parameters < 3_000_000


def test_logits_have_one_column_per_name():
    logits = Judge(SMALL).eval()(torch.zeros(2, 3, 17, 64, 96))
    assert logits.actor.shape == (2, len(ACTORS))
    assert logits.action.shape == (2, len(ACTIONS))
    assert logits.place.shape == (2, len(PLACES))


def test_predict_takes_clips_of_any_length_and_size():
    judge = Judge(SMALL)
    clips = [_clip(), _clip(9, 32, 48), _clip(49, 128, 192), _clip(1, 64, 96)]
    judged = judge.predict(clips)
    assert len(judged.actors) == len(judged.actions) == len(judged.places) == 4
    assert set(judged.actors) <= set(ACTORS)
    assert judge.predict(np.stack([_clip(seed=n) for n in range(3)])).places != ()
    assert judge.training


def test_predict_does_not_depend_on_the_batch():
    judge = Judge(SMALL)
    clips = [_clip(seed=n) for n in range(3)]
    together = judge.predict(clips)
    alone = [judge.predict([clip]) for clip in clips]
    assert together.actors == tuple(one.actors[0] for one in alone)


def test_resampling_keeps_native_clips_and_their_ends():
    clip = _clip()
    native = resample_clip(clip, JudgeConfig())
    assert native.shape == (3, 17, 64, 96)
    np.testing.assert_allclose((native[:, 5].permute(1, 2, 0).numpy() + 1) * 127.5, clip[5], atol=1e-3)
    longer = np.repeat(clip, 2, axis=0)
    torch.testing.assert_close(resample_clip(longer, JudgeConfig())[:, [0, -1]], native[:, [0, -1]])


def test_saved_and_loaded_judges_agree(tmp_path):
    judge = Judge(SMALL)
    judge(torch.randn(2, 3, 17, 64, 96))  # moves the running statistics
    judge.eval().save(tmp_path / "judge")
    for directory in (tmp_path, tmp_path / "judge"):
        loaded = Judge.load(directory)
        assert loaded.config == SMALL
        torch.testing.assert_close(loaded(torch.ones(1, 3, 17, 64, 96)), judge(torch.ones(1, 3, 17, 64, 96)))


def test_foreign_and_damaged_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no judge here"):
        Judge.load(tmp_path / "nowhere")
    Judge(SMALL).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"widths": [8, 8, 16, 24]}))
    with pytest.raises(CheckpointError, match="shape"):
        Judge.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("widths", (8, 8, 16)), ("widths", (8, 8, 16, 0)), ("actors", ()), ("places", ("a", "a")), ("width_px", 8)],
)
def test_impossible_configurations_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        JudgeConfig(**{field: value})


def test_other_shapes_and_types_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        Judge(SMALL).predict([np.zeros((17, 64, 96, 3), dtype=np.float32)])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="expected"):
        Judge(SMALL).predict([np.zeros((0, 64, 96, 3), dtype=np.uint8)])

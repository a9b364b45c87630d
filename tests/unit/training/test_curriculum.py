"""What the stages of a run take from a training set, and what they make of the model's positions."""

import dataclasses

import numpy as np
import pytest

from cogvideox.data.clips import ClipShape, ClipTable
from cogvideox.presets import PRESETS
from cogvideox.training.curriculum import (
    ScoreFilter,
    Stage,
    epoch_samples,
    num_tokens,
    stage_clips,
    stage_configs,
)
from cogvideox.training.learning_rate import stage_at

TWO_B = PRESETS["2b"]
FIVE_B = PRESETS["5b"]


def make_table(rows: list[tuple[int, int, int, float]], **scores: list[float]) -> ClipTable:
    """A table of (frames, height, width, fps)."""
    num_frames, height_px, width_px, fps = zip(*rows, strict=True)
    names = tuple(f"clip{index}" for index in range(len(rows)))
    return ClipTable(
        clip_ids=names,
        versions=names,
        num_frames=np.array(num_frames),
        height_px=np.array(height_px),
        width_px=np.array(width_px),
        fps=np.array(fps, dtype=float),
        captions=tuple(("a clip",) for _ in rows),
        scores={name: np.array(values, dtype=float) for name, values in scores.items()},
    )


def make_stage(**changes) -> Stage:
    defaults = {
        "num_steps": 10,
        "learning_rate": 1e-4,
        "height_px": 256,
        "width_px": 384,
        "max_duration_s": 6,
        "pack_tokens": 25_000,
    }
    return Stage(**(defaults | changes))


def shapes(table: ClipTable, stage: Stage, preset=FIVE_B) -> list[ClipShape]:
    clips = stage_clips(table, stage, preset.transformer, preset.autoencoder)
    return [clips.shape(index) for index in range(len(clips))]


def shape(num_frames: int, height_px: int, width_px: int, fps: float = 8.0) -> ClipShape:
    return ClipShape(num_frames=num_frames, height_px=height_px, width_px=width_px, fps=fps)


def test_clips_keep_their_aspect_and_are_never_enlarged() -> None:
    table = make_table(
        [(240, 720, 1080, 24), (240, 1080, 720, 24), (240, 1080, 1920, 30), (240, 200, 300, 24), (1, 512, 512, 0)]
    )
    assert shapes(table, make_stage()) == [
        shape(49, 256, 384),
        shape(49, 384, 256),
        shape(49, 256, 448),  # 455 is cropped to whole patches
        shape(49, 192, 288),
        shape(1, 256, 256, 0.0),
    ]


def test_lengths_are_legal_and_at_most_the_duration() -> None:
    table = make_table([(48, 256, 384, 24), (10, 256, 384, 8), (49, 256, 384, 8), (100, 256, 384, 4), (5, 256, 384, 8)])
    assert shapes(table, make_stage(max_duration_s=6)) == [
        shape(16, 256, 384),  # 48 frames at 24 fps: the last third one is frame 45
        shape(9, 256, 384),
        shape(49, 256, 384),
        shape(25, 256, 384, 4.0),
        shape(1, 256, 384, 0.0),
    ]


def test_filters_take_the_best() -> None:
    table = make_table([(49, 256, 384, 8)] * 6, looks=[5.0, 4.0, 6.0, np.nan, 7.0, 1.0], motion=[1, 2, 3, 4, 5, 6])

    def rows(*filters: ScoreFilter) -> list[int]:
        return stage_clips(table, make_stage(filters=filters), FIVE_B.transformer, FIVE_B.autoencoder).rows.tolist()

    assert rows(ScoreFilter(score="looks", minimum=4.5)) == [0, 2, 4]
    assert rows(ScoreFilter(score="looks", keep_best=0.4)) == [2, 4]
    # The second share is of what the first filter left.
    assert rows(ScoreFilter(score="looks", minimum=4.0), ScoreFilter(score="motion", keep_best=0.5)) == [2, 4]
    with pytest.raises(ValueError, match=r"expected a score of the training set \(looks, motion\), got 'beauty'"):
        rows(ScoreFilter(score="beauty"))
    with pytest.raises(ValueError, match="no clip is left"):
        rows(ScoreFilter(score="looks", minimum=10))


def test_models_with_learned_positions_get_their_one_size() -> None:
    preset = PRESETS["5b-i2v"]
    table = make_table([(49, 720, 1280, 8), (49, 480, 640, 8)])
    assert shapes(table, make_stage(), preset) == [shape(49, 480, 720)]


def test_tokens_are_those_of_the_paper() -> None:
    frames, height_px, width_px = np.array([49, 1]), np.array([480, 256]), np.array([720, 384])
    tokens = num_tokens(frames, height_px, width_px, TWO_B.transformer, TWO_B.autoencoder)
    assert tokens.tolist() == [17_776, 226 + 384]
    preset = PRESETS["1.5-5b"]
    tokens = num_tokens(np.array([81]), np.array([768]), np.array([1360]), preset.transformer, preset.autoencoder)
    assert tokens.tolist() == [224 + 44_880] or tokens.tolist() == [226 + 44_880]


def test_image_share() -> None:
    table = make_table([(49, 256, 384, 8)] * 6 + [(1, 256, 384, 0)] * 2)
    clips = stage_clips(table, make_stage(), FIVE_B.transformer, FIVE_B.autoencoder)

    def kinds(share: float | None) -> tuple[int, int, int]:
        samples = epoch_samples(clips, share, np.random.default_rng(0))
        is_picture = clips.num_frames[samples.clips] == 1
        return (
            int((~is_picture & ~samples.is_first_frame).sum()),
            int(is_picture.sum()),
            int(samples.is_first_frame.sum()),
        )

    assert kinds(None) == (6, 2, 0)
    assert kinds(0.0) == (6, 0, 0)
    assert kinds(0.25) == (6, 2, 0)
    assert kinds(0.5) == (6, 2, 4)
    assert kinds(0.75) == (6, 2, 16)
    assert kinds(1.0) == (0, 2, 6)


def test_stages_follow_each_other() -> None:
    stages = [make_stage(num_steps=3), make_stage(num_steps=2)]
    assert [stage_at(stages, step) for step in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    cosine = make_stage(num_steps=10, learning_rate=1.0, num_warmup_steps=2, schedule="cosine")
    rates = [cosine.learning_rate_at(step) for step in range(10)]
    assert rates[0] == pytest.approx(0.5) and rates[1] == pytest.approx(1.0) and 0 < rates[9] < 0.05


def test_extrapolation_keeps_neighbours_one_apart_and_interpolation_the_range() -> None:
    stages = [make_stage(positions="extrapolate")]
    for positions in ("extrapolate", "interpolate"):
        grown = make_stage(height_px=480, width_px=720, positions=positions)
        first, second = stage_configs(FIVE_B.transformer, [*stages, grown], 8)
        assert (first.sample_height, first.sample_width) == (32, 48)
        size = (60, 90) if positions == "extrapolate" else (32, 48)
        assert (second.sample_height, second.sample_width) == size
        two_b = dataclasses.replace(TWO_B.transformer, spatial_interpolation_scale=1.0)
        scale = stage_configs(two_b, [*stages, grown], 8)[1].spatial_interpolation_scale
        assert scale == (1.0 if positions == "extrapolate" else 1.875)  # the published 2B model's
    with pytest.raises(ValueError, match=r"stages\[0\]: positions: .* version 1.5"):
        stage_configs(PRESETS["1.5-5b"].transformer, [make_stage(positions="interpolate")], 8)
    with pytest.raises(ValueError, match="learned its positions"):
        stage_configs(PRESETS["5b-i2v"].transformer, stages, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "num_steps: expected a positive number, got 0"),
        ({"image_share": 1.5}, "image_share: expected 0 to 1"),
        ({"decay_share": 2}, "decay_share: expected 0 to 1"),
        ({"num_warmup_steps": -1}, "num_warmup_steps: expected 0 or more"),
    ],
)
def test_bad_stages_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_stage(**changes)

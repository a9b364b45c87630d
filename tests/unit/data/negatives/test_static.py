import numpy as np
import pytest

from cogvideox.data.negatives.family import Family
from cogvideox.data.negatives.static import FAMILIES
from negative_material import NUM_FRAMES, check_contract, material

MATERIAL = material()
BY_WAY = {family.name.split(".")[1]: family for family in FAMILIES}


def changes(frames: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2, 3))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_keeps_to_the_contract(family: Family) -> None:
    assert family.label == "static"
    check_contract(family, MATERIAL)


@pytest.mark.parametrize(("way", "least"), [("stutter", 0.75), ("stop_motion", 0.7), ("freezes", 0.5)])
def test_held_frames_are_most_frames(way: str, least: float) -> None:
    for seed in range(6):
        made = BY_WAY[way].make(MATERIAL, np.random.default_rng(seed))
        if not made.parameters.get("grain_levels"):
            assert (changes(made.frames) == 0).mean() >= least, (seed, made.parameters)


def test_a_loop_repeats_and_a_frozen_picture_stays() -> None:
    made = BY_WAY["short_loop"].make(MATERIAL, np.random.default_rng(0))
    length = int(made.parameters["loop_frames"])
    assert np.array_equal(made.frames[length:], made.frames[:-length])
    assert length < NUM_FRAMES / 3
    kinds = set()
    for seed in range(12):
        made = BY_WAY["frozen"].make(MATERIAL, np.random.default_rng(seed))
        kinds.add(made.parameters["kind"])
        assert changes(made.frames).max() < 12
        if made.parameters["kind"] == "exact":
            assert not changes(made.frames).any()
    assert len(kinds) > 2


def test_most_of_a_cinemagraph_stands_still() -> None:
    for seed in range(4):
        frames = BY_WAY["cinemagraph"].make(MATERIAL, np.random.default_rng(seed)).frames
        moves = (frames != frames[:1]).any(axis=(0, 3))
        assert 0.005 < moves.mean() < 0.15


@pytest.mark.parametrize("way", ["time_lapse", "shuffled", "jump_cuts"])
def test_spliced_scenes_change_more_than_the_scene_does(way: str) -> None:
    calm = np.quantile(changes(MATERIAL.frames), 0.9)
    for seed in range(5):
        made = BY_WAY[way].make(MATERIAL, np.random.default_rng(seed))
        frames = made.frames
        if frames.shape == MATERIAL.frames.shape:
            assert changes(frames).max() > 1.1 * calm, (seed, made.parameters)


def test_a_slide_that_is_held_outlives_the_shot_detector() -> None:
    made = [BY_WAY["slides"].make(MATERIAL, np.random.default_rng(seed)) for seed in range(20)]
    held = [float(one.parameters["hold_s"]) for one in made if one.parameters["kind"] == "long hold"]
    assert held and min(held) > 2

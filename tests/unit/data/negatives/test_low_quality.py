import cv2
import numpy as np
import pytest

from cogvideox.data.curation.quality import blockiness, noise_deviation, sharpness
from cogvideox.data.negatives.coding import coded_badly
from cogvideox.data.negatives.family import Family
from cogvideox.data.negatives.low_quality import FAMILIES
from negative_material import check_contract, material

MATERIAL = material()
BY_WAY = {family.name.split(".")[1]: family for family in FAMILIES}


def lumas(frames: np.ndarray) -> list[np.ndarray]:
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[::10]]


def made_of(way: str, num: int = 5) -> list[tuple[list[np.ndarray], dict[str, float | int | str]]]:
    made = [BY_WAY[way].make(MATERIAL, np.random.default_rng(seed)) for seed in range(num)]
    return [(lumas(one.frames), one.parameters) for one in made]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_keeps_to_the_contract(family: Family) -> None:
    assert family.label == "low_quality"
    check_contract(family, MATERIAL)


def test_a_clip_of_few_frames_a_second_flickers() -> None:
    check_contract(BY_WAY["flicker"], material(14, 10.0), num_draws=4)


@pytest.mark.parametrize("way", ["blur", "motion_blur"])
def test_blurred_clips_are_measurably_blurred(way: str) -> None:
    sharp = np.median([sharpness(luma) for luma in lumas(MATERIAL.frames)])
    for pictures, parameters in made_of(way):
        assert np.median([sharpness(luma) for luma in pictures]) < sharp / 2, parameters


def test_enlarged_clips_hold_no_fine_detail() -> None:
    for pictures, parameters in made_of("enlarged"):
        factor = float(parameters["factor"])
        for luma in pictures:
            height, width = luma.shape
            small = cv2.resize(luma, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
            again = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
            assert cv2.absdiff(luma, again).mean() < 12, parameters


def test_blocks_and_noise_are_seen_by_the_signals() -> None:
    clean_noise = np.median([noise_deviation(luma) for luma in lumas(MATERIAL.frames)])
    for pictures, parameters in made_of("blocks"):
        assert np.median([blockiness(luma) for luma in pictures]) > 0.3, parameters
    for pictures, parameters in made_of("noise"):
        if parameters["kind"] in ("luma", "chroma"):
            assert np.median([noise_deviation(luma) for luma in pictures]) > clean_noise + 3, parameters


def test_exposure_is_far_off() -> None:
    usual = np.mean(lumas(MATERIAL.frames))
    contrast = np.mean([luma.std() for luma in lumas(MATERIAL.frames)])
    assert all(np.mean(pictures) < 0.4 * usual for pictures, _ in made_of("dark"))
    for pictures, parameters in made_of("overexposed"):
        assert np.mean([luma >= 247 for luma in pictures]) > 0.3, parameters
    for pictures, parameters in made_of("washed_out"):
        assert np.mean([luma.std() for luma in pictures]) < 0.5 * contrast, parameters


def test_flicker_and_combs_are_there() -> None:
    for seed in range(5):
        made = BY_WAY["combed"].make(MATERIAL, np.random.default_rng(seed))
        thick = int(made.parameters["lines_px"])
        luma = np.stack(lumas(made.frames)).astype(np.int16)
        between = np.abs(luma[:, 2 * thick :] - luma[:, : -2 * thick]).mean()
        beside = np.abs(luma[:, thick:] - luma[:, :-thick]).mean()
        assert beside > 1.15 * between, made.parameters
        made = BY_WAY["flicker"].make(MATERIAL, np.random.default_rng(seed))
        rows = made.frames.mean((2, 3))
        assert np.abs(np.diff(rows, axis=0)).mean() > 4, made.parameters


def test_the_crude_codec_is_better_with_finer_steps_and_keeps_odd_sizes() -> None:
    frames = MATERIAL.frames[:6, :138, :150]
    losses = []
    for quantiser in (4, 40, 120):
        coded = coded_badly(frames, quantiser=quantiser, key_period_frames=3)
        assert coded.shape == frames.shape
        losses.append(np.abs(coded.astype(int) - frames).mean())
    assert losses[0] < 6 < losses[1] * 1.5 < losses[2] * 1.5

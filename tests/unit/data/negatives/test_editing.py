import numpy as np
import pytest

from cogvideox.data.negatives.editing import FAMILIES
from cogvideox.data.negatives.family import Family
from cogvideox.data.negatives.pictures import ease, stamp, view_of
from cogvideox.data.negatives.shapes import SHAPES, rounded, shape_mask
from negative_material import SIZE_PX, check_contract, material

MATERIAL = material()
BY_WAY = {family.name.split(".")[1]: family for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_keeps_to_the_contract(family: Family) -> None:
    assert family.label == "editing"
    check_contract(family, MATERIAL)


def test_every_way_is_named_once() -> None:
    assert len(BY_WAY) == len(FAMILIES) >= 20


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_was_done_is_seen(family: Family) -> None:
    num_compared = 0
    for seed in range(5):
        made = family.make(MATERIAL, np.random.default_rng(seed))
        if made.frames.shape[1:3] != SIZE_PX:
            continue
        num_compared += 1
        away = np.abs(made.frames.astype(np.int16) - MATERIAL.frames).max(axis=3) > 20
        assert away.mean(axis=(1, 2)).max() > 0.005, (seed, made.parameters)
    assert num_compared


def test_a_border_stays_while_the_clip_in_it_moves() -> None:
    for seed in range(4):
        frames = BY_WAY["border"].make(MATERIAL, np.random.default_rng(seed)).frames
        moves = (frames != frames[:1]).any(axis=(0, 3))
        assert not moves[:3].any() and moves.mean() > 0.3


def test_a_mirror_is_symmetric() -> None:
    for seed in range(6):
        made = BY_WAY["mirror"].make(MATERIAL, np.random.default_rng(seed))
        axis = 1 if made.parameters["kind"] in ("top", "bottom") else 2
        assert np.array_equal(made.frames, np.flip(made.frames, axis))


def test_masks_lie_where_they_should() -> None:
    for shape in SHAPES:
        mask = shape_mask(shape, 40)
        assert mask.shape == (40, 40) and mask.dtype == np.float32 and 0.1 < mask.mean() < 0.95, shape
    mask = rounded(30, 50, 8)
    assert mask[0, 0] == 0 and mask[15].min() == 1 and mask[0, 25] == 1
    frame = np.zeros((20, 20, 3), np.uint8)
    stamp(frame, (200, 100, 50), np.ones((8, 8), np.float32), -4, 16)
    assert frame[0, 19].tolist() == [200, 100, 50] and frame.any(axis=2).sum() == 16
    stamp(frame, (1, 1, 1), np.ones((4, 4), np.float32), 40, 0)


def test_a_view_shows_the_right_place() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 150:] = 255
    whole, right, left = (
        view_of(picture, 50, 100, zoom=zoom, right=right, down=0.0) for zoom, right in ((1, 0), (2, 1), (2, -1))
    )
    assert not whole[:, :73].any() and whole[:, 77:].min() == 255
    assert right[:, 52:].min() == 255 and not right[:, :48].any() and not left.any()
    assert [float(ease(x, "smooth")) for x in (-1.0, 0.5, 2.0)] == [0, 0.5, 1]

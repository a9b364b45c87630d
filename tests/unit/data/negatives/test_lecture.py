from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.curation.faces import find_faces
from cogvideox.data.negatives.family import Family
from cogvideox.data.negatives.lecture import FAMILIES
from cogvideox.data.negatives.speaking import talking
from cogvideox.media.video import read_video
from negative_material import check_contract, material
from real_videos import real_video

MATERIAL = material(14, 10.0)


def test_families_are_many_and_honest() -> None:
    assert len(FAMILIES) >= 8 and len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(family.label == "lecture" for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_keeps_its_promises(family: Family) -> None:
    check_contract(family, MATERIAL)


def test_a_picture_of_a_face_talks_and_the_face_is_found() -> None:
    clip = real_video("carphone_pristine.mp4", Path())
    picture = read_video(clip, max_frames=1).frames[:1]
    material = replace(MATERIAL, speakers=(picture,))
    for name in ("talking_head", "interview", "whiteboard"):
        family = next(family for family in FAMILIES if family.name == f"lecture.{name}")
        frames = family.make(material, np.random.default_rng(4)).frames
        assert len(find_faces(frames[0])[1]) and len(find_faces(frames[-1])[1]), name
        assert np.abs(np.diff(frames.astype(int), axis=0)).max((1, 2, 3)).min() > 10


def test_only_the_mouth_and_the_jaw_move_while_the_head_is_still() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (120, 100, 3)).astype(np.uint8)
    times_s = np.arange(40) / 20
    frames = talking(picture, np.array([30.0, 20.0, 70.0, 76.0]), np.random.default_rng(1), times_s, 0.0)
    change = np.abs(frames.astype(int) - picture).max((0, 3))
    assert change[62:80, 42:58].mean() > 40
    assert change[:30].max() <= 1 and change[:, :16].max() <= 1

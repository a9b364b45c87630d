import numpy as np
import pytest

from cogvideox.data.negatives.family import Family
from cogvideox.data.negatives.screenshot import FAMILIES
from negative_material import check_contract, material

MATERIAL = material(14, 10.0)


def test_families_are_many_and_honest() -> None:
    assert len(FAMILIES) >= 8 and len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(family.label == "screenshot" for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_keeps_its_promises(family: Family) -> None:
    check_contract(family, MATERIAL)


def test_screens_stand_still_between_small_changes_when_the_recording_is_clean() -> None:
    editor = next(family for family in FAMILIES if family.name == "screenshot.editor")
    made = [editor.make(MATERIAL, np.random.default_rng(seed)) for seed in range(8)]
    clean = [negative for negative in made if negative.parameters["recording"] == "clean"]
    assert clean
    for negative in clean:
        changed = (np.diff(negative.frames.astype(int), axis=0) != 0).any(-1).mean((1, 2))
        assert 0 < changed.max() < 0.05

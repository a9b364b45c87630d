import pytest

from cogvideox.data.negatives.family import Family
from cogvideox.data.negatives.text_pages import FAMILIES
from negative_material import check_contract, material

MATERIAL = material(14, 10.0)


def test_families_are_many_and_honest() -> None:
    assert len(FAMILIES) >= 8 and len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(family.label == "text" for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_keeps_its_promises(family: Family) -> None:
    check_contract(family, MATERIAL)

"""Agreement against figures that are published or worked by hand."""

import math

import pytest

from cogvideox.data.labelling.agreement import agreement, krippendorff_alpha, percent_agreement
from cogvideox.data.labelling.answer import Answer


def units(*rows: str) -> list[list[str]]:
    """Return by thing what observers, a row each, said of it; a dot is missing."""
    return [[value for value in column if value != "."] for column in zip(*rows, strict=True)]


def test_alpha_of_krippendorffs_own_examples() -> None:
    # "Computing Krippendorff's Alpha-Reliability" (2011), examples A and C.
    assert krippendorff_alpha(units("0100000010", "1110010000")) == pytest.approx(0.095, abs=5e-4)
    four = units("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    assert krippendorff_alpha(four) == pytest.approx(0.743, abs=5e-4)


def test_alpha_by_hand() -> None:
    # Pairs 11, 10, 00, 00: values 3 ones, 5 zeros; observed 2 / 8, expected 2 * 3 * 5 / (8 * 7).
    assert krippendorff_alpha([[1, 1], [1, 0], [0, 0], [0, 0], [1]]) == pytest.approx(1 - (2 / 8) / (30 / 56))
    assert krippendorff_alpha([[1, 0], [0, 1]]) == pytest.approx(1 - 1 / (8 / 12))
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]])) and math.isnan(krippendorff_alpha([[1], []]))
    assert percent_agreement([[1, 1, 0], [1, 1], [0]]) == pytest.approx((1 / 3 + 1) / 2)


def test_annotators_and_repeats() -> None:
    def said(clip_id: str, annotator: str, text: bool | None, *, minute: int = 0, repeat: bool = False) -> Answer:
        time = f"2026-01-31T12:{minute:02d}:00Z"
        return Answer(clip_id=clip_id, annotator=annotator, time=time, labels={"text": text}, repeat=repeat)

    answers = [
        said("a", "ann", False),
        said("a", "ann", True, minute=1),
        said("a", "ben", True),
        said("b", "ann", True),
        said("b", "ben", False),
        said("c", "ann", None),
        said("c", "ben", True),
        said("d", "ann", False),
        said("a", "ann", False, minute=30, repeat=True),
        said("b", "ann", True, minute=30, repeat=True),
        said("c", "ann", True, minute=30, repeat=True),
        said("z", "ann", True, minute=30, repeat=True),
    ]
    found = agreement(answers)
    (text,) = [row for row in found.labels if row.label == "text"]
    assert (found.num_clips, found.num_shared, found.num_repeats) == (4, 3, 3)
    assert found.annotators == {"ann": 4, "ben": 3}
    assert (text.num_clips, text.agreement) == (2, 0.5)
    assert (text.num_repeats, text.self_agreement) == (2, 0.5)
    assert (text.num_positive, text.num_judged) == (4, 6)
    assert math.isnan(found.labels[0].agreement) and found.labels[0].num_clips == 0

"""What judges answer is read, in whatever form it comes; prose is no judgement."""

import math
import time

import pytest

from cogvideox.data.captioning.judging import read_judgement

SUMMARY = "A brown dog runs along a beach while a helicopter lands."


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ("none", ()),
        ("None.", ()),
        ("[]", ()),
        ("a helicopter lands", ("a helicopter lands",)),
        ("- a helicopter lands\n- brown", ("a helicopter lands", "brown")),
        ('1. "helicopter"', ("helicopter",)),
        ('```json\n["a helicopter lands"]\n```', ("a helicopter lands",)),
        ('Here it is: {"unsupported": [{"text": "helicopter"}]}', ("helicopter",)),
        ("<think>A helicopter?\nNo.</think>\nhelicopter", ("helicopter",)),
    ],
)
def test_lists_are_read(answer: str, quoted: tuple[str, ...]) -> None:
    found = read_judgement(answer, SUMMARY)
    assert found.unsupported == quoted and not found.reason
    assert (found.share > 0) is bool(quoted) and found.share <= 1


@pytest.mark.parametrize(
    "answer", ["", "I'm sorry, I cannot see pictures.", "word " * 40, "Great question, let us discuss it.", "[1, 2]"]
)
def test_what_is_no_list_is_no_judgement(answer: str) -> None:
    found = read_judgement(answer, SUMMARY)
    assert math.isnan(found.share) and found.reason and not found.unsupported


@pytest.mark.parametrize("answer", ["[" * 100_000, "[" * 15_000, '{"a":' * 3_000, "```" + "[" * 9_000, "a\n" * 9_000])
def test_hostile_judges_are_read_in_no_time(answer: str) -> None:
    start = time.process_time()
    found = read_judgement(answer, SUMMARY)
    assert time.process_time() - start < 1
    assert math.isnan(found.share) or "a" in found.unsupported

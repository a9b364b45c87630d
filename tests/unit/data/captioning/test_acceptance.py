import pytest

from cogvideox.chat.turns import Answer
from cogvideox.data.captioning.acceptance import count_words, judge_answer, salvaged

GOOD = "A brown dog runs along the beach, and then it jumps into the shallow water and swims to the left."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD, ""),
        (f"Sure! Here is the caption: {GOOD}", ""),
        (f"<think>What is it? A dog?</think>\n{GOOD}", ""),
        ("", "empty"),
        ("<think>hmm", "empty"),
        ("I'm sorry, I can't describe people.", "a refusal"),
        ("一只棕色的狗沿着海滩奔跑然后跳进浅水里向左游去", "not English"),
        ("Ein brauner Hund rennt den Strand entlang und springt dann in das flache Wasser.", "not English"),
        ("12 34 56 @@ ## 78 .. ;; 90", "nonsense"),
        ("dog dog dog dog dog dog dog dog dog", "nonsense"),
        ("a dog runs on the beach " * 12, "nonsense"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbb", "nonsense"),
        ("Dog.", "too short"),
        (f"{GOOD} " + " ".join(f"Wave {n} rolls over stone {n}." for n in range(20)), "too long"),
        ("A dog runs along the beach. In this video we see it jump.", "about the medium"),
    ],
)
def test_what_is_wrong_is_found(text: str, problem: str) -> None:
    judged = judge_answer(Answer(text), max_words=60, forbids_medium=True)
    assert judged.problem == problem, judged
    assert bool(judged.complaint) == bool(problem)


def test_what_is_cut_is_kept_to_its_last_sentence() -> None:
    judged = judge_answer(Answer(f"{GOOD} Then it comes out and sha", is_cut=True), max_words=60)
    assert judged.problem == "cut off"
    best = salvaged(judged, 60)
    assert best is not None and (best.text, best.problem) == (GOOD, "")
    assert salvaged(judge_answer(Answer("A brown dog runs along the", is_cut=True), max_words=60), 60) is None


def test_what_is_too_long_loses_its_last_sentences_or_is_marked() -> None:
    long = " ".join([GOOD, "It shakes the water off its coat.", "A man waves at it from the dunes."])
    best = salvaged(judge_answer(Answer(long), max_words=30), 30)
    assert best is not None and best.text.endswith("coat.") and count_words(best.text) <= 30 and not best.problem
    marked = salvaged(judge_answer(Answer(GOOD), max_words=10), 10)
    assert marked is not None and (marked.text, marked.problem) == (GOOD, "too long")
    spoken = judge_answer(Answer("A dog runs. In this video we see it jump."), max_words=60, forbids_medium=True)
    marked = salvaged(spoken, 60)
    assert marked is not None and marked.problem == "about the medium"
    assert salvaged(judge_answer(Answer("I'm sorry, I can't."), max_words=10), 10) is None

"""The merger: only words of its inputs, in time order, never too long, nothing said twice."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvideox.data.captioning.merger import CONNECTIVES, Merger, merge
from cogvideox.data.captioning.request import CaptionRequest, TimedCaption

WORDS = re.findall(
    r"\S+",
    "a an the man dog red boat river runs sits is are in on with while there of picture video shows near and that "
    "mountain, house; tree. bridge birds flying slowly left right middle image this",
)
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


def _words(text):
    return re.findall(r"[\w'-]+", text.lower())


@settings(max_examples=300, deadline=None)
@given(short=TEXTS, frames=st.lists(TEXTS, max_size=5), max_words=st.integers(1, 60))
def test_it_invents_no_word_and_keeps_to_the_limit(short, frames, max_words):
    text = merge(short, frames, max_words)
    assert len(text.split()) <= max_words
    known = {word for source in (short, *frames) for word in _words(source)} | CONNECTIVES
    assert set(_words(text)) <= known
    assert text == merge(short, frames, max_words)
    if text:
        assert text[0] == text[0].upper()
        assert text[-1] in ".!?"


def test_changes_are_told_in_their_order_and_what_lasts_once():
    frames = [
        f"The image shows a small boat {where}, under a grey sky."
        for where in ("near the pier", "at sea", "at an island")
    ]
    text = merge("The video shows a boat that leaves a harbour.", frames)
    assert text.startswith("A boat leaves a harbour. ")
    order = ["at first near the pier", "then at sea", "finally at an island"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert text.count("grey sky") == 1
    assert "image" not in text
    assert "video" not in text


def test_unlike_frames_follow_one_another():
    frames = [
        "A cook chops onions. Steam rises from a pot.",
        "A waiter carries plates through a full room.",
        "Guests raise their glasses. A band plays on a stage.",
    ]
    text = merge("An evening in a restaurant.", frames)
    parts = ["At first, a cook", "Steam", "Later, a waiter", "Finally, Guests", "A band"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


def test_what_the_short_caption_says_is_not_said_again():
    assert merge("A dog runs along a beach.", ["A dog runs along a beach."]) == "A dog runs along a beach."
    assert merge("A dog runs.", ["A brown dog is on a beach."]) == "A dog runs. The brown dog is on a beach."


def test_a_long_text_ends_with_a_whole_phrase():
    text = merge("A dog runs.", ["A brown dog is on a wide beach, with two parasols near the water"], 12)
    assert text == "A dog runs. The brown dog is on a wide beach."


def test_without_frames_or_without_a_short_caption():
    assert merge("A dog runs", []) == "A dog runs."
    assert merge("", ["A dog on a beach."]) == "A dog on a beach."
    assert merge("", []) == ""
    with pytest.raises(ValueError, match="max_words"):
        merge("A dog.", [], 0)


def test_the_backend_answers_for_summaries_only():
    frames = (TimedCaption(time_s=0, text="A dog on a beach."),)
    request = CaptionRequest(stage="summary", clip_id="a", prompt="", short="A dog runs.", frame_captions=frames)
    assert Merger(100).caption(request).text == "A dog runs. The dog on a beach."
    with pytest.raises(ValueError, match="neither"):
        Merger(100).caption(CaptionRequest(stage="summary", clip_id="a", prompt=""))
    with pytest.raises(ValueError, match="short"):
        Merger(100).caption(CaptionRequest(stage="short", clip_id="a", prompt=""))

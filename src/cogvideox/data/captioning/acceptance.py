"""Whether what a model said is a caption, and what to tell it if not."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cogvideox.chat.answers import (
    MAX_CHARACTERS,
    banned_phrases,
    clean_caption,
    has_talk,
    is_refusal,
    whole_sentences,
    without_lead_in,
    without_thoughts,
)
from cogvideox.chat.turns import Answer
from cogvideox.data.captioning.language import is_english

MIN_WORDS = 3
MIN_LETTER_SHARE = 0.6
"""Of the characters that are no blanks."""
MAX_COMMONEST_SHARE = 0.5
"""Of the words that one word may be, in a text of `NUM_COUNTED` words or more."""
MAX_WORD_CHARACTERS = 60
"""Of a word in Latin letters; other scripts write without blanks."""
NUM_COUNTED = 8
NUM_DIFFERENT_TRIPLES = 0.4
"""Share of different runs of three words below which a text goes round in circles, from `NUM_CIRCLED` words on."""
NUM_CIRCLED = 30
MAX_RUN_SHARE = 0.4
"""Of the characters that may be in runs of one and the same, ten or more."""
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_RUN = re.compile(r"(\S)\1{9,}")
_TIME_MARK = re.compile(r"\[\s?\d+(?:[.:]\d+)*\s?(?:s|sec|secs|seconds?)?\s?\]:?\s*")
_SENTENCE_END = re.compile(r"[.!?][\"'”\u2019)]*(?=\s|$)")

CUT, EMPTY, REFUSAL, NONSENSE, TALK = "cut off", "empty", "a refusal", "nonsense", "more than a caption"
FOREIGN, TOO_SHORT, TOO_LONG, BANNED = "not English", "too short", "too long", "about the medium"
_COMPLAINTS = {
    CUT: "That was cut off. Write it again, shorter, in at most {max_words} words.",
    EMPTY: "There was no caption. Write the caption and nothing else.",
    REFUSAL: "Only a plain description is asked for. Describe what is there, and nothing else.",
    NONSENSE: "That was no description. Write plain English sentences about what is there.",
    TALK: "Write the caption alone: no marks, no times in brackets, no names of fields, nothing about the task or you.",
    FOREIGN: "Write it in English.",
    TOO_SHORT: "That was too short. Write at least one whole sentence.",
    TOO_LONG: "That has {num_words} words. Write it again in at most {max_words} words.",
    BANNED: "Do not write {banned}. Write it again about the content itself.",
}
USABLE = (CUT, TALK, TOO_LONG, BANNED)
"""What can be made a caption of, if nothing better comes."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What an answer is worth."""

    text: str
    """Cleaned."""
    problem: str = ""
    """What is wrong with it; empty for a good caption."""
    complaint: str = ""
    """What to say to the model about it."""


def judge_answer(answer: Answer, *, max_words: int, forbids_medium: bool = False, inputs: Sequence[str] = ()) -> Judged:
    """Return an answer as a caption, with what is wrong with it.

    Args:
        answer: of a model.
        max_words: that a caption may have.
        forbids_medium: whether it must not speak of a video, a clip or a picture as such.
        inputs: captions that it was made of; a clip or a frame that they have as a thing may be named.
    """
    if len(without_thoughts(answer.text)) > MAX_CHARACTERS:
        return Judged(text="", problem=NONSENSE, complaint=_COMPLAINTS[NONSENSE])
    text = without_lead_in(clean_caption(answer.text))
    num_words = count_words(text)
    problem = _problem(text)
    banned = banned_phrases(text, inputs) if forbids_medium and not problem else ()
    if not text:
        problem = CUT if answer.is_cut else EMPTY
    elif problem:
        pass
    elif answer.is_cut:
        problem = CUT
    elif num_words > max_words:
        problem = TOO_LONG
    elif banned:
        problem = BANNED
    if not problem:
        return Judged(text=text)
    said = ", ".join(f'"{phrase}"' for phrase in banned)
    complaint = _COMPLAINTS[problem].format(max_words=max_words, num_words=num_words, banned=said)
    return Judged(text=text, problem=problem, complaint=complaint)


def _problem(text: str) -> str:
    """Return why a text is no caption, whatever its length; empty if it is one."""
    if is_refusal(text):
        return REFUSAL
    if _is_nonsense(text):
        return NONSENSE
    if has_talk(text):
        return TALK
    if not is_english(text):
        return FOREIGN
    return TOO_SHORT if count_words(text) < MIN_WORDS else ""


def salvaged(judged: Judged, max_words: int) -> Judged | None:
    """Return the best that can be made of an answer, with what is still wrong with it; None if that is nothing."""
    if judged.problem not in USABLE or not judged.text:
        return None
    text = judged.text
    if judged.problem == TALK:
        text = " ".join(_TIME_MARK.sub(" ", text).split())
        if _problem(text):
            return None
    is_whole = judged.problem != CUT and (judged.problem != TALK or _SENTENCE_END.search(text[-2:]))
    if not is_whole:
        whole = whole_sentences(text)
        # Without the end of a sentence nothing of it is whole.
        if not _SENTENCE_END.search(whole) or count_words(whole) < MIN_WORDS:
            return None
        text = whole
    if count_words(text) > max_words:
        text = _shortened(text, max_words) or text
    left = TOO_LONG if count_words(text) > max_words else BANNED if judged.problem == BANNED else ""
    return Judged(text=text, problem=left)


def count_words(text: str) -> int:
    """Return the number of words: runs of letters and digits, with hyphens and apostrophes inside."""
    return len(_WORD.findall(text))


def _shortened(text: str, max_words: int) -> str:
    """Return as many first sentences as may be; empty if the first is longer already."""
    end = num_words = 0
    for match in _SENTENCE_END.finditer(text):
        added = count_words(text[end : match.end()])
        if num_words + added > max_words:
            break
        end, num_words = match.end(), num_words + added
    return text[:end] if num_words >= MIN_WORDS else ""


def _is_nonsense(text: str) -> bool:
    characters = [character for character in text if not character.isspace()]
    letters = sum(character.isalpha() for character in characters)
    num_in_runs = sum(len(match[0]) for match in _RUN.finditer(text))
    if letters < MIN_LETTER_SHARE * len(characters) or num_in_runs > MAX_RUN_SHARE * len(characters):
        return True
    if "\ufffd" in text or any(len(word) > MAX_WORD_CHARACTERS and word.isascii() for word in text.split()):
        return True
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) >= NUM_COUNTED and Counter(words).most_common(1)[0][1] > MAX_COMMONEST_SHARE * len(words):
        return True
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= NUM_CIRCLED and len(set(triples)) < NUM_DIFFERENT_TRIPLES * len(triples)

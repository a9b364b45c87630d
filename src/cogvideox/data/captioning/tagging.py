"""Words of a text, with what part of speech each is and what its lemma is.

The part of speech is the likeliest path through the sentence, from WordNet's counts of each word and a table of which
part of speech follows which.
"""

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cogvideox.data.captioning.lexicon import Lexicon, PartOfSpeech
from cogvideox.data.captioning.words import FUNCTION_TAGS, IRREGULAR, NUMBERS

Kind = Literal["noun", "verb", "adjective", "adverb", "number", "other"]

_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*|[.,;:!?…()\"“”—\u2013-]")
_OPEN: dict[str, PartOfSpeech] = {"N": "noun", "V": "verb", "A": "adjective", "R": "adverb"}
_KINDS: dict[str, Kind] = {**_OPEN, "M": "number"}
_ENDS = frozenset(".!?;…")
_UNUSUAL = -4.0
"""Of a part of speech after one that the table does not have."""
_FOLLOWING: dict[str, dict[str, float]] = {
        "^": {"D": 0, "N": -0.7, "A": -1, "O": -0.7, "P": -1, "C": -1, "R": -1, "V": -2, "M": -1, "X": -3, "T": -3},
        "D": {"N": -0.3, "A": -0.7, "M": -1.5, "R": -2.5, "V": -3, "D": -2, "P": -3},
        "A": {"N": -0.2, "A": -1.5, "C": -1.8, "P": -2, "Z": -1.5, "T": -2.5, "V": -3.5, "M": -3, "R": -3, "D":
          -3.5},
        "N": {"V": -1, "P": -0.7, "Z": -0.8, "N": -1.6, "C": -1, "X": -1.2, "R": -1.6, "T": -1.6, "O": -2, "A":
          -2.6, "D": -2},
        "V": {"D": -0.6, "P": -0.8, "N": -1.8, "A": -1.8, "R": -1.2, "T": -1.2, "O": -1.3, "Z": -1.3, "C": -1.4,
          "M": -1.8, "V": -2.5},
        "R": {"V": -0.8, "P": -1, "Z": -1, "D": -1.2, "A": -1.2, "R": -1.7, "C": -1.5, "N": -2, "O": -1.5, "X":
          -1.5, "T": -1.5},
        "P": {"D": -0.4, "N": -1, "A": -1.2, "V": -1.8, "O": -1.3, "M": -1.3, "P": -2, "R": -2.5, "Z": -2, "C":
          -2.5, "T": -2},
        "C": {"D": -0.7, "N": -1, "V": -1.1, "A": -1.3, "O": -1, "R": -1.3, "P": -1.5, "M": -1.5, "X": -2, "C":
          -2.5},
        "O": {"V": -0.6, "X": -0.7, "P": -1, "Z": -1.3, "C": -1.5, "R": -1.2, "D": -2, "T": -1.8, "A": -2, "N":
          -2.5, "O": -2.5},
        "X": {"V": -0.4, "A": -1, "R": -1, "D": -1, "P": -1.3, "N": -2, "X": -1.5, "O": -2, "M": -2, "T": -2},
        "T": {"V": -0.6, "D": -0.6, "N": -1.7, "A": -1.9, "O": -1.8, "M": -2, "R": -2.5},
        "M": {"N": -0.2, "A": -0.8, "P": -1.5, "Z": -1.5, "V": -2.2, "C": -2, "M": -2, "R": -2.5, "D": -3},
        "Z": {"D": -0.6, "N": -1, "V": -1.2, "A": -1.3, "C": -0.8, "P": -1, "O": -1, "R": -1.1, "M": -1.5, "X": -2,
          "Z": -1.5, "T": -2},
}  # fmt: skip
"""Logarithms of how likely a tag is after another, ^ at the start; estimated by hand."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word, number or mark of a text."""

    text: str
    start: int
    """Of the first character in the text."""
    lemma: str
    kind: Kind
    tag: str
    """As in `cogvideox.data.captioning.words.FUNCTION_TAGS`, and N V A R M for the rest, Z for marks."""
    sentence: int
    """From 0."""
    lemmas: tuple[str, ...] = ()
    """All lemmas that the form may have, of any part of speech; the first is ``lemma``."""

    @property
    def end(self) -> int:
        """After the last character in the text."""
        return self.start + len(self.text)

    @property
    def is_plural(self) -> bool:
        """Whether a noun is in another form than its lemma."""
        return self.kind == "noun" and self.text.lower() != self.lemma


def read_words(text: str, lexicon: Lexicon) -> tuple[Word, ...]:
    """Return the words, numbers and marks of a text in its order."""
    words: list[Word] = []
    sentence: list[re.Match[str]] = []
    num_sentences = 0
    for match in _TOKEN.finditer(text):
        sentence.append(match)
        if match.group() in _ENDS:
            words += _tag_sentence(sentence, num_sentences, lexicon)
            sentence, num_sentences = [], num_sentences + 1
    return (*words, *_tag_sentence(sentence, num_sentences, lexicon))


def _tag_sentence(tokens: Sequence[re.Match[str]], sentence: int, lexicon: Lexicon) -> list[Word]:
    readings = [
        _readings(token.group().replace("\u2019", "'"), is_first=place == 0, lexicon=lexicon)
        for place, token in enumerate(tokens)
    ]
    paths: dict[str, tuple[float, tuple[str, ...]]] = {"^": (0.0, ())}
    last = ""
    for token, found in zip(tokens, readings, strict=True):
        form = token.group().lower()
        longer: dict[str, tuple[float, tuple[str, ...]]] = {}
        for tag, (score, _) in found.items():
            score_before, path = max(
                (before + _FOLLOWING[previous].get(tag, _UNUSUAL) + _agreement(previous, last, tag, form), path)
                for previous, (before, path) in paths.items()
            )
            longer[tag] = (score_before + score, (*path, tag))
        paths, last = longer, form
    tags = max(paths.values())[1]
    words = []
    for token, tag, found in zip(tokens, tags, readings, strict=True):
        lemma = found[tag][1]
        lemmas = dict.fromkeys([lemma, *(other for other_tag, (_, other) in found.items() if other_tag in _OPEN)])
        words.append(
            Word(
                text=token.group(),
                start=token.start(),
                lemma=lemma,
                kind=_KINDS.get(tag, "other") if token.group().lower() not in FUNCTION_TAGS else "other",
                tag=tag,
                sentence=sentence,
                lemmas=tuple(lemmas),
            )
        )
    return words


def _agreement(previous: str, last: str, tag: str, form: str) -> float:
    """Return how well a verb's form fits what is before it, a logarithm."""
    if tag != "V":
        return 0.0
    has_s = form.endswith("s") and not form.endswith("ss")
    is_base = not has_s and not form.endswith(("ing", "ed")) and form not in IRREGULAR
    if previous == "N":
        is_plural = (last.endswith("s") and not last.endswith("ss")) or last in IRREGULAR
        return (
            (-1.5 if has_s else 0.8 if is_base else 0.0) if is_plural else (1.2 if has_s else -1.5 if is_base else 0.0)
        )
    if previous == "M" and (form.endswith(("ing", "ed")) or form in IRREGULAR):
        return 1.2  # "nine burning candles"
    if previous in ("P", "D", "A"):
        return -2.0 if is_base or has_s else 0.0
    return 0.7 if has_s and previous in ("Z", "C") else 0.0


def _readings(form: str, *, is_first: bool, lexicon: Lexicon) -> dict[str, tuple[float, str]]:
    """Return for each tag that a form may have how likely it is (a logarithm), and the lemma."""
    if not form[0].isalnum():
        return {"Z": (0.0, form)}
    lower = form.lower()
    if form[0].isdigit():
        return {"M": (0.0, form)}
    if lower == "left":
        return {"V": (-1.0, "leave"), "N": (-0.9, "left"), "A": (-1.0, "left"), "R": (-1.2, "left")}
    if lower in FUNCTION_TAGS:
        return _function_readings(lower)
    if "-" in lower and lower.split("-")[0] in NUMBERS and not lexicon.has(lower.replace("-", "_"), "noun"):
        return {"A": (0.0, lower), "M": (-2.0, lower)}
    if lower in NUMBERS:
        extra = {"N": (-1.0, lower)} if lexicon.num_uses(lower, "noun") > 2 and lower != "one" else {}
        return {"M": (0.0, lower), **extra}
    readings = _open_readings(lower, lexicon)
    if form[0].isupper() and not is_first:  # a name
        readings["N"] = (max(readings.get("N", (-1.0, lower))[0], -0.5), readings.get("N", (0, lower))[1])
    return readings


def _function_readings(lower: str) -> dict[str, tuple[float, str]]:
    readings = {FUNCTION_TAGS[lower]: (0.0, lower)}
    if lower in ("that", "this", "these", "those", "each", "all", "both", "some", "another", "her", "his"):
        readings |= {"D": (-0.3, lower), "O": (-1.0, lower)}
    if lower in ("before", "after", "as", "until", "since", "like", "than"):
        readings |= {"P": (-0.5, lower), "C": (-0.7, lower)}
    if lower in ("up", "down", "off", "out", "over", "around", "past", "along", "on", "in", "through", "inside", "by"):
        readings |= {"P": (-0.3, lower), "R": (-1.2, lower)}
    if lower in ("back", "next", "well", "still", "first", "past", "outside", "inside", "down"):
        readings |= {"N": (-1.6, lower), "A": (-1.6, lower)}
    if lower in ("more", "most", "many", "few", "several", "much"):
        readings |= {"D": (-0.5, lower), "A": (-1.0, lower), "R": (-1.2, lower)}
    if lower == "like":
        readings |= {"V": (-2.5, lower)}
    return readings


def _open_readings(lower: str, lexicon: Lexicon) -> dict[str, tuple[float, str]]:
    uses: dict[str, tuple[float, str]] = {}
    for tag, pos in _OPEN.items():
        for lemma in lemmas_of(lower, pos, lexicon):
            num_uses = lexicon.num_uses(lemma, pos) + 0.3 * len(lexicon.senses(lemma, pos))
            if tag == "N" and lower.endswith("ing") and lemma == lower:
                num_uses = min(num_uses, 2.0)  # names of actions are verbs to us
            if lemma != lower and tag == "N" and lower.endswith("s"):
                num_uses *= 0.7
            if lemma != lower and tag == "V":
                num_uses = 0.7 * num_uses + 1.0
            if tag not in uses or num_uses > uses[tag][0]:
                uses[tag] = (num_uses, lemma)
    if not uses:
        return _guessed_readings(lower)
    total = sum(number for number, _ in uses.values())
    return {tag: (math.log(max(number, 0.02) / total), lemma) for tag, (number, lemma) in uses.items()}


def _guessed_readings(lower: str) -> dict[str, tuple[float, str]]:
    if lower.endswith("ly"):
        return {"R": (-0.2, lower), "A": (-2.0, lower)}
    if "-" in lower:
        return {"A": (-0.4, lower), "N": (-1.2, lower)}
    if lower.endswith("ing"):
        return {"V": (-0.5, lower.removesuffix("ing")), "A": (-1.5, lower), "N": (-1.5, lower)}
    if lower.endswith("ed"):
        return {"V": (-0.5, lower.removesuffix("ed")), "A": (-0.7, lower)}
    if lower.endswith(("able", "ible", "ful", "less", "ous", "ish", "like")) and not lower.endswith("fish"):
        return {"A": (-0.2, lower), "N": (-2.0, lower)}
    lemma = lower[:-1] if lower.endswith("s") and not lower.endswith("ss") else lower
    return {"N": (-0.2, lemma), "A": (-2.0, lower), "V": (-2.5, lemma)}


_ENDINGS: dict[PartOfSpeech, tuple[tuple[str, str], ...]] = {
    "noun": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
             ("ies", "y"), ("oes", "o"), ("ves", "f")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ied", "y"), ("ing", "e"),
             ("ing", ""), ("ying", "ie")),
    "adjective": (("er", ""), ("est", ""), ("er", "e"), ("est", "e"), ("ier", "y"), ("iest", "y")),
    "adverb": (),
}  # fmt: skip


def lemmas_of(form: str, pos: PartOfSpeech, lexicon: Lexicon) -> tuple[str, ...]:
    """Return the lemmas that a lower-case form may have as this part of speech, as far as the lexicon has them."""
    return _lemmas_of(lexicon, form, pos)


@functools.lru_cache(maxsize=100_000)
def _lemmas_of(lexicon: Lexicon, form: str, pos: PartOfSpeech) -> tuple[str, ...]:
    found: dict[str, None] = {}
    irregular = IRREGULAR.get(form)
    if irregular is not None and lexicon.has(irregular, pos):
        found[irregular] = None
    base = form.removesuffix("'s")
    if lexicon.has(base, pos):
        found[base] = None
    for ending, replacement in _ENDINGS[pos]:
        if not base.endswith(ending) or len(base) <= len(ending) + 1:
            continue
        if ending == "s" and base.endswith("ss"):
            continue
        stem = base[: -len(ending)] + replacement
        doubled = len(stem) > 3 and stem[-1] == stem[-2] and ending in ("ed", "ing", "er", "est") and not replacement
        for candidate in (stem, stem[:-1]) if doubled else (stem,):
            if lexicon.has(candidate, pos):
                found.setdefault(candidate)
                break
    if len(found) > 1 and base in found and base.endswith("s") and pos == "noun":
        # "glasses", "woods" and "pants" have a meaning of their own, most such forms are plurals
        others = [lemma for lemma in found if lemma != base]
        if lexicon.num_uses(base, pos) <= lexicon.num_uses(others[0], pos):
            return (*others, base)
    if len(found) > 1 and (irregular is not None or (pos == "verb" and base.endswith(("ing", "ed")))):
        found = {lemma: None for lemma in sorted(found, key=lambda lemma: -lexicon.num_uses(lemma, pos))}
    hyphenated = base.replace("-", "_") if "-" in base else ""
    if hyphenated and lexicon.has(hyphenated, pos):
        found.setdefault(hyphenated)
    return tuple(found)

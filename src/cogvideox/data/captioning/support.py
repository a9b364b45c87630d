"""Which words some texts allow another text to use: the same, synonyms, and more general ones."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cogvideox.data.captioning.lexicon import Lexicon, PartOfSpeech
from cogvideox.data.captioning.near_words import MORE_GENERAL, NEAR_SYNONYMS, NOT_ALLOWED, PRONOUNS
from cogvideox.data.captioning.tagging import Word, lemmas_of
from cogvideox.data.captioning.words import FUNCTION_TAGS, GENDERED

SAME, SYNONYM, GENERAL = 0, 1, 2
"""How near a word is to the one that allows it."""

_KINDS: tuple[PartOfSpeech, ...] = ("noun", "verb", "adjective", "adverb")
NUM_SENSES = 3
"""So many of a word's senses may be meant if it is to stand for a usual sense of another."""
_MAX_HYPHENS = 3
_MIN_HEAD = 4
"""Letters of the last part of a closed compound."""
_SUFFIXES = ("top", "side", "way", "yard", "scape", "line", "light", "land")
"""Of closed compounds that mean about the same as their first part: "hillside"."""


def _near_synonyms() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group in NEAR_SYNONYMS:
        words = group.split()
        for word in words:
            found.setdefault(word, set()).update(words)
    return {word: frozenset(group) for word, group in found.items()}


_NEAR = _near_synonyms()


@functools.lru_cache(maxsize=100_000)
def allowed_words(lexicon: Lexicon, lemma: str, pos: PartOfSpeech) -> Mapping[str, int]:
    """Return the lemmas that a text may use for what a lemma stands for, and how near each is."""
    found = {lemma: SAME}

    def add(words: Iterable[str], nearness: int) -> None:
        for word in words:
            found[word] = min(nearness, found.get(word, nearness))

    usual = lexicon.usual_senses(lemma, pos)
    synonyms = {word for synset in usual for word in lexicon.words(synset) if _is_usual(lexicon, word, pos, synset)}
    add(synonyms, SYNONYM)
    add(_NEAR.get(lemma, ()), SYNONYM)
    for word in synonyms | {lemma}:
        add(lexicon.derived(word, usual), SYNONYM)
    if pos in ("noun", "verb"):
        for synset in usual:
            for higher, num_steps in lexicon.broader(synset).items():
                if num_steps:
                    words = lexicon.words(higher)
                    add((word for word in words if _is_usual(lexicon, word, pos, higher)), GENERAL)
    if pos in ("verb", "adjective"):
        for synset in usual:
            for other in lexicon.similar(synset):
                add((word for word in lexicon.words(other) if _is_usual(lexicon, word, pos, other)), SYNONYM)
    add(MORE_GENERAL.get(lemma, "").split(), GENERAL)
    for part in _parts(lemma):
        add([part], SYNONYM)
    if pos == "noun":
        add(_heads(lexicon, lemma), GENERAL)
        add((name for name in ("woman", "man") if lemma.endswith(name) and len(lemma) > len(name) + 2), GENERAL)
    for word in NOT_ALLOWED.get(lemma, "").split():
        found.pop(word, None)
    return found


THINGS = frozenset(
    f"noun.{name}"
    for name in (
        "artifact",
        "animal",
        "person",
        "food",
        "plant",
        "object",
        "body",
        "substance",
        "phenomenon",
        "group",
        "location",
    )
)
"""WordNet's domains of what can be seen."""
_NUM_DEFINED_SENSES, _NUM_THING_SENSES = 2, 4


@functools.lru_cache(maxsize=100_000)
def retelling_words(lexicon: Lexicon, lemma: str, pos: PartOfSpeech) -> frozenset[str]:
    """Return nouns that a free retelling may have in the place of a word, or for what goes with a verb.

    These are what a rarer sense of the word is a kind of, and the nouns that define it: "mountain" for a volcano,
    "passengers" of a tram, "food" where somebody feeds birds.
    """
    if pos == "verb":
        synsets = [synset for synset, _ in lexicon.senses(lemma, pos)[:_NUM_DEFINED_SENSES]]
        return frozenset().union(*(lexicon.defining_nouns(synset) for synset in synsets))
    synsets = [synset for synset, _ in lexicon.senses(lemma, "noun") if lexicon.domain(synset) in THINGS]
    found = set().union(*(lexicon.defining_nouns(synset) for synset in synsets[:_NUM_DEFINED_SENSES]))
    for synset in synsets[:_NUM_THING_SENSES]:
        for higher in lexicon.broader(synset):
            found |= {word for word in lexicon.words(higher) if _is_usual(lexicon, word, "noun", higher)}
    return frozenset(found) - set(NOT_ALLOWED.get(lemma, "").split())


def _heads(lexicon: Lexicon, lemma: str) -> list[str]:
    """Return what a closed compound is a kind of: "board" of "whiteboard"."""
    ends = range(3, len(lemma) - _MIN_HEAD + 1)
    return [lemma[end:] for end in ends if lexicon.has(lemma[end:], "noun") and lemma[:end] in lexicon]


def _is_usual(lexicon: Lexicon, lemma: str, pos: PartOfSpeech, synset: int) -> bool:
    if synset in lexicon.usual_senses(lemma, pos):
        return True
    return synset in [number for number, _ in lexicon.senses(lemma, pos)[:NUM_SENSES]]


def _agent_stems(lemma: str) -> list[str]:
    """Return what somebody who is called so may do or use: "raft" of "rafter"."""
    stems = [lemma.removesuffix(ending) for ending in ("er", "or", "ist") if lemma.endswith(ending) and len(lemma) > 5]
    return [form for stem in stems for form in (stem, f"{stem}e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem)]


def _parts(lemma: str) -> tuple[str, ...]:
    parts = lemma.replace("-", "_").split("_")
    if 1 < len(parts) <= _MAX_HYPHENS:
        return tuple(part for part in parts if len(part) > 2 and part not in FUNCTION_TAGS)
    return tuple(lemma.removesuffix(ending) for ending in _SUFFIXES if lemma.endswith(ending) and len(lemma) > 6)


@dataclass(frozen=True, kw_only=True)
class Compound:
    """Two words that follow each other and are one lemma: "ice cream"."""

    lemma: str
    places: tuple[int, int]
    """Of the words in the text."""


def compounds_of(words: Sequence[Word], lexicon: Lexicon) -> list[Compound]:
    """Return the noun compounds of a text that the lexicon has."""
    found = []
    for place, (first, second) in enumerate(pairwise(words)):
        if first.tag in ("N", "A", "V") and second.tag == "N":
            for start in dict.fromkeys((first.text.lower(), first.lemma)):
                lemma = f"{start}_{second.lemma}"
                if lexicon.has(lemma, "noun"):
                    found.append(Compound(lemma=lemma, places=(place, place + 1)))
                    break
    return found


class Inputs:
    """What several texts allow.

    Args:
        texts: words of each.
        lexicon: of English.
    """

    def __init__(self, texts: Sequence[Sequence[Word]], lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self.texts = tuple(tuple(words) for words in texts)
        self._allowed: dict[str, dict[int, int]] = {}
        """Lemma -> text -> how near."""
        self.lemmas: set[str] = set()
        """Of the texts themselves, of all kinds."""
        self._nouns: set[str] = set()
        self._only_by_other_kinds: dict[str, bool] = {}
        """Lemma -> whether only synonyms of verbs and adjectives allow it."""
        for index, words in enumerate(self.texts):
            for word in words:
                self._add(index, word)
            for compound in compounds_of(words, lexicon):
                self._allow(index, compound.lemma, "noun")

        for pronouns, names in PRONOUNS.items():
            if not self._nouns & set(names.split()):  # otherwise it is known who is meant
                for index, words in enumerate(self.texts):
                    if {word.text.lower() for word in words} & set(pronouns.split()):
                        for name in names.split():
                            self._allowed.setdefault(name, {}).setdefault(index, GENERAL)

    def _add(self, index: int, word: Word) -> None:
        if word.tag == "Z":
            return
        lemmas = (*word.lemmas, word.text.lower()) if word.kind != "other" else (word.text.lower(),)
        for lemma in lemmas:
            self._allowed.setdefault(lemma, {})[index] = SAME
            self.lemmas.add(lemma)
        if word.kind == "noun":
            self._nouns.add(word.lemma)
        if word.kind not in ("other", "number"):
            self._allow(index, word.lemma, word.kind)
        if word.kind in ("verb", "adjective"):  # that may be wrong: "a demolished building"
            nouns = lemmas_of(word.text.lower(), "noun", self._lexicon)[:1]
            for noun in nouns:
                num_uses = self._lexicon.num_uses(noun, "noun")
                if word.text[0].isupper() or num_uses >= self._lexicon.num_uses(word.lemma, word.kind):
                    self._allow(index, noun, "noun")
        form = word.text.lower()
        if word.is_plural and self._lexicon.has(form, "noun"):  # "glasses" are more than a glass
            self._allow(index, form, "noun")
        if "-" in word.text:
            for part in word.text.lower().split("-"):
                for kind in _KINDS:
                    for lemma in lemmas_of(part, kind, self._lexicon)[:1]:
                        self._allow(index, lemma, kind)

    def _allow(self, index: int, lemma: str, pos: PartOfSpeech) -> None:
        things = {lemma, *MORE_GENERAL.get(lemma, "").split(), *_parts(lemma)}
        things |= self._lexicon.derived(lemma, self._lexicon.usual_senses(lemma, pos))
        for allowed, nearness in allowed_words(self._lexicon, lemma, pos).items():
            row = self._allowed.setdefault(allowed, {})
            row[index] = min(nearness, row.get(index, nearness))
            is_other = pos != "noun" and allowed not in things
            self._only_by_other_kinds[allowed] = self._only_by_other_kinds.get(allowed, True) and is_other

    def texts_with(self, word: Word) -> Mapping[int, int]:
        """Return the texts that allow a word, and how near their words are; empty if none does."""
        found: dict[int, int] = {}
        for lemma in dict.fromkeys((word.lemma, word.text.lower(), *word.lemmas)):
            for index, nearness in self._allowed.get(lemma, {}).items():
                found[index] = min(nearness, found.get(index, nearness))
        if not found:
            found = self._reached(word)
        return found

    def texts_with_lemma(self, lemma: str) -> Mapping[int, int]:
        """Return the texts that allow a lemma, as `texts_with`."""
        return self._allowed.get(lemma, {})

    def allows_thing(self, noun: Word) -> bool:
        """Return whether a noun is allowed as a thing, not only as what a verb or an adjective may be called too."""
        lemmas = (noun.lemma, noun.text.lower())
        known = [lemma for lemma in lemmas if lemma in self._allowed]
        return not known or any(lemma in self.lemmas or not self._only_by_other_kinds.get(lemma) for lemma in known)

    def has_only_ungendered_people(self) -> bool:
        """Return whether persons are named and nothing says whether they are men or women."""
        if not self.texts_with_lemma("person"):
            return False
        words = {form for words in self.texts for word in words for form in (word.lemma, word.text.lower())}
        return not words & GENDERED

    def _reached(self, word: Word) -> dict[int, int]:
        """Look from the other side: what the word is made of, and what a verb is a way of doing."""
        lexicon, found = self._lexicon, {}
        near: set[str] = set()
        if word.kind in ("verb", "adjective", "adverb", "noun"):
            usual = lexicon.usual_senses(word.lemma, word.kind)
            near |= lexicon.derived(word.lemma, usual)
            if word.kind == "verb":
                for synset in usual:
                    for higher in lexicon.more_general(synset):
                        near |= {w for w in lexicon.words(higher) if _is_usual(lexicon, w, "verb", higher)}
            if word.kind == "adjective":
                near |= {w for synset in usual for other in lexicon.similar(synset) for w in lexicon.words(other)}
        if word.kind == "noun":
            near |= {stem for stem in _agent_stems(word.lemma) if stem in self.lemmas}
        parts = word.text.lower().split("-")
        if 1 < len(parts) <= _MAX_HYPHENS:
            lemmas = [(part, *(lemma for kind in _KINDS for lemma in lemmas_of(part, kind, lexicon))) for part in parts]
            rows = [[self._allowed[lemma] for lemma in options if lemma in self._allowed] for options in lemmas]
            if all(row or part in FUNCTION_TAGS for row, part in zip(rows, parts, strict=True)):
                return {index: SYNONYM for row in rows for texts in row for index in texts}
        for first in range(3, len(word.lemma) - 2) if word.kind == "noun" else ():  # "surfboard" of a surfer's board
            ends = [self._allowed.get(part, {}) for part in (word.lemma[:first], word.lemma[first:])]
            if all(ends) and word.lemma[first:] in self._nouns:
                return {index: GENERAL for texts in ends for index in texts}
        for part in _parts(word.lemma) if "-" not in word.lemma and "_" not in word.lemma else ():
            near.add(part)
        for lemma in near:
            for index in self._allowed.get(lemma, {}) if lemma in self.lemmas else ():
                found[index] = GENERAL
        return found

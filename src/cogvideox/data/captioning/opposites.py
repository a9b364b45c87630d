"""Directions, sides and properties in a summary of which its inputs say the opposite or another of the same kind."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from cogvideox.data.captioning.details import may_be_same, modifier_pairs, nouns_after
from cogvideox.data.captioning.lexicon import Lexicon
from cogvideox.data.captioning.support import Inputs, allowed_words
from cogvideox.data.captioning.tagging import Word
from cogvideox.data.captioning.words import (
    COLOURS,
    FRAMING,
    MATERIALS,
    OPPOSITE_PROPERTIES,
    OPPOSITES,
    PATTERNS,
    POSITIONS,
)

_SIDES = ("left", "right")
_MAX_DISTANCE = 4
"""Words from one side to the other in "from left to right"."""
_NUM_SENSES = 6
"""So many senses of an adjective may have the opposite: who says both of one noun means the same scale."""


def unlike_opposites(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> list[Word]:
    """Return words of which the inputs say only the opposite: "left" for "right", "open" for "closed"."""
    forms = {
        word.text.lower() for text in inputs.texts for word in text if word.tag != "V" or word.text.lower() != "left"
    }
    found = []
    for word in words:
        lower = word.text.lower()
        if (lower == "left" and word.tag == "V") or lower == "up" or lower == "down":
            continue
        for one, other in OPPOSITES:
            for said, opposite in ((one.split(), other.split()), (other.split(), one.split())):
                if lower in said and not forms & set(said) and forms & set(opposite):
                    found.append(word)
    paths = {path[0] for text in inputs.texts for path in _paths(text)}
    found += [word for path, word in _paths(words) if paths and path not in paths]
    found += _unlike_sides(words, inputs, lexicon)
    found += _unlike_alone(words, inputs, lexicon)
    found += _unlike_properties(words, inputs, lexicon)
    for kinds in (MATERIALS, PATTERNS, POSITIONS):
        found += _unlike_kinds(words, inputs, lexicon, kinds)
    return list(dict.fromkeys(found))


def _paths(words: Sequence[Word]) -> Iterator[tuple[tuple[str, str], Word]]:
    """Yield what goes "from left to right" or the other way, and the word that says where from."""
    sides = [(place, word) for place, word in enumerate(words) if word.text.lower() in _SIDES]
    for (place, first), (other_place, second) in pairwise(sides):
        between = [word.text.lower() for word in words[place + 1 : other_place]]
        if other_place - place <= _MAX_DISTANCE and "to" in between and first.text.lower() != second.text.lower():
            yield (first.text.lower(), second.text.lower()), first


def _unlike_sides(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> list[Word]:
    """Return the sides of things that the inputs have on the other side only."""
    known = [pair for text in inputs.texts for pair in _sides(text)]
    found = []
    for noun, side in _sides(words):
        own = {other.text.lower() for thing, other in known if may_be_same(noun, thing, lexicon)}
        if own and side.text.lower() not in own:
            found.append(side)
    return found


def _sides(words: Sequence[Word]) -> Iterator[tuple[Word, Word]]:
    """Yield what is said to be "on the left" or "on the right", and that word."""
    for place in range(2, len(words)):
        side = words[place]
        if side.text.lower() not in _SIDES or [word.text.lower() for word in words[place - 2 : place]] != ["on", "the"]:
            continue
        after = [word.text.lower() for word in words[place + 1 : place + 3]]
        if after == ["side", "of"] or after[:1] == ["of"]:
            continue  # the side of something else
        before = words[max(0, place - 4) : place - 2]
        if not before or before[-1].sentence != side.sentence:  # "On the left, a dog sleeps"
            noun = next((word for word in words[place + 1 :] if word.tag == "N" and word.lemma not in FRAMING), None)
        else:
            nouns = [word for word in before if word.tag == "N"]
            is_near = before[-1].tag == "N" or (before[-1].tag in ("V", "X") and before[0].tag == "N")
            noun = nouns[-1] if nouns and is_near else None
        if noun is not None and noun.sentence == side.sentence and noun.lemma not in FRAMING:
            yield noun, side


def _unlike_alone(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> list[Word]:
    """Return the adjectives whose opposite the inputs have, where it cannot be told for one of both what it is said of.

    "A hard floor" does not contradict "soft light", but "his hand, which is empty" may contradict "a full hand".
    """
    known: dict[str, bool] = {}
    for text in inputs.texts:
        bound = {pair.modifier.start for pair in modifier_pairs(text)}
        for word in text:
            if word.kind == "adjective":
                known[word.lemma] = known.get(word.lemma, True) and word.start in bound
    own_bound = {pair.modifier.start for pair in modifier_pairs(words)}
    found = []
    for word in words:
        if word.kind == "adjective" and not inputs.texts_with(word):
            opposites = lexicon.opposites(word.lemma, lexicon.usual_senses(word.lemma, "adjective"))
            if any(not known[other] or word.start not in own_bound for other in opposites & known.keys()):
                found.append(word)
    return found


def _unlike_properties(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> list[Word]:
    """Return the adjectives of which the inputs say the opposite of the same thing: "large boat" for "tiny boat"."""
    known = [pair for text in inputs.texts for pair in modifier_pairs(text)]
    verbs = {word.lemma for text in inputs.texts for word in text if word.kind == "verb"}
    found = []
    for pair in modifier_pairs(words):
        lemma = pair.modifier.lemma
        is_compared = lemma != pair.modifier.text.lower()  # "the smaller dog" is one of two
        if lemma in COLOURS or is_compared or lemma in inputs.lemmas:
            continue
        if {*lexicon.derived(lemma, _senses(lexicon, lemma)), f"{lemma}en", f"{lemma}n"} & verbs:
            continue  # what is empty in the end was emptied
        own = {other.modifier.lemma for other in known if may_be_same(pair.noun, other.noun, lexicon)} - COLOURS.keys()
        is_said = any(lemma in allowed_words(lexicon, other, "adjective") for other in own)
        if not is_said and any(are_opposites(lexicon, lemma, other) for other in own):
            found.append(pair.modifier)
    return found


@functools.lru_cache(maxsize=100_000)
def are_opposites(lexicon: Lexicon, one: str, other: str) -> bool:
    """Return whether two adjectives contradict each other, said of the same thing: "tiny" and "large"."""
    for first, second in OPPOSITE_PROPERTIES:
        if {one, other} & first and {one, other} & second:
            return True
    pairs = ((one, other), (other, one))
    return any(_opposites(lexicon, said) & _with_heads(lexicon, known) for said, known in pairs)


def _senses(lexicon: Lexicon, lemma: str) -> list[int]:
    return [synset for synset, _ in lexicon.senses(lemma, "adjective")[:_NUM_SENSES]]


def _opposites(lexicon: Lexicon, lemma: str) -> set[str]:
    """Return the opposites of an adjective and of those that it usually is a special case of."""
    found = set(lexicon.opposites(lemma, _senses(lexicon, lemma)))
    for head in _heads(lexicon, lemma):
        found |= {opposite for word in lexicon.words(head) for opposite in lexicon.opposites(word, [head])}
    return found


def _with_heads(lexicon: Lexicon, lemma: str) -> set[str]:
    """Return an adjective and those that it usually is a special case of, if they have opposites: "big" of "huge"."""
    heads = _heads(lexicon, lemma) | lexicon.usual_senses(lemma, "adjective")
    return {lemma} | {word for head in heads for word in lexicon.words(head) if lexicon.opposites(word, [head])}


def _heads(lexicon: Lexicon, lemma: str) -> set[int]:
    return {head for synset in lexicon.usual_senses(lemma, "adjective") for head in lexicon.similar(synset)}


def _unlike_kinds(
    words: Sequence[Word], inputs: Inputs, lexicon: Lexicon, kinds: Mapping[str, frozenset[str]]
) -> list[Word]:
    """Return the words of a kind, such as materials, for which the inputs have others of the same thing."""
    known = [(word, noun, text) for text in inputs.texts for word, noun in _with_nouns(text, kinds)]
    found = []
    for word, noun in _with_nouns(words, kinds):
        own = [(other, text) for other, thing, text in known if may_be_same(noun, thing, lexicon)]
        # What stands anywhere in the texts about the thing may be said of it: "a wall made of brick".
        near = {family for _, text in own for other in text for family in kinds.get(other.text.lower(), ())}
        if own and not near & kinds[word.text.lower()]:
            found.append(word)
    return found


def _with_nouns(words: Sequence[Word], kinds: Mapping[str, frozenset[str]]) -> Iterator[tuple[Word, Word]]:
    """Yield the words of a kind and the noun that each belongs to: "glass door", "the door is wooden"."""
    for place, word in enumerate(words):
        if word.text.lower() in kinds and (word.text.lower() != "left" or word.tag != "V"):
            nouns = nouns_after(words, place)
            if not nouns and place >= 2 and words[place - 1].tag == "X" and words[place - 2].tag == "N":
                nouns = [words[place - 2]]
            yield from ((word, noun) for noun in nouns[-1:])

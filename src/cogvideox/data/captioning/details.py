"""Numbers, colours and other properties in a summary that its inputs do not have, or give to something else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cogvideox.data.captioning.lexicon import Lexicon
from cogvideox.data.captioning.support import GENERAL, Inputs, allowed_words
from cogvideox.data.captioning.tagging import Word
from cogvideox.data.captioning.words import ANYBODY, COLOURS, FRAMING, IRREGULAR, LIGHT_MODIFIERS, NUMBERS

_ALWAYS_COLOURS = frozenset(
    [
        "red",
        "blue",
        "green",
        "black",
        "white",
        "grey",
        "gray",
        "purple",
        "yellow",
        "brown",
        "pink",
        "beige",
        "turquoise",
    ]
)
_PREDICATES = frozenset(["painted", "dyed", "coloured", "colored", "dressed", "in"])
"""Before a colour that is not said of what follows."""
_MAX_DISTANCE = 4
"""Words between a number and its noun."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A property and what has it."""

    modifier: Word
    noun: Word


def is_colour(word: Word) -> bool:
    """Return whether a word names a colour here, and not a fruit or a metal."""
    lower = word.text.lower()
    return lower in COLOURS and (word.tag == "A" or lower in _ALWAYS_COLOURS)


def modifier_pairs(words: Sequence[Word]) -> Iterator[Pair]:
    """Yield the adjectives and the nouns that they stand before, or of which they are said: "the cup is red"."""
    for place, word in enumerate(words):
        if word.kind != "adjective" and not is_colour(word):
            continue
        nouns = nouns_after(words, place)
        if not nouns and place >= 2 and words[place - 1].tag == "X" and words[place - 2].tag == "N":
            nouns = [words[place - 2]]
        if not (place and words[place - 1].text.lower() in _PREDICATES):
            yield from (Pair(modifier=word, noun=noun) for noun in nouns)


def nouns_after(words: Sequence[Word], place: int) -> list[Word]:
    """Return the nouns of the phrase that goes on after a word; the last is its head."""
    found: list[Word] = []
    for word in words[place + 1 : place + 1 + _MAX_DISTANCE]:
        if word.tag == "N":
            found.append(word)
        elif found or not (
            word.tag in ("A", "M")
            or word.text.lower() in ("and", ",", "-")
            or is_colour(word)
            or (word.tag == "R" and word.text.endswith("ly"))
            or (word.tag == "V" and (word.text.endswith(("ing", "ed")) or word.text.lower() in IRREGULAR))
        ):
            break
    return found


def _noun_after(words: Sequence[Word], place: int) -> Word | None:
    return next(iter(nouns_after(words, place)[-1:]), None)


def unlike_numbers(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> list[Word]:
    """Return the numbers of a summary that its inputs do not give for the noun they count."""
    found = []
    for place, word in enumerate(words):
        if "-" in word.text and number_of_text(word.text.split("-")[0]) and not inputs.texts_with(word):
            found.append(word)
        number = number_of(word)
        if word.kind != "number" or number is None or number < 2:
            continue
        nouns = [noun for noun in nouns_after(words, place) if noun.lemma not in FRAMING]
        if not nouns:
            is_known = number == 2 or any(number_of(other) == number for text in inputs.texts for other in text)
        else:
            is_known = any(number in _known_numbers(noun, inputs, lexicon) for noun in nouns)
        if not is_known:
            found.append(word)
    return found


def _known_numbers(noun: Word, inputs: Inputs, lexicon: Lexicon) -> set[int]:
    counts = [count for text in inputs.texts for count in _counts(text, noun, lexicon)]
    known = {count for _, count in counts}
    known |= {total for text in inputs.texts for total in _sums(text, noun, lexicon)}
    for text in inputs.texts:  # "eight pieces of sushi" may be "eight sushi pieces"
        for place, word in enumerate(text):
            number, counted = number_of(word), _noun_after(text, place)
            if word.kind == "number" and number is not None and (counted is None or counted.lemma in FRAMING):
                known.add(number)
    if not known - {1}:  # each is named by itself: "a man" and "a woman" are two people
        known |= set(range(2, len({lemma for lemma, _ in counts}) + 1))
    if not counts:  # the noun stands for something that the inputs call otherwise
        known |= {number for text in inputs.texts for word in text if (number := number_of(word)) is not None}
    return known


def number_of(word: Word) -> int | None:
    """Return what a number word or a number in figures says, None if it is no whole number."""
    return number_of_text(word.text)


def number_of_text(text: str) -> int | None:
    """Return what a number says, None if it is no whole number."""
    return NUMBERS.get(text.lower(), int(text) if text.isdecimal() else None)


def _counts(text: Sequence[Word], noun: Word, lexicon: Lexicon) -> list[tuple[str, int]]:
    """Return the nouns of a text that a noun may stand for, and how many there are of each."""
    found = []
    for place, word in enumerate(text):
        if word.tag != "N" or (place + 1 < len(text) and text[place + 1].tag == "N"):
            continue
        if not may_name(noun, word, lexicon):
            continue
        before = text[max(0, place - _MAX_DISTANCE) : place]
        numbers = [
            number_of(other)
            for other in before
            if other.kind == "number" and _noun_after(text, text.index(other)) is word
        ]
        known = [number for number in numbers if number is not None]
        if known:
            found.append((word.lemma, known[-1]))
        elif not word.is_plural:
            found.append((word.lemma, 1))
    return found


def _sums(text: Sequence[Word], noun: Word, lexicon: Lexicon) -> list[int]:
    """Return how many there are of a kind if different nouns of one text are counted together."""
    by_lemma: dict[str, int] = {}
    for lemma, count in _counts(text, noun, lexicon):
        by_lemma[lemma] = max(count, by_lemma.get(lemma, 0))
    return [sum(by_lemma.values())] if len(by_lemma) > 1 else []


def may_name(name: Word, thing: Word, lexicon: Lexicon) -> bool:
    """Return whether a noun may stand for what another one names."""
    return name.lemma in allowed_words(lexicon, thing.lemma, "noun")


def may_be_same(one: Word, other: Word, lexicon: Lexicon) -> bool:
    """Return whether two nouns may name the same thing."""
    return may_name(one, other, lexicon) or may_name(other, one, lexicon)


def unlike_colours(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> list[Word]:
    """Return the colours of a summary that its inputs do not have, or not for that noun."""
    known = {
        family for text in inputs.texts for word in text if is_colour(word) for family in COLOURS[word.text.lower()]
    }
    pairs = [pair for text in inputs.texts for pair in modifier_pairs(text) if is_colour(pair.modifier)]
    nouns = {pair.modifier.start: pair.noun for pair in modifier_pairs(words)}
    found = []
    for word in words:
        if not is_colour(word):
            continue
        families = COLOURS[word.text.lower()]
        noun = nouns.get(word.start)
        own = {
            family
            for pair in pairs
            if noun is not None and may_be_same(noun, pair.noun, lexicon)
            for family in COLOURS[pair.modifier.text.lower()]
        }
        if not families & known or (own and not families & own):
            found.append(word)
    return found


def misbound_modifiers(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> tuple[list[Word], int]:
    """Return the properties that the inputs give to other nouns only, and how many properties could be compared."""
    by_modifier: dict[str, list[Word]] = {}
    for text in inputs.texts:
        for pair in modifier_pairs(text):
            by_modifier.setdefault(pair.modifier.lemma, []).append(pair.noun)
    matches: dict[int, tuple[Word, list[bool]]] = {}
    for pair in modifier_pairs(words):
        if "-" in pair.modifier.text:
            continue
        nouns = by_modifier.get(pair.modifier.lemma, [])
        if not nouns or pair.modifier.lemma in LIGHT_MODIFIERS or pair.noun.lemma in FRAMING:
            continue
        if min(inputs.texts_with(pair.noun).values(), default=GENERAL) == GENERAL:
            continue  # the noun itself is wrong, or may stand for many things
        is_same = any(
            may_be_same(pair.noun, noun, lexicon) or _may_be_one(pair.noun, noun, inputs, lexicon) for noun in nouns
        )
        matches.setdefault(pair.modifier.start, (pair.modifier, []))[1].append(is_same)
    return [modifier for modifier, found in matches.values() if not any(found)], len(matches)


def _may_be_one(one: Word, other: Word, inputs: Inputs, lexicon: Lexicon) -> bool:
    """Return whether two nouns may name one person: "a bearded man" may be the blacksmith of another caption."""
    lemmas = {one.lemma, other.lemma}
    if not lemmas & ANYBODY or any(lemmas <= {word.lemma for word in text} for text in inputs.texts):
        return False
    senses = [lexicon.senses(word.lemma, "noun")[:1] for word in (one, other)]
    return all(found and lexicon.domain(found[0][0]) == "noun.person" for found in senses)

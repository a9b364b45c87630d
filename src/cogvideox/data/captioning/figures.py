"""What can be said of a dense caption by its words alone: whether its inputs bear it out, and whether it is well made.

Meanings come from WordNet (`cogvideox.data.captioning.lexicon`). A figure of 1 is as good as it gets for shares of what
is right (grounding, coverage, order), 0 for shares of what is wrong. Grounding alone rewards copying one sentence:
read it beside coverage and length.
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cogvideox.chat.answers import banned_phrases
from cogvideox.chat.language import foreign_share
from cogvideox.data.captioning.details import (
    is_colour,
    misbound_modifiers,
    number_of,
    unlike_colours,
    unlike_numbers,
)
from cogvideox.data.captioning.endings import cut_end
from cogvideox.data.captioning.language import is_english
from cogvideox.data.captioning.lexicon import Lexicon, load_lexicon
from cogvideox.data.captioning.opposites import unlike_opposites
from cogvideox.data.captioning.order import measure_order
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.captioning.support import (
    GENERAL,
    NUM_SENSES,
    THINGS,
    Inputs,
    allowed_words,
    compounds_of,
    retelling_words,
)
from cogvideox.data.captioning.tagging import Word, lemmas_of, read_words
from cogvideox.data.captioning.words import (
    ANYBODY,
    BODY_PARTS,
    FRAMING,
    FRAMING_OR_THING,
    IDIOMS,
    IRREGULAR,
    LIGHT_MODIFIERS,
    LIGHT_VERBS,
    MONEY,
    POSSESSIVES,
    ROLES,
    SOFT_DOMAINS,
    SOFT_NOUNS,
)

NUM_REPEATED_WORDS = 5
"""So many words in a row that occur again are a repetition."""
MIN_INPUT_WORDS = 12
SHORT_SHARE = 0.2
"""A summary of fewer words than this share of its longest input, or of 5 words, is too short."""
OVERVIEW_SHARE = 0.6
"""A first sentence of which so many words are the short caption's tells the whole, and has no place in the order."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019\-][^\W_]+)*")


@dataclass(frozen=True, kw_only=True)
class CaptionFigures:
    """Figures of one summary; NaN where there is nothing to measure."""

    grounding: float
    """Share of content words that the inputs allow: the same word, a synonym, or a more general one."""
    novel_nouns: float
    """Share of nouns for things that the inputs do not allow."""
    novel_modifiers: float
    """Numbers, colours, directions and opposites that the inputs contradict or do not have."""
    misbound: float
    """Share of properties that the inputs give to something else."""
    coverage: float
    """Share of the inputs' nouns that the summary names, weighted by the number of inputs that have them."""
    end_coverage: float
    """Share of the words that only the last frames' captions have and that the summary names; NaN for few frames."""
    order: float
    """1 if the summary can be read in the order of the frames."""
    order_loss: float
    """Weight of the words that stand at a wrong place in time; a word that is in one frame of many weighs about 1."""
    num_words: float
    length_share: float
    """Words over the most that are allowed."""
    is_too_short: float
    """1 if it has hardly any of what the inputs say."""
    repetition: float
    """Share of words in runs of 5 that occur again, and in sentences that say nearly the same."""
    num_banned: float
    """Phrases that a dense caption should not have."""
    foreign_share: float
    """Of letters of other scripts."""
    is_english: float
    """1 if it is, or if it cannot be told."""
    is_cut: float
    """1 if it ends in the middle."""
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By figure: the words of the summary that make it bad, or for coverage the nouns that are missing."""


def measure_text(
    summary: str,
    short: str,
    frame_captions: Sequence[TimedCaption | str],
    *,
    max_words: int,
    lexicon: Lexicon | None = None,
) -> CaptionFigures:
    """Measure a summary against what it was made of.

    Args:
        summary: the dense caption.
        short: the short caption of the whole clip; may be empty.
        frame_captions: what the frames show, in the order of time; may be none. Without both, the figures that
            compare are NaN.
        max_words: that were allowed.
        lexicon: of English, by default `load_lexicon`.

    Raises:
        FetchError: WordNet is not in the cache and cannot be fetched.
        MissingPackageError: py3langid is not installed.
    """
    lexicon = load_lexicon() if lexicon is None else lexicon
    texts = [caption if isinstance(caption, str) else caption.text for caption in frame_captions]
    words = _read(summary, lexicon)
    num_words = len(_WORD.findall(summary))
    sources = [_read(text, lexicon) for text in (short, *texts) if text.strip()]
    found: dict[str, tuple[str, ...]] = {}
    compared = _compare(words, sources, lexicon, found) if sources and num_words else _NOTHING
    order = measure_order(
        words,
        Inputs([_read(text, lexicon) for text in texts], lexicon),
        overview=_overview(words, short, texts, lexicon),
    )
    found["order_loss"] = _texts(order.misplaced)
    repetition, found["repetition"] = _repetition(summary)
    found["num_banned"] = banned_phrases(summary, (short, *texts))
    found["is_cut"] = cut_end(summary, words, lexicon)
    longest = max((len(_WORD.findall(text)) for text in (short, *texts)), default=0)
    is_too_short = num_words < 5 or (longest >= MIN_INPUT_WORDS and num_words < SHORT_SHARE * longest)
    return CaptionFigures(
        **compared,
        end_coverage=_end_coverage(words, texts, lexicon),
        order=order.value,
        order_loss=order.loss,
        num_words=float(num_words),
        length_share=num_words / max_words,
        is_too_short=float(is_too_short),
        repetition=repetition,
        num_banned=float(len(found["num_banned"])),
        foreign_share=foreign_share(summary),
        is_english=float(is_english(summary)),
        is_cut=float(bool(found["is_cut"])),
        found={name: texts for name, texts in found.items() if texts},
    )


_NAN = float("nan")
_NOTHING = dict.fromkeys(("grounding", "novel_nouns", "novel_modifiers", "misbound", "coverage"), _NAN)


@functools.lru_cache(maxsize=2000)
def _read(text: str, lexicon: Lexicon) -> tuple[Word, ...]:
    return read_words(text, lexicon)


def _texts(words: Sequence[Word]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.text for word in words))


def _compare(
    words: Sequence[Word], sources: Sequence[Sequence[Word]], lexicon: Lexicon, found: dict[str, tuple[str, ...]]
) -> dict[str, float]:
    """Return the figures that need inputs, and put what was found into ``found``."""
    inputs = Inputs(sources, lexicon)
    supported = _supported_by_compounds(words, inputs, lexicon)
    content = [word for word in words if _is_content(word)]
    unsupported = [word for word in content if word.start not in supported and not _is_supported(word, inputs, words)]
    nouns = [word for word in words if _is_named(word, words) and _is_noun(word, words, lexicon)]
    novel = [word for word in nouns if word.start not in supported and not _is_borne_out(word, inputs, words)]
    retold = _retelling_words(words, inputs, lexicon)
    novel = [word for word in novel if not retold & {word.lemma, *lemmas_of(word.text.lower(), "noun", lexicon)}]
    numbers = unlike_numbers(words, inputs, lexicon)
    modifiers = [*numbers, *unlike_colours(words, inputs, lexicon), *unlike_opposites(words, inputs, lexicon)]
    modifiers = list({word.start: word for word in modifiers}.values())
    misbound, num_bound = misbound_modifiers(words, inputs, lexicon)
    coverage, missing = _coverage(words, inputs, lexicon)
    wrong = list({word.start: word for word in (*unsupported, *modifiers)}.values())
    found["grounding"] = _texts(unsupported)
    found["novel_nouns"] = _texts(novel)
    found["novel_modifiers"] = _texts(modifiers)
    found["misbound"] = _texts(misbound)
    found["coverage"] = missing
    return {
        "grounding": 1 - len(wrong) / max(len(content), len(wrong)) if content else _NAN,
        "novel_nouns": len(novel) / len(nouns) if nouns else 0.0,
        "novel_modifiers": float(len(modifiers)),
        "misbound": len(misbound) / num_bound if num_bound else 0.0,
        "coverage": coverage,
    }


def _is_named(word: Word, words: Sequence[Word]) -> bool:
    """Return whether a word may name a thing of the clip: "a camera" does, "the camera" films it."""
    if word.kind == "verb":
        return True
    if word.lemma in FRAMING_OR_THING:
        before = [other for other in words if other.start < word.start and other.tag not in ("A", "N", "M")]
        return bool(before) and before[-1].text.lower() in {"a", "an", *POSSESSIVES}
    return _is_content(word)


def _is_content(word: Word) -> bool:
    if word.kind == "other" or word.kind == "number" or word.lemma in FRAMING or word.text.lower() in FRAMING:
        return False
    if word.kind == "verb" and word.lemma in LIGHT_VERBS:
        return False
    return word.kind not in ("adjective", "adverb") or word.lemma not in LIGHT_MODIFIERS


def _is_supported(word: Word, inputs: Inputs, words: Sequence[Word]) -> bool:
    if inputs.texts_with(word):
        return True
    if is_colour(word):
        return True  # judged by families elsewhere
    _, after = _neighbours(word, words)
    if word.lemma in BODY_PARTS and (after is None or after.tag != "N"):  # "a palm tree" is no hand
        return bool(inputs.texts_with_lemma("person") or inputs.texts_with_lemma("animal"))
    if word.lemma in ROLES:
        return bool(inputs.texts_with_lemma("person"))
    return number_of(word) is not None


def _is_borne_out(noun: Word, inputs: Inputs, words: Sequence[Word]) -> bool:
    """Return whether a thing is supported; what stands for a verb ("whisk", "sweep") is not the thing of that name."""
    if noun.lemma in ANYBODY and inputs.has_only_ungendered_people():
        return True
    return _is_supported(noun, inputs, words) and (noun.kind != "noun" or inputs.allows_thing(noun))


def _is_thing(word: Word, lexicon: Lexicon) -> bool:
    """Return whether a noun names something that can be seen; words that the lexicon lacks do."""
    if word.lemma in SOFT_NOUNS:
        return False
    if word.lemma in MONEY:
        return True
    usual = lexicon.usual_senses(word.lemma, "noun")
    usual |= {synset for synset, _ in lexicon.senses(word.lemma, "noun")[:NUM_SENSES]}
    return not usual or any(lexicon.domain(synset) not in SOFT_DOMAINS for synset in usual)


def _is_noun(word: Word, words: Sequence[Word], lexicon: Lexicon) -> bool:
    """Return whether a word names a thing, also if it was read as a verb where none can stand: "a crate of drums"."""
    if word.kind == "noun":
        return _is_thing(word, lexicon) and not _may_be_other(word, words, lexicon)
    if word.kind != "verb" or word.text.lower().endswith(("ing", "ed")):
        return False
    before, after = _neighbours(word, words)
    noun = next(iter(lemmas_of(word.text.lower(), "noun", lexicon)), None)
    if noun is None or before is None or not _is_thing(replace(word, lemma=noun, kind="noun"), lexicon):
        return False
    is_participle = before.tag == "V" and (before.text.endswith(("ing", "ed")) or before.text in IRREGULAR)
    if before.tag in ("D", "A") or before.text.lower() in POSSESSIVES:
        return True
    if is_participle:  # "a torn sail", "wearing goggles sits"
        return not word.text.endswith("s") or (after is not None and after.tag in ("V", "X", "Z"))
    is_rare = lexicon.num_uses(noun, "noun") > 2 * lexicon.num_uses(word.lemma, "verb")
    return before.tag == "N" and after is not None and (after.tag in ("V", "X") or (after.tag == "Z" and is_rare))


def _neighbours(word: Word, words: Sequence[Word]) -> tuple[Word | None, Word | None]:
    before = next((other for other in reversed(words) if other.start < word.start), None)
    return before, next((other for other in words if other.start > word.start), None)


def _may_be_other(noun: Word, words: Sequence[Word], lexicon: Lexicon) -> bool:
    """Return whether what was read as a noun may be an adjective before one, or a verb of what stands before it."""
    before, after = _neighbours(noun, words)
    if before is not None and (before.text.lower(), noun.text.lower()) in IDIOMS:
        return after is None or after.tag != "N"
    num_uses = lexicon.num_uses(noun.lemma, "noun")
    if before is not None and before.tag == "N" and lexicon.num_uses(noun.lemma, "adverb") > num_uses:
        return after is None or after.tag == "Z"  # "with birds overhead."
    if after is None:
        return False
    if noun.is_plural and 3 * lexicon.num_uses(noun.lemma, "verb") > num_uses:
        earlier = [word for word in words if word.start < noun.start and word.tag not in ("A", "N")]
        if earlier and earlier[-1].text.lower() in ("a", "an", "another", "each", "every"):
            return after.tag not in ("V", "X")  # "a feline approaches"
    senses = lexicon.senses(noun.lemma, "noun")
    is_thing = not senses or lexicon.domain(senses[0][0]) in THINGS
    # "gulls flock around", "the river winds between": no two nouns stand like this
    is_verb_form = before is not None and before.tag == "N" and (before.is_plural or noun.is_plural)
    if is_verb_form and after.tag in ("P", "D", "R", "T", "Z"):
        is_likely = not is_thing or 3 * lexicon.num_uses(noun.lemma, "verb") >= num_uses
        return lexicon.has(noun.lemma, "verb") and is_likely
    if noun.is_plural and before is not None and (before.tag in ("N", "O") or before.lemma in ("one", "other")):
        num_verbs = lexicon.num_uses(noun.lemma, "verb")  # "one attacks and wins", "one smokes a pipe"
        if num_verbs and (after.tag == "D" or (after.tag not in ("V", "X") and num_verbs > num_uses)):
            return True
    if after.tag != "N" or not lexicon.has(noun.lemma, "adjective"):
        return False
    num_adjectives = lexicon.num_uses(noun.lemma, "adjective")
    return not is_thing or (num_adjectives > 0 and 2 * num_adjectives >= num_uses)


def _supported_by_compounds(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> set[int]:
    """Return the starts of words that are supported as parts of a compound."""
    found: set[int] = set()
    for compound in compounds_of(words, lexicon):
        if inputs.texts_with_lemma(compound.lemma):
            found |= {words[place].start for place in compound.places}
    return found


def _retelling_words(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> frozenset[str]:
    """Return the nouns that may stand for those nouns of the inputs that a summary does not have itself."""
    said = {lemma for word in words for lemma in (word.lemma, word.text.lower())}
    missing = {
        (word.lemma, word.kind)
        for text in inputs.texts
        for word in text
        if word.kind == "verb" or (word.kind == "noun" and word.lemma not in said and _is_content(word))
    }
    return frozenset().union(*(retelling_words(lexicon, lemma, kind) for lemma, kind in missing))


def _coverage(words: Sequence[Word], inputs: Inputs, lexicon: Lexicon) -> tuple[float, tuple[str, ...]]:
    """Return the weighted share of the inputs' things that a summary names, and those that are missing."""
    weights: Counter[str] = Counter()
    for text in inputs.texts:
        weights.update({word.lemma for word in text if word.kind == "noun" and _is_content(word)})
    things = {lemma: weight for lemma, weight in weights.items() if lemma not in FRAMING}
    said = {lemma for word in words for lemma in (word.lemma, word.text.lower())}
    said |= {compound.lemma for compound in compounds_of(words, lexicon)}
    implied: dict[str, int] = {}
    for word in words:
        if word.kind not in ("other", "number"):
            for lemma, nearness in allowed_words(lexicon, word.lemma, word.kind).items():
                implied[lemma] = min(nearness, implied.get(lemma, nearness))
    total, reached, missing = 0.0, 0.0, []
    for lemma, weight in sorted(things.items(), key=lambda item: (-item[1], item[0])):
        allowed = allowed_words(lexicon, lemma, "noun")
        nearness = min((allowed[name] for name in said & allowed.keys()), default=None)
        other = implied.get(lemma)
        share = max(0.0 if near is None else 0.5 if near == GENERAL else 1.0 for near in (nearness, other))
        total += weight
        reached += weight * share
        if not share:
            missing.append(lemma)
    return (reached / total if total else _NAN), tuple(missing)


def _end_coverage(words: Sequence[Word], texts: Sequence[str], lexicon: Lexicon) -> float:
    """Return how much of what comes last is named: a text that was cut after a whole sentence has none of it."""
    num_last = max(1, len(texts) // 4)
    if len(texts) < 3:
        return _NAN
    frames = Inputs([_read(text, lexicon) for text in texts], lexicon)
    first_of_end = len(texts) - num_last
    particular = [
        word
        for text in frames.texts[first_of_end:]
        for word in text
        if _is_content(word) and min(frames.texts_with(word), default=0) >= first_of_end
    ]
    if len(particular) < 2:
        return _NAN
    said = Inputs([words], lexicon)
    implied = sum(min(said.texts_with(word).values(), default=GENERAL) < GENERAL for word in particular)
    starts = (min(frames.texts_with(word), default=0) for word in words if _is_content(word))
    has_own = any(start >= first_of_end for start in starts)
    return max(implied, int(has_own)) / len(particular)


def _overview(words: Sequence[Word], short: str, texts: Sequence[str], lexicon: Lexicon) -> int | None:
    """Return the first sentence if it says what the short caption says rather than any one frame's."""
    first = {word.lemma for word in words if word.sentence == 0 and _is_content(word)}
    if not short.strip() or len(first) < 2 or len({word.sentence for word in words}) < 2:
        return None
    shares = []
    for text in (short, *texts):
        inputs = Inputs([_read(text, lexicon)], lexicon)
        own = [word for word in words if word.sentence == 0 and _is_content(word)]
        shares.append(sum(bool(inputs.texts_with(word)) for word in own) / len(own))
    return 0 if shares[0] >= OVERVIEW_SHARE and shares[0] > max(shares[1:], default=0) else None


def _repetition(text: str) -> tuple[float, tuple[str, ...]]:
    """Return the share of repeated words, and the runs that are repeated."""
    words = [word.lower() for word in _WORD.findall(text)]
    runs = [tuple(words[place : place + NUM_REPEATED_WORDS]) for place in range(len(words) - NUM_REPEATED_WORDS + 1)]
    counts = Counter(runs)
    repeated: set[int] = set()
    seen: set[tuple[str, ...]] = set()
    for place, run in enumerate(runs):
        if counts[run] > 1 and run in seen:
            repeated |= set(range(place, place + NUM_REPEATED_WORDS))
        seen.add(run)
    for place in range(2, len(words)):  # "very very very"
        if words[place] == words[place - 1] == words[place - 2]:
            repeated.add(place)
    shown = tuple(dict.fromkeys(" ".join(run) for run in runs if counts[run] > 1))
    sentences = [frozenset(_WORD.findall(part.lower())) for part in re.split(r"[.!?]+", text)]
    sizes = [len(_WORD.findall(part)) for part in re.split(r"[.!?]+", text)]
    again = 0
    for place, sentence in enumerate(sentences):
        if len(sentence) >= 4 and any(
            len(sentence & other) >= 0.85 * len(sentence | other) for other in sentences[:place] if other
        ):
            again += sizes[place]
    return (max(len(repeated), again) / len(words) if words else 0.0), shown

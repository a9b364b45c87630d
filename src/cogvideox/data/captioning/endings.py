"""Whether a text ends in the middle of a sentence, also where a full stop was put after the cut."""

import re
from collections.abc import Sequence
from itertools import pairwise

from cogvideox.data.captioning.details import is_colour
from cogvideox.data.captioning.lexicon import Lexicon
from cogvideox.data.captioning.tagging import Word
from cogvideox.data.captioning.words import (
    DANGLING,
    DANGLING_UNLESS_ASKED,
    FRAMING,
    IRREGULAR,
    SOFT_DOMAINS,
    TRANSITIVE,
)

_WORD = re.compile(r"[^\W_]+(?:['\u2019\-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?][\"'”\u2019)\]]*$")
_PAIRS = (("(", ")"), ("[", "]"), ("“", "”"))
_ASKING = frozenset(["that", "which", "who", "whom", "whose", "what", "where", "how", "when", "why", "whether"])
_OPENING = frozenset(["while", "when", "where", "because", "although", "whereas", "whose"])
"""What opens a clause that needs a verb."""
_BEFORE_COUNTED = frozenset(["with", "toward", "towards", "beside", "behind", "above", "under", "past"])
"""Before a number that counts something."""
_EACH = frozenset(["a", "an", "another", "every"])
_THE = frozenset(["the", "its", "his", "her", "their"])
_NOMINAL = frozenset(
    ["old", "young", "wild", "deep", "homeless", "elderly", "injured", "rich", "poor", "sick", "same", "other"]
)
"""Adjectives that stand for nouns after "the"."""
_MAX_NOUN_SHARE = 0.1
"""Uses as a noun over those as an adjective, of words that are hardly ever nouns: "small"."""
_MAX_FRAGMENT = 3
"""Words of a sentence without a verb that is taken for the beginning of one."""


def cut_end(summary: str, words: Sequence[Word], lexicon: Lexicon) -> tuple[str, ...]:
    """Return how a text ends, if that is in the middle of something.

    Args:
        summary: the text.
        words: of it.
        lexicon: of English.
    """
    text = summary.strip()
    if not text:
        return ()
    tail = (" ".join(text.split()[-3:]),)
    if text.endswith(("...", "…")) or not _SENTENCE_END.search(text):
        return tail
    last = (_WORD.findall(text)[-1:] or [text[-1]])[0].lower()
    if last in DANGLING:
        return tail
    number = max((word.sentence for word in words if word.tag != "Z"), default=0)
    sentence = [word for word in words if word.sentence == number and word.tag != "Z"]
    if sentence and _misses_something(sentence, lexicon):
        return tail
    is_unclosed = any(text.count(opening) > text.count(closing) for opening, closing in _PAIRS)
    return tail if is_unclosed or text.count('"') % 2 else ()


def _misses_something(sentence: Sequence[Word], lexicon: Lexicon) -> bool:
    """Return whether a last sentence, without its marks, ends before something that its last words need."""
    last, earlier = sentence[-1], sentence[:-1]
    lower = last.text.lower()
    asks_back = any(word.text.lower() in _ASKING for word in earlier)
    if lower in DANGLING_UNLESS_ASKED:
        return not asks_back
    if _is_bare_clause(sentence):
        return True
    if not earlier:
        return False
    before = earlier[-1]
    if last.kind == "number":
        return before.text.lower() in _BEFORE_COUNTED
    if last.tag == "V" and last.lemma in TRANSITIVE and lower.endswith(("s", "ing")):
        return not asks_back and before.tag != "O"  # "the load he carries"
    start = len(earlier)
    while start and (earlier[start - 1].tag == "A" or is_colour(earlier[start - 1])):
        start -= 1
    article = earlier[start - 1].text.lower() if start else ""
    return _needs_noun(last, article, lexicon)


def _is_bare_clause(sentence: Sequence[Word]) -> bool:
    """Return whether a sentence ends before the verb of its last clause: "while the crowd", or "The woman" alone."""
    opening = max((place for place, word in enumerate(sentence) if word.text.lower() in _OPENING), default=None)
    rest = sentence if opening is None else sentence[opening + 1 :]
    if any(word.tag in ("V", "X", "A") for word in rest):
        return False
    if opening is not None:
        return True
    if sentence[0].sentence == 0 or any(after.start > word.end + 1 for word, after in pairwise(sentence)):
        return False  # all there is, or "Behind them, waves"
    begins = sentence[0].tag in ("D", "O", "R", "C", "P") and sentence[0].text.lower() != "no"
    return begins and len(sentence) <= _MAX_FRAGMENT and sentence[-1].lemma not in FRAMING


def _needs_noun(last: Word, article: str, lexicon: Lexicon) -> bool:
    """Return whether a word after an article is an adjective or a participle that can be no noun."""
    lower = last.text.lower()
    is_nominal = article in _THE and lower in _NOMINAL
    if article not in _EACH | _THE or is_nominal or last.tag not in ("N", "A", "V") or last.text[0].isupper():
        return False
    if is_colour(last):
        return article not in ("the", "their")  # "a man in the red"
    lemma = last.lemma if last.tag == "N" else lower
    num_nouns = lexicon.num_uses(lemma, "noun")
    domains = [lexicon.domain(synset) for synset, _ in lexicon.senses(lemma, "noun")]
    if last.tag in ("V", "A") and (lower.endswith(("ing", "ed")) or lower in IRREGULAR):
        return num_nouns <= 1 and SOFT_DOMAINS.issuperset(domains) and article != "the"
    num_adjectives = lexicon.num_uses(lower, "adjective")
    if article == "the":
        return num_adjectives > 0 and num_nouns == 0
    return (domains[:1] != ["noun.object"] or not num_nouns) and num_nouns < _MAX_NOUN_SHARE * num_adjectives

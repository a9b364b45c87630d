"""Whether a text is English. Needs py3langid for texts in Latin letters."""

import functools
import math
import re
from typing import Any

from cogvideox.chat.language import foreign_share
from cogvideox.data.captioning.words import FUNCTION_TAGS
from cogvideox.data.libraries import py3langid

MIN_WORDS = 3
"""Fewer do not tell a language."""
MAX_FOREIGN_SHARE = 0.3
"""Of letters of other scripts in an English text, which may quote a sign or a name."""
SURE_SHARE = 0.3
"""Of an English text's words that are its small words: they need no model."""
SURE_MARGIN = 12.0
"""How much likelier, as a logarithm, another language must be."""
FEW_WORDS = 8
"""So many English words have small ones among them; fewer may be names and dishes, which are foreign anywhere."""
SURE_MARGIN_PER_WORD = 9.2
"""The same, where no small words speak for another language."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_SHARED = frozenset(
    [
        "a",
        "as",
        "in",
        "on",
        "at",
        "me",
        "no",
        "do",
        "for",
        "of",
        "so",
        "to",
        "all",
        "an",
        "her",
        "his",
        "am",
        "was",
        "he",
        "the",
        "over",
        "under",
    ]
)
"""Small English words that other languages have too."""

_FOREIGN_LINES = """
un une des dans est avec sont qui que et il elle aux pas ses leur cette
una unos unas los las del por para como su sus hay esta pero
der dem ein eine einen einem einer und mit auf ist nicht sich von zum zur im durch einige sind
lo gli della di nel nella che sono uno ed alla
um uma em pelo pela dos das enquanto com ao
het een op zijn naar aan met bij te dat
och ett som genom det av med til og er på är
po se je bir ve ile icin için bu yang dan dengan ini itu sebuah seorang
nad jest się obok przez hän ei cu pe din este és az egy nem và một của
"""
_WEAK = frozenset(["au", "en", "la", "le", "el", "de", "du", "di", "al", "da", "das", "na", "te", "sur", "est", "lo"])
_WEAK |= {"il", "den", "er", "ja", "si", "w", "z", "un"}
_FOREIGN = frozenset(_FOREIGN_LINES.split()) | _WEAK
"""Small words of other languages. English texts have the weak ones in names and dishes: one alone tells nothing, but at
the beginning.
"""
_ARTICLES_OF_NOUNS = frozenset(["der", "das", "ein", "eine"])
"""Before nouns with capital letters, which after others begin names ("El Capitan")."""


def is_english(text: str) -> bool:
    """Return whether a text is English; texts of less than `MIN_WORDS` words, and unclear ones, count as English.

    Foreign names do not make a text foreign: unless it is much likelier in another language, small words must say so.

    Raises:
        MissingPackageError: it is written in Latin letters and py3langid is not installed.
    """
    if foreign_share(text) > MAX_FOREIGN_SHARE:
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < MIN_WORDS:
        return True
    small = [word for word in words if word in FUNCTION_TAGS]
    if len(set(small) - _SHARED) >= 3 and len(small) >= SURE_SHARE * len(words):
        return True
    ranked = _identifier().rank(text)
    likeliest, score = ranked[0]
    if likeliest == "en":
        return True
    margin = score - next((value for name, value in ranked if name == "en"), -math.inf)
    foreign = _foreign_words(text)
    speaks_foreign = len(foreign) > 1 or bool(set(foreign) - _WEAK) or (bool(foreign) and words[0] == foreign[0])
    if len(words) <= MIN_WORDS:
        return not speaks_foreign or bool(small)
    if len(words) >= FEW_WORDS:
        speaks_foreign = speaks_foreign or not set(small) - _SHARED
    return margin <= SURE_MARGIN or not (speaks_foreign or margin > SURE_MARGIN_PER_WORD * len(words))


def _foreign_words(text: str) -> list[str]:
    """Return small words of other languages, but for those that begin names, in order."""
    words = _WORD.findall(text)
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name = word.lower()
        if name in _FOREIGN and (not after[:1].isupper() or name in _ARTICLES_OF_NOUNS):
            found.append(name)
    return found


@functools.cache
def _identifier() -> Any:
    library = py3langid()
    return library.langid.LanguageIdentifier.from_model_file(library.langid.MODEL_FILE)

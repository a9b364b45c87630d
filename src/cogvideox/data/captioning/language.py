"""Whether a text is English. Needs py3langid for texts in Latin letters."""

import functools
import math
import re
from typing import Any

from cogvideox.chat.language import foreign_share
from cogvideox.data.captioning.words import FUNCTION_TAGS
from cogvideox.data.libraries import py3langid

MIN_WORDS = 4
"""Fewer do not tell a language."""
MAX_FOREIGN_SHARE = 0.3
"""Of letters of other scripts in an English text, which may quote a sign or a name."""
SURE_SHARE = 0.3
"""Of an English text's words that are its small words: they need no model."""
SURE_MARGIN = 12.0
"""How much likelier, as a logarithm, another language must be."""

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


def is_english(text: str) -> bool:
    """Return whether a text is English; texts of less than `MIN_WORDS` words, and unclear ones, count as English.

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
    english = next((value for name, value in ranked if name == "en"), -math.inf)
    return likeliest == "en" or score - english <= SURE_MARGIN


@functools.cache
def _identifier() -> Any:
    library = py3langid()
    return library.langid.LanguageIdentifier.from_model_file(library.langid.MODEL_FILE)

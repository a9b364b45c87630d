"""Which scripts a text is written in. Needs no tokenizer."""

import unicodedata

_LANGUAGES = {"HANGUL": "Korean", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "CJK": "Chinese"}
"""Languages that their script tells; the other scripts go by their own name."""


def foreign_script(text: str) -> str | None:
    """Return the commonest script among a text's letters that are not Latin, None if there are none."""
    scripts: dict[str, int] = {}
    for character in text:
        if character.isalpha() and not is_latin(character):
            script = _script(character)
            scripts[script] = scripts.get(script, 0) + 1
    if "Japanese" in scripts:  # written with Chinese characters too
        scripts["Japanese"] += scripts.pop("Chinese", 0)
    return max(scripts, key=scripts.__getitem__) if scripts else None


def foreign_share(text: str) -> float:
    """Return the share of a text's letters that are not Latin, 0 to 1."""
    letters = [character for character in text if character.isalpha()]
    return sum(not is_latin(character) for character in letters) / len(letters) if letters else 0.0


def is_latin(character: str) -> bool:
    """Return whether a letter is of the Latin alphabet, with or without marks."""
    return _script(character) == "Latin"


def _script(character: str) -> str:
    words = unicodedata.name(unicodedata.normalize("NFKC", character)[0], "other").replace("-", " ").split()
    first = next((word for word in words if word not in ("HALFWIDTH", "FULLWIDTH")), "other")
    return _LANGUAGES.get(first, first.capitalize())

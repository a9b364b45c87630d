"""What a judge says of a summary: the words that the frames do not bear out."""

import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

from cogvideox.chat.answers import clean_caption, is_refusal

MAX_LINE_WORDS = 25
"""A longer line is prose, no quotation."""
MAX_CHARACTERS = 20_000
"""Of an answer without its thoughts; what is longer is no list."""
NUM_BRACKETS = 8
"""That may be tried as the beginning of a list; there may be some in words before it."""

_FENCE = re.compile(r"```\w*\s*\n?(.*?)(?:```|$)", re.DOTALL)
_THOUGHTS = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_NONE = re.compile(
    r"\W*(none|nothing|no|n/a|null|empty|all (is |are )?(true|shown|correct|supported))\b[^\w]*$", re.IGNORECASE
)
_BRACKET = re.compile(r"[\[{]")
_MARKER = re.compile(r"^\s*(?:[-*•]+|\d+[.)])\s*")
_LIST_NAMES = ("unsupported", "statements", "wrong", "errors", "not_shown", "hallucinations", "items", "list")
_TEXT_NAMES = ("text", "statement", "words", "phrase", "quote")
_WORD = re.compile(r"[^\W_]+(?:['\u2019\-][^\W_]+)*")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Of one summary."""

    share: float
    """Of its words that are not borne out; NaN if the answer is no use."""
    unsupported: tuple[str, ...] = ()
    """The words, as the judge quotes them."""
    reason: str = ""
    """Why there is no judgement."""


def read_judgement(answer: str, summary: str) -> Judgement:
    """Read what a judge answers: quoted words on lines of their own, a JSON list of them, or "none".

    Args:
        answer: as it came, thoughts and fences included.
        summary: that was judged.
    """
    text = _THOUGHTS.sub("", answer).strip()
    if len(text) > MAX_CHARACTERS:
        return Judgement(share=float("nan"), reason="the judge's answer does not end")
    text = match.group(1).strip() if (match := _FENCE.search(text)) else text
    if not text:
        return Judgement(share=float("nan"), reason="the judge says nothing")
    if is_refusal(clean_caption(text)):
        return Judgement(share=float("nan"), reason="the judge refuses")
    quoted = _from_json(text)
    if quoted is None and _NONE.match(text):
        quoted = []
    if quoted is None:
        lines = [_MARKER.sub("", line).strip().strip("\"'“”`.,;") for line in text.splitlines()]
        quoted = [line for line in lines if line]
        if any(len(_WORD.findall(line)) > MAX_LINE_WORDS for line in quoted):
            return Judgement(share=float("nan"), reason="the judge's answer is no list")
        quoted = [line for line in quoted if not _NONE.match(line)]
        said = {word.lower() for word in _WORD.findall(summary)}
        if quoted and not any(_is_quoted(line, said) for line in quoted):
            return Judgement(share=float("nan"), reason="the judge's answer does not quote the summary")
    num_words = len(_WORD.findall(summary))
    num_wrong = sum(len(_WORD.findall(part)) for part in dict.fromkeys(quoted))
    return Judgement(share=min(num_wrong / max(num_words, 1), 1.0), unsupported=tuple(dict.fromkeys(quoted)))


def _from_json(text: str) -> list[str] | None:
    """Return the list in a JSON text, with or without words around it; None if there is none."""
    for match in itertools.islice(_BRACKET.finditer(text), NUM_BRACKETS):
        try:
            value = json.JSONDecoder().raw_decode(text, match.start())[0]
        except (ValueError, RecursionError):
            continue
        found = _texts_of(value)
        if found is not None:
            return found
    return None


def _texts_of(value: Any) -> list[str] | None:
    if isinstance(value, dict):
        named = next((value[name] for name in _LIST_NAMES if isinstance(value.get(name), list)), None)
        return _texts_of(named) if named is not None else None
    if not isinstance(value, list):
        return None
    found = []
    for item in value:
        if isinstance(item, dict):
            item = next((item[name] for name in _TEXT_NAMES if isinstance(item.get(name), str)), None)
        if not isinstance(item, str):
            return None
        if item.strip():
            found.append(item.strip())
    return found


def _is_quoted(line: str, said: set[str]) -> bool:
    words = [word.lower() for word in _WORD.findall(line)]
    return bool(words) and sum(word in said for word in words) >= 0.6 * len(words)

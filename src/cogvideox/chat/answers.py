"""What language models say around the text that they were asked for, taken away; and what is no such text."""

import re

_REFUSAL = re.compile(
    r"(i(\W?m| am) (very )?sorry|sorry,|(unfortunately,? )?i (can\W?t|can ?not|am unable|won\W?t) |as an ai)",
    re.IGNORECASE,
)
_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|$)", re.DOTALL | re.IGNORECASE)
_UNOPENED_THOUGHTS = re.compile(r"^.*</(think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
"""Some chat templates open them in the question."""
_FENCE = re.compile(r"```(\w+(?=[ \t]*\n))?")
_LEAD_INS = (
    re.compile(r"(sure|certainly|of course|absolutely|okay)[!,.:]+\s+", re.IGNORECASE),
    re.compile(r"here(\Ws| is| are)\b[^:.]{0,80}:\s*", re.IGNORECASE),
    re.compile(
        r"[*_#\s]*((enhanced|detailed|dense|rewritten|improved|shortened|revised|final|english|video) )*"
        r"(caption|prompt|description|translation|answer|output)[*_]*:[*_]*\s*",
        re.IGNORECASE,
    ),
)
_QUOTES = ('""', "“”", "''", "\u2018\u2019", "«»", "``", "**")


def clean_caption(text: str) -> str:
    """Return what a language model said as one line: without thoughts, fences, lead-ins and quotes around it."""
    text = _UNOPENED_THOUGHTS.sub(" ", _THOUGHTS.sub(" ", text))
    text = " ".join(_FENCE.sub(" ", text).split())
    previous = None
    while text != previous:
        previous = text
        for lead_in in _LEAD_INS:
            text = text[match.end() :] if (match := lead_in.match(text)) else text
        for marks in _QUOTES:
            text = _without_marks(text, *marks)
    return text


def _without_marks(text: str, first: str, last: str) -> str:
    inner = text[1:-1]
    if len(text) < 2 or not (text.startswith(first) and text.endswith(last)):
        return text
    is_doubled = inner.startswith(first) and inner.endswith(last)
    # Apostrophes within words are no marks; a caption that begins and ends with quoted words has marks inside.
    mark = f"[{re.escape(first + last)}]"
    has_marks = re.search(rf"(?<!\w){mark}|{mark}(?!\w)", inner) is not None
    return text if has_marks and not is_doubled else inner.strip()


def is_refusal(text: str) -> bool:
    """Return whether a model says that it will not answer."""
    return _REFUSAL.match(text) is not None


def whole_sentences(text: str) -> str:
    """Return a text without an unfinished last sentence, if there is another one."""
    ends = [match.end() for match in re.finditer(r"[.!?][\"'”]?(?=\s)", text)]
    return text[: ends[-1]] if ends else text

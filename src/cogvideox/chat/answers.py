"""What language models say around the text that they were asked for, taken away.

Servers and models may answer anything of any length: only so many characters are looked at, and no pattern here takes
more than about linear time.
"""

import json
import re
from typing import Any

from cogvideox.chat.medium import banned_phrases, without_lead_in
from cogvideox.chat.refusals import has_talk, is_refusal

__all__ = [
    "MAX_CHARACTERS",
    "banned_phrases",
    "clean_caption",
    "has_talk",
    "is_refusal",
    "whole_sentences",
    "without_lead_in",
    "without_thoughts",
]

MAX_CHARACTERS = 20_000
"""Of an answer without its thoughts; what is longer is no caption."""

_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|$)", re.DOTALL | re.IGNORECASE)
_UNOPENED_THOUGHTS = re.compile(r"^.*</(think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
"""Some chat templates open them in the question."""
_ASKED_BEFORE = ("[/INST]", "<|message|>")
"""What follows the last of them is the answer; some servers let them through."""
_OPENING_TOKENS = re.compile(
    r"\s*((<\|[\w-]{1,40}\|>|<s>|<bos>|<start_of_turn>|\[INST\])\s*((assistant|model)\b\s*(?=\n|<\|))?)+"
)
_TOKEN = re.compile(r"<\|[\w-]{1,40}\|>|</?s>|<[be]os>|\[/?INST\]|<(start|end)_of_turn>")
"""That end and begin messages."""
_FENCE = re.compile(r"```(\w{1,30}(?=[ \t]*\n))?")
_NAMES = r"(answer|final_answer|final|caption|dense_caption|summary|description|output|response|result|text)"
_OPENING_TAG = re.compile(rf"<{_NAMES}>", re.IGNORECASE)
_TAG = re.compile(rf"</?{_NAMES}>", re.IGNORECASE)
_FIELD = re.compile(rf"^(\w+[_ ])?{_NAMES}$|^(short|dense|message|content)$", re.IGNORECASE)
"""Of a JSON object: what holds the text."""
_MAX_DEPTH = 4
"""Of JSON around a text."""
_BEFORE_JSON = re.compile(r"[^{\[]{0,100}:\s*(?=[{\[])")
_LINE_MARKS = re.compile(r"^[ \t]*((#{1,6}|[-*•+>]|\d{1,2}[.)])[ \t]+)+", re.MULTILINE)
_RULES = re.compile(r"^[ \t]*([-*_=])\1{2,}[ \t]*$", re.MULTILINE)
_STRONG = re.compile(r"(\*\*|__)(?=\S)((?:(?!\1).)+?)(?<=\S)\1", re.DOTALL)
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?![\w*])")
_ADJECTIVES = (
    r"((enhanced|detailed|dense|rewritten|improved|shortened|revised|final|english|video|concise|brief|short|overall|"
    r"chronological|clip|scene|frame|image|full|complete|corrected|updated|new) )*"
)
_KINDS = r"(caption|prompt|description|translation|answer|output|summary|response|paragraph)"
_LABEL_LINE = re.compile(rf"\s*[*_#]*{_ADJECTIVES}{_KINDS}[*_:]*[ \t]*\n+(?=\s*\S)", re.IGNORECASE)
"""A heading over the text."""
_HERE = r"(here|below|the following)(\Ws| is| are)"
_LEAD_INS = (
    # A comma may belong to the text ("Great, tall trees sway"), unless something like a lead-in follows.
    re.compile(
        r"(sure|certainly|of course|absolutely|okay|great|understood|got it)( thing)?([!.:]+\s+|,\s+(?=(here|below|let|"
        r"this|the following|(the|a|your) caption)\b|I\b|(?-i:[A-Z])))",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_HERE}\b[^:.]{{0,60}}\b{_KINDS}s?\b([^:.]{{0,60}}:\s*|[^:.]{{0,40}}\b(you|requested|below)\b[^:.]{{0,40}}\."
        r"(\s+|$)|\.?\s*$)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_HERE} (it|you (go|are)|(what|one) (i|you)\b[^:.]{{0,40}}?|my (take|attempt|try|version)|an? "
        rf"(attempt|version|option))( is)?(:| [-\u2013\u2014])\s*",
        re.IGNORECASE,
    ),
    re.compile(r"here (it is|you (go|are)|it goes)[:!,.]\s*", re.IGNORECASE),
    re.compile(
        rf"[*_#\s]*({_ADJECTIVES}{_KINDS}|whole shot|short|dense)( #?\d{{1,2}})?( (of|for) the (video|clip|"
        rf"scene|image|frame|shot))?"
        r"( \(?(at most |under |in )?\d+ words( or less)?\)?)?[*_]*:[*_]*\s*",
        re.IGNORECASE,
    ),
    re.compile(r"(assistant|ai):\s+", re.IGNORECASE),
    re.compile(r"([-*•>]|#{1,6})\s+(?=\S)"),
)
_COUNT = re.compile(
    r" ?([(\[] ?(word count:? ?\d+|(about |approximately |~)?\d+ words) ?[)\]]|word count:? ?\d+( words)?)\.?\s*$",
    re.IGNORECASE,
)
_TRAILER = re.compile(
    r"(?<=[.!?)\"'\u201d*]) (please )?(let me know (if|whether|how)|feel free to|i hope (this|that|it) |"
    r"would you like me to|do you want me to|\(?note:|\(?(please )?note that (i|this|the|it|these|my|some)\b|"
    r"alternative(ly)?\b( caption| version)?[:,]|\(?(caption|option|version|description) #?(2|b|two)\b|"
    r"[\[(]?end of (the )?(caption|description|summary)\b|\(?(another|second) (version|option|caption|variant)\b|"
    r"(explanation|reasoning|notes|changes made|rationale):|\(?i (have |\W?ve )?(kept|tried|avoided|used|"
    r"included|wrote|"
    r"made|focused|combined|merged) )",
    re.IGNORECASE,
)
"""With all that follows it."""
_MAX_ROUNDS = 20
"""Of taking things away; a text with more around it is none."""
_QUOTES = (
    ('"', '"'),
    ("\u201c", "\u201d"),
    ("'", "'"),
    ("\u2018", "\u2019"),
    ("«", "»"),
    ("`", "`"),
    ("*", "*"),
    ("<<<", ">>>"),
    ("(", ")"),
    ("[", "]"),
)


def without_thoughts(text: str) -> str:
    """Return an answer without what a model thought before it or within it."""
    return _UNOPENED_THOUGHTS.sub(" ", _THOUGHTS.sub(" ", text)).strip()


def clean_caption(text: str) -> str:
    """Return what a language model said as one line: without thoughts, markup, lead-ins and quotes around it.

    Of what is longer than `MAX_CHARACTERS`, the rest is left out.
    """
    text = without_thoughts(text)[:MAX_CHARACTERS]
    for mark in _ASKED_BEFORE:
        text = text.rpartition(mark)[2]
    text = _TOKEN.split(text[match.end() :] if (match := _OPENING_TOKENS.match(text)) else text, maxsplit=1)[0]
    text = _unwrapped(_RULES.sub(" ", _FENCE.sub(" ", text)).strip())
    text = _LINE_MARKS.sub("", text)
    while (match := _LABEL_LINE.match(text)) is not None:
        text = text[match.end() :]
    text = " ".join(_EMPHASIS.sub(r"\1", _STRONG.sub(r"\2", text)).split())
    for _ in range(_MAX_ROUNDS):
        previous = text
        for lead_in in _LEAD_INS:
            text = text[match.end() :] if (match := lead_in.match(text)) else text
        text = _COUNT.sub("", text[: match.start()] if (match := _TRAILER.search(text)) else text)
        for marks in _QUOTES:
            text = _without_marks(text, *marks)
        if text == previous:
            break
    return text


def _unwrapped(text: str) -> str:
    """Return the text within tags such as ``<answer>``, or within JSON, if it is in some."""
    for opening in _OPENING_TAG.finditer(text):
        if inner := _TAG.split(text[opening.end() :][:MAX_CHARACTERS], maxsplit=1)[0].strip():
            text = inner
            break
    inner = text[match.end() :] if (match := _BEFORE_JSON.match(text)) else text
    if inner[:1] not in ("{", "["):
        return text
    try:
        value = json.loads(inner, strict=False)
    except (ValueError, RecursionError):
        return text
    return _text_in(value, _MAX_DEPTH) or text


def _text_in(value: Any, depth: int) -> str:
    """Return the one text in a JSON value; empty if there is none, or several."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and len(value) == 1 and depth:
        return _text_in(value[0], depth - 1)
    if not isinstance(value, dict) or not depth:
        return ""
    named = [one for name, one in value.items() if _FIELD.match(str(name))]
    found = [text for one in (named or list(value.values())) if (text := _text_in(one, depth - 1))]
    return found[0] if found and (named or len(found) == 1) else ""


def _without_marks(text: str, first: str, last: str) -> str:
    inner = text[len(first) : -len(last)]
    if len(text) < len(first + last) or not (text.startswith(first) and text.endswith(last)):
        return text
    is_doubled = inner.startswith(first) and inner.endswith(last)
    # Apostrophes within words are no marks; a caption that begins and ends with quoted words has marks inside.
    mark = f"[{re.escape(first + last)}]"
    has_marks = re.search(rf"(?<!\w){mark}|{mark}(?!\w)", inner) is not None
    return text if has_marks and not is_doubled else inner.strip()


def whole_sentences(text: str) -> str:
    """Return a text without an unfinished last sentence, if there is another one."""
    ends = [match.end() for match in re.finditer(r"[.!?][\"'”]?(?=\s)", text)]
    return text[: ends[-1]] if ends else text

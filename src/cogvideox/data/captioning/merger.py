"""A teacher without a model: puts a short caption and those of frames together, and invents nothing.

A summary starts with the short caption. Then comes what the first frame adds, and where later frames differ, what
differs, with words of time. Nothing here knows what the captions are about.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from cogvideox.chat.answers import without_lead_in
from cogvideox.chat.turns import Answer
from cogvideox.data.captioning.request import CaptionRequest, TimedCaption

CONNECTIVES = frozenset({"at", "first", "then", "later", "finally", "again", "the", "and"})
"""The only words of a summary that need not be among those of its inputs."""

DEFAULT_MAX_WORDS = 100
LEAST_SHARED = 0.4
"""Two captions of frames that share fewer phrases than this are told one after the other, not woven together."""
ENOUGH_SAID = 0.75
"""A sentence so many of whose telling words have been said is not said again."""

_RELATIVE = re.compile(
    r"^((?:an?|the|some|\w+)(?: (?!in |on |at |to |of |with |is |are )[\w'-]+){1,7}?) (?:that|which|who) ",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_CLAUSES = re.compile(r"\s*[,;:]\s+")
_PHRASES = re.compile(
    r"\s+(?=(?:in|on|at|under|beneath|near|behind|beside|above|below|inside|outside|between|among|across|against|over|"
    r"around|along|toward|towards|next|while|with|and|during|as)\s)",
    re.IGNORECASE,
)
_ONLY_TIME = re.compile(r"(?:^|[\s,])(?:at first|later|then|finally|and|again),?$", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_EMPTY_WORDS = frozenset(
    re.findall(
        r"\S+",
        "a an the this that these those it its he she they them his her their is are was were be been being am has "
        "have had do does did of to in on at by for from with as and or but while into onto over under near there "
        "here which who some also very so than then up down off out",
    )
)


@dataclass(frozen=True)
class _Frame:
    """A caption of a frame: sentences of clauses of phrases."""

    sentences: tuple[tuple[tuple[str, ...], ...], ...]

    @cached_property
    def phrases(self) -> frozenset[frozenset[str]]:
        """The telling words of each phrase."""
        return frozenset(
            telling_words(phrase) for sentence in self.sentences for clause in sentence for phrase in clause
        )


class Merger:
    """The backend "merger": answers requests for a summary with `merge`."""

    source = "merger"
    concurrency = 1

    def __init__(self, max_words: int = DEFAULT_MAX_WORDS) -> None:
        self.max_words = max_words

    def caption(self, request: CaptionRequest) -> Answer:
        """Return the summary. Raises ValueError for another request, and for one without captions to summarise."""
        if request.stage != "summary":
            raise ValueError(f"merger: expected a request for a summary, got one for {request.stage!r}")
        text = merge(request.short, request.frame_captions, self.max_words)
        if not text:
            raise ValueError("merger: expected a short caption or captions of frames, got neither")
        return Answer(text)

    def release(self) -> None:
        """Do nothing: there is no model."""


def merge(
    short: str, frame_captions: Sequence[TimedCaption] | Sequence[str], max_words: int = DEFAULT_MAX_WORDS
) -> str:
    """Return one caption of at most ``max_words`` words out of a short caption and captions of frames in time order.

    It starts with the short caption, adds what frames show that has not been said, and tells changes in their order.
    All its words are those of the inputs or of `CONNECTIVES`. Empty if all inputs are. Raises ValueError for
    ``max_words`` below 1.
    """
    if max_words < 1:
        raise ValueError(f"max_words: expected at least 1, got {max_words}")
    texts = [caption.text if isinstance(caption, TimedCaption) else caption for caption in frame_captions]
    frames = [frame for frame in map(_parse, texts) if frame.sentences]
    opening = [_sentence(sentence) for sentence in _sentences_of(short)]
    said = [telling_words(sentence) for sentence in opening]
    sentences = [*opening, *_told(frames, said)]
    return _shortened(sentences, max_words)


def telling_words(text: str) -> frozenset[str]:
    """Return the words of a text that carry its meaning, in lower case and without their endings."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if word not in _EMPTY_WORDS)


def _without_opening(text: str) -> str:
    """Return a caption without an opening such as "The video shows"."""
    text = text.strip()
    rest = without_lead_in(text)
    # "a video of a dog that runs" leaves no sentence but for its relative pronoun.
    return rest if rest == text else _RELATIVE.sub(r"\1 ", rest, count=1)


def _told(frames: Sequence[_Frame], said: list[frozenset[str]]) -> Iterator[str]:
    """Yield sentences of what frames add to what is said."""
    if not frames:
        return
    groups: list[list[_Frame]] = [[frames[0]]]
    for frame in frames[1:]:
        last = groups[-1]
        if len(frame.sentences) == 1 and len(last[0].sentences) == 1 and _shared(last[0], frame) >= LEAST_SHARED:
            last.append(frame)
        elif frame.phrases - last[-1].phrases:
            groups.append([frame])
    for number, group in enumerate(groups):
        lead = ""
        if len(groups) > 1:
            lead = "at first" if number == 0 else "finally" if number == len(groups) - 1 > 1 else "later"
        for place, sentence in enumerate(_told_of(group, said, is_led=number > 0)):
            is_led = bool(lead) and place == 0 and not (number == 0 and "at first" in sentence)
            yield _sentence(f"{lead}, {_lower_first(sentence)}" if is_led else sentence)


def _told_of(group: Sequence[_Frame], said: list[frozenset[str]], *, is_led: bool) -> Iterator[str]:
    if len(group) > 1:
        woven = _woven(group, said, is_led=is_led)
        if woven:
            yield woven
        return
    for sentence in group[0].sentences:
        text = ", ".join(" ".join(clause) for clause in _new_clauses(sentence, said))
        if text and not _is_said(text, said):
            text = _definite(text, said)
            said.append(telling_words(text))
            yield text


def _woven(group: Sequence[_Frame], said: list[frozenset[str]], *, is_led: bool) -> str:
    """Return one sentence for frames that differ in phrases: their first caption with the changes in their places.

    One that follows on a word of time (``is_led``) does not say "at first".
    """
    first = group[0].sentences[0]
    lasting = frozenset.intersection(*(frame.phrases for frame in group))
    changes: list[list[str]] = []
    before = group[0]
    seen = [group[0].phrases]
    for frame in group[1:]:
        new = [
            phrase
            for clause in frame.sentences[0]
            for phrase in clause
            if telling_words(phrase) and telling_words(phrase) not in before.phrases
        ]
        if new:
            is_again = all(any(telling_words(phrase) in phrases for phrases in seen) for phrase in new)
            changes.append([*new, "again"] if is_again else new)
            seen.append(frame.phrases)
        before = frame
    clauses = _new_clauses(first, said)
    if not changes:
        text = ", ".join(" ".join(clause) for clause in clauses)
        if not text or _is_said(text, said):
            return ""
        said.append(telling_words(text))
        return _definite(text, said[:-1])
    tail = _changes(changes, is_led=is_led)
    said += [telling_words(" ".join(clause)) for clause in clauses]
    parts: list[str] = []
    is_told = False
    for clause in clauses:
        moving = [
            place
            for place, phrase in enumerate(clause)
            if telling_words(phrase) not in lasting and telling_words(phrase)
        ]
        if moving and not is_told:
            start, end = moving[0], moving[-1] + 1
            opening = () if is_led else ("at first",)
            told = _joined((*clause[:start], *opening, *clause[start:end])) + f", {tail}"
            rest = " ".join(clause[end:])
            parts += [told, rest] if rest else [told]
            is_told = True
        else:
            parts.append(" ".join(clause))
    if not is_told:
        parts.append(tail)
    return _definite(", ".join(parts), said[: -len(clauses)] if clauses else said)


def _changes(changes: Sequence[Sequence[str]], *, is_led: bool) -> str:
    last = "finally" if len(changes) > 1 else "then" if is_led else "later"
    leads = ["then"] * (len(changes) - 1) + [last]
    return ", ".join(_joined((lead, *phrases)) for lead, phrases in zip(leads, changes, strict=True))


def _joined(phrases: Sequence[str]) -> str:
    return " ".join((*phrases[:1], *map(_lower_first, phrases[1:])))


def _new_clauses(sentence: Sequence[Sequence[str]], said: Sequence[frozenset[str]]) -> list[tuple[str, ...]]:
    """Return the clauses that no sentence so far holds."""
    return [tuple(clause) for clause in sentence if not any(telling_words(" ".join(clause)) <= words for words in said)]


def _is_said(text: str, said: Sequence[frozenset[str]]) -> bool:
    words = telling_words(text)
    known = frozenset().union(*said)
    return (
        len(words) > 3
        and len(words & known) / len(words) > ENOUGH_SAID
        and any(len(words & earlier) / len(words) >= ENOUGH_SAID for earlier in said)
    )


def _definite(text: str, said: Sequence[frozenset[str]]) -> str:
    """Say "the" of what has been spoken of: its noun is the last word of the first phrase before a verb or place."""
    match = re.match(r"(an?)\s+(.*)", text, re.IGNORECASE)
    if match is None:
        return text
    head = re.split(
        r"\s(?:is|are|was|were|can|could|may|appears?|seems?|stands?|sits?|lies|has|have|at|in|on|with|of)\b|,",
        match[2],
        maxsplit=1,
    )[0]
    words = [_stem(word) for word in _WORD.findall(head.lower()) if word not in _EMPTY_WORDS]
    return f"the {match[2]}" if words and any(words[-1] in earlier for earlier in said) else text


def _shared(one: _Frame, other: _Frame) -> float:
    return len(one.phrases & other.phrases) / max(len(one.phrases), len(other.phrases), 1)


def _parse(text: str) -> _Frame:
    sentences = (
        tuple(
            tuple(phrase.strip() for phrase in _PHRASES.split(clause) if phrase.strip())
            for clause in _CLAUSES.split(sentence.strip(" .!?"))
            if clause.strip(" .!?")
        )
        for sentence in _sentences_of(text)
    )
    return _Frame(tuple(sentence for sentence in sentences if sentence))


def _sentences_of(text: str) -> list[str]:
    first, *rest = _SENTENCES.split(text.strip())
    return [part for part in (_without_opening(first), *rest) if part]


def _shortened(sentences: Sequence[str], max_words: int) -> str:
    """Return sentences up to a number of words; of the first that does not fit, the clauses and phrases that do."""
    kept: list[str] = []
    left = max_words
    for sentence in sentences:
        if len(sentence.split()) <= left:
            kept.append(sentence)
            left -= len(sentence.split())
            continue
        for pattern in (r",\s+", _PHRASES.pattern):
            fitting = _longest_start(sentence, pattern, left)
            if fitting:
                kept.append(_sentence(fitting))
                return " ".join(kept)
        if not kept:
            kept.append(_sentence(" ".join(sentence.split()[:left])))
        break
    return " ".join(kept)


def _longest_start(sentence: str, pattern: str, max_words: int) -> str:
    ends = [match.start() for match in re.finditer(pattern, sentence, re.IGNORECASE)]
    fitting = [sentence[:end] for end in ends if len(sentence[:end].split()) <= max_words]
    fitting = [start for start in fitting if not _ONLY_TIME.search(start)]
    return fitting[-1] if fitting else ""


def _sentence(text: str) -> str:
    text = text.strip().rstrip(",;:")
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ".!?" else ".")


def _lower_first(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text[0].lower() + text[1:] if first.lower() in _EMPTY_WORDS else text


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    for ending, least in (("ing", 6), ("ed", 5), ("es", 5), ("s", 4)):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            return word[: -len(ending)]
    return word

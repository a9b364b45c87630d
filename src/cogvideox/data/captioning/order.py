"""Whether a summary tells what happens in the order in which it happens.

Axes: G parts of the summary, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.captioning.support import GENERAL, Inputs
from cogvideox.data.captioning.tagging import Word
from cogvideox.data.captioning.words import FRAMING

MIN_EVIDENCE = 1.2
"""Weight of words that are bound to some of the frames, below which the order cannot be told."""

OTHER_WEIGHT = 0.7
"""Of verbs and adjectives: they have more meanings than nouns."""
GENERAL_WEIGHT = 0.6
"""Of words that are more general than those of the frames."""

_LATER = frozenset(("after", "following", "once"))
_EARLIER = frozenset(("before", "until"))
_TOGETHER = frozenset(
    ["while", "as", "when", "where", "whereas", "with", "which", "that", "who", "whose", "during", "amid", "beside"]
)
_BREAKS = frozenset(
    ["and", "then", "but", "so", "finally", "eventually", "afterwards", "later", "next", "to", "into", "onto"]
)
_MARKS = frozenset(",;:—\u2013")


@dataclass(frozen=True, kw_only=True)
class Order:
    """How a summary follows the time of its inputs."""

    value: float
    """1 if all of it can be read in the order of the frames, less the more of it cannot; NaN if it cannot be told."""
    loss: float
    """Weight of the words that stand at a wrong place; a word that is in one frame of many weighs about 1."""
    misplaced: tuple[Word, ...] = ()
    """Those words."""


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """One of the ways in which a sentence can be understood."""

    joins: bool
    """"X and Y after Z": Z is before both."""
    extends: bool
    """"Z after X and Y": Z is after both."""


@dataclass(eq=False)
class _Part:
    words: list[Word]
    marker: str = ""
    """The word that joins it to what is before it."""
    sentence: int = 0

    @property
    def has_verb(self) -> bool:
        return any(word.tag == "V" for word in self.words)


def measure_order(words: Sequence[Word], frames: Inputs, *, overview: int | None = None) -> Order:
    """Compare the order of a summary with that of the frames' captions.

    Args:
        words: of the summary.
        frames: their captions, in the order of time.
        overview: sentence that tells the whole and has no place of its own.
    """
    num_frames = len(frames.texts)
    if num_frames < 2:
        return Order(value=float("nan"), loss=0.0)
    # "X and Y after Z": Z may be before both or before Y only; the reading that fits better is taken.
    colon = next((word.start for word in words if word.text == ":" and word.sentence == 0), 0)  # ends an announcement
    split = [part for part in _split([w for w in words if w.start >= colon]) if part.sentence != overview]
    readings = [
        _measure(_in_order(split, _Reading(joins=joins, extends=extends)), frames, num_frames)
        for joins in (False, True)
        for extends in (False, True)
    ]
    return min(readings, key=lambda order: order.loss)


def _measure(parts: Sequence["_Part"], frames: Inputs, num_frames: int) -> Order:
    scores, placed = [], []
    for part in parts:
        rows = [(word, _weights(word, frames, num_frames)) for word in part.words]
        rows = [(word, row) for word, row in rows if row.any()]
        if rows:
            placed.append(rows)
            scores.append(np.sum([row for _, row in rows], axis=0))
    best = sum(float(score.max()) for score in scores)
    if len(scores) < 2 or best < MIN_EVIDENCE:
        return Order(value=float("nan"), loss=0.0)
    times, reached = _follow(np.stack(scores))
    loss = best - reached
    misplaced = tuple(
        word
        for rows, score, time in zip(placed, scores, times, strict=True)
        if score[time] < score.max() - 0.3
        for word, row in rows
        if row[time] == 0
    )
    return Order(value=1 - loss / best, loss=loss, misplaced=misplaced)


def _weights(word: Word, frames: Inputs, num_frames: int) -> NDArray[np.float64]:
    """Return (T,) how much a word speaks for each frame: 0 if it is in all of them, or in none."""
    row = np.zeros(num_frames)
    found = frames.texts_with(word)
    near = [index for index, nearness in found.items() if nearness < GENERAL] or list(found)
    if near and len(near) < num_frames:
        row[near] = 1 - len(near) / num_frames
        row *= 1.0 if word.kind == "noun" else OTHER_WEIGHT
        row *= 1.0 if found[near[0]] < GENERAL else GENERAL_WEIGHT
    return row


def _follow(scores: NDArray[np.float64]) -> tuple[list[int], float]:
    """Return the frame of each part of (G, T) if none is before that of an earlier part, and the sum they reach."""
    num_parts, num_frames = scores.shape
    reached = np.zeros((num_parts, num_frames))
    came_from = np.zeros((num_parts, num_frames), int)
    before = np.zeros(num_frames)
    for part in range(num_parts):
        best = 0
        for frame in range(num_frames):
            if before[frame] > before[best]:
                best = frame
            came_from[part, frame] = best
            reached[part, frame] = before[best] + scores[part, frame]
        before = reached[part]
    frame = int(reached[-1].argmax())
    times = [frame]
    for part in range(num_parts - 1, 0, -1):
        frame = int(came_from[part, frame])
        times.append(frame)
    return times[::-1], float(reached[-1].max())


def _split(words: Sequence[Word]) -> list[_Part]:
    """Return the clauses of a text, at marks and at words that join."""
    parts = [_Part([])]
    has_from = False
    for word in words:
        text = word.text.lower()
        is_new_sentence = word.sentence != parts[-1].sentence
        if is_new_sentence:
            has_from = False
        marker = ""
        if text in _LATER | _EARLIER | _TOGETHER and not (text == "following" and word.tag == "A"):
            marker = text
        elif text in _BREAKS and (text not in ("to", "into", "onto") or has_from):
            marker = "then" if text == "then" else "and"
        has_from = (has_from or text == "from") and text not in ("to", "into", "onto", ".")
        if is_new_sentence or marker or text in _MARKS:
            joined = marker or ("," if text in _MARKS else "")
            if parts[-1].words or is_new_sentence:
                parts.append(_Part([], joined, word.sentence))
            elif marker and not (parts[-1].marker == "and" and marker in _LATER):  # "and after X, Y" is in order
                parts[-1].marker = marker
        if word.kind != "other" and word.lemma not in FRAMING:
            parts[-1].words.append(word)
    return [part for part in parts if part.words]


def _in_order(parts: Sequence[_Part], reading: _Reading) -> list[_Part]:
    """Return the clauses in the order in which they say that things happen; those of one time are joined."""
    ordered: list[_Part] = []
    for sentence in sorted({part.sentence for part in parts}):
        own = [part for part in parts if part.sentence == sentence]
        ordered += _sentence_in_order(own, reading)
    return ordered


def _sentence_in_order(parts: list[_Part], reading: _Reading) -> list[_Part]:
    parts = [_Part(part.words, part.marker, part.sentence) for part in parts]
    stops = ("then", *_EARLIER) if reading.joins else ("then", "and", *_EARLIER)
    if len(parts) > 1 and parts[0].marker in _EARLIER:  # "Before X, Y"
        comma = next((place for place in range(1, len(parts)) if parts[place].marker == ","), None)
        start = _block_end(parts, 0) if comma is None else comma
        end = next((place for place in range(start + 1, len(parts)) if parts[place].marker in stops), None)
        parts = [*parts[start:end], *parts[:start], *(parts[end:] if end is not None else [])]
        for part in parts:
            part.marker = "" if part.marker in _EARLIER else part.marker
    place = 1
    while place < len(parts):
        if parts[place].marker in _LATER:  # "Y after X"
            start = place - 1
            while start > 0 and (parts[start].marker not in stops or not parts[start].has_verb):
                start -= 1
            end = _block_end(parts, place)
            while reading.extends and end < len(parts) and parts[end].marker == "and":
                end += 1
            parts[start:end] = [*parts[place:end], *parts[start:place]]
            place = end
        place += 1
    joined: list[_Part] = []
    for place, part in enumerate(parts):
        opens_together = place == 1 and parts[0].marker in _TOGETHER
        if joined and (part.marker in _TOGETHER or opens_together):
            joined[-1] = _Part([*joined[-1].words, *part.words], joined[-1].marker, part.sentence)
        else:
            joined.append(part)
    return joined


def _block_end(parts: Sequence[_Part], start: int) -> int:
    """Return the place after the clauses that a joining word governs: "after chopping onions and pouring oil"."""
    is_gerund = parts[start].words[0].text.endswith("ing")
    end = start + 1
    while end < len(parts) and (
        parts[end].marker in _TOGETHER
        or not parts[end].has_verb
        or (is_gerund and parts[end].words[0].text.endswith("ing"))
    ):
        end += 1
    return end

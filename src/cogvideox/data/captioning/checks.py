"""The checks of a captioning: figures of every summary as columns of a table, and which of them are suspect."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.captioning.figures import measure_text
from cogvideox.data.captioning.judging import read_judgement
from cogvideox.data.captioning.lexicon import Lexicon
from cogvideox.data.captioning.match import CaptionMatcher
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.curation.operators import Column
from cogvideox.data.curation.store import Types

VERSION = 1
"""Of how figures are computed: part of the key of what was measured."""

CHECK_COLUMNS: tuple[Column, ...] = (
    Column(
        name="grounding",
        unit="share",
        low=0,
        high=1,
        meaning="Content words that the inputs allow: the same, synonyms, or more general ones. Copying gives 1.",
    ),
    Column(
        name="novel_nouns",
        unit="share",
        low=0,
        high=1,
        meaning="Nouns for things that no input names, even as a synonym or as something more special.",
    ),
    Column(
        name="novel_modifiers",
        unit="count",
        low=0,
        high=math.inf,
        meaning="Numbers, colours, directions and opposites that the inputs contradict or do not have.",
    ),
    Column(
        name="misbound",
        unit="share",
        low=0,
        high=1,
        meaning="Properties, of those that can be compared, that the inputs give to something else.",
    ),
    Column(
        name="coverage",
        unit="share",
        low=0,
        high=1,
        meaning="The inputs' nouns that the summary names, weighted by how many inputs have them.",
    ),
    Column(
        name="end_coverage",
        unit="share",
        low=0,
        high=1,
        meaning="Words that only the last frames' captions have and that the summary names: 0 if its end is missing.",
    ),
    Column(
        name="order",
        unit="share",
        low=0,
        high=1,
        meaning="What stands in the order of the frames; 1 if the summary can be read along them.",
    ),
    Column(
        name="order_loss",
        unit="words",
        low=0,
        high=math.inf,
        meaning="Weight of what stands at a wrong place in time; a word of one frame of many weighs about 1.",
    ),
    Column(name="num_words", unit="count", low=0, high=math.inf, meaning="Words of the summary."),
    Column(name="length_share", unit="share", low=0, high=math.inf, meaning="Words over the most that are allowed."),
    Column(
        name="is_too_short",
        unit="0 or 1",
        low=0,
        high=1,
        meaning="Fewer than 5 words, or than a fifth of its longest input.",
    ),
    Column(
        name="repetition",
        unit="share",
        low=0,
        high=1,
        meaning="Words in runs of five that occur again, or in sentences that say nearly the same.",
    ),
    Column(
        name="num_banned",
        unit="count",
        low=0,
        high=math.inf,
        meaning="Phrases that speak of the video, its frames or its viewers.",
    ),
    Column(name="foreign_share", unit="share", low=0, high=1, meaning="Letters that are not Latin."),
    Column(name="is_english", unit="0 or 1", low=0, high=1, meaning="It is English, or cannot be told."),
    Column(name="is_cut", unit="0 or 1", low=0, high=1, meaning="It ends in the middle of a sentence."),
    Column(
        name="match_mean",
        unit="cosine",
        low=-1,
        high=1,
        meaning="CLIP or SigLIP: mean over the pictures of the sentence that fits each best.",
    ),
    Column(name="match_min", unit="cosine", low=-1, high=1, meaning="The same of the picture that fits worst."),
    Column(
        name="match_sentence_min",
        unit="cosine",
        low=-1,
        high=1,
        meaning="Of the sentence that fits no picture well, its best picture.",
    ),
    Column(
        name="judged_share",
        unit="share",
        low=0,
        high=1,
        meaning="Words that the judge says the frames do not bear out.",
    ),
)
COLUMNS_BY_NAME: dict[str, Column] = {column.name: column for column in CHECK_COLUMNS}

SUSPECT: dict[str, tuple[Literal["below", "above"], float]] = {
    "grounding": ("below", 0.5),
    "novel_nouns": ("above", 0.0),
    "novel_modifiers": ("above", 0.0),
    "misbound": ("above", 0.0),
    "coverage": ("below", 0.25),
    "end_coverage": ("below", 0.01),
    "order_loss": ("above", 0.45),
    "length_share": ("above", 1.0),
    "is_too_short": ("above", 0.0),
    "repetition": ("above", 0.15),
    "num_banned": ("above", 0.0),
    "foreign_share": ("above", 0.1),
    "is_english": ("below", 1.0),
    "is_cut": ("above", 0.0),
    "judged_share": ("above", 0.0),
}
"""Figure -> on which side of which value a summary is suspect. A match has no such value: it depends on the model."""

CHECK_TYPES: Types = {
    "clip_id": "string",
    **{column.name: "float64" for column in CHECK_COLUMNS},
    "flags": "list",
    "found": "string",
    "judge_problem": "string",
}
"""Of ``check.parquet``: ``flags`` names the suspect figures, ``found`` is JSON: figure -> the words it is about."""

FrameReader = Callable[[], NDArray[np.uint8]]
"""Returns pictures of a clip, (T, H, W, 3) RGB."""


@dataclass(frozen=True, kw_only=True)
class CheckInput:
    """One summary and what it was made of."""

    clip_id: str
    summary: str
    short: str = ""
    frame_captions: tuple[TimedCaption, ...] = ()
    frames: FrameReader | None = None
    """For a match; not called without one."""
    judge_answer: str = ""
    """What the judge said of the summary; empty if none was asked."""


def check_summary(
    check: CheckInput, *, max_words: int, matcher: CaptionMatcher | None = None, lexicon: Lexicon | None = None
) -> dict[str, Any]:
    """Return the row of a summary in ``check.parquet``, with the columns of `CHECK_TYPES`.

    Args:
        check: the summary.
        max_words: that were allowed.
        matcher: measures it against ``check.frames``; without, ``match_*`` are NaN.
        lexicon: of English, by default WordNet.

    Raises:
        FetchError: WordNet is not in the cache and cannot be fetched.
        MissingPackageError: py3langid is not installed.
    """
    figures = measure_text(check.summary, check.short, check.frame_captions, max_words=max_words, lexicon=lexicon)
    values = {name: getattr(figures, name) for name in COLUMNS_BY_NAME if hasattr(figures, name)}
    found = dict(figures.found)
    values |= dict.fromkeys(("match_mean", "match_min", "match_sentence_min", "judged_share"), math.nan)
    if matcher is not None and check.frames is not None:
        match = matcher.match(check.summary, check.frames())
        values |= {"match_mean": match.mean, "match_min": match.low, "match_sentence_min": match.worst_sentence}
    judge_problem = ""
    if check.judge_answer.strip():
        judgement = read_judgement(check.judge_answer, check.summary)
        values["judged_share"], judge_problem = judgement.share, judgement.reason
        if judgement.unsupported:
            found["judged_share"] = judgement.unsupported
    return {
        "clip_id": check.clip_id,
        **{name: float(values[name]) for name in COLUMNS_BY_NAME},
        "flags": suspect_figures(values),
        "found": json.dumps(found, ensure_ascii=False),
        "judge_problem": judge_problem,
    }


def suspect_figures(values: Mapping[str, float]) -> list[str]:
    """Return the names of the figures of a summary that are suspect; NaN is not."""
    return [name for name in SUSPECT if name in values and is_suspect(name, values[name])]


def is_suspect(name: str, value: float) -> bool:
    """Return whether a figure's value is suspect; NaN, and figures without a threshold, are not."""
    if name not in SUSPECT or math.isnan(value):
        return False
    side, bound = SUSPECT[name]
    return value < bound if side == "below" else value > bound


def badness(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    """Return (N,) how bad values are, higher is worse; NaN is the best. Matches are bad if they are low."""
    side = SUSPECT[name][0] if name in SUSPECT else "below"
    signed = np.asarray(values, np.float64) * (1 if side == "above" else -1)
    return np.where(np.isnan(signed), -np.inf, signed)

"""Whether one captioning can take the place of another: a paired comparison of their summaries of the same clips.

Clips are the same if their content is (SHA-256), whatever they are called; by name only where a digest is missing.

Both are measured against the inputs of the first one, so that a model that reads the video itself is judged by the same
frame captions. Axes: N clips.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.captioning.caption_tables import Captions, read_captions
from cogvideox.data.captioning.figures import CaptionFigures, measure_text
from cogvideox.data.captioning.lexicon import Lexicon
from cogvideox.data.captioning.request import TimedCaption

Split = Literal["val", "all"]
Verdict = Literal["accepted", "rejected", "undecided"]

COMPARED: dict[str, tuple[str, Literal["higher", "lower"]]] = {
    "has_summary": ("clips with a summary", "higher"),
    "grounding": ("words that the inputs bear out", "higher"),
    "novel_nouns": ("nouns that no input has", "lower"),
    "has_novel_modifiers": ("summaries with a wrong number, colour or direction", "lower"),
    "coverage": ("nouns of the inputs that are named", "higher"),
    "order": ("in the order of the frames", "higher"),
    "is_too_long": ("longer than allowed", "lower"),
    "repetition": ("repeated words", "lower"),
    "has_banned": ("summaries with a banned phrase", "lower"),
    "is_english": ("English summaries", "higher"),
    "is_cut": ("summaries that are cut off", "lower"),
}
"""Figures that decide, all between 0 and 1: what each is, and which values are better."""

NUM_DRAWS = 2000
INTERVAL = 0.95
MIN_SOURCES = 5
"""Fewer sources decide nothing: drawn anew they are the same few again, and the interval is too narrow."""
DEFAULT_MARGIN = 0.02
_TIE = 1e-9
_EXPORTS = ("captioner.jsonl", "summariser.jsonl")


@dataclass(frozen=True, kw_only=True)
class FigureComparison:
    """One figure of both captionings."""

    name: str
    meaning: str
    num_clips: int
    """On which both have it."""
    num_sources: int
    """Of these clips."""
    teacher_mean: float
    student_mean: float
    difference: float
    """Mean over the clips, counted so that more than 0 is in the student's favour."""
    low: float
    """Of the 95 % interval of ``difference``, drawn by sources."""
    high: float
    num_wins: int
    """Clips on which the student is better."""
    num_ties: int
    num_losses: int
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A student beside its teacher."""

    split: Split
    margin: float
    num_clips: int
    num_sources: int
    num_left_out: int
    """Clips with a summary of the teacher's that the student's tables do not have."""
    figures: tuple[FigureComparison, ...]

    @property
    def verdict(self) -> Verdict:
        """Rejected if a figure is surely worse by more than the margin, accepted if none may be.

        Nothing is accepted if more clips than the margin allows are left out.
        """
        verdicts = {figure.verdict for figure in self.figures}
        if "rejected" in verdicts:
            return "rejected"
        return "undecided" if "undecided" in verdicts or self.has_too_few_clips else "accepted"

    @property
    def has_too_few_clips(self) -> bool:
        """Whether the clips that are left out could change the verdict."""
        return self.num_left_out > self.margin * (self.num_clips + self.num_left_out)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; NaN is None."""
        figures = [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in asdict(figure).items()
            }
            for figure in self.figures
        ]
        return asdict(self) | {"verdict": self.verdict, "figures": figures}

    def notes(self) -> list[str]:
        """Return sentences on what the verdict rests on."""
        notes = []
        if self.num_left_out:
            total = self.num_clips + self.num_left_out
            notes.append(
                f"{self.num_left_out} of {total} clips are left out: the student's tables do not have them"
                + (", too many to accept it" if self.has_too_few_clips else "")
            )
        few = [figure.name for figure in self.figures if figure.num_sources < MIN_SOURCES]
        if few:
            notes.append(f"fewer than {MIN_SOURCES} sources decide nothing: {', '.join(few)}")
        return notes

    def to_text(self) -> str:
        """Return it as a table for a terminal."""
        head: tuple[str, ...] = (
            "figure",
            "clips",
            "teacher",
            "student",
            "better by",
            "95 % interval",
            "wins/ties/losses",
            "verdict",
        )
        rows: list[tuple[str, ...]] = [head]
        for one in self.figures:
            interval = f"{one.low:+.3f} to {one.high:+.3f}"
            counts = f"{one.num_wins}/{one.num_ties}/{one.num_losses}"
            means = (f"{one.teacher_mean:.3f}", f"{one.student_mean:.3f}", f"{one.difference:+.3f}")
            rows.append((one.name, str(one.num_clips), *means, interval, counts, one.verdict))
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        end = (
            f"{self.verdict}: {self.num_clips} clips of {self.num_sources} sources ({self.split}), margin {self.margin}"
        )
        return "\n".join([*lines, *self.notes(), end])


def compare(
    teacher_out: str | Path,
    student_out: str | Path,
    *,
    split: Split = "val",
    margin: float = DEFAULT_MARGIN,
    max_words: int = 100,
    lexicon: Lexicon | None = None,
) -> Comparison:
    """Compare the summaries of two folders that ``cogvideox caption`` made of the same clips.

    A figure is accepted if the lower end of the interval of its difference is not below minus ``margin``, rejected if
    the upper end is, and undecided otherwise or with fewer than `MIN_SOURCES` sources: then more are needed.

    Args:
        teacher_out: holds the inputs that both are measured against, and what was kept apart from training.
        student_out: holds the other summaries.
        split: "val" for the sources that were kept apart, "all" for every clip.
        margin: by which a figure may be worse.
        max_words: that a summary may have.
        lexicon: of English, by default WordNet.

    Raises:
        ValueError: a folder has no summaries, they have no clips in common, or none was kept apart.
        FetchError: WordNet is not in the cache and cannot be fetched.
    """
    if not 0 <= margin < 1:
        raise ValueError(f"margin: expected 0 to below 1, got {margin}")
    if max_words < 1:
        raise ValueError(f"max_words: expected 1 or more, got {max_words}")
    teacher, student = read_captions(teacher_out), read_captions(student_out)
    exported = _exported(Path(teacher_out))
    mine = {row["clip_id"]: row for row in teacher.summary if _text(row)}
    others = _same_clips(mine, student.summary)
    if not others:
        raise ValueError(f"{student_out}: expected summaries of the clips of {teacher_out}, got none of {len(mine)}")
    if split == "val":
        mine = {name: row for name, row in mine.items() if exported.get(name, ("", ""))[1] == "val"}
        if not mine:
            raise ValueError(
                f"{teacher_out}: expected clips that were kept apart from training, got none; raise val_share in the "
                'recipe and run cogvideox caption again, or compare split="all"'
            )
    clip_ids = [name for name in sorted(mine) if name in others]
    if not clip_ids:
        raise ValueError(
            f"{student_out}: expected summaries of the clips of {teacher_out} that were kept apart from training, got "
            f"none of {len(mine)}"
        )
    inputs = _inputs(teacher)
    pairs = []
    for name in clip_ids:
        short, frames = inputs.get(name, ("", ()))
        measured = [
            measure_text(text, short, frames, max_words=max_words, lexicon=lexicon) if text else None
            for text in (_text(mine[name]), _text(others[name]))
        ]
        pairs.append((_values(measured[0]), _values(measured[1])))
    sources = _sources([(name, mine[name]["sha256"]) for name in clip_ids], exported)
    figures = tuple(_compare_figure(name, pairs, sources, margin) for name in COMPARED)
    return Comparison(
        split=split,
        margin=margin,
        num_clips=len(clip_ids),
        num_sources=len(set(sources)),
        num_left_out=len(mine) - len(clip_ids),
        figures=tuple(figure for figure in figures if figure.num_clips),
    )


def _text(row: Mapping[str, Any]) -> str:
    """Return a row's caption, empty if it has none."""
    return "" if row["error"] else row["text"] or ""


def _same_clips(
    mine: Mapping[str, Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Return by the name of each clip the row of the other captioning that is about the same content."""
    by_name = {row["clip_id"]: row for row in others}
    by_digest: dict[str, Mapping[str, Any]] = {}
    for row in others:
        if row["sha256"] and (_text(row) or row["sha256"] not in by_digest):
            by_digest[row["sha256"]] = row
    found = {}
    for name, row in mine.items():
        named = by_name.get(name)
        can_tell = named is not None and row["sha256"] and named["sha256"]
        if named is not None and (not can_tell or named["sha256"] == row["sha256"]):
            found[name] = named
        elif row["sha256"] in by_digest:
            found[name] = by_digest[row["sha256"]]
    return found


def _inputs(captions: Captions) -> dict[str, tuple[str, tuple[TimedCaption, ...]]]:
    """Return the short caption and those of frames of each clip."""
    shorts = {row["clip_id"]: row["text"] for row in captions.short}
    frames: dict[str, list[TimedCaption]] = {}
    for row in sorted(captions.frames, key=lambda row: row["time_s"]):
        if row["text"] and not row["error"]:
            frames.setdefault(row["clip_id"], []).append(TimedCaption(time_s=row["time_s"], text=row["text"]))
    names = shorts.keys() | frames.keys()
    return {name: (shorts.get(name) or "", tuple(frames.get(name, ()))) for name in names}


def _exported(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the source and the split of each clip that was exported for training."""
    found = {}
    for name in _EXPORTS:
        path = folder / "training" / name
        if not path.is_file():
            continue
        # Not splitlines: JSON may hold U+2028, which ends no line here.
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                found[row["id"]] = (row["source"], row["split"])
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{path}: line {number}: expected id, source and split; export it again") from None
    return found


def _sources(clips: Sequence[tuple[str, str]], exported: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return the source of each (clip id, digest); clips of one content are of one source, wherever they lie."""
    by_digest: dict[str, str] = {}
    found = []
    for name, digest in clips:
        source = exported[name][0] if name in exported else digest or name
        found.append(by_digest.setdefault(digest, source) if digest else source)
    return found


def _values(figures: CaptionFigures | None) -> dict[str, float]:
    """Return what is compared; without a summary only that there is none."""
    if figures is None:
        return {"has_summary": 0.0}
    names = ("grounding", "novel_nouns", "coverage", "order", "repetition", "is_english", "is_cut")
    return {
        "has_summary": 1.0,
        **{name: getattr(figures, name) for name in names},
        "has_novel_modifiers": float(figures.novel_modifiers > 0) if figures.grounding >= 0 else math.nan,
        "is_too_long": float(figures.length_share > 1),
        "has_banned": float(figures.num_banned > 0),
    }


def _compare_figure(
    name: str, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], sources: Sequence[str], margin: float
) -> FigureComparison:
    meaning, better = COMPARED[name]
    both = np.array([[side.get(name, math.nan) for side in pair] for pair in pairs], np.float64)
    is_known: NDArray[np.bool_] = ~np.isnan(both.sum(axis=1))
    both = both[is_known]
    known_sources = [source for source, known in zip(sources, list(is_known), strict=True) if known]
    differences = (both[:, 1] - both[:, 0]) * (1 if better == "higher" else -1)
    low, high = _interval(differences, known_sources)
    num_sources = len(set(known_sources))
    verdict: Verdict = "undecided"
    if num_sources >= MIN_SOURCES:
        verdict = "accepted" if low >= -margin - _TIE else "rejected" if high < -margin else "undecided"
    return FigureComparison(
        name=name,
        meaning=meaning,
        num_clips=len(both),
        num_sources=num_sources,
        teacher_mean=float(both[:, 0].mean()) if len(both) else math.nan,
        student_mean=float(both[:, 1].mean()) if len(both) else math.nan,
        difference=float(differences.mean()) if len(both) else math.nan,
        low=low,
        high=high,
        num_wins=int((differences > _TIE).sum()),
        num_ties=int((np.abs(differences) <= _TIE).sum()),
        num_losses=int((differences < -_TIE).sum()),
        verdict=verdict,
    )


def _interval(differences: NDArray[np.float64], sources: Sequence[str]) -> tuple[float, float]:
    """Return the interval of the mean if whole sources are drawn anew: clips of one source are alike."""
    names = sorted(set(sources))
    if not names:
        return math.nan, math.nan
    place = {name: index for index, name in enumerate(names)}
    members = np.array([place[source] for source in sources])
    sums = np.bincount(members, differences, len(names))
    counts = np.bincount(members, minlength=len(names)).astype(np.float64)
    drawn = np.random.default_rng(0).integers(0, len(names), (NUM_DRAWS, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)

"""How far annotators agree with one another, and with themselves when a clip comes again unannounced."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from cogvideox.data.labelling.answer import Answer
from cogvideox.data.labelling.answers import latest
from cogvideox.data.labelling.labels import LABELS, LabelName


@dataclass(frozen=True, kw_only=True)
class LabelAgreement:
    """Of one label. Unsure answers count as missing; a figure that nothing gives is NaN."""

    label: LabelName
    num_clips: int
    """Judged by two annotators or more."""
    agreement: float
    """Share of pairs of annotators that say the same, mean over these clips."""
    alpha: float
    """Krippendorff's: 1 all agree, 0 as by chance, below 0 worse; NaN if all answers are the same."""
    num_repeats: int
    """Clips that an annotator judged twice."""
    self_agreement: float
    """Share of them that were judged alike."""
    num_positive: int
    """Answers, of all annotators, that say that the clip has it."""
    num_judged: int
    """Answers, of all annotators, that say whether it has."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of all labels."""

    labels: tuple[LabelAgreement, ...]
    num_clips: int
    """With an answer."""
    num_shared: int
    """With answers of two annotators or more."""
    num_repeats: int
    """Second looks at a clip."""
    annotators: dict[str, int]
    """Clips that each has answered, sorted by name."""


def percent_agreement(units: Iterable[Sequence[Hashable]]) -> float:
    """Return the share of pairs of values that are the same, mean over units of two values or more; NaN without any."""
    shares = []
    for values in units:
        num_pairs = len(values) * (len(values) - 1)
        if num_pairs:
            shares.append(sum(count * (count - 1) for count in Counter(values).values()) / num_pairs)
    return math.fsum(shares) / len(shares) if shares else math.nan


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float:
    """Return Krippendorff's alpha for nominal values (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    Args:
        units: of each thing that was judged the values that it was given; missing ones are left out. Those of a single
            value do not count.

    Returns:
        1 - observed / expected disagreement, at most 1; NaN if all values are the same or nothing was judged twice.
    """
    counts: Counter[Hashable] = Counter()
    observed: list[float] = []
    for values in units:
        if len(values) < 2:
            continue
        inside = Counter(values)
        counts.update(inside)
        num_unequal = len(values) ** 2 - sum(count**2 for count in inside.values())
        observed.append(num_unequal / (len(values) - 1))
    num_values = sum(counts.values())
    num_expected = num_values**2 - sum(count**2 for count in counts.values())
    if not num_expected:
        return math.nan
    return 1 - (num_values - 1) * math.fsum(observed) / num_expected


def agreement(answers: Iterable[Answer]) -> Agreement:
    """Compare the annotators' last answers of their first look at each clip, and both looks of each."""
    first: dict[str, dict[str, Answer]] = {}
    again: list[tuple[Answer, Answer]] = []
    found = latest(answers)
    for (annotator, clip_id, is_repeat), answer in found.items():
        if not is_repeat:
            first.setdefault(clip_id, {})[annotator] = answer
        elif (annotator, clip_id, False) in found:
            again.append((found[annotator, clip_id, False], answer))
    rows = []
    for label in LABELS:
        units = [_judged(label, said.values()) for said in first.values()]
        pairs = [values for pair in again if len(values := _judged(label, pair)) == 2]
        values = [value for unit in units for value in unit]
        rows.append(
            LabelAgreement(
                label=label,
                num_clips=sum(len(unit) > 1 for unit in units),
                agreement=percent_agreement(units),
                alpha=krippendorff_alpha(units),
                num_repeats=len(pairs),
                self_agreement=percent_agreement(pairs),
                num_positive=sum(values),
                num_judged=len(values),
            )
        )
    counts = Counter(annotator for said in first.values() for annotator in said)
    return Agreement(
        labels=tuple(rows),
        num_clips=len(first),
        num_shared=sum(len(said) > 1 for said in first.values()),
        num_repeats=len(again),
        annotators=dict(sorted(counts.items())),
    )


def _judged(label: LabelName, answers: Iterable[Answer]) -> list[bool]:
    return [value for answer in answers if (value := answer.labels.get(label)) is not None]

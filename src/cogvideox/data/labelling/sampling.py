"""Which clips an annotator is asked about, and in which order."""

import hashlib
import math
import random
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.labelling.labels import LABELS, LabelName

OrderName = Literal["stratified", "uncertain", "random"]

PROBABILITY_PREFIX = "filters."
"""Before a label: the column of the probability that a clip has it."""
PROBABILITY_NAMES: dict[LabelName, str] = {label: f"{PROBABILITY_PREFIX}{label}" for label in LABELS}
DEFAULT_THRESHOLD = 0.5
DEFAULT_STRATA = ("motion.peak_speed", "text.area", "faces.face_share", "cues.flat_share")
"""Columns of a curation that tell the labels roughly apart: what is still, has text, faces, or plain areas."""


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """How clips are chosen."""

    order: OrderName = "stratified"
    strata: tuple[str, ...] = DEFAULT_STRATA
    """Columns whose quantile bins, all combined, get equal shares; those that were not measured are left out."""
    num_bins: int = 3
    """Quantile bins of a column; equal values are never in two."""
    max_in_a_row: int = 2
    """Clips of one source, as long as there are others."""
    overlap_share: float = 0.1
    """0 to 1, of all clips: every annotator is asked about these first, so that they can be compared."""
    repeat_share: float = 0.05
    """0 to 1, of all clips: they come again, unannounced."""
    min_repeat_gap: int = 20
    """Clips between the two looks, at least."""
    random_share: float = 0.2
    """0 to 1, of an uncertain order: random clips among them, or what a classifier is wrongly sure of is never seen."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("overlap_share", "repeat_share", "random_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        for name in ("num_bins", "max_in_a_row", "min_repeat_gap"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class QueueItem:
    """A clip to be shown."""

    clip_id: str
    is_repeat: bool = False
    """It was shown before; the annotator is not told."""
    is_shared: bool = False
    """Every annotator is asked about it."""


def plan_queue(
    clips: Mapping[str, str],
    annotator: str,
    settings: QueueSettings,
    *,
    values: Mapping[str, NDArray[np.float64]] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> list[QueueItem]:
    """Return all clips, and the repeats, in the order in which an annotator is asked about them.

    The same for the same clips, settings and name. Shared clips are the same for all annotators, and spread evenly from
    the first place on.

    Args:
        clips: source by clip id; N of them.
        annotator: the name.
        settings: which order.
        values: (N,) measured columns by ``<operator>.<column>``, in the order of ``clips``; NaN: none.
        thresholds: by label, on its probability (`PROBABILITY_PREFIX`); 0.5 for those not named.

    Raises:
        ValueError: a column has another length, or an uncertain order has no probability of any clip.
    """
    values = values or {}
    for name, column in values.items():
        if column.shape != (len(clips),):
            raise ValueError(f"values: {name}: expected shape ({len(clips)},), got {column.shape}")
    if settings.order == "uncertain" and not any(np.isfinite(values[name]).any() for name in _known(values).values()):
        raise ValueError(
            f"order: uncertain needs probabilities (columns {', '.join(PROBABILITY_NAMES.values())}), got none of any "
            "clip; measure them with cogvideox curate, or use another order"
        )
    ids = sorted(clips)
    places = {clip_id: place for place, clip_id in enumerate(clips)}
    columns = {name: column[[places[clip_id] for clip_id in ids]] for name, column in values.items()}
    dataset = hashlib.sha256("\0".join(ids).encode("utf-8", "surrogatepass")).hexdigest()
    common = f"{settings.seed}\0{dataset}\0{settings.order}"
    num_shared = math.ceil(settings.overlap_share * len(ids) - 1e-9)
    is_shared = np.zeros(len(ids), bool)
    # Not by the order: who labels in another one is asked about the same.
    is_shared[random.Random(f"{settings.seed}\0{dataset}").sample(range(len(ids)), num_shared)] = True
    shared = _ordered(np.flatnonzero(is_shared), settings, columns, thresholds or {}, random.Random(common))
    own_rng = random.Random(f"{common}\0{annotator}")
    own = _ordered(np.flatnonzero(~is_shared), settings, columns, thresholds or {}, own_rng)
    merged = _merged(shared, own)
    mixed = _without_runs(merged, [clips[clip_id] for clip_id in ids], settings.max_in_a_row)
    queue = [QueueItem(clip_id=ids[index], is_shared=bool(is_shared[index])) for index in mixed]
    return _with_repeats(queue, settings, own_rng)


def _ordered(
    indices: NDArray[np.int64],
    settings: QueueSettings,
    columns: Mapping[str, NDArray[np.float64]],
    thresholds: Mapping[str, float],
    rng: random.Random,
) -> list[int]:
    found = indices.tolist()
    rng.shuffle(found)
    if settings.order == "stratified":
        return _by_strata(found, settings, columns, rng)
    if settings.order == "uncertain":
        return _by_uncertainty(found, settings, columns, thresholds)
    return found


def _by_strata(
    shuffled: Sequence[int],
    settings: QueueSettings,
    columns: Mapping[str, NDArray[np.float64]],
    rng: random.Random,
) -> list[int]:
    """Take one clip of every stratum in turn, as long as there are some."""
    bins = [quantile_bins(columns[name], settings.num_bins) for name in settings.strata if name in columns]
    strata: dict[tuple[int, ...], deque[int]] = {}
    for index in shuffled:
        strata.setdefault(tuple(int(column[index]) for column in bins), deque()).append(index)
    ordered: list[int] = []
    left = list(strata.values())
    while left:
        rng.shuffle(left)
        ordered += [stratum.popleft() for stratum in left]
        left = [stratum for stratum in left if stratum]
    return ordered


def quantile_bins(values: NDArray[np.float64], num_bins: int) -> NDArray[np.int64]:
    """Return (N,) the quantile bin of each value, from 0; -1 for NaN. Equal values share a bin."""
    known = values[~np.isnan(values)]
    if not known.size:
        return np.full(values.shape, -1)
    edges = np.unique(np.quantile(known, np.arange(1, num_bins) / num_bins))
    return np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="left"))


def _by_uncertainty(
    shuffled: Sequence[int],
    settings: QueueSettings,
    columns: Mapping[str, NDArray[np.float64]],
    thresholds: Mapping[str, float],
) -> list[int]:
    """Take clips by how near a probability of theirs is to its threshold, and random ones among them."""
    distances = [
        np.abs(columns[name] - thresholds.get(label, DEFAULT_THRESHOLD)) for label, name in _known(columns).items()
    ]
    # A clip without probabilities is not known to be uncertain: it comes last.
    nearest = np.min(np.nan_to_num(distances, nan=np.inf), axis=0)
    num_random = round(settings.random_share * len(shuffled))
    chosen = sorted(shuffled[num_random:], key=lambda index: nearest[index])
    return _merged(list(shuffled[:num_random]), chosen, starts_with_first=False)


def _known(columns: Collection[str]) -> dict[LabelName, str]:
    return {label: name for label, name in PROBABILITY_NAMES.items() if name in columns}


def _merged(few: Sequence[int], many: Sequence[int], *, starts_with_first: bool = True) -> list[int]:
    """Spread one list evenly in another; each keeps its order."""
    num_all = len(few) + len(many)
    merged: list[int] = []
    num_few = 0
    for place in range(num_all):
        due = math.ceil((place + 1) * len(few) / num_all) if starts_with_first else (place + 1) * len(few) // num_all
        if num_few < due:
            merged.append(few[num_few])
            num_few += 1
        else:
            merged.append(many[place - num_few])
    return merged


def _without_runs(order: Iterable[int], sources: Sequence[str], max_in_a_row: int) -> list[int]:
    """Put off clips whose source was just shown too often; what is put off is of one source at any time."""
    mixed: list[int] = []
    put_off: deque[int] = deque()

    def is_allowed(index: int) -> bool:
        last = mixed[-max_in_a_row:]
        return len(last) < max_in_a_row or any(sources[other] != sources[index] for other in last)

    for index in order:
        while put_off and is_allowed(put_off[0]):
            mixed.append(put_off.popleft())
        (mixed if is_allowed(index) else put_off).append(index)
    while put_off and is_allowed(put_off[0]):
        mixed.append(put_off.popleft())
    return mixed + list(put_off)


def _with_repeats(queue: Sequence[QueueItem], settings: QueueSettings, rng: random.Random) -> list[QueueItem]:
    """Let some clips come again, at least so many clips later."""
    gap = settings.min_repeat_gap
    num_early = len(queue) - gap
    num_wanted = math.ceil(settings.repeat_share * len(queue) - 1e-9)
    if num_early < 1:
        return list(queue)
    after: dict[int, list[QueueItem]] = {}
    for place in sorted(rng.sample(range(num_early), min(num_wanted, num_early))):
        again = min(place + gap + rng.randrange(gap), len(queue) - 1)
        after.setdefault(again, []).append(QueueItem(clip_id=queue[place].clip_id, is_repeat=True))
    return [each for place, item in enumerate(queue) for each in (item, *after.get(place, ()))]

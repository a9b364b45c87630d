"""Copies among clips, and copies of clips that must not be trained on.

Candidates are found by hashes (`cogvideox.data.curation.fingerprint_search`) and looked at one by one
(`cogvideox.data.curation.copy_check`). Of each group the best clip is kept; all others of the group are copies of that
one, not of each other only: a chain of clips of which each overlaps the next is not one thing.

Axes: N clips, P pairs.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from cogvideox.data.curation.copy_check import ClipPictures, CopySettings, Match, compare
from cogvideox.data.curation.fingerprint_search import (
    HashIndex,
    SearchSettings,
    candidate_pairs,
    distinct_hashes,
    sought_hashes,
)
from cogvideox.data.curation.fingerprints import Fingerprints

Kind = Literal["exact", "perceptual", "semantic", ""]
Pair = tuple[str, str]
"""Ids of two clips, the lower first."""

SIZE_STEP = 1.05
"""Clips whose pixels times seconds are less than this below those of the largest are as large: then quality decides."""


@dataclass(frozen=True, kw_only=True)
class DuplicateSettings:
    """How copies are sought and what counts as one."""

    search: SearchSettings = field(default_factory=SearchSettings)
    copies: CopySettings = field(default_factory=CopySettings)
    min_contaminated_s: float = 1.0
    """Seconds in common with an evaluation item from which a clip is contaminated, however long both are."""

    def __post_init__(self) -> None:
        if not self.min_contaminated_s > 0:
            raise ValueError(f"min_contaminated_s: expected a positive number, got {self.min_contaminated_s}")


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What decides which copy is the best."""

    clip_id: str
    height_px: int
    width_px: int
    duration_s: float
    quality: tuple[float, ...] = ()
    """The most important first, higher is better, as (sharpness, -blockiness); NaN is worst."""


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """What a clip is among its copies; without any it is the best of a group of its own."""

    clip_id: str
    group_id: str
    """The id of the best clip."""
    is_best: bool
    best_clip_id: str
    similarity: float
    """To the best, 0 to 1; 1 if it is the best."""
    kind: Kind
    """Empty for the best."""
    matched_s: float
    """Seconds that it has in common with the best; 0 for the best, and where time was not looked at."""


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """A clip that shows what an evaluation item shows."""

    clip_id: str
    evaluation_id: str
    """Of the item with which it has most in common."""
    similarity: float
    matched_s: float
    start_s: float
    """Where it begins to show that, seconds from its beginning."""
    end_s: float
    item_start_s: float
    """Where that begins in the item, seconds from the item's beginning."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How two clips are alike."""

    similarity: float
    kind: Kind
    matched_s: float


Compare = Callable[[str, str], Likeness | None]
"""Says how two clips are alike; None if they are not."""


class ComparedPairs:
    """Pairs of clips that were compared, and what came of it; others are compared when they are asked for."""

    def __init__(self, compared: Mapping[Pair, Likeness | None], compare: Compare) -> None:
        self.compared = dict(compared)
        self.num_added = 0
        """Pairs that were compared because they were asked for."""
        self._compare = compare

    def likeness(self, ours: str, theirs: str) -> Likeness | None:
        """Return how two clips are alike; None if they are not."""
        pair = (min(ours, theirs), max(ours, theirs))
        if pair not in self.compared:
            self.compared[pair] = self._compare(*pair)
            self.num_added += 1
        return self.compared[pair]

    def group(self, facts: Sequence[ClipFacts]) -> list[Duplicate]:
        """Return what `group_copies` does of clips; pairs with others do not count."""
        known = {clip.clip_id for clip in facts}
        alike = {
            pair: found
            for pair, found in self.compared.items()
            if found is not None and pair[0] in known and pair[1] in known
        }
        return group_copies(facts, alike, self.likeness)


def find_duplicates(
    fingerprints: Fingerprints, facts: Sequence[ClipFacts], settings: DuplicateSettings
) -> list[Duplicate]:
    """Find clips that are copies of others: encoded anew, resized, cropped by a tenth, with bars, trimmed, overlapping.

    Clips whose files are the same byte by byte have one id and come here once. "exact" are those whose pictures are the
    same all the same, as after a change of container.

    Args:
        fingerprints: of all clips.
        facts: of all clips, in any order.
        settings: how to look.

    Returns:
        A row for every clip of ``facts``, sorted by id.

    Raises:
        ValueError: a clip has fingerprints but no facts, or facts twice.
    """
    known = {clip.clip_id for clip in facts}
    unknown = next((clip_id for clip_id in fingerprints.clip_ids if clip_id not in known), None)
    if unknown is not None:
        raise ValueError(f"facts: expected a row for every clip with fingerprints, got none of {unknown}")
    pairs = compare_candidates(fingerprints, settings)
    return ComparedPairs(pairs, fingerprint_likeness(fingerprints, settings)).group(facts)


def compare_candidates(fingerprints: Fingerprints, settings: DuplicateSettings) -> dict[Pair, Likeness | None]:
    """Return the pairs of clips that may be copies, compared: those that are alike, and what else grouping may ask."""
    least = settings.copies.min_information
    index = HashIndex.build(*distinct_hashes(fingerprints, least))
    candidates = candidate_pairs(*sought_hashes(fingerprints, least), index, settings.search, is_same=True)
    likeness, names = fingerprint_likeness(fingerprints, settings), fingerprints.clip_ids
    pairs = {(names[a], names[b]): likeness(names[a], names[b]) for a, b in candidates.tolist()}
    return connected_pairs(pairs)


def connected_pairs(pairs: Mapping[Pair, Likeness | None]) -> dict[Pair, Likeness | None]:
    """Return the pairs whose clips are alike, be it by way of others: of no other pair grouping asks."""
    alike = [pair for pair, found in pairs.items() if found is not None]
    sets = _components({clip_id for pair in alike for clip_id in pair}, alike)
    set_of = {clip_id: number for number, members in enumerate(sets) for clip_id in members}
    return {
        pair: found for pair, found in pairs.items() if pair[0] in set_of and set_of[pair[0]] == set_of.get(pair[1])
    }


def fingerprint_likeness(fingerprints: Fingerprints, settings: DuplicateSettings) -> Compare:
    """Return what compares two clips by their fingerprints; those without any are like no other."""
    numbers = {clip_id: number for number, clip_id in enumerate(fingerprints.clip_ids)}

    def likeness(ours: str, theirs: str) -> Likeness | None:
        first, second = numbers.get(ours), numbers.get(theirs)
        if first is None or second is None:
            return None
        match = compare(clip_pictures(fingerprints, first), clip_pictures(fingerprints, second), settings.copies)
        if match is None:
            return None
        kind: Kind = "exact" if _is_exact(fingerprints, first, second) else "perceptual"
        return Likeness(similarity=match.similarity, kind=kind, matched_s=match.matched_s)

    return likeness


def group_copies(facts: Sequence[ClipFacts], pairs: Mapping[Pair, Likeness], likeness: Compare) -> list[Duplicate]:
    """Keep the best of clips that are alike: of those less than 5 % smaller than the largest, that of best quality.

    Clips that pairs connect are looked at together: the best takes those that are like it, the best of the others takes
    those that are like that one, and so on.

    Args:
        facts: of all clips.
        pairs: that are known to be alike.
        likeness: of a clip and a better one that are connected; None if they are not alike.

    Returns:
        A row for every clip, sorted by id.

    Raises:
        ValueError: a clip has facts twice.
    """
    known = {clip.clip_id: clip for clip in facts}
    if len(known) != len(facts):
        raise ValueError("facts: expected each clip once, got some twice")
    results: list[Duplicate] = []
    for members in _components(known, pairs):
        left = members
        while left:
            best = _best([known[clip_id] for clip_id in left])
            others = [clip_id for clip_id in left if clip_id != best]
            results.append(
                Duplicate(
                    clip_id=best,
                    group_id=best,
                    is_best=True,
                    best_clip_id=best,
                    similarity=1.0,
                    kind="",
                    matched_s=0.0,
                )
            )
            left = []
            for clip_id in others:
                alike = likeness(best, clip_id)
                if alike is None:
                    left.append(clip_id)
                    continue
                results.append(
                    Duplicate(
                        clip_id=clip_id,
                        group_id=best,
                        is_best=False,
                        best_clip_id=best,
                        similarity=alike.similarity,
                        kind=alike.kind,
                        matched_s=alike.matched_s,
                    )
                )
    return sorted(results, key=lambda row: row.clip_id)


def find_contamination(
    fingerprints: Fingerprints, evaluation: Fingerprints, settings: DuplicateSettings
) -> list[Contamination]:
    """Find clips that show what a list of evaluation clips or videos shows, be it for a second.

    Args:
        fingerprints: of the clips of a training set.
        evaluation: of the items that must not be trained on.
        settings: how to look; ``copies.min_share`` does not count here.

    Returns:
        A row for every contaminated clip, sorted by id.
    """
    least = settings.copies.min_information
    candidates: set[tuple[int, int]] = set()
    # Either may be a crop of the other.
    for ours, theirs, is_turned in ((fingerprints, evaluation, False), (evaluation, fingerprints, True)):
        index = HashIndex.build(*distinct_hashes(theirs, least))
        pairs = candidate_pairs(*sought_hashes(ours, least), index, settings.search, is_same=False)
        candidates |= {(b, a) if is_turned else (a, b) for a, b in pairs.tolist()}
    best: dict[int, tuple[int, Match]] = {}
    copies = replace(settings.copies, min_share=1e-9, min_matched_s=settings.min_contaminated_s)
    for clip, item in sorted(candidates):
        match = compare(clip_pictures(fingerprints, clip), clip_pictures(evaluation, item), copies)
        if match is None:
            continue
        before = best.get(clip)
        # Of items that have as much in common the first counts.
        if before is None or (match.matched_s, match.similarity) > (before[1].matched_s, before[1].similarity):
            best[clip] = (item, match)
    return [
        Contamination(
            clip_id=fingerprints.clip_ids[clip],
            evaluation_id=evaluation.clip_ids[item],
            similarity=match.similarity,
            matched_s=match.matched_s,
            start_s=match.start_s,
            end_s=match.end_s,
            item_start_s=max(0.0, match.start_s - match.lag_s),
        )
        for clip, (item, match) in sorted(best.items())
    ]


def clip_pictures(fingerprints: Fingerprints, clip: int) -> ClipPictures:
    """Return the clip of this number as `compare` takes it."""
    rows = fingerprints.rows_of(clip)
    times_s = fingerprints.times_s[rows]
    return ClipPictures(
        pictures=fingerprints.pictures[rows].astype(np.float32),
        information=fingerprints.information[rows],
        interval_s=float(times_s[1] - times_s[0]) if len(times_s) > 1 else 0.25,
    )


def _is_exact(fingerprints: Fingerprints, first: int, second: int) -> bool:
    ours, theirs = (fingerprints.pictures[fingerprints.rows_of(clip)] for clip in (first, second))
    return np.array_equal(ours, theirs)


def _best(clips: Sequence[ClipFacts]) -> str:
    """Return the clip of best quality of those as large as the largest; then the larger, then the lower id."""
    sizes = [clip.height_px * clip.width_px * clip.duration_s for clip in clips]
    largest = max(sizes)
    ranked = [
        (tuple(math.inf if math.isnan(value) else -value for value in clip.quality), -size, clip.clip_id)
        for clip, size in zip(clips, sizes, strict=True)
        if size == largest or size * SIZE_STEP > largest
    ]
    return min(ranked)[-1]


def _components(clip_ids: Iterable[str], pairs: Iterable[Pair]) -> list[list[str]]:
    """Return clips in sets that pairs connect."""
    above = {clip_id: clip_id for clip_id in clip_ids}

    def top(clip_id: str) -> str:
        while above[clip_id] != clip_id:
            above[clip_id] = above[above[clip_id]]
            clip_id = above[clip_id]
        return clip_id

    for first, second in pairs:
        first, second = sorted((top(first), top(second)))
        above[second] = first
    sets: dict[str, list[str]] = {}
    for clip_id in above:
        sets.setdefault(top(clip_id), []).append(clip_id)
    return list(sets.values())

"""Which clips may be copies of which: those with some pictures whose hashes are nearly the same.

Bands are 16 of the 64 bits. Two hashes that differ little agree in some band, so only those are compared that do:
hashes are sorted by each band, and those equal to a given one in it are a run. Work is done in blocks of bounded size.

Axes: Q fingerprints that are sought, R those among which.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.fingerprints import (
    NUM_BITS,
    PICTURE_HEIGHT_PX,
    PICTURE_WIDTH_PX,
    Fingerprints,
    picture_hashes,
)

Bits = NDArray[np.uint64]
Places = NDArray[np.int64]

BANDS = tuple(
    [0xFFFF << begin for begin in range(0, NUM_BITS, 16)]
    + [sum(1 << bit for bit in range(begin, NUM_BITS, 4)) for begin in range(4)]
)
"""Masks: four of frequencies that lie together, and four of every fourth. Crops change the high ones."""
CROP, CROP_ASIDE = 0.07, 0.03
"""Shares of a side: what a crop leaves out, and how far its middle is from that of the picture."""
HASHED_AT_ONCE = 50_000


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How hard copies are sought."""

    max_distance: int = 10
    """Bits in which two hashes may differ."""
    max_run: int = 1000
    """Hashes with one band that are compared, the first by clip: that picture is everywhere, and the others are found
    by way of these."""
    max_partners: int = 64
    """Clips, those with most in common, that are looked at closely for each clip."""
    block_size: int = 4_000_000
    """Comparisons at a time: about 100 bytes each."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_distance <= NUM_BITS // 2:
            raise ValueError(f"max_distance: expected 0 to {NUM_BITS // 2}, got {self.max_distance}")
        for name in ("max_run", "max_partners", "block_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class HashIndex:
    """Hashes, sorted by each band."""

    hashes: Bits
    """(R,)"""
    clips: Places
    """(R,) number of the clip of each, rising."""
    orders: tuple[NDArray[np.uint32], ...]
    """(R,) rows by band, of each band."""
    keys: tuple[Bits, ...]
    """(R,) the bands, sorted."""

    @classmethod
    def build(cls, hashes: Bits, clips: Places) -> "HashIndex":
        """Sort hashes (R,) by their bands; ``clips`` (R,) are the numbers of their clips, rising."""
        orders, keys = [], []
        for band in BANDS:
            values = hashes & np.uint64(band)
            order = np.argsort(values, kind="stable").astype(np.uint32)
            orders.append(order)
            keys.append(values[order])
        return cls(hashes=hashes, clips=clips, orders=tuple(orders), keys=tuple(keys))


def distinct_hashes(fingerprints: Fingerprints, min_information: float) -> tuple[Bits, Places]:
    """Return hashes and the numbers of their clips, without those of little information or equal to the one before."""
    clips = np.repeat(np.arange(len(fingerprints.clip_ids)), np.diff(fingerprints.bounds))
    kept = np.flatnonzero(fingerprints.information >= min_information)
    hashes, clips = fingerprints.hashes[kept], clips[kept]
    is_new = np.ones(len(hashes), np.bool_)
    is_new[1:] = (hashes[1:] != hashes[:-1]) | (clips[1:] != clips[:-1])
    return hashes[is_new], clips[is_new]


def sought_hashes(fingerprints: Fingerprints, min_information: float) -> tuple[Bits, Places]:
    """Return the hashes by which copies of clips are sought, and the numbers of their clips.

    Those of whole pictures find copies of which the whole is kept; those of four crops, one towards each corner, find
    copies that are cropped, as the index holds the whole pictures of these.
    """
    whole, clips = distinct_hashes(fingerprints, min_information)
    kept = np.flatnonzero(fingerprints.information >= min_information)
    clips_of_kept = np.repeat(np.arange(len(fingerprints.clip_ids)), np.diff(fingerprints.bounds))[kept]
    hashes, numbers = [whole], [clips]
    for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        rows, columns = _crop_matrix(PICTURE_HEIGHT_PX, down), _crop_matrix(PICTURE_WIDTH_PX, right)
        for start in range(0, len(kept), HASHED_AT_ONCE):
            pictures = fingerprints.pictures[kept[start : start + HASHED_AT_ONCE]].astype(np.float32)
            hashes.append(picture_hashes(rows @ pictures @ columns.T))
        numbers.append(clips_of_kept)
    return np.concatenate(hashes), np.concatenate(numbers)


def _crop_matrix(side_px: int, direction: int) -> NDArray[np.float32]:
    """Return what maps a side to a crop of it, enlarged to the same number of pixels."""
    middle = (side_px - 1) / 2
    places = middle + (1 - CROP) * (np.arange(side_px) - middle) + direction * CROP_ASIDE * side_px
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side_px))).astype(np.float32)


def candidate_pairs(
    hashes: Bits, clips: Places, index: HashIndex, settings: SearchSettings, *, is_same: bool
) -> Places:
    """Return pairs (P, 2) of clips that may be copies: numbers of clips sought, and of clips of the index, sorted.

    Args:
        hashes: (Q,) sought.
        clips: (Q,) numbers of their clips.
        index: among these.
        settings: how hard.
        is_same: whether both are the same clips: then a pair comes once, the lower number first.
    """
    num_others = int(index.clips[-1]) + 1 if len(index.clips) else 1
    found: list[tuple[Places, Places]] = []
    for band, order, keys in zip(BANDS, index.orders, index.keys, strict=True):
        values = hashes & np.uint64(band)
        begins = np.searchsorted(keys, values, "left")
        lengths = np.minimum(np.searchsorted(keys, values, "right") - begins, settings.max_run)
        totals = np.concatenate([[0], np.cumsum(lengths)])
        start = 0
        while start < len(hashes):
            end = int(np.searchsorted(totals, totals[start] + settings.block_size, "right")) - 1
            end = max(end, start + 1)
            rows = np.repeat(np.arange(start, end), lengths[start:end])
            steps = np.arange(len(rows)) - (totals[rows] - totals[start])
            others = order[begins[rows] + steps]
            away = np.bitwise_count(hashes[rows] ^ index.hashes[others])
            near = away <= settings.max_distance
            pairs = clips[rows[near]] * num_others + index.clips[others[near]]
            found = [_summed([*found, (pairs, NUM_BITS - away[near].astype(np.int64))], is_same, num_others)]
            start = end
    if not found:
        return np.zeros((0, 2), np.int64)
    keys, weights = found[0]
    pairs = np.stack([keys // num_others, keys % num_others], axis=1)
    kept = _is_partner(pairs[:, 0], weights, settings.max_partners)
    kept |= _is_partner(pairs[:, 1], weights, settings.max_partners)
    return pairs[kept]


def _summed(parts: list[tuple[Places, Places]], is_same: bool, num_others: int) -> tuple[Places, Places]:
    """Return each pair once with the sum of its weights, sorted."""
    pairs, weights = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    if is_same:
        ours, others = pairs // num_others, pairs % num_others
        is_kept = ours != others
        pairs = (np.minimum(ours, others) * num_others + np.maximum(ours, others))[is_kept]
        weights = weights[is_kept]
    unique, places = np.unique(pairs, return_inverse=True)
    return unique, np.bincount(places, weights, len(unique)).astype(np.int64)


def _is_partner(clips: Places, weights: Places, max_partners: int) -> NDArray[np.bool_]:
    """Return which pairs are among those of most weight of their clip."""
    order = np.lexsort((np.arange(len(clips)), -weights, clips))
    firsts = np.searchsorted(clips[order], clips[order], "left")
    kept = np.zeros(len(clips), np.bool_)
    kept[order[np.arange(len(clips)) - firsts < max_partners]] = True
    return kept

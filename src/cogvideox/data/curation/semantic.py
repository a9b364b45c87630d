"""Clips that mean or look the same without being copies, by vectors of any embedder (Abbas et al. 2023, SemDeDup).

Axes: N clips, D width of a vector, K blocks.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.duplicates import (
    ClipFacts,
    Compare,
    ComparedPairs,
    Duplicate,
    Likeness,
    Pair,
    connected_pairs,
)

Vectors = NDArray[np.float32]

MAX_EXACT = 20_000
"""Clips of which every pair is compared; of more only those in the same blocks."""
BLOCK_CLIPS = 4000
"""Clips in a block, about."""
NUM_BLOCKS_EACH = 2
"""A clip is in the blocks of its nearest centres, so that pairs across a border are seen."""
NUM_ROUNDS = 8
CHUNK = 2048
TOLERANCE = 1e-6
"""The same two vectors give products that differ in the last bits, by the shape of what they are multiplied in."""


def semantic_duplicates(
    clip_ids: Sequence[str], embeddings: NDArray[np.floating], facts: Sequence[ClipFacts], threshold: float
) -> list[Duplicate]:
    """Find clips whose vectors point nearly the same way, and keep the best of each group.

    Args:
        clip_ids: (N,)
        embeddings: (N, D), of any length; a vector of zeros or with NaN is like no other.
        facts: of all clips, in any order; those without a vector are groups of their own.
        threshold: least cosine of the angle between a clip and the best of its group, 0 to 1. What is
            alike depends on the embedder: look at pairs before choosing it.

    Returns:
        A row for every clip of ``facts``, sorted by id.

    Raises:
        ValueError: shapes do not fit, an id comes twice or has no facts, or the threshold is outside.
    """
    known = {clip.clip_id for clip in facts}
    unknown = next((clip_id for clip_id in clip_ids if clip_id not in known), None)
    if unknown is not None:
        raise ValueError(f"facts: expected a row for every clip with a vector, got none of {unknown}")
    pairs = compare_vectors(clip_ids, embeddings, threshold)
    return ComparedPairs(pairs, vector_likeness(clip_ids, embeddings, threshold)).group(facts)


def compare_vectors(
    clip_ids: Sequence[str], embeddings: NDArray[np.floating], threshold: float
) -> dict[Pair, Likeness | None]:
    """Return the pairs whose vectors point nearly the same way; arguments and errors as of `semantic_duplicates`."""
    names, vectors = _directions(clip_ids, embeddings, threshold)
    likeness = vector_likeness(clip_ids, embeddings, threshold)
    near = {(names[first], names[second]) for first, second in _near_pairs(vectors, threshold - TOLERANCE)}
    return connected_pairs({pair: likeness(*pair) for pair in sorted(near)})


def vector_likeness(clip_ids: Sequence[str], embeddings: NDArray[np.floating], threshold: float) -> Compare:
    """Return what compares two clips by their vectors; those without one are like no other."""
    names, vectors = _directions(clip_ids, embeddings, threshold)
    rows = {clip_id: row for row, clip_id in enumerate(names)}

    def likeness(first: str, second: str) -> Likeness | None:
        if first not in rows or second not in rows:
            return None
        cosine = float(vectors[rows[first]] @ vectors[rows[second]])
        if cosine < threshold - TOLERANCE:
            return None
        return Likeness(similarity=min(cosine, 1.0), kind="semantic", matched_s=0.0)

    return likeness


def _directions(
    clip_ids: Sequence[str], embeddings: NDArray[np.floating], threshold: float
) -> tuple[list[str], Vectors]:
    """Return rising ids and vectors (N, D) of length 1, or of zeros for what has no direction."""
    if embeddings.ndim != 2 or len(embeddings) != len(clip_ids):
        raise ValueError(f"embeddings: expected ({len(clip_ids)}, D), one row for each id, got {embeddings.shape}")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected above 0, at most 1, got {threshold}")
    if len(set(clip_ids)) != len(clip_ids):
        raise ValueError("clip_ids: expected each once, got some twice")
    order = sorted(range(len(clip_ids)), key=clip_ids.__getitem__)
    values = np.asarray(embeddings, np.float32)[order]
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    is_vector = np.isfinite(lengths) & (lengths > 0)
    vectors = np.where(is_vector, values / np.where(is_vector, lengths, 1), 0).astype(np.float32)
    return [clip_ids[row] for row in order], vectors


def _near_pairs(vectors: Vectors, least: float) -> Iterator[tuple[int, int]]:
    """Yield rows of pairs, the lower first, of at least this cosine; some come more than once."""
    for block in _blocks(vectors):
        inside = vectors[block]
        for start in range(0, len(block), CHUNK):
            cosines = inside[start : start + CHUNK] @ inside.T
            ours, theirs = np.nonzero(cosines >= least - 1e-6)
            is_pair = block[ours + start] < block[theirs]
            yield from zip(block[ours[is_pair] + start].tolist(), block[theirs[is_pair]].tolist(), strict=True)


def _blocks(vectors: Vectors) -> Iterator[NDArray[np.int64]]:
    """Yield rows of vectors that are near each other, rising: all of a few, else those around each centre."""
    if len(vectors) <= MAX_EXACT:
        yield np.arange(len(vectors))
        return
    num_centres = -(-len(vectors) * NUM_BLOCKS_EACH // BLOCK_CLIPS)
    rng = np.random.default_rng(0)
    sample = vectors[np.sort(rng.choice(len(vectors), min(len(vectors), 100 * num_centres), replace=False))]
    centres = sample[rng.choice(len(sample), num_centres, replace=False)]
    for _ in range(NUM_ROUNDS):
        nearest = (sample @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), centres).astype(np.float32)
    belongs = np.empty((len(vectors), NUM_BLOCKS_EACH), np.int64)
    for start in range(0, len(vectors), CHUNK):
        cosines = vectors[start : start + CHUNK] @ centres.T
        belongs[start : start + CHUNK] = np.argpartition(-cosines, NUM_BLOCKS_EACH - 1, axis=1)[:, :NUM_BLOCKS_EACH]
    members = belongs.ravel()
    order = np.argsort(members, kind="stable")
    bounds = np.searchsorted(members[order], np.arange(num_centres + 1))
    for first, last in pairwise(bounds.tolist()):
        yield order[first:last] // NUM_BLOCKS_EACH

"""Whether one clip is a copy of another: their small pictures are laid over each other, in time and in space.

Copies may begin elsewhere, so all shifts in time are tried; they may be cropped, so a small stretch and shift of the
picture is fitted. Then two things are compared: the pictures, and how they differ from their mean over the time that
both share. The second tells apart clips of one fixed camera, in which only what moves is not the same.

Axes: A B fingerprints of the two clips, N those that lie over each other, H W rows and columns. Luma is in levels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.fingerprints import flattened

Pictures = NDArray[np.float32]
Placement = NDArray[np.float64]
"""Stretch and shift of rows and columns, (4,), shares of a side."""

MAX_STRETCH, MAX_SHIFT = 0.16, 0.12
"""Shares of a side: more than a crop of a tenth needs."""
STARTS = (0.0, 0.08, -0.08)
"""Stretches from which the fit is begun: it finds the way from there."""
NUM_FIRST_STEPS, NUM_STEPS = 4, 6
LEAST_STEP = 0.001
FIT_PICTURES = 8
NUM_SEEDS, NUM_LAGS = 3, 2
"""Shifts in time at which pictures are fitted, and those that are then looked at closely with each fit, until one
matches the shorter clip nearly as a whole."""
ENOUGH = 0.9
FIT_ERROR = 0.03
"""One minus the correlation of smooth pictures at which a fit needs no other start."""
HOPELESS = 0.5
"""Correlation of smooth pictures below which no fit helps."""
FRACTIONS = (0.0, -0.5, -0.25, 0.25, 0.5)
"""Of a step: pictures of a copy lie between ours."""
WINDOW = 4
"""Fingerprints before and after one whose changes are judged with its own."""


@dataclass(frozen=True, kw_only=True)
class CopySettings:
    """What counts as a copy."""

    min_picture: float = 0.8
    """Correlation of two pictures, from which an even slope is taken off, 0 to 1."""
    min_change: float = 0.8
    """Correlation of how they differ from their means, over 2 s, 0 to 1."""
    min_still_picture: float = 0.95
    """Of pictures before and after which nothing changes: then the picture alone decides."""
    still_levels: float = 0.8
    """Root mean square change up to which nothing does: codecs make as much."""
    min_information: float = 4.0
    """Levels; a picture with less (black, plain, sky) is like any other and never matches."""
    min_matched_s: float = 0.75
    """Seconds that must match."""
    min_share: float = 0.4
    """Of the shorter clip that must match; what has no information is not counted."""

    def __post_init__(self) -> None:
        for name in ("min_picture", "min_change", "min_still_picture", "min_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected above 0, at most 1, got {getattr(self, name)}")
        for name in ("still_levels", "min_information", "min_matched_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Match:
    """Two clips that show the same for some time."""

    matched_s: float
    share: float
    """Of the shorter one, 0 to 1."""
    similarity: float
    """Mean correlation where they match, 0 to 1."""
    lag_s: float
    """When the second begins, seconds after the first does."""
    start_s: float
    """Where what matches begins, seconds from the beginning of the first."""
    end_s: float
    """Where it ends; between the two some may not match."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipPictures:
    """A clip as it is compared."""

    pictures: Pictures
    """(N, H, W)"""
    information: NDArray[np.float64]
    """(N,)"""
    interval_s: float


def compare(first: ClipPictures, second: ClipPictures, settings: CopySettings) -> Match | None:
    """Return how much of two clips is the same; None if it is less than the settings ask for.

    It does not matter which is the first, but for the sign of the lag.
    """
    if len(second.pictures) > len(first.pictures):
        swapped = compare(second, first, settings)
        return swapped and replace(
            swapped,
            lag_s=-swapped.lag_s,
            start_s=swapped.start_s - swapped.lag_s,
            end_s=swapped.end_s - swapped.lag_s,
        )
    num_informed = [int((clip.information >= settings.min_information).sum()) for clip in (first, second)]
    if not min(num_informed):
        return None
    interval_s = first.interval_s
    least = max(1, round(settings.min_matched_s / interval_s), round(settings.min_share * min(num_informed)))
    best = (0, 0.0, 0.0, 0, 0)
    for lag, placement in _ways_to_lay(first.pictures, second.pictures, least):
        best = max(best, _at_lag(first, second, lag, placement, settings))
        if best[0] >= ENOUGH * min(num_informed):
            break
    num_matched, similarity, lag, begin, end = best
    if num_matched < least:
        return None
    return Match(
        matched_s=num_matched * interval_s,
        share=min(1.0, num_matched / min(num_informed)),
        similarity=similarity,
        lag_s=lag * interval_s,
        start_s=begin * interval_s,
        end_s=end * interval_s,
    )


def _ways_to_lay(first: Pictures, second: Pictures, least: int) -> Iterator[tuple[int, Placement]]:
    """Yield lags and placements at which the second may be a copy of the first, the likeliest first.

    A crop moves what is seen, and what moves is then alike at another time: so lags are sought again when the pictures
    have been fitted. That works, as most of a picture is at its place at a time near by.
    """
    seen: set[int] = set()
    for seed in _likely_lags(first, second, least)[:NUM_SEEDS]:
        here, there = _overlap(len(first), len(second), seed)
        placement = _fit(first[here], second[there], None)
        if placement is None:
            continue
        for lag in _likely_lags(*_placed(first, second, placement), least)[:NUM_LAGS]:
            if lag in seen:
                continue
            seen.add(lag)
            here, there = _overlap(len(first), len(second), lag)
            refined = _fit(first[here], second[there], placement)
            if refined is not None:
                yield lag, refined


def _likely_lags(first: Pictures, second: Pictures, least: int) -> list[int]:
    """Return the lags at which most speaks for a copy: row i of the second lies over row i + lag of the first."""
    looks = [_unit(flattened(_smooth(pictures))) for pictures in (first, second)]
    changes = [_smooth(_changes(pictures)).reshape(len(pictures), -1) for pictures in (first, second)]
    look = looks[0] @ looks[1].T
    change = changes[0] @ changes[1].T
    energies = [np.square(values).sum(axis=1) for values in changes]
    scored: list[tuple[float, int, int]] = []
    for lag in range(least - len(second), len(first) - least + 1):
        here, there = _overlap(len(first), len(second), lag)
        num_pairs = here.stop - here.start
        energy = np.sqrt(energies[0][here].sum() * energies[1][there].sum()) + changes[0].shape[1] * num_pairs * 0.1
        score = float(np.trace(look, -lag) / num_pairs + np.trace(change, -lag) / energy)
        scored.append((-score * num_pairs / (num_pairs + 2), abs(lag), lag))
    return [lag for *_, lag in sorted(scored)]


def _overlap(num_first: int, num_second: int, lag: int) -> tuple[slice, slice]:
    begin, end = max(0, lag), min(num_first, num_second + lag)
    return slice(begin, end), slice(begin - lag, end - lag)


def _at_lag(
    first: ClipPictures, second: ClipPictures, lag: int, placement: Placement, settings: CopySettings
) -> tuple[int, float, float, int, int]:
    """Return how many fingerprints match at a lag, how well, the lag with its fraction, and where in the first."""
    here, there = _overlap(len(first.pictures), len(second.pictures), lag)
    is_informed = np.minimum(first.information[here], second.information[there]) >= settings.min_information
    best = (0, 0.0, float(lag), 0, 0)
    for fraction in FRACTIONS:
        shifted = _between(second.pictures, fraction)
        looks, changes, is_still = _correlations(first.pictures[here], shifted[there], placement, settings)
        is_moving_match = (looks >= settings.min_picture) & (changes >= settings.min_change)
        is_still_match = is_still & (looks >= settings.min_still_picture)
        is_match = is_informed & (is_moving_match & ~is_still | is_still_match)
        num_matched = int(is_match.sum())
        if num_matched:
            quality = np.where(is_still, looks, np.minimum(looks, changes))[is_match].mean()
            places = here.start + np.flatnonzero(is_match)
            where = int(places[0]), int(places[-1]) + 1
            best = max(best, (num_matched, float(np.clip(quality, 0, 1)), lag - fraction, *where))
        elif not fraction and changes.max() < HOPELESS * settings.min_change:
            break
    return best


def _fit(first: Pictures, second: Pictures, given: Placement | None) -> Placement | None:
    """Return the stretch and shift (rows, columns; shares of a side) that lays the second over the first, if any does.

    Lucas and Kanade's steps (1981) on pictures spread over those given, from several stretches or from one placement.
    """
    chosen = np.unique(np.linspace(0, len(first) - 1, FIT_PICTURES).round().astype(int))
    ours, theirs = _smooth(first[chosen]), _smooth(second[chosen])
    starts = [np.array([start, start, 0.0, 0.0]) for start in STARTS] if given is None else [given]
    best, best_error = starts[0], np.inf
    for start in starts:
        placement, error = _stepped(ours, theirs, start, NUM_FIRST_STEPS)
        if error < best_error - 1e-6:
            best, best_error = placement, error
        if best_error <= FIT_ERROR:
            break
    if given is None:
        best, best_error = _stepped(ours, theirs, best, NUM_STEPS)
    return best if best_error <= 1 - HOPELESS else None


def _stepped(first: Pictures, second: Pictures, placement: Placement, num_steps: int) -> tuple[Placement, float]:
    """Return a placement after some steps, and one minus the correlation of the pictures."""
    for _ in range(num_steps):
        step = _step(first, second, placement)
        placement = placement + step
        placement[:2] = np.clip(placement[:2], -MAX_STRETCH, MAX_STRETCH)
        placement[2:] = np.clip(placement[2:], -MAX_SHIFT, MAX_SHIFT)
        if np.abs(step).max() < LEAST_STEP:
            break
    ours, theirs = (_unit(pictures) for pictures in _placed(first, second, placement))
    return placement, 1 - float((ours * theirs).sum(axis=1).mean())


def _step(first: Pictures, second: Pictures, placement: Placement) -> Placement:
    ours, theirs = _placed(first, second, placement)
    if min(theirs.shape[1:]) < 4:
        return np.zeros(4)
    down, right = np.gradient(theirs, axis=(1, 2))
    axes = [np.arange(side) - (side - 1) / 2 for side in theirs.shape[1:]]
    sides = np.array(first.shape[1:])
    # Brightness and contrast are fitted, too, one pair of numbers for all pictures.
    columns = [
        down * axes[0][:, None], right * axes[1], down * sides[0], right * sides[1], theirs, np.ones_like(theirs)
    ]  # fmt: skip
    matrix = np.stack([column.ravel() for column in columns], axis=1).astype(np.float64)
    normal = matrix.T @ matrix
    normal[np.diag_indices(6)] *= 1.001
    normal[np.diag_indices(6)] += 1e-3
    solution = np.linalg.solve(normal, matrix.T @ ours.ravel())
    gain = max(solution[4], 0.2)
    return np.clip(solution[:4] / gain, -0.05, 0.05)


def _placed(first: Pictures, second: Pictures, placement: Placement) -> tuple[Pictures, Pictures]:
    """Return both (N, h, w), the second laid over the first, where both have a picture."""
    matrices, insides = [], []
    for side, stretch, shift in zip(first.shape[1:], placement[:2], placement[2:], strict=True):
        middle = (side - 1) / 2
        places = middle + (1 + stretch) * (np.arange(side) - middle) + shift * side
        inside = np.flatnonzero((places > -0.5) & (places < side - 0.5))
        insides.append(slice(int(inside[0]), int(inside[-1]) + 1))
        clipped = np.clip(places[insides[-1]], 0, side - 1)
        matrices.append(np.maximum(0, 1 - np.abs(clipped[:, None] - np.arange(side))).astype(np.float32))
    return first[:, insides[0], insides[1]], matrices[0] @ second @ matrices[1].T


def _correlations(
    first: Pictures, second: Pictures, placement: Placement, settings: CopySettings
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Return (N,) correlation of the pictures, that of the changes around each, and whether nothing changes there."""
    pair = _placed(_smooth(first), _smooth(second), placement)  # what lies between two columns is not in ours
    looks = np.multiply(*(_unit(flattened(pictures)) for pictures in pair)).sum(axis=1)
    ours, theirs = (_changes(pictures).reshape(len(pictures), -1) for pictures in pair)
    products = [(x * y).sum(axis=1) for x, y in ((ours, ours), (theirs, theirs), (ours, theirs))]
    own, other, both = (_windowed(values) for values in products)
    changes = both / np.sqrt(own * other + 1e-9)
    num_pixels = _windowed(np.full(len(first), pair[0][0].size))
    is_still = np.sqrt(np.maximum(own, other) / num_pixels) <= settings.still_levels
    return looks, changes, is_still


def _windowed(values: NDArray[Any]) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    places = np.arange(len(values))
    return total[np.minimum(places + WINDOW + 1, len(values))] - total[np.maximum(places - WINDOW, 0)]


def _changes(pictures: Pictures) -> Pictures:
    """Return how pictures differ from their mean in time, each without its mean brightness."""
    even = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return even - even.mean(axis=0)


def _between(pictures: Pictures, fraction: float) -> Pictures:
    """Return pictures a fraction of a step later."""
    if not fraction:
        return pictures
    beside = np.concatenate([pictures[1:], pictures[-1:]] if fraction > 0 else [pictures[:1], pictures[:-1]])
    return np.asarray((1 - abs(fraction)) * pictures + abs(fraction) * beside, np.float32)


def _smooth(pictures: Pictures) -> Pictures:
    """Return pictures blurred over three rows and columns."""
    for axis in (1, 2):
        padded = np.concatenate([pictures.take([0], axis), pictures, pictures.take([-1], axis)], axis=axis)
        num = pictures.shape[axis]
        before, after = padded.take(range(num), axis), padded.take(range(2, num + 2), axis)
        pictures = np.asarray((before + 2 * pictures + after) / 4, np.float32)
    return pictures


def _unit(pictures: Pictures) -> Pictures:
    """Return pictures as vectors (N, H * W) without mean and of length 1; a plain one stays near 0."""
    values = pictures.reshape(len(pictures), -1)
    values = values - values.mean(axis=1, keepdims=True)
    return values / (np.linalg.norm(values, axis=1, keepdims=True) + 1e-3)

"""What the operator `composition` measures over time: lines that stay, and how the series of frames goes on.

Axes: T sampled frames, N all frames, H W rows and columns. Luma is in levels of 0 to 255.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import Column, spread
from cogvideox.data.libraries import opencv

Luma = NDArray[np.uint8]
Array = NDArray[np.floating[Any]]

MAX_FRAMES = 40
"""Of the motion view that are looked at, spread evenly."""
LEAST_SIDE_PX = 24
"""Of pictures in which lines are sought."""
LINE_STEP_LEVELS = 10
LINE_TIME_SHARE = 0.6
"""Of the frames in which a place of a line is seen; where two scenes meet, they are alike now and then."""
LINE_GAP_SHARE = 0.04
LINE_MARGIN_SHARE = 0.03
LINE_LEAST_SHARE = 0.25
"""Of the side; the two sides of shorter lines are not compared."""
LINES_COMPARED = 3
"""Of each direction."""
STRIP_PX = (2, 8)
"""From a line; what moves past it in a step is seen on both sides."""
STRIP_STIR_LEVELS = 2.0
"""Changes beside a line that count half."""
STILL_LEVELS = 6
MOVING_LEVELS = 4.0
CORNER_LEVELS = 3.0
EDGE_LEVELS = 16
RHYTHM_SPREAD = 0.3
"""Of the natural logarithm of changes: a rhythm of less is that of the codec, and counts in proportion."""
HELD_SHARE = 0.2
HELD_LEVELS = 0.1
"""Mean change of a frame below which it is held, whatever the others do."""
MAX_HELD_RUN = 1000.0
RETURN_GAP_S = 0.4
RETURN_CHANGE_LEVELS = 1.5
"""By which the picture must have changed before it is seen to return, and the factor to what is left."""
RETURN_FACTOR = 3.0
ALIKE_LEVELS = 0.4
"""Mean difference that coding alone makes."""
DISORDER_FACTOR = 0.7
DISORDER_LEVELS = 0.3
MAX_JUMP = 8.0
MAX_SERIES = 400
"""Frames compared each with each; of longer clips every second, third, ..."""
BLOCK_PX = 3
PULSE_WINDOW_S = 0.5
DRIFT_FPS = 8.0
MAX_DRIFT = 1000.0


def column(name: str, unit: str, low: float, high: float, meaning: str) -> Column:
    """Return a column, in one line."""
    return Column(name=name, unit=unit, low=low, high=high, meaning=meaning)


COLUMNS = (
    column(
        "steady_line",
        "share",
        0,
        1,
        "Longest level or upright edge, of the side along it, that stays in most frames, borders and black bars left "
        "out: panes, frames, split screens; also walls and doors before a fixed camera.",
    ),
    column(
        "line_break",
        "ratio",
        0,
        1,
        "How little the changes on both sides of such a line have in common, if there are any, times its share of the "
        "side, the largest of some lines: near 1 where two moving scenes meet.",
    ),
    column("colour_drift", "levels / s", 0, MAX_DRIFT, "How fast the mean chroma (Lab) changes."),
    column(
        "rhythm",
        "correlation",
        0,
        1,
        "How well the series of changes of frames repeats itself after some lag, beyond what shorter lags do: "
        "stutter, pulses, flashes.",
    ),
    column(
        "held_share",
        "share",
        0,
        1,
        "Share of frames that change by less than a fifth of what the liveliest tenth does, or hardly at all.",
    ),
    column("held_run", "frames", 0, MAX_HELD_RUN, "Median length of runs of such frames; 0 without any."),
    column(
        "returns",
        "share",
        0,
        1,
        f"Share of frames that come again, {RETURN_GAP_S} s away or more, after the picture had changed: "
        "loops, back and forth; NaN if it never changes.",
    ),
    column(
        "disorder",
        "share",
        0,
        1,
        "Share of frames that are clearly more like the second or third after them than like the next, held frames "
        "left out.",
    ),
    column(
        "jump_size",
        "log2 ratio",
        0,
        MAX_JUMP,
        "Largest change from frame to frame against the median one, as a power of two.",
    ),
    column(
        "still_pixels",
        "share",
        0,
        1,
        f"Share of pixels within {STILL_LEVELS} levels of their median over time, mean over frames.",
    ),
    column(
        "moving_box",
        "share",
        0,
        1,
        "Share of the picture that a box takes around what changes over time, a twentieth of it left out on each side.",
    ),
    column(
        "pulse",
        "levels",
        0,
        255,
        "Root mean square of the mean luma of frames about its moving average over half a second.",
    ),
    column(
        "corner_steady",
        "share",
        0,
        1,
        "Largest share of a corner, a third of each side, on sharp edges that stay, times the share of the middle "
        "that changes: marks of stations.",
    ),
)


def few(frames: NDArray[np.uint8], num_wanted: int) -> NDArray[np.uint8]:
    """Return at most so many of frames (T, ...), spread evenly."""
    return frames[spread(len(frames), num_wanted)]


def lines(lumas: Luma) -> dict[str, float]:
    """Return ``steady_line`` and ``line_break`` of luma (T, H, W), without bars; NaN of one frame or tiny ones."""
    nothing = {"steady_line": math.nan, "line_break": math.nan}
    if len(lumas) < 2 or min(lumas.shape[1:]) < LEAST_SIDE_PX:
        return nothing
    longest, found = 0.0, 0.0
    for frames in (lumas, np.ascontiguousarray(lumas.transpose(0, 2, 1))):
        lengths_px, ends_px = _upright_runs(frames)
        side_px = frames.shape[1]
        longest = max(longest, float(lengths_px.max()) / side_px)
        for _ in range(LINES_COMPARED):
            place = int(lengths_px.argmax())
            length_px, end_px = int(lengths_px[place]), int(ends_px[place])
            if length_px < LINE_LEAST_SHARE * side_px:
                break
            beside = frames[:, end_px - length_px : end_px]
            found = max(found, _break(beside, place) * length_px / side_px)
            lengths_px[max(0, place - STRIP_PX[1]) : place + STRIP_PX[1]] = 0
    return {"steady_line": min(longest, 1.0), "line_break": min(found, 1.0)}


def _upright_runs(frames: Luma) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how long the longest upright edge of each column of (T, H, W) is that stays, and the row after it."""
    cv2 = opencv()
    num_frames, height, width = frames.shape
    counts = np.zeros((height - 2, width - 2), np.uint8)
    for frame in frames:
        across = cv2.absdiff(frame[1:-1, 2:], frame[1:-1, :-2])
        along = cv2.absdiff(frame[2:, 1:-1], frame[:-2, 1:-1])
        is_edge = cv2.compare(across, LINE_STEP_LEVELS, cv2.CMP_GE) & cv2.compare(
            across, cv2.add(along, along), cv2.CMP_GT
        )
        counts += is_edge & 1
    steady = (counts >= LINE_TIME_SHARE * num_frames).astype(np.uint8)
    gap_px = max(3, round(LINE_GAP_SHARE * height)) | 1
    steady = cv2.morphologyEx(steady, cv2.MORPH_CLOSE, np.ones((gap_px, 1), np.uint8))
    steady = cv2.copyMakeBorder(steady, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    margin_px = max(1, math.ceil(LINE_MARGIN_SHARE * width))
    steady[:, :margin_px] = steady[:, -margin_px:] = 0
    run, longest, ends = (np.zeros(width, np.int64) for _ in range(3))
    for row, is_line in enumerate(steady):
        run = (run + 1) * is_line
        is_longer = run > longest
        longest[is_longer], ends[is_longer] = run[is_longer], row + 1
    # The outermost rows are not looked at; a line across all others is taken to go through them.
    return np.where(longest >= height - 2, height, longest), np.where(longest >= height - 2, height, ends)


def _break(frames: Luma, place_px: int) -> float:
    """Return how differently both sides of a column of (T, H, W) change, 0 to 1."""
    near, far = STRIP_PX
    left = frames[:, :, max(0, place_px - far) : max(1, place_px - near)].mean(2, dtype=np.float32)
    right = frames[:, :, place_px + near : place_px + far].mean(2, dtype=np.float32)
    num_cells = max(1, left.shape[1] // near)
    stirs = []
    for side in (left, right):
        cells = [part.mean(1) for part in np.array_split(side, num_cells, axis=1)]
        stirs.append(np.diff(np.stack(cells, axis=1), axis=0))
    both = float(sum(np.square(stir).sum() for stir in stirs))
    if not both:
        return 0.0
    agreement = max(0.0, 2 * float((stirs[0] * stirs[1]).sum()) / both)
    # Both sides must change, along the whole line: beside walls and windows, too, much goes on at one side.
    energy = min(float(np.sqrt(np.square(stir).mean(0)).mean()) for stir in stirs)
    return float(np.clip((1 - agreement) * energy / (energy + STRIP_STIR_LEVELS), 0, 1))


def still_parts(lumas: Luma) -> dict[str, float]:
    """Return ``still_pixels``, ``moving_box`` and ``corner_steady`` of luma (T, H, W); NaN of one frame."""
    names = ("still_pixels", "moving_box", "corner_steady")
    if len(lumas) < 2 or min(lumas.shape[1:]) < 3:
        return dict.fromkeys(names, math.nan)
    cv2 = opencv()
    size = tuple(max(1, side_px // 2) for side_px in lumas.shape[:0:-1])
    small = np.stack([cv2.resize(luma, size, interpolation=cv2.INTER_AREA) for luma in few(lumas, MAX_FRAMES // 2)])
    middle = np.median(small, axis=0)
    still = float((np.abs(small - middle.astype(np.float32)) <= STILL_LEVELS).mean())
    mean, deviation = mean_and_deviation(lumas)
    moves = deviation >= MOVING_LEVELS
    box = 1.0
    for axis in (0, 1):
        places = np.cumsum(moves.sum(axis))
        first, last = np.searchsorted(places, (0.05 * places[-1], 0.95 * places[-1]))
        box *= (last - first + 1) / len(places) if places[-1] else 0.0
    right, down = (cv2.Sobel(mean, cv2.CV_32F, *order) / 4 for order in ((1, 0), (0, 1)))
    stays = (np.hypot(right, down) >= EDGE_LEVELS) & (deviation < CORNER_LEVELS)
    third, part = (side_px // 3 for side_px in mean.shape)
    corners = [stays[rows, columns].mean() for rows in _ends(third) for columns in _ends(part)]
    stir = moves[third:-third, part:-part].mean()
    return {
        "still_pixels": still,
        "moving_box": float(np.clip(box, 0, 1)),
        "corner_steady": float(max(corners) * stir),
    }


def _ends(length: int) -> tuple[slice, slice]:
    return slice(None, length), slice(-length, None)


def mean_and_deviation(lumas: Luma) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation over time, (H, W), of luma (T, H, W)."""
    cv2 = opencv()
    total, squares = (np.zeros(lumas.shape[1:], np.float64) for _ in range(2))
    for luma in lumas:
        cv2.accumulate(luma, total)
        cv2.accumulateSquare(luma, squares)
    mean = total / len(lumas)
    deviation = np.sqrt(np.maximum(squares / len(lumas) - np.square(mean), 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def series(thumbs: NDArray[np.uint8], fps: float) -> dict[str, float]:
    """Return what all frames (N, H, W, 3) RGB say, one after the other; NaN where there are too few."""
    cv2 = opencv()
    num_frames, height, width = thumbs.shape[:3]
    names = ("rhythm", "held_share", "held_run", "returns", "disorder", "jump_size", "pulse", "colour_drift")
    if num_frames < 3 or not height or not width:
        return dict.fromkeys(names, math.nan)
    fps = fps if math.isfinite(fps) and fps > 0 else DRIFT_FPS
    tall = np.ascontiguousarray(thumbs).reshape(num_frames * height, width, 3)
    lumas = cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY).reshape(num_frames, height, width)
    changes = np.abs(np.diff(lumas.astype(np.int16), axis=0)).mean((1, 2))
    largest, usual = float(changes.max()), float(np.median(changes))
    distances = _distances(lumas)
    stride = math.ceil(num_frames / MAX_SERIES)
    held = changes < max(HELD_SHARE * float(np.quantile(changes, 0.9)), HELD_LEVELS)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], held.astype(np.int8), [0]])))
    runs = edges[1::2] - edges[::2]
    return {
        "rhythm": rhythm(changes),
        "held_share": float(held.mean()),
        "held_run": min(float(np.median(runs)), MAX_HELD_RUN) if runs.size else 0.0,
        "returns": _returns(distances, max(2, math.ceil(RETURN_GAP_S * fps / stride))),
        "disorder": _disorder(distances),
        "jump_size": min(math.log2(max(largest, HELD_LEVELS) / max(usual, HELD_LEVELS)), MAX_JUMP),
        "pulse": _pulse(lumas.reshape(num_frames, -1).mean(1), fps),
        "colour_drift": _colour_drift(tall, num_frames, fps),
    }


def rhythm(changes: Array) -> float:
    """Return how well a series (N,) repeats itself after some lag, 0 to 1.

    Any smooth series is like itself a moment later, so only what a lag has more than a shorter one counts.
    """
    if len(changes) < 8:
        return math.nan
    # Of one huge change, nothing else would be seen.
    levels = np.log(changes + HELD_LEVELS)
    times = np.arange(len(levels), dtype=np.float64)
    rest = levels - np.polyval(np.polyfit(times, levels, 1), times)
    found, least = 0.0, 1.0
    for lag in range(1, len(rest) // 2 + 1):
        first, second = rest[:-lag], rest[lag:]
        energy = math.sqrt(float(first @ first) * float(second @ second))
        likeness = float(first @ second) / energy if energy > 0 else 0.0
        if lag > 1:
            found = max(found, min(likeness, likeness - least))
        least = min(least, likeness)
    return min(found, 1.0) * min(float(rest.std()) / RHYTHM_SPREAD, 1.0)


def _distances(lumas: Luma) -> NDArray[np.float32]:
    """Return the mean absolute difference of each frame of (N, H, W) from each, of small blocks."""
    stride = math.ceil(len(lumas) / MAX_SERIES)
    lumas = lumas[::stride]
    num_frames, height, width = lumas.shape
    size = max(1, width // BLOCK_PX), max(1, height // BLOCK_PX)
    cv2 = opencv()
    blocks = np.stack([cv2.resize(luma, size, interpolation=cv2.INTER_AREA).ravel() for luma in lumas])
    blocks = blocks.astype(np.float32)
    distances = np.empty((num_frames, num_frames), np.float32)
    for index, block in enumerate(blocks):
        distances[index] = np.abs(blocks - block).mean(1)
    return distances


def _returns(distances: NDArray[np.float32], gap_frames: int) -> float:
    """Return the share of frames that come again, after the picture had changed; NaN if it never does."""
    num_frames = len(distances)
    if num_frames <= gap_frames or distances.max() < RETURN_CHANGE_LEVELS:
        return math.nan
    changes = np.diagonal(distances, 1)
    near = (np.append(changes, changes[-1]) + np.append(changes[0], changes)) / 2
    # The largest distance on the way from one frame to the other.
    way = np.maximum(
        np.maximum.accumulate(np.triu(distances), axis=1),
        np.maximum.accumulate(np.tril(distances)[:, ::-1], axis=1)[:, ::-1],
    )
    places = np.arange(num_frames)
    is_far = np.abs(places[:, None] - places) >= gap_frames
    is_alike = distances <= np.maximum(near, ALIKE_LEVELS)[:, None]
    has_changed = way >= np.maximum(RETURN_FACTOR * distances, RETURN_CHANGE_LEVELS)
    return float((is_far & is_alike & has_changed).any(1).mean())


def _disorder(distances: NDArray[np.float32]) -> float:
    """Return the share of frames that are clearly nearer to the second or third frame after them than to the next."""
    if len(distances) < 3:
        return math.nan
    # Held frames say nothing of order: what is looked at is what comes after them.
    changes = np.diagonal(distances, 1)
    is_held = changes < max(HELD_SHARE * float(np.quantile(changes, 0.9)), HELD_LEVELS)
    places = np.concatenate([[0], np.flatnonzero(~is_held) + 1])
    if len(places) < 3:
        return 0.0
    distances = distances[np.ix_(places, places)]
    first, second = np.diagonal(distances, 1)[:-1], np.diagonal(distances, 2)
    third = np.append(np.diagonal(distances, 3), np.inf)
    later = np.minimum(second, third)
    return float(((later < DISORDER_FACTOR * first) & (first >= DISORDER_LEVELS)).mean())


def _pulse(means: Array, fps: float) -> float:
    window = max(3, round(PULSE_WINDOW_S * fps) | 1)
    kernel = np.ones(window)
    average = np.convolve(np.pad(means, window // 2, mode="reflect" if len(means) > window // 2 else "edge"), kernel)
    average = average[window - 1 : window - 1 + len(means)] / window
    return float(np.sqrt(np.square(means - average).mean()))


def _colour_drift(tall: NDArray[np.uint8], num_frames: int, fps: float) -> float:
    """Return by how many levels the mean chroma of frames, one above the other, changes in a second."""
    cv2 = opencv()
    chroma = cv2.cvtColor(tall, cv2.COLOR_RGB2LAB)[..., 1:].reshape(num_frames, -1, 2).mean(1)
    step = min(max(1, round(fps / DRIFT_FPS)), num_frames - 1)
    steps: Sequence[float] = np.hypot(*np.diff(chroma[::step], axis=0).T).tolist()
    return min(float(np.mean(steps)) * fps / step, MAX_DRIFT)

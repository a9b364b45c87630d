"""A crude video codec, and what becomes of its stream when data are lost; made for how they look, not for files."""

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.family import Frames
from cogvideox.data.negatives.pictures import Picture, chance, pick, whole

BLOCK_PX = 8
LOST_PX = 16
"""Side of the blocks that are lost together."""
FREQUENCY_COST = 0.35
"""By how much coarser each next frequency is quantised."""

Plane = NDArray[np.float32]


def _cosines() -> Plane:
    """Return the (8, 8) matrix of the discrete cosine transform; its inverse is its transpose."""
    places = np.arange(BLOCK_PX)
    matrix = np.cos(np.pi * (2 * places[None] + 1) * places[:, None] / (2 * BLOCK_PX)) * np.sqrt(2 / BLOCK_PX)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)


COSINES = _cosines()


def _quantised(plane: Plane, steps: Plane) -> Plane:
    """Return a plane (H, W), sides multiples of 8, as its coarsely quantised blocks give it back."""
    height, width = plane.shape
    blocks = plane.reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX).swapaxes(1, 2)
    waves = COSINES @ blocks @ COSINES.T
    waves = np.trunc(waves / steps + np.sign(waves) * np.float32(0.3)) * steps  # a dead zone: small ones vanish
    return (COSINES.T @ waves @ COSINES).swapaxes(1, 2).reshape(height, width).astype(np.float32, copy=False)


def coded_badly(frames: Frames, *, quantiser: float, key_period_frames: int) -> Frames:
    """Return frames (T, H, W, 3) as a poor encoder leaves them.

    Args:
        frames: to code.
        quantiser: step of the second frequency, levels; 20 is poor, 100 terrible.
        key_period_frames: every so many frames all is sent anew; between, only what differs from the frame before.
    """
    cv2 = opencv()
    height, width = frames.shape[1:3]
    padded = (-height % (2 * BLOCK_PX), -width % (2 * BLOCK_PX))
    rank = np.add.outer(np.arange(BLOCK_PX), np.arange(BLOCK_PX)).astype(np.float32)
    steps = np.float32(quantiser) * (1 + FREQUENCY_COST * (rank - 1))
    steps[0, 0] = quantiser * 0.9
    before: list[Plane] = []
    made = np.empty_like(frames)
    for index, frame in enumerate(frames):
        is_key = index % key_period_frames == 0
        if not is_key and np.array_equal(frame, frames[index - 1]):  # nothing is sent
            made[index] = made[index - 1]
            continue
        full = cv2.copyMakeBorder(frame, 0, padded[0], 0, padded[1], cv2.BORDER_REPLICATE)
        tones = cv2.cvtColor(full, cv2.COLOR_RGB2YCrCb)
        colours = cv2.resize(tones[..., 1:], (full.shape[1] // 2, full.shape[0] // 2), interpolation=cv2.INTER_AREA)
        planes = [tones[..., 0], colours[..., 0], colours[..., 1]]
        planes = [plane.astype(np.float32) - 128 for plane in planes]
        if is_key:
            before = [_quantised(plane, steps) for plane in planes]
        else:
            before = [was + _quantised(plane - was, steps) for plane, was in zip(planes, before, strict=True)]
        luma, *chroma = (np.clip(plane + 128, 0, 255).astype(np.uint8) for plane in before)
        large = cv2.resize(np.dstack(chroma), luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
        made[index] = cv2.cvtColor(np.dstack([luma, large]), cv2.COLOR_YCrCb2RGB)[:height, :width]
    return made


def broken(frames: Frames, rng: np.random.Generator, severity: float, kind: str) -> Frames:
    """Return frames (T, H, W, 3) with blocks that were lost and stay lost for a while.

    Args:
        frames: whole ones.
        rng: draws where and when.
        severity: 0 to 1.
        kind: "smear" (blocks stay behind and slide), "green" (blocks without data), "slices" (rows of blocks aside), or
            "mixed".
    """
    made = frames.copy()
    height, width = frames.shape[1:3]
    num_rows, num_columns = -(-height // LOST_PX), -(-width // LOST_PX)
    is_lost = np.zeros((num_rows, num_columns), np.bool_)
    ways = np.zeros((num_rows, num_columns), np.int64)
    recovers = round(6 + 14 * severity)
    for index in range(1, len(frames)):
        if index % recovers == 0:
            is_lost[:] = rng.random(is_lost.shape) < 0.08
        if chance(rng, 0.3 + 0.3 * severity) or index == 1:
            _lose(is_lost, ways, rng, severity, kind)
        frame, was = made[index], made[index - 1]
        drift = whole(rng, -4, 4), whole(rng, -2, 2)
        for row, column in np.argwhere(is_lost).tolist():
            _conceal(frame, was, row * LOST_PX, column * LOST_PX, int(ways[row, column]), drift)
    return made


def _lose(
    is_lost: NDArray[np.bool_], ways: NDArray[np.int64], rng: np.random.Generator, severity: float, kind: str
) -> None:
    num_rows, num_columns = is_lost.shape
    way = {"smear": 0, "green": 1, "slices": 2}.get(kind, whole(rng, 0, 2))
    for _ in range(whole(rng, 1, 2 + round(3 * severity))):
        row, column = whole(rng, 0, num_rows - 1), whole(rng, 0, num_columns - 1)
        num = whole(rng, num_columns // 3 + 1, num_columns * (1 + round(2 * severity)))
        places = np.arange(row * num_columns + column, row * num_columns + column + num)
        places = places[places < is_lost.size]
        is_lost.ravel()[places] = True
        ways.ravel()[places] = way + 3 * pick(rng, (0, 1, 2))


def _conceal(frame: Picture, was: Picture, top: int, left: int, way: int, drift: tuple[int, int]) -> None:
    height, width = frame.shape[:2]
    box = slice(top, min(top + LOST_PX, height)), slice(left, min(left + LOST_PX, width))
    kind, variant = way % 3, way // 3
    if kind == 1:
        frame[box] = ((0, 135, 0), (128, 128, 128), (200, 30, 170))[variant] if variant < 3 else 0
        return
    aside, down = drift if kind == 0 else (24 * (variant + 1), 0)
    rows = np.clip(np.arange(box[0].start, box[0].stop) + down, 0, height - 1)
    columns = (np.arange(box[1].start, box[1].stop) + aside) % width
    frame[box] = was[np.ix_(rows, columns)]

"""What a clip is known by when it comes again as a copy: small pictures four times a second, and a hash of each.

The hash finds pictures that may be the same among millions; the small picture, of 384 bytes, tells whether they are: a
hash says what is seen, but clips of one fixed camera differ only in what moves before it.

Axes: T motion frames, R fingerprints of a clip, H W rows and columns. Luma is in levels of 0 to 255.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import ClipView, ViewName
from cogvideox.data.curation.store import Types
from cogvideox.data.libraries import opencv

NAME, VERSION = "fingerprints", 2
VIEWS: frozenset[ViewName] = frozenset({"motion"})
TYPES: Types = {
    "clip_id": "string",
    "number": "int64",
    "time_s": "float64",
    "hash": "int64",
    "information": "float64",
    "picture": "binary",
}
"""Of a part: ``hash`` is 64 bits in two's complement, ``picture`` the luma of `PICTURE_HEIGHT_PX` rows."""
PICTURE_HEIGHT_PX, PICTURE_WIDTH_PX = 16, 24
"""Whatever the shape of the frame: copies may be squeezed."""
NUM_BITS = 64
BLUR_S = 0.1
"""Standard deviation in time: pictures of a copy whose times lie between ours are then as good as ours."""
BLACK_LEVELS, BAR_LEVELS = 24, 64
"""Bars are black, and dark in a copy that was made brighter."""
EDGE_LINES = 2
"""Where bar and picture mix, because copies are scaled."""
EDGE_SHARE = 0.6
"""Of the edge of a bar that is not black, beside which the picture must be brighter."""
BAR_SPREAD_LEVELS = 8
"""A bar is the same everywhere and always, but for the codec's noise."""
MAX_BAR_SHARE = 0.7
"""Of a side; what has less picture left is dark as a whole."""


@dataclass(frozen=True, kw_only=True)
class FingerprintSettings:
    """How clips are fingerprinted."""

    interval_s: float = 0.25
    """Between fingerprints; the motion view has a frame every 0.125 s."""

    def __post_init__(self) -> None:
        if not 0.125 <= self.interval_s <= 1:
            raise ValueError(f"interval_s: expected 0.125 to 1, got {self.interval_s}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprints:
    """Those of many clips, sorted by clip and time."""

    clip_ids: tuple[str, ...]
    """Rising."""
    bounds: NDArray[np.int64]
    """(clips + 1,) where the rows of each begin, and the end."""
    times_s: NDArray[np.float64]
    """(R,) in their source."""
    hashes: NDArray[np.uint64]
    """(R,)"""
    information: NDArray[np.float64]
    """(R,) levels, as `measure` gives it."""
    pictures: NDArray[np.uint8]
    """(R, H, W)"""

    def __post_init__(self) -> None:
        num_rows = int(self.bounds[-1]) if len(self.bounds) else -1
        if len(self.bounds) != len(self.clip_ids) + 1 or any(
            len(array) != num_rows for array in (self.times_s, self.hashes, self.information, self.pictures)
        ):
            raise ValueError("bounds: expected one more than clips, the last the number of rows of every array")
        if any(after <= before for before, after in pairwise(self.clip_ids)):
            raise ValueError("clip_ids: expected rising ids, each once; Fingerprints.from_rows sorts them")

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], clip_ids: Iterable[str] = ()) -> "Fingerprints":
        """Sort rows of `TYPES`, in any order.

        Args:
            rows: as `measure` gives them and parts hold them.
            clip_ids: of further clips, which may have no fingerprint.

        Raises:
            ValueError: a clip has two rows of one number, or a picture another size than is measured here.
        """
        given = list(rows)
        size = PICTURE_HEIGHT_PX * PICTURE_WIDTH_PX
        wrong = next((row for row in given if len(row["picture"]) != size), None)
        if wrong is not None:
            raise _wrong_picture(len(wrong["picture"]), wrong["clip_id"])
        places = {clip_id: place for place, clip_id in enumerate(dict.fromkeys(row["clip_id"] for row in given))}
        part = _Part(
            clips=np.array([places[row["clip_id"]] for row in given], np.int64),
            numbers=np.array([row["number"] for row in given], np.int64),
            times_s=np.array([row["time_s"] for row in given], np.float64),
            hashes=np.array([row["hash"] for row in given], np.int64),
            information=np.array([row["information"] for row in given], np.float64),
            pictures=np.frombuffer(b"".join(row["picture"] for row in given), np.uint8).reshape(-1, size),
        )
        return cls._joined(list(places), [part], clip_ids)

    @classmethod
    def from_tables(cls, tables: Iterable[Any], clip_ids: Iterable[str] = ()) -> "Fingerprints":
        """Join tables of pyarrow with the columns of `TYPES`, as parts hold them; otherwise as `from_rows`."""
        places: dict[str, int] = {}
        parts: list[_Part] = []
        for table in tables:
            if not len(table):
                continue
            columns = {name: table.column(name).combine_chunks() for name in TYPES}
            encoded = columns["clip_id"].dictionary_encode()
            names = encoded.dictionary.to_pylist()
            clips = np.array([places.setdefault(name, len(places)) for name in names], np.int64)
            clips = clips[encoded.indices.to_numpy()]
            numbers, times_s, hashes, information = (
                columns[name].to_numpy(zero_copy_only=False) for name in ("number", "time_s", "hash", "information")
            )
            pictures = _pictures(columns["picture"], columns["clip_id"])
            parts.append(_Part(clips, numbers, times_s, hashes, information, pictures))
        return cls._joined(list(places), parts, clip_ids)

    @classmethod
    def _joined(cls, names: Sequence[str], parts: Sequence["_Part"], clip_ids: Iterable[str]) -> "Fingerprints":
        ids = tuple(sorted({*names, *clip_ids}))
        place_of = {clip_id: place for place, clip_id in enumerate(ids)}
        whole = _Part._make(np.concatenate(arrays) for arrays in zip(*parts, strict=True)) if parts else _NO_PART
        clips = np.array([place_of[name] for name in names], np.int64)[whole.clips]
        order = np.lexsort((whole.numbers, clips))
        if (np.diff(order) != 1).any():  # parts are in order already, and pictures are large
            whole = _Part._make(array[order] for array in whole)
            clips = clips[order]
        twice = np.flatnonzero((np.diff(clips) == 0) & (np.diff(whole.numbers) == 0))
        if twice.size:
            clip_id, number = ids[clips[twice[0]]], whole.numbers[twice[0]]
            raise ValueError(f"rows: expected each number of a clip once, got {number} of {clip_id} twice")
        return cls(
            clip_ids=ids,
            bounds=np.searchsorted(clips, np.arange(len(ids) + 1)).astype(np.int64),
            times_s=whole.times_s,
            hashes=whole.hashes.view(np.uint64),
            information=whole.information,
            pictures=whole.pictures.reshape(-1, PICTURE_HEIGHT_PX, PICTURE_WIDTH_PX),
        )

    def rows_of(self, clip: int) -> slice:
        """Return where the rows of the clip of this number are."""
        return slice(int(self.bounds[clip]), int(self.bounds[clip + 1]))


class _Part(NamedTuple):
    """Some rows as arrays, (R,), in any order."""

    clips: NDArray[np.int64]
    """Of a list of names."""
    numbers: NDArray[np.int64]
    times_s: NDArray[np.float64]
    hashes: NDArray[np.int64]
    information: NDArray[np.float64]
    pictures: NDArray[np.uint8]
    """(R, H * W)"""


_NO_PART = _Part(
    clips=np.zeros(0, np.int64),
    numbers=np.zeros(0, np.int64),
    times_s=np.zeros(0),
    hashes=np.zeros(0, np.int64),
    information=np.zeros(0),
    pictures=np.zeros((0, PICTURE_HEIGHT_PX * PICTURE_WIDTH_PX), np.uint8),
)


def _pictures(column: Any, clip_ids: Any) -> NDArray[np.uint8]:
    """Return the bytes (R, H * W) of an arrow array of pictures."""
    size = PICTURE_HEIGHT_PX * PICTURE_WIDTH_PX
    _, places, content = column.buffers()
    offsets = np.frombuffer(places, np.int32)[column.offset : column.offset + len(column) + 1]
    wrong = np.flatnonzero(np.diff(offsets) != size)
    if wrong.size:
        raise _wrong_picture(int(np.diff(offsets)[wrong[0]]), clip_ids[int(wrong[0])].as_py())
    return np.frombuffer(content, np.uint8)[offsets[0] : offsets[-1]].reshape(-1, size)


def _wrong_picture(num_bytes: int, clip_id: str) -> ValueError:
    size = PICTURE_HEIGHT_PX * PICTURE_WIDTH_PX
    return ValueError(
        f"rows: expected pictures of {size} bytes, got {num_bytes} of {clip_id}; measure its fingerprints anew"
    )


def measure(view: ClipView, settings: FingerprintSettings) -> list[dict[str, Any]]:
    """Return the fingerprints of a clip, rows of `TYPES`, one every ``interval_s``; none of a clip without frames.

    ``information`` is the standard deviation of luma, in levels, that is left when an even slope is taken off: about 0
    in a black frame, a plain one, or a sky.
    """
    if not len(view.motion):
        return []
    frames = _small_pictures(view.motion)
    first_s, last_s = float(view.motion_times_s[0]), float(max(view.end_s, view.motion_times_s[-1]))
    num_times = max(1, int((last_s - first_s) / settings.interval_s + 0.01))
    times_s = np.asarray(first_s + (np.arange(num_times) + 0.5) * settings.interval_s, np.float64)
    pictures = _at_times(frames, view.motion_times_s, times_s)
    hashes = picture_hashes(pictures).view(np.int64)
    information = flattened(pictures).std(axis=(1, 2))
    return [
        {
            "clip_id": view.clip_id,
            "number": number,
            "time_s": float(times_s[number]),
            "hash": int(hashes[number]),
            "information": float(information[number]),
            "picture": np.rint(pictures[number]).astype(np.uint8).tobytes(),
        }
        for number in range(num_times)
    ]


def picture_hashes(pictures: NDArray[np.floating[Any]] | NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return 64 bits (R,) for small pictures (R, H, W): the signs of their lowest spatial frequencies.

    They stay the same whatever is done to brightness and contrast. The lowest frequency is the lowest bit.
    """
    values = pictures.reshape(len(pictures), -1).astype(np.float32)
    bits = (values - values.mean(axis=1, keepdims=True)) @ _waves() > 0
    return np.packbits(bits, axis=1, bitorder="little").view("<u8")[:, 0].astype(np.uint64)


@cache
def _waves() -> NDArray[np.float32]:
    """Return the lowest waves (H * W, 64) of the cosine transform but the mean, the lowest first."""
    sides = (PICTURE_HEIGHT_PX, PICTURE_WIDTH_PX)
    order = sorted((row + column, row, column) for row, column in np.ndindex(sides))[1 : NUM_BITS + 1]
    down, right = (
        np.cos(np.pi * (np.arange(side_px)[:, None] + 0.5) * np.arange(side_px) / side_px) for side_px in sides
    )
    waves = [np.outer(down[:, row], right[:, column]).ravel() for _, row, column in order]
    return np.stack(waves, axis=1).astype(np.float32)


def flattened(pictures: NDArray[Any]) -> NDArray[np.float32]:
    """Return pictures (R, H, W) without their mean and the even slope across them, levels."""
    height_px, width_px = pictures.shape[1:]
    values = pictures.reshape(len(pictures), -1).astype(np.float32)
    down, right = (
        (axis - axis.mean()).ravel().astype(np.float32) for axis in np.mgrid[:height_px, :width_px].astype(np.float64)
    )
    values = values - values.mean(axis=1, keepdims=True)
    for axis in (down, right):
        values -= (values @ axis)[:, None] / (axis @ axis) * axis
    return values.reshape(pictures.shape)


def _small_pictures(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return luma (T, H, W) of frames (T, H, W, 3) without bars."""
    cv2 = opencv()
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    inside = _inside_bars(lumas)
    size = (PICTURE_WIDTH_PX, PICTURE_HEIGHT_PX)
    return np.stack([cv2.resize(x[inside].astype(np.float32), size, interpolation=cv2.INTER_AREA) for x in lumas])


def _inside_bars(lumas: Sequence[NDArray[np.uint8]]) -> tuple[slice, slice]:
    """Return the rows and columns between black bars, which are there in all frames."""
    brightest, darkest = np.max(lumas, axis=0).astype(np.int16), np.min(lumas, axis=0).astype(np.int16)
    found: list[slice] = []
    for _ in range(2):  # rows, and then columns of these rows
        num_lines = len(brightest)
        before = _num_bar_lines(brightest, darkest)
        after = _num_bar_lines(brightest[::-1], darkest[::-1]) if before < num_lines else 0
        if num_lines - before - after < (1 - MAX_BAR_SHARE) * num_lines:
            before = after = 0
        found.append(slice(before, num_lines - after))
        brightest, darkest = brightest[found[-1]].T, darkest[found[-1]].T
    return found[0], found[1]


def _num_bar_lines(brightest: NDArray[np.int16], darkest: NDArray[np.int16]) -> int:
    """Return how many of the first lines are a bar, with the lines of its edge.

    What is nearly black is a bar wherever it ends. What is dark may also be the ground of a picture, as of white
    letters on grey: it is a bar only if it ends along a line.
    """
    high, low = np.quantile(brightest, 0.97, axis=1), np.quantile(darkest, 0.03, axis=1)
    is_plain = (high - low <= BAR_SPREAD_LEVELS) & (np.abs(high - high[0]) <= BAR_SPREAD_LEVELS)
    others = np.flatnonzero(~is_plain | (high > BAR_LEVELS))
    if not others.size or not others[0]:
        return 0
    inside = min(int(others[0]) + EDGE_LINES, len(high))
    if high[0] > BLACK_LEVELS:
        is_brighter = brightest[inside - EDGE_LINES : inside].max(axis=0) - high[0] > BAR_SPREAD_LEVELS
        if is_brighter.mean() < EDGE_SHARE:
            return 0
    return inside


def _at_times(
    pictures: NDArray[np.float32], times_s: NDArray[np.float64], wanted_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return pictures (T, H, W) blurred in time, at other times (R,)."""
    away = (times_s[None] - wanted_s[:, None]) / BLUR_S
    away = np.square(away) - np.square(away).min(axis=1, keepdims=True)  # the nearest counts, however far it is
    weights = np.exp(-away / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    blurred = weights.astype(np.float32) @ pictures.reshape(len(pictures), -1)
    return blurred.reshape(len(wanted_s), *pictures.shape[1:])

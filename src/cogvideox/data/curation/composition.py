"""Signals of edited, spliced and ruined video; each is a simple measure, none is a verdict.

Axes: T sampled frames, N all frames, H W rows and columns. Luma and colours are in levels of 0 to 255.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation import composition_time as over_time
from cogvideox.data.curation.operators import ClipView, ViewName
from cogvideox.data.libraries import opencv

Frame = NDArray[np.uint8]
Array = NDArray[np.floating[Any]]

BAR_LEVELS = 24
BAR_CONTENT_SHARE = 0.005
"""Of a row or column that is brighter: less is a black bar."""
BLACK_LEVELS = 8
"""Pictures whose brightest pixel is darker hold nothing to measure."""
MAX_FRAMES = 4
"""Of ``detail``, ``native`` and of mirrored ones, spread evenly."""
SIDE_SHARE = 0.2
LAPLACIAN_ROUNDING = 20 / 12
"""Levels²: what rounding adds to the square of the Laplacian, whose factors have 20 as the sum of squares."""
LEAST_ENERGY = 0.5
"""Levels²: less is rounding."""
MIRROR_SIZE_PX = (96, 54)
MIRROR_DEVIATION_PX = 4.0
FLAT_BLOCK_PX = 8
FLAT_LEVELS = 4
SATURATED_LEVELS = 60
SHIFT_DEVIATION_PX = 6.0
SHIFT_LIKENESS, SHIFT_GAIN = 0.3, 0.06
"""How alike red and blue must be once they are shifted back, and by how much more than before."""
PATCH_PX = 16
BAND_DEVIATIONS_PX = (0.8, 2.4)
"""Of the Gaussians that divide detail of colour into fine and coarse."""
NOISE_IN_BANDS = (0.63, 0.1)
"""Shares of the variance of white noise that fall into them."""
IMMERKAER = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
GHOST_LAGS_PX = (4, 40)
GHOST_DEVIATIONS_PX = (1.5, 6.0)
"""Across and along upright contours, of the blur that takes grain off."""
GHOST_LEAST_ENERGY = 0.02
CODING_BLOCK_PX = 8
GAP_SHARE = 0.05
"""Of the mean count of a level: levels with less count as empty, because codecs smear steps."""
LEAST_LEVELS = 16
"""Between the quantiles, or gaps are not counted."""
MAX_COMBING, MAX_VIGNETTE = 4.0, 4.0


COLUMNS = (
    *over_time.COLUMNS,
    over_time.column(
        "mirror",
        "correlation",
        -1,
        1,
        "Likeness of the detail of a picture to its mirror image, sideways, upside down or both, the largest of the "
        "three medians over frames.",
    ),
    over_time.column(
        "side_blur",
        "share",
        0,
        1,
        "How much less fine detail (energy) the sharper of both outer fifths has than the middle, left and right or "
        "top and bottom, the larger, median over frames: near 1 for a blurred fill.",
    ),
    over_time.column("colour_cast", "levels", 0, 200, "Distance of the mean chroma (Lab) of the clip from gray."),
    over_time.column(
        "saturation", "levels", 0, 255, "Largest minus smallest of red, green and blue, mean of small pictures."
    ),
    over_time.column(
        "flat_colour_share",
        "share",
        0,
        1,
        f"Share of blocks of 8x8 px that differ by {FLAT_LEVELS} levels or less inside and are of a strong colour: "
        "graphics.",
    ),
    over_time.column(
        "channel_shift",
        "% of diagonal",
        0,
        100,
        "By how much red and blue lie apart, median over frames; 0 if a shift makes them hardly more alike.",
    ),
    over_time.column(
        "combing",
        "ratio",
        0,
        MAX_COMBING,
        "Difference of neighbouring rows against that of rows twice as far apart, of single and double rows the "
        "larger, median over frames: above 1 two fields are interlaced.",
    ),
    over_time.column(
        "chroma_noise",
        "levels",
        0,
        255,
        "Standard deviation of the grain of colour where it is plainest, at half size (after Immerkaer 1996).",
    ),
    over_time.column(
        "chroma_sharpness",
        "ratio",
        0,
        1,
        "Share of fine detail in the energy of chroma against that in luma, at half size, cut off at 1: low if "
        "colours bleed; NaN for gray.",
    ),
    over_time.column(
        "ghosting",
        "correlation",
        0,
        1,
        f"Largest likeness of fine detail to itself {GHOST_LAGS_PX[0]} to {GHOST_LAGS_PX[1]} px aside, beyond what "
        "shorter lags have, the coding grid left out, median over frames: doubled contours.",
    ),
    over_time.column(
        "level_gaps",
        "share",
        0,
        1,
        "Share of levels of luma between the 2 % and 98 % quantiles that hardly occur, median over frames: banding; "
        "NaN without contrast.",
    ),
    over_time.column("black_level", "levels", 0, 255, "1 % quantile of luma inside black bars, median over frames."),
    over_time.column("white_level", "levels", 0, 255, "99 % quantile of luma inside black bars, median over frames."),
    over_time.column("upright_share", "share", 0, 1, "Height / (height + width): above 0.5 the clip is upright."),
    over_time.column("vignette", "ratio", 0, MAX_VIGNETTE, "Mean luma of the corners against that of the middle."),
)


class CompositionOperator:
    """Measures signals of edited, spliced and ruined video."""

    name = "composition"
    version = 1
    columns = COLUMNS
    views: frozenset[ViewName] = frozenset({"motion", "detail", "native", "thumbs"})

    def weights(self) -> tuple[str, ...]:
        """Return nothing: there are none."""
        return ()

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns; those that compare frames are NaN for a clip of one, most are for a black one."""
        values = dict.fromkeys((column.name for column in COLUMNS), math.nan)
        sides_px = clip.height_px + clip.width_px
        values["upright_share"] = clip.height_px / sides_px if sides_px > 0 else math.nan
        if _is_seen(clip.thumbs):
            values |= over_time.series(clip.thumbs, clip.fps) | _mean_colours(clip.thumbs)
        if _is_seen(clip.motion):
            values |= _of_motion(over_time.few(clip.motion, over_time.MAX_FRAMES))
        if _is_seen(clip.detail):
            values |= _of_detail(over_time.few(clip.detail, MAX_FRAMES))
        if _is_seen(clip.native):
            natives = over_time.few(clip.native, MAX_FRAMES)
            values["combing"] = _median([_combing(luma) for luma in natives])
            values["ghosting"] = _median([_ghosting(luma) for luma in natives])
            values["level_gaps"] = _median([_level_gaps(luma) for luma in natives])
        return values


def _is_seen(frames: Frame) -> bool:
    return bool(frames.size) and int(frames.max()) > BLACK_LEVELS


def _of_motion(frames: Frame) -> dict[str, float]:
    """Return what is measured of frames (T, H, W, 3) at the rate of motion."""
    cv2 = opencv()
    whole = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    box = inside_bars(whole)
    lumas = np.ascontiguousarray(whole[:, *box])
    return {
        **over_time.lines(lumas),
        **over_time.still_parts(whole),
        "mirror": _mirror(over_time.few(lumas, MAX_FRAMES)),
        "channel_shift": _median([_channel_shift(frame[box]) for frame in over_time.few(frames, MAX_FRAMES)]),
        "vignette": _vignette(over_time.few(lumas, MAX_FRAMES).mean(0, dtype=np.float32)),
    }


def _of_detail(frames: Frame) -> dict[str, float]:
    """Return what is measured of frames (T, H, W, 3) at full size."""
    cv2 = opencv()
    box = inside_bars(np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]))
    tones = [cv2.cvtColor(np.ascontiguousarray(frame[box]), cv2.COLOR_RGB2YCrCb) for frame in frames]
    halves = [cv2.resize(tone, _half(tone), interpolation=cv2.INTER_AREA) for tone in tones]
    counts = [np.bincount(tone[..., 0].ravel(), minlength=256).cumsum() / tone[..., 0].size for tone in tones]
    return {
        "side_blur": _median([_side_blur(tone[..., 0]) for tone in tones]),
        "flat_colour_share": _median([_flat_colour_share(frame) for frame in frames]),
        "chroma_noise": _median([_chroma_noise(half) for half in halves]),
        "chroma_sharpness": _median([_chroma_sharpness(half) for half in halves]),
        "black_level": _median([float(np.searchsorted(count, 0.01)) for count in counts]),
        "white_level": _median([float(np.searchsorted(count, 0.99)) for count in counts]),
    }


def inside_bars(lumas: Frame) -> tuple[slice, slice]:
    """Return the rows and columns of luma (T, H, W) between black bars; all if it is dark everywhere."""
    is_bright = lumas.max(0) > BAR_LEVELS
    rows, columns = (np.flatnonzero(is_bright.mean(axis) > BAR_CONTENT_SHARE) for axis in (1, 0))
    if not rows.size or not columns.size:
        return slice(None), slice(None)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _mean_colours(thumbs: Frame) -> dict[str, float]:
    """Return how strong and how one-sided the colours of frames (N, H, W, 3) are."""
    cv2 = opencv()
    tall = np.ascontiguousarray(thumbs).reshape(-1, thumbs.shape[2], 3)
    green_red, blue_yellow = cv2.cvtColor(tall, cv2.COLOR_RGB2LAB)[..., 1:].reshape(-1, 2).mean(0) - 128
    red, green, blue = cv2.split(tall)
    highest, lowest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    cast = math.hypot(float(green_red), float(blue_yellow))
    return {"colour_cast": cast, "saturation": float((highest - lowest).mean())}


def _mirror(lumas: Frame) -> float:
    cv2 = opencv()
    likenesses: list[list[float]] = []
    for luma in lumas:
        small = cv2.resize(luma, MIRROR_SIZE_PX, interpolation=cv2.INTER_AREA).astype(np.float32)
        fine = small - cv2.GaussianBlur(small, (0, 0), MIRROR_DEVIATION_PX)
        # A few strong contours shall not decide.
        fine = np.clip(fine, -2 * fine.std(), 2 * fine.std())
        likenesses.append([_likeness(fine, cv2.flip(fine, way)) for way in (1, 0, -1)])
    medians = [_median(list(one)) for one in zip(*likenesses, strict=True)]
    known = [value for value in medians if not math.isnan(value)]
    return max(known) if known else math.nan


def _likeness(first: Array, second: Array) -> float:
    """Return the correlation of two planes; NaN of plain ones."""
    first, second = first.ravel() - first.mean(), second.ravel() - second.mean()
    energies = float(first @ first), float(second @ second)
    if min(energies) < LEAST_ENERGY * first.size:
        return math.nan
    return float(np.clip(float(first @ second) / math.sqrt(energies[0] * energies[1]), -1, 1))


def _side_blur(luma: Frame) -> float:
    """Return how soft the outer fifths of luma (H, W) are beside the middle."""
    cv2 = opencv()
    if min(luma.shape) < 4 / SIDE_SHARE:
        return math.nan
    energy = np.square(cv2.Laplacian(luma, cv2.CV_32F, ksize=1))
    found = 0.0
    for lines in (energy.mean(0), energy.mean(1)):
        means = np.maximum(lines - LAPLACIAN_ROUNDING, 0)
        side_px = round(SIDE_SHARE * len(means))
        middle = float(means[side_px:-side_px].mean())
        if middle < LEAST_ENERGY:
            return math.nan
        found = max(found, 1 - max(float(means[:side_px].mean()), float(means[-side_px:].mean())) / middle)
    return found


def _flat_colour_share(frame: Frame) -> float:
    cv2 = opencv()
    rows, columns = (side_px // FLAT_BLOCK_PX for side_px in frame.shape[:2])
    if not rows or not columns:
        return math.nan
    kernel, middle = np.ones((FLAT_BLOCK_PX, FLAT_BLOCK_PX), np.uint8), FLAT_BLOCK_PX // 2
    ends = [
        change(frame, kernel)[middle::FLAT_BLOCK_PX, middle::FLAT_BLOCK_PX][:rows, :columns]
        for change in (cv2.dilate, cv2.erode)
    ]
    is_flat = (ends[0] - ends[1]).max(-1) <= FLAT_LEVELS
    is_strong = ends[0].max(-1).astype(np.int16) - ends[1].min(-1) >= SATURATED_LEVELS
    return float((is_flat & is_strong).mean())


def _channel_shift(frame: Frame) -> float:
    """Return how far red and blue of (H, W, 3) lie apart, % of the diagonal."""
    cv2 = opencv()
    height, width = frame.shape[:2]
    if min(height, width) < 16:
        return math.nan
    planes = []
    for channel in (0, 2):
        plane = np.ascontiguousarray(frame[..., channel]).astype(np.float32)
        planes.append(plane - cv2.blur(plane, (round(2 * SHIFT_DEVIATION_PX) | 1,) * 2))
    red, blue = planes
    before = _likeness(red, blue)
    if math.isnan(before):
        return math.nan
    (right, down), _ = cv2.phaseCorrelate(red, blue, cv2.createHanningWindow((width, height), cv2.CV_32F))
    back = np.array([[1, 0, right], [0, 1, down]], dtype=np.float64)
    undone = cv2.warpAffine(blue, back, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    after = _likeness(red, undone)
    if not after >= max(SHIFT_LIKENESS, before + SHIFT_GAIN):
        return 0.0
    return min(100 * math.hypot(right, down) / math.hypot(height, width), 100.0)


def _vignette(luma: NDArray[np.float32]) -> float:
    third, part = (side_px // 3 for side_px in luma.shape)
    corner, piece = max(1, third // 2), max(1, part // 2)
    middle = float(luma[third : len(luma) - third, part : luma.shape[1] - part].mean())
    if middle < BLACK_LEVELS:
        return math.nan
    ends = [(slice(None, px), slice(-px, None)) for px in (corner, piece)]
    corners = [float(luma[rows, columns].mean()) for rows in ends[0] for columns in ends[1]]
    return min(float(np.mean(corners)) / middle, MAX_VIGNETTE)


def _half(frame: Frame) -> tuple[int, int]:
    return max(1, frame.shape[1] // 2), max(1, frame.shape[0] // 2)


def _chroma_noise(tones: Frame) -> float:
    """Return the grain of Cr and Cb of (H, W, 3) YCrCb where it is least, levels."""
    cv2 = opencv()
    size = tuple(max(1, side_px // PATCH_PX) for side_px in tones.shape[1::-1])
    means = cv2.resize(np.ascontiguousarray(tones[..., 0]), size, interpolation=cv2.INTER_AREA)
    seen = (means > 2 * BLACK_LEVELS) & (means < 255 - 2 * BLACK_LEVELS)  # where luma is cut off, so is noise
    if not seen.any():
        return math.nan
    return float(np.quantile(_grain(tones[..., 1:])[seen].mean(-1), 0.25))


def _chroma_sharpness(tones: Frame) -> float:
    """Return how fine the detail of chroma of (H, W, 3) YCrCb is beside that of luma."""
    cv2 = opencv()
    finest = tones.astype(np.float32)
    finer = cv2.GaussianBlur(finest, (0, 0), BAND_DEVIATIONS_PX[0])
    coarser = cv2.GaussianBlur(finer, (0, 0), BAND_DEVIATIONS_PX[1])
    grain = np.square(_grain(finest)).reshape(-1, 3)
    shares = []
    for channels in (slice(0, 1), slice(1, 3)):
        variance = max(float(np.median(grain[:, channels], axis=0).mean()), 1 / 12)  # rounding at the least
        fine = max(float(np.square(finest - finer)[..., channels].mean()) - NOISE_IN_BANDS[0] * variance, 0.0)
        coarse = max(float(np.square(finer - coarser)[..., channels].mean()) - NOISE_IN_BANDS[1] * variance, 0.0)
        if fine + coarse < LEAST_ENERGY / 2:
            return math.nan
        shares.append(fine / (fine + coarse))
    return min(shares[1] / shares[0], 1.0) if shares[0] > 0 else math.nan


def _grain(planes: Frame | NDArray[np.float32]) -> Array:
    """Return the standard deviation of the grain of planes (H, W, C) in patches of them, levels."""
    cv2 = opencv()
    size = tuple(max(1, side_px // PATCH_PX) for side_px in planes.shape[1::-1])
    grain = cv2.filter2D(planes, cv2.CV_32F, np.array(IMMERKAER, dtype=np.float32))
    patches = cv2.resize(np.abs(grain), size, interpolation=cv2.INTER_AREA)
    return math.sqrt(math.pi / 2) / 6 * patches.reshape(size[1], size[0], -1)


def _combing(luma: Frame) -> float:
    """Return how much more neighbouring rows of luma (H, W) differ than rows twice as far apart."""
    cv2 = opencv()
    ratios = []
    for rows_px in (1, 2):
        if len(luma) < 4 * rows_px:
            break
        near = cv2.norm(luma[rows_px:], luma[:-rows_px], cv2.NORM_L1) / (len(luma) - rows_px)
        far = cv2.norm(luma[2 * rows_px :], luma[: -2 * rows_px], cv2.NORM_L1) / (len(luma) - 2 * rows_px)
        if far < 0.1 * luma.shape[1] and near < 0.1 * luma.shape[1]:
            continue
        ratios.append(near / far if far > 0 else MAX_COMBING)
    return min(max(ratios), MAX_COMBING) if ratios else math.nan


def _ghosting(luma: Frame) -> float:
    """Return how like itself, some way aside, the fine detail of luma (H, W) is."""
    cv2 = opencv()
    first, last = GHOST_LAGS_PX
    if luma.shape[1] < 3 * last:
        last = luma.shape[1] // 3
    if last <= first:
        return math.nan
    # Contours that are doubled sideways are upright ones; grain is averaged along them.
    smooth = cv2.GaussianBlur(
        luma.astype(np.float32), (0, 0), sigmaX=GHOST_DEVIATIONS_PX[0], sigmaY=GHOST_DEVIATIONS_PX[1]
    )
    fine = cv2.filter2D(smooth, cv2.CV_32F, np.array([[-1, 2, -1]], dtype=np.float32))
    fine = np.clip(fine, -3 * fine.std(), 3 * fine.std())
    spectrum = np.square(np.abs(np.fft.rfft(fine, luma.shape[1] + last, axis=1))).mean(0)
    likeness = np.fft.irfft(spectrum)[: last + 1]
    if likeness[0] < GHOST_LEAST_ENERGY * luma.shape[1]:
        return math.nan
    likeness = likeness / likeness[0]
    found = 0.0
    for lag in range(first, last + 1):
        if lag % CODING_BLOCK_PX:
            found = max(found, min(float(likeness[lag]), float(likeness[lag] - likeness[1:lag].min())))
    return min(found, 1.0)


def _level_gaps(luma: Frame) -> float:
    counts = np.bincount(luma.ravel(), minlength=256)
    first, last = np.searchsorted(counts.cumsum() / luma.size, (0.02, 0.98))
    if last - first < LEAST_LEVELS:
        return math.nan
    inside = counts[first : last + 1]
    return float((inside < GAP_SHARE * inside.mean()).mean())


def _median(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan

"""How well a clip was filmed and encoded: sharpness, blockiness, noise, exposure and flicker.

Axes: N all frames, H W rows and columns. Luma is in levels of 0 to 255.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import ClipView, Column, ViewName
from cogvideox.data.libraries import opencv

Array = NDArray[np.floating[Any]]

BAND_DEVIATIONS_PX = (0.8, 1.6, 3.2)
"""Of the Gaussians between which octaves lie. Natural pictures have about as much energy in each."""
NOISE_IN_BANDS = (0.63, 0.068, 0.012)
"""Shares of the variance of white noise that fall into the octaves."""
ROUNDING_VARIANCE = 1 / 12
"""Levels²."""
LEAST_DETAIL = 0.25
"""Levels²: a plain picture has less in its octaves, and no sharpness."""
BLOCK_PX = 8
PATCH_PX = 16
NOISE_QUANTILE, NOISE_QUANTILE_BIAS = 0.1, 0.91
"""Of the patches of a frame: most hold texture, which looks like noise; the plainest do not. Of white noise alone that
quantile is lower than the mean by the second number."""
IMMERKAER = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
DARK, BRIGHT = 8, 247
"""Levels; at and beyond them shadows and lights are lost."""
MAX_BLOCKINESS = 10.0

COLUMNS = (
    Column(
        name="sharpness",
        unit="share",
        low=0,
        high=1,
        meaning="Share of the finest octave in the energy of the three finest, noise taken off, of the coded pixels, "
        "median over frames: about 1/3 is sharp, below 0.05 blurred or enlarged before it was coded.",
    ),
    Column(
        name="detail_sharpness",
        unit="share",
        low=0,
        high=1,
        meaning="The same of pictures reduced to 640 px: also low if the clip is out of focus as it will be seen.",
    ),
    Column(
        name="blockiness",
        unit="ratio",
        low=0,
        high=MAX_BLOCKINESS,
        meaning="How much larger steps of luma are on the grid of 8x8 blocks than beside it, median over the grid's "
        "lines: 0 is none, above 0.5 it is seen.",
    ),
    Column(
        name="noise",
        unit="levels",
        low=0,
        high=255,
        meaning="Standard deviation of the finest grain where the coded picture is plainest (Immerkaer 1996); NaN if "
        "it is black or white everywhere.",
    ),
    Column(name="luma", unit="levels", low=0, high=255, meaning="Mean luma."),
    Column(name="contrast", unit="levels", low=0, high=255, meaning="Standard deviation of luma, mean over frames."),
    Column(
        name="dark_share",
        unit="share",
        low=0,
        high=1,
        meaning=f"Share of pixels with luma of {DARK} or less, black bars among them.",
    ),
    Column(name="bright_share", unit="share", low=0, high=1, meaning=f"Share of pixels with luma of {BRIGHT} or more."),
    Column(
        name="flicker",
        unit="levels",
        low=0,
        high=255,
        meaning="Root mean square of how far a frame's mean luma is from that of its two neighbours, the largest tenth "
        "(cuts) left out; NaN for less than 3 frames.",
    ),
)


class QualityOperator:
    """Measures how well a clip was filmed and encoded."""

    name = "quality"
    version = 1
    columns = COLUMNS
    views: frozenset[ViewName] = frozenset({"native", "detail", "thumbs"})

    def weights(self) -> tuple[str, ...]:
        """Return nothing: there are none."""
        return ()

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns; those of a view without frames are NaN."""
        cv2 = opencv()
        details = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.detail]
        noises = [noise_deviation(luma) for luma in clip.native]
        histogram = np.sum([np.bincount(luma.ravel(), minlength=256) for luma in details], axis=0, initial=0)
        histogram = histogram / histogram.sum() if details else np.full(256, math.nan)
        return {
            "sharpness": _median([sharpness(luma) for luma in clip.native]),
            "detail_sharpness": _median([sharpness(luma) for luma in details]),
            "blockiness": _median([blockiness(luma) for luma in clip.native]),
            "noise": _median(noises),
            "luma": float(histogram @ np.arange(256)),
            "contrast": float(np.mean([luma.std() for luma in details])) if details else math.nan,
            "dark_share": min(float(histogram[: DARK + 1].sum()), 1.0),
            "bright_share": min(float(histogram[BRIGHT:].sum()), 1.0),
            "flicker": _flicker(clip.thumbs),
        }


def sharpness(luma: NDArray[np.uint8]) -> float:
    """Return the share of the finest of three octaves of luma (H, W), 0 to 1; NaN of a plain picture."""
    cv2 = opencv()
    noise = noise_deviation(luma)
    noise_variance = max(0.0 if math.isnan(noise) else noise**2, ROUNDING_VARIANCE)
    finer = luma.astype(np.float32)
    energies = []
    for deviation_px, share in zip(BAND_DEVIATIONS_PX, NOISE_IN_BANDS, strict=True):
        coarser = cv2.GaussianBlur(finer, (0, 0), deviation_px)
        energy = cv2.norm(finer, coarser, cv2.NORM_L2SQR) / luma.size
        energies.append(max(energy - share * noise_variance, 0.0))
        finer = coarser
    return energies[0] / sum(energies) if sum(energies) > LEAST_DETAIL else math.nan


def blockiness(luma: NDArray[np.uint8]) -> float:
    """Return how much larger steps on the lines of the grid of blocks of luma (H, W) are than beside them.

    Blocks begin at its corner. 0 to `MAX_BLOCKINESS`; NaN if less than two blocks fit.
    """
    ratios = []
    for plane in (luma, luma.T):
        if plane.shape[1] < 2 * BLOCK_PX:
            continue
        steps = np.abs(np.diff(plane.astype(np.int16), axis=1)).mean(0)
        lines = np.arange(BLOCK_PX - 1, len(steps) - 2, BLOCK_PX)
        beside = (steps[lines - 2] + steps[lines - 1] + steps[lines + 1] + steps[lines + 2]) / 4
        ratios.extend((steps[lines] + 0.1) / (beside + 0.1) - 1)
    return float(np.clip(np.median(ratios), 0, MAX_BLOCKINESS)) if ratios else math.nan


def noise_deviation(luma: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the noise of luma (H, W), levels; NaN if nothing is between black and white."""
    cv2 = opencv()
    grain = cv2.filter2D(luma, cv2.CV_32F, np.array(IMMERKAER, dtype=np.float32))
    size = tuple(max(1, side_px // PATCH_PX) for side_px in luma.shape[::-1])
    grains = cv2.resize(np.abs(grain), size, interpolation=cv2.INTER_AREA)
    means = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    seen = grains[(means > 2 * DARK) & (means < BRIGHT - DARK)]  # where luma is cut off, noise is, too
    if not seen.size:
        return math.nan
    deviation = math.sqrt(math.pi / 2) / 6 * float(np.quantile(seen, NOISE_QUANTILE)) / NOISE_QUANTILE_BIAS
    return min(deviation, 255.0)


def _flicker(thumbs: NDArray[np.uint8]) -> float:
    """Return the flicker of all frames (N, H, W, 3)."""
    if len(thumbs) < 3:
        return math.nan
    means = thumbs.reshape(len(thumbs), -1).mean(1)
    away = np.sort(np.square(means[1:-1] - (means[:-2] + means[2:]) / 2))
    return math.sqrt(away[: max(1, math.ceil(0.9 * len(away)))].mean())


def _median(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan

"""Cues of slide shows, screen recordings and edited pictures; each is a simple measure, none is a verdict.

Axes: T sampled frames, N all frames, H W rows and columns. Luma is in levels of 0 to 255.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import ClipView, Column, ViewName
from cogvideox.data.curation.optical_flow import DisFlow
from cogvideox.data.libraries import opencv

Luma = NDArray[np.uint8]
Array = NDArray[np.floating[Any]]

FROZEN_LEVELS = 0.1
"""Mean change of a frame below which nothing but the codec stirs."""
BURST_SHARE = 0.05
BLOCK_PX = 8
FLAT_LEVELS = 2
COLOUR_BITS = 4
COLOURS_COVER = 0.95
EDGE_LEVELS = 16
"""Steps of luma below it are no edges."""
AXIS_SLOPE = 0.03
CHANGE_LEVELS = 6
"""A pixel with less has not changed: codecs and grain do that."""
LOCAL_SHARE = 0.01
"""A pointer or a caret covers less of the picture."""
SCROLL_LEAST_SHARE = 0.1
"""Of the picture that moves together."""
SCROLL_EXPLAINED = 0.8
"""Share of the change that a shift must undo: filmed pans have parallax, blur and other things that move."""
SCROLL_ASIDE_PX = 0.3
DISSOLVE_LEVELS = 4.0
DISSOLVE_LEFT = 0.04
"""Share of the squared change that a mix of the frames before and after leaves; of a moving edge it is a quarter."""
DISSOLVE_UNMOVED = 0.6
"""Share of the squared change that flow leaves of a mix; of motion less."""
BAR_LEVELS = 24
BAR_CONTRAST_SHARE = 0.3
OVERLAY_WINDOW_PX = 25
MAX_FRAMES = 48
"""Of a clip that the overlay is sought in, spread evenly."""


def _share(name: str, meaning: str) -> Column:
    return Column(name=name, unit="share", low=0, high=1, meaning=meaning)


COLUMNS = (
    _share("identical_share", "Share of frames that are bit for bit the one before: rendered or repeated."),
    _share("frozen_share", f"Share of frames that differ from the one before by less than {FROZEN_LEVELS} levels."),
    _share(
        "burst_share",
        f"Share of all change that the liveliest {BURST_SHARE:.0%} of frames hold: near 1 in a slide show with cuts; "
        "NaN if nothing changes.",
    ),
    _share("flat_share", f"Share of blocks of 8x8 px whose luma differs by {FLAT_LEVELS} levels or less inside."),
    Column(
        name="num_colours",
        unit="count",
        low=1,
        high=2 ** (3 * COLOUR_BITS),
        meaning="Colours, of 4096, that cover 95 % of a picture, median over frames.",
    ),
    _share(
        "axis_edge_share",
        "Share of edge energy that is exactly level or upright: about 0.1 to 0.2 filmed, above 0.4 in windows, tables "
        "and text; NaN without edges.",
    ),
    _share("scroll_share", "Share of pairs of frames whose change one level or upright shift of a large part undoes."),
    _share(
        "local_change_share",
        f"Share of pairs of frames that differ, but in less than {LOCAL_SHARE:.0%} of the picture: a pointer, a caret.",
    ),
    _share("dissolve_share", "Share of frames that are a mix of an earlier and a later one: cross-fades and fades."),
    _share("letterbox_share", "Share of the picture in black bars along its sides; NaN if it is black everywhere."),
    _share(
        "overlay_share",
        "Share of the picture on sharp edges that stay while what is around them changes: logos, frames, captions.",
    ),
)


class CuesOperator:
    """Measures cues of slide shows, screen recordings and edited pictures."""

    name = "cues"
    version = 1
    columns = COLUMNS
    views: frozenset[ViewName] = frozenset({"motion", "detail", "changes"})

    def weights(self) -> tuple[str, ...]:
        """Return nothing: there are none."""
        return ()

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns; those that compare frames are NaN for a clip of one."""
        cv2 = opencv()
        lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.motion]
        details = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.detail]
        pairs = list(pairwise(lumas))
        return {
            **_change_shares(clip.changes),
            "flat_share": _mean([_flat_share(luma) for luma in details]),
            "num_colours": float(np.median([_num_colours(frame) for frame in clip.detail])) if details else math.nan,
            "axis_edge_share": _mean([_axis_edge_share(luma) for luma in details]),
            "scroll_share": _mean([float(is_scroll(*pair)) for pair in pairs]),
            "local_change_share": _mean([float(_is_local_change(*pair)) for pair in pairs]),
            "dissolve_share": _dissolve_share(lumas),
            "letterbox_share": _letterbox_share(details),
            "overlay_share": _overlay_share(lumas),
        }


def _change_shares(changes: NDArray[np.float32]) -> dict[str, float]:
    """Return what the changes (N,) say."""
    known = np.sort(changes[np.isfinite(changes)])[::-1].astype(np.float64)
    if not known.size:
        return dict.fromkeys(("identical_share", "frozen_share", "burst_share"), math.nan)
    total = known.sum()
    burst = known[: math.ceil(BURST_SHARE * known.size)].sum()
    return {
        "identical_share": float((known == 0).mean()),
        "frozen_share": float((known < FROZEN_LEVELS).mean()),
        "burst_share": min(float(burst / total), 1.0) if total > 0 else math.nan,
    }


def _flat_share(luma: Luma) -> float:
    rows, columns = (side_px // BLOCK_PX for side_px in luma.shape)
    if not rows or not columns:
        return math.nan
    blocks = luma[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX)
    highest, lowest = blocks.max(1).max(-1), blocks.min(1).min(-1)
    return float((highest - lowest <= FLAT_LEVELS).mean())


def _num_colours(frame: NDArray[np.uint8]) -> int:
    red, green, blue = np.moveaxis((frame >> (8 - COLOUR_BITS)).astype(np.uint16), -1, 0)
    codes = (red << (2 * COLOUR_BITS)) | (green << COLOUR_BITS) | blue
    counts = np.sort(np.bincount(codes.ravel()))[::-1].cumsum()
    return int(np.searchsorted(counts, COLOURS_COVER * counts[-1])) + 1


def _axis_edge_share(luma: Luma) -> float:
    cv2 = opencv()
    right, down = (np.abs(cv2.Sobel(luma, cv2.CV_32F, *order)) / 4 for order in ((1, 0), (0, 1)))
    larger, smaller = np.maximum(right, down), np.minimum(right, down)
    energy = np.square(larger) * (larger >= EDGE_LEVELS)
    total = float(energy.sum())
    return float(energy[smaller <= AXIS_SLOPE * larger].sum()) / total if total else math.nan


def is_scroll(first: Luma, second: Luma) -> bool:
    """Return whether one shift, level or upright, of a large part of the picture undoes what two frames differ by.

    The part is the box around what changes, so what stays beside it (a toolbar, a frame) does not matter; the shift is
    found by phase correlation.
    """
    cv2 = opencv()
    changed = cv2.compare(cv2.absdiff(first, second), CHANGE_LEVELS, cv2.CMP_GE)
    left, top, width, height = cv2.boundingRect(changed)
    if width < 8 or height < 8 or width * height < SCROLL_LEAST_SHARE * first.size:
        return False
    before, after = (x[top : top + height, left : left + width].astype(np.float32) for x in (first, second))
    (right, down), _ = cv2.phaseCorrelate(before, after, cv2.createHanningWindow((width, height), cv2.CV_32F))
    far, aside = max(abs(right), abs(down)), min(abs(right), abs(down))
    if aside > SCROLL_ASIDE_PX or not 0.7 < far < min(width, height) / 2:
        return False
    shift = np.array([[1, 0, right], [0, 1, down]], dtype=np.float64)
    undone = cv2.warpAffine(after, shift, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    margin = math.ceil(far) + 1
    inside = np.s_[margin : height - margin, margin : width - margin]
    change = float(np.square(before[inside] - after[inside]).sum())
    left_over = float(np.square(before[inside] - undone[inside]).sum())
    return change > 0 and left_over < (1 - SCROLL_EXPLAINED) * change


def _is_local_change(first: Luma, second: Luma) -> bool:
    change = opencv().absdiff(first, second)
    num_changed, num_touched = int((change >= CHANGE_LEVELS).sum()), int((change > 0).sum())
    return 0 < num_changed < LOCAL_SHARE * change.size and num_touched < 2 * LOCAL_SHARE * change.size


def _dissolve_share(lumas: Sequence[Luma]) -> float:
    """Return the share of frames that a straight mix of the frames before and after them is."""
    cv2 = opencv()
    if len(lumas) < 3:
        return math.nan
    size = tuple(max(1, side_px // 2) for side_px in lumas[0].shape[::-1])
    small = [cv2.resize(luma, size, interpolation=cv2.INTER_AREA) for luma in lumas]
    model = DisFlow()
    return float(np.mean([_is_mix(model, *three) for three in zip(small[:-2], small[1:-1], small[2:], strict=True)]))


def _is_mix(model: DisFlow, before: Luma, here: Luma, after: Luma) -> bool:
    whole = (after.astype(np.float32) - before).ravel()
    part = (here.astype(np.float32) - before).ravel()
    energy = float(whole @ whole)
    if energy < DISSOLVE_LEVELS**2 * whole.size:
        return False
    weight = float(part @ whole) / energy
    left = float(part @ part) - weight**2 * energy
    if not 0.2 < weight < 0.8 or left > DISSOLVE_LEFT * energy:
        return False
    # What moves by less than an edge is wide looks like a mix, too, but flow undoes it.
    cv2 = opencv()
    flow = model.flow(*(cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB) for luma in (before, after)))
    columns_px, rows_px = np.meshgrid(*(np.arange(side_px, dtype=np.float32) for side_px in before.shape[::-1]))
    places = columns_px + flow[..., 0], rows_px + flow[..., 1]
    undone = cv2.remap(after, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.norm(before, undone, cv2.NORM_L2SQR) > DISSOLVE_UNMOVED * energy


def _letterbox_share(lumas: Sequence[Luma]) -> float:
    """Return the share of black bars: rows and columns at the sides, dark in all frames, with a sharp inner edge."""
    if not lumas:
        return math.nan
    brightest = np.max(lumas, axis=0)
    if brightest.max() <= BAR_LEVELS:
        return math.nan
    for _ in range(2):  # top and bottom, then left and right
        is_bright = brightest > BAR_LEVELS
        lines = np.flatnonzero(is_bright.mean(1) > 0.005)
        if lines.size:
            first, last = int(lines[0]), int(lines[-1]) + 1
            if is_bright[first : first + 2].mean(1).max() < BAR_CONTRAST_SHARE:
                first = 0
            if is_bright[max(last - 2, 0) : last].mean(1).max() < BAR_CONTRAST_SHARE:
                last = len(is_bright)
            brightest = brightest[first:last]
        brightest = brightest.T
    return 1 - brightest.size / lumas[0].size


def _overlay_share(lumas: Sequence[Luma]) -> float:
    """Return the share of pixels on edges that stay among pixels that change."""
    cv2 = opencv()
    if len(lumas) < 3:
        return math.nan
    frames = np.stack([lumas[i] for i in np.unique(np.linspace(0, len(lumas) - 1, MAX_FRAMES).round().astype(int))])
    mean = frames.mean(0, dtype=np.float32)
    deviation = frames.std(0, dtype=np.float32)
    right, down = (cv2.Sobel(mean, cv2.CV_32F, *order) / 4 for order in ((1, 0), (0, 1)))
    is_edge = np.hypot(right, down) >= EDGE_LEVELS
    has_changed = (deviation >= CHANGE_LEVELS).astype(np.float32)
    around = cv2.blur(has_changed, (OVERLAY_WINDOW_PX, OVERLAY_WINDOW_PX))
    return float((is_edge & (deviation < CHANGE_LEVELS / 2) & (around > 0.5)).mean())


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan

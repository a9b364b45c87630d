"""What the pages of a curation share: texts made safe, numbers made readable, round axis marks, and histograms.

Axes: N clips.
"""

import html
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

NUM_TICKS = 5
NUM_BINS = 40
PLOT_WIDTH, PLOT_HEIGHT = 380, 220
PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM = 34, 12, 22, 24
"""Of a histogram in its own units, and the room around its bars."""

_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")


def histogram_svg(
    name: str, values: NDArray[np.float64], is_kept: NDArray[np.bool_], bounds: Iterable[tuple[str, float]]
) -> str:
    """Return how many clips have which value, kept ones below dropped ones, with each threshold drawn.

    Args:
        name: of the column, for screen readers.
        values: (N,); NaN counts nowhere. A far tail is gathered in the last bar, marked with a +.
        is_kept: (N,).
        bounds: of each rule on the column, the side and the threshold.
    """
    has_value = ~np.isnan(values)
    known = values[has_value]
    if not known.size:
        return "<p class='empty plot'>No clip has a value.</p>"
    bounds = [(side, bound) for side, bound in bounds if np.isfinite(bound)]
    low, high, has_tail = _plot_range(known, [bound for _, bound in bounds])
    edges = np.linspace(low, high, NUM_BINS + 1)
    bins = np.clip(((np.minimum(values[has_value], high) - low) / (high - low) * NUM_BINS).astype(int), 0, NUM_BINS - 1)
    num_all = np.bincount(bins, minlength=NUM_BINS)
    num_kept = np.bincount(bins[is_kept[has_value]], minlength=NUM_BINS)
    floor, tallest = PLOT_HEIGHT - PLOT_BOTTOM, int(num_all.max())
    scale = (floor - PLOT_TOP) / tallest

    def x_of(value: float) -> float:
        return PLOT_LEFT + (value - low) / (high - low) * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT)

    label = f"{name}: {known.size} clips from {number_text(known.min())} to {number_text(known.max())}"
    parts = [f'<svg class=plot viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" role=img aria-label="{safe_text(label)}">']
    for side, bound in bounds:
        left, right = (x_of(low), x_of(bound)) if side == "min" else (x_of(bound), x_of(high))
        parts.append(f"<rect class=out x={left:.1f} y={PLOT_TOP} width={right - left:.1f} height={floor - PLOT_TOP} />")
    for tick in axis_ticks(0, tallest, 3):
        if tick % 1 == 0:  # clips are whole
            y = floor - tick * scale
            parts.append(f"<line class=grid x1={PLOT_LEFT} x2={PLOT_WIDTH - PLOT_RIGHT} y1={y:.1f} y2={y:.1f} />")
            parts.append(f"<text x={PLOT_LEFT - 6} y={y + 4:.1f} text-anchor=end>{number_text(tick)}</text>")
    width = (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT) / NUM_BINS - 1
    for index in np.flatnonzero(num_all).tolist():
        kept, dropped = (max(number * scale, 1.0) if number else 0.0 for number in _split(num_all, num_kept, index))
        where = f"{number_text(edges[index])} to {number_text(edges[index + 1])}"
        counts = f"{where}: {num_kept[index]:,} kept, {num_all[index] - num_kept[index]:,} dropped"
        parts.append(f"<g><title>{counts}</title>")
        for css, height, base in (("kept", kept, floor), ("dropped", dropped, floor - kept)):
            if height:
                x, y = x_of(edges[index]) + 0.5, base - height
                parts.append(f"<rect class={css} x={x:.1f} y={y:.1f} width={width:.1f} height={height:.1f} />")
        parts.append("</g>")
    parts.append(f"<line class=axis x1={PLOT_LEFT} x2={PLOT_WIDTH - PLOT_RIGHT} y1={floor} y2={floor} />")
    for tick in axis_ticks(low, high):
        parts.append(f"<text x={x_of(tick):.1f} y={PLOT_HEIGHT - 6} text-anchor=middle>{number_text(tick)}</text>")
    for side, bound in bounds:
        anchor = "end" if x_of(bound) > PLOT_WIDTH / 2 else "start"
        parts.append(f"<line class=bound x1={x_of(bound):.1f} x2={x_of(bound):.1f} y1={PLOT_TOP - 6} y2={floor} />")
        parts.append(
            f"<text class=bound x={x_of(bound):.1f} y=11 text-anchor={anchor}>{side} {number_text(bound)}</text>"
        )
    if has_tail:
        parts.append(f"<text x={PLOT_WIDTH - 2} y={floor - 4} text-anchor=end>+</text>")
    return "".join([*parts, "</svg>"])


def _split(num_all: NDArray[np.int64], num_kept: NDArray[np.int64], index: int) -> tuple[int, int]:
    return int(num_kept[index]), int(num_all[index] - num_kept[index])


def _plot_range(known: NDArray[np.float64], bounds: Sequence[float]) -> tuple[float, float, bool]:
    """Return the lowest and highest value of a plot that shows all bounds, and whether a tail goes on beyond."""
    low, body, high = float(known.min()), float(np.quantile(known, 0.99)), float(known.max())
    has_tail = high - body > 0.5 * (body - low) > 0
    low, high = min(low, *bounds, low), max(body if has_tail else high, *bounds, low)
    return (low, high, has_tail) if high > low else (low - 0.5, high + 0.5, False)


def axis_ticks(low: float, high: float, num_ticks: int = NUM_TICKS) -> Sequence[float]:
    """Return round numbers from low to high, about so many, at steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / num_ticks
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.7 * raw)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [round(index * step, 12) for index in range(first, last + 1)]


def time_unit(total_s: float) -> tuple[float, str]:
    """Return how many seconds the unit has in which so long a time reads well, and its name."""
    if total_s >= 2 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if total_s >= 2 * 60 else (1.0, "seconds")


def duration_text(seconds: float) -> str:
    """Return for example "3.2 h", "41 min" or "7.5 s"."""
    for scale_s, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= scale_s or unit == "s":
            amount = seconds / scale_s
            return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"
    raise AssertionError(seconds)


def number_text(value: float) -> str:
    """Return a number with three significant digits, "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value + 0.0:.3g}"  # no -0


def safe_text(text: str) -> str:
    """Return any text for use in HTML and its attributes; what is invisible or turns the text around is spelt out."""
    return html.escape(_INVISIBLE.sub(_spell_out, text))


def _spell_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    is_raw_byte = 0xDC80 <= code <= 0xDCFF  # how Python keeps the bytes of a file name that is not UTF-8
    return f"\\x{code - 0xDC00:02x}" if is_raw_byte else match.group().encode("unicode_escape").decode("ascii")

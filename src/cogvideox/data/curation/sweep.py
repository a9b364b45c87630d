"""What a threshold costs: hours that are kept against the bound of one column, as numbers, a table and a plot.

Axes: N clips, M thresholds.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.component_files import write_atomically
from cogvideox.data.curation.plots import axis_ticks, duration_text, number_text, safe_text, time_unit
from cogvideox.data.curation.policy import ClipScores, Policy, Rule, Side

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 44
"""Of the plot in its own units, and the room for its axes."""


STYLE = """
svg.plot { --kept: #0b6e75; --other: #8a8f98; --mark: #b3410e; --ink: #1c1f24; --faint: #d9dce1;
  font: 12px system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
@media (prefers-color-scheme: dark) {
  svg.plot { --kept: #4cc3ca; --other: #8b929d; --mark: #ff9d66; --ink: #e8eaee; --faint: #363b44; }
}
svg.plot text { fill: var(--ink); }
svg.plot .grid { stroke: var(--faint); }
svg.plot .all { stroke: var(--kept); stroke-width: 2.2; fill: none; stroke-linejoin: round; }
svg.plot .alone { stroke: var(--other); stroke-width: 1.6; fill: none; stroke-dasharray: 5 4; }
svg.plot .now { stroke: var(--mark); stroke-width: 1.4; }
svg.plot .dot { fill: var(--mark); }
svg.plot text.mark { fill: var(--mark); font-weight: 600; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; max-width: 44rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem; background: #fbfbfa; color: #1c1f24; }}
h1 {{ font-size: 1.35rem; line-height: 1.25; overflow-wrap: anywhere; margin: 0 0 .5rem; }}
svg {{ width: 100%; height: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }}
th, td {{ text-align: right; padding: .25rem .5rem; border-bottom: 1px solid #d9dce1; }}
th {{ font-weight: 600; vertical-align: bottom; }}
tr.now {{ font-weight: 700; color: #b3410e; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #15171b; color: #e8eaee; }} th, td {{ border-color: #363b44; }} tr.now {{ color: #ff9d66; }}
}}{style}</style></head>
<body><h1>{title}</h1><p>{summary}</p>{svg}{table}</body></html>
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """What is kept at each threshold of one column."""

    column: str
    unit: str
    side: Side
    step: int
    """Of the training, at which the other rules are taken."""
    current: float | None
    """The policy's own threshold, one of ``thresholds``; None if it has none on this side of the column."""
    thresholds: NDArray[np.float64]
    """(M,) rising."""
    alone_s: NDArray[np.float64]
    """(M,) kept by this threshold and no other rule."""
    kept_s: NDArray[np.float64]
    """(M,) kept by this threshold and all other rules of the policy."""
    num_alone: NDArray[np.int64]
    """(M,) clips."""
    num_kept: NDArray[np.int64]
    total_s: float
    num_clips: int

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one plain dictionary for each threshold, for JSON."""
        return [
            {
                "threshold": float(self.thresholds[index]),
                "is_current": self.current is not None and float(self.thresholds[index]) == self.current,
                "num_alone": int(self.num_alone[index]),
                "alone_s": float(self.alone_s[index]),
                "num_kept": int(self.num_kept[index]),
                "kept_s": float(self.kept_s[index]),
            }
            for index in range(self.thresholds.size)
        ]


def sweep(
    policy: Policy,
    scores: ClipScores,
    column: str,
    *,
    side: Side | None = None,
    unit: str = "",
    step: int = 0,
    num_points: int = 50,
) -> Sweep:
    """Return what is kept at thresholds all along the values of a column.

    Args:
        policy: resolved. Its first rule on this side of the column is what is swept, so it says which clips without a
            value stay; if there is none they go. All its other rules apply to ``kept_s``.
        scores: of the corpus.
        column: need not be one of the policy's.
        side: of the threshold; by default that of the policy's first rule on the column, or else "min".
        unit: of the column, for the plot.
        step: of the training.
        num_points: half of them evenly spaced between the lowest and the highest value, half with equally many clips
            between them; the current threshold is added.

    Raises:
        ValueError: the column is not measured, no clip has a value, or the policy is not resolved.
    """
    values = scores.column(column)
    known = values[~np.isnan(values)]
    if not known.size:
        raise ValueError(f"column {column!r}: no clip has a value")
    if num_points < 2:
        raise ValueError(f"num_points: expected at least 2, got {num_points}")
    here = [rule for rule in policy.rules if rule.column == column and side in (None, rule.side)]
    swept = here[0] if here else None
    side = swept.side if swept is not None else side or "min"
    current = swept.bound_at(step) if swept is not None and math.isfinite(swept.bound_at(step)) else None
    even = np.linspace(known.min(), known.max(), num_points - num_points // 2)
    full = np.quantile(known, np.linspace(0, 1, num_points // 2 + 2)[1:-1])
    thresholds = np.unique(np.concatenate([even, full, [] if current is None else [current]]))
    others = Policy(rules=tuple(rule for rule in policy.rules if rule is not swept)).keeps(scores, step)
    missing = swept.missing if swept is not None else "drop"
    trial = Rule(column=column, missing=missing, min=0.0 if side == "min" else None, max=0.0 if side == "max" else None)
    alone = [replace(trial, **{side: float(bound)}).passes(values, step) for bound in thresholds]
    durations_s = scores.durations_s
    return Sweep(
        column=column,
        unit=unit,
        side=side,
        step=step,
        current=current,
        thresholds=thresholds,
        alone_s=np.array([durations_s[passes].sum() for passes in alone]),
        kept_s=np.array([durations_s[passes & others].sum() for passes in alone]),
        num_alone=np.array([passes.sum() for passes in alone]),
        num_kept=np.array([(passes & others).sum() for passes in alone]),
        total_s=float(durations_s.sum()),
        num_clips=len(scores.clip_ids),
    )


def write_sweep(path: str | Path, swept: Sweep) -> None:
    """Write a plot as ``.svg``, or with its table as one ``.html`` page without other files.

    Raises:
        ValueError: the name ends in neither.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".html"):
        raise ValueError(f"path: expected a name ending in .svg or .html, got {path.name}")
    svg = sweep_svg(swept)
    if path.suffix == ".svg":
        write_atomically(path, svg.replace(">", f"><style>{STYLE}</style>", 1) + "\n")
        return
    title = f"{safe_text(swept.column)}: what a {swept.side}imum keeps"
    write_atomically(path, PAGE.format(title=title, summary=_summary(swept), svg=svg, table=_table(swept), style=STYLE))


def _summary(swept: Sweep) -> str:
    total = f"{swept.num_clips:,} clips, {duration_text(swept.total_s)}"
    if swept.current is None:
        return f"The policy has no {swept.side}imum on this column. All: {total}."
    at = int(np.searchsorted(swept.thresholds, swept.current))
    unit = f" {safe_text(swept.unit)}" if swept.unit else ""
    return (
        f"At step {swept.step:,} the {swept.side}imum is {number_text(swept.current)}{unit}. Alone it keeps "
        f"{duration_text(swept.alone_s[at])}, with the other rules {duration_text(swept.kept_s[at])}. All: {total}."
    )


def _table(swept: Sweep) -> str:
    scale_s, unit = time_unit(swept.total_s)
    rows = "".join(
        f"<tr{' class=now' if row['is_current'] else ''}><td>{number_text(row['threshold'])}</td>"
        f"<td>{row['num_alone']:,}</td><td>{row['alone_s'] / scale_s:,.2f}</td>"
        f"<td>{row['num_kept']:,}</td><td>{row['kept_s'] / scale_s:,.2f}</td></tr>"
        for row in swept.to_rows()
    )
    return (
        f"<table><thead><tr><th scope=col>{swept.side}imum</th><th scope=col>clips, alone</th>"
        f"<th scope=col>{unit}, alone</th><th scope=col>clips, all rules</th><th scope=col>{unit}, all rules</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )


def sweep_svg(swept: Sweep) -> str:
    """Return the plot as an ``svg`` element; its colours are in `STYLE`."""
    scale_s, unit = time_unit(swept.total_s)
    low, high = float(swept.thresholds[0]), float(swept.thresholds[-1])
    high = high if high > low else low + (abs(low) or 1.0)
    low = 0.0 if 0 < low < 0.2 * high else low
    y_ticks = axis_ticks(0.0, max(swept.total_s / scale_s, 1e-9))
    top = max(y_ticks[-1], swept.total_s / scale_s)

    def x_of(threshold: float) -> float:
        return LEFT + (threshold - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y_of(seconds: float) -> float:
        return HEIGHT - BOTTOM - seconds / scale_s / top * (HEIGHT - BOTTOM - TOP)

    def line(css_class: str, seconds: NDArray[np.float64]) -> str:
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in zip(swept.thresholds, seconds, strict=True))
        return f'<polyline class="{css_class}" points="{points}"/>'

    parts = [
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Kept {unit} against the {swept.side}imum of {safe_text(swept.column)}">'
    ]
    for tick in y_ticks:
        y = y_of(tick * scale_s)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number_text(tick)}</text>')
    for tick in axis_ticks(low, high):
        x = x_of(tick)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number_text(tick)}</text>')
    axis = f"{swept.column} ({swept.unit})" if swept.unit else swept.column
    parts.append(f'<text x="{LEFT - 6}" y="12" text-anchor="end">{unit}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{safe_text(axis)}</text>')
    parts += [line("alone", swept.alone_s), line("all", swept.kept_s), _legend()]
    if swept.current is not None:
        x, at = x_of(swept.current), int(np.searchsorted(swept.thresholds, swept.current))
        anchor = "end" if x > WIDTH * 0.8 else "start"
        parts.append(f'<line class="now" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y_of(float(swept.kept_s[at])):.1f}" r="4"/>')
        parts.append(f'<text class="mark" x="{x:.1f}" y="{TOP - 8}" text-anchor="{anchor}" dx="-3">')
        parts.append(f"now {number_text(swept.current)}: {duration_text(swept.kept_s[at])}</text>")
    return "".join([*parts, "</svg>"])


def _legend() -> str:
    y = HEIGHT - 12
    return (
        f'<line class="all" x1="8" x2="30" y1="{y}" y2="{y}"/><text x="35" y="{y + 4}">all rules</text>'
        f'<line class="alone" x1="98" x2="120" y1="{y}" y2="{y}"/><text x="125" y="{y + 4}">alone</text>'
    )

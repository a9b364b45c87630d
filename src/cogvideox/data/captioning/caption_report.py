"""One page that shows what a captioning made: counts, figures, and the worst summaries of each figure.

A single HTML file without scripts. Texts come from models and file names and are hostile: whatever is written goes
through `safe_text`. Axes: N summaries.
"""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cogvideox.component_files import write_atomically
from cogvideox.data.captioning.checks import COLUMNS_BY_NAME, SUSPECT, badness, is_suspect
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.curation import report as curation_report
from cogvideox.data.curation.plots import histogram_svg, number_text, safe_text

NUM_WORST = 4
"""Summaries shown of each figure."""
NUM_BEST = 6
"""Summaries shown that no figure suspects."""
MAX_PICTURE_BYTES = 6_000_000
"""Of all pictures together as JPEG; what comes later on the page is shown without."""
MAX_FAILURES = 200
_NOT_SHOWN = ("num_words",)
"""Figures without a worse end."""
_INTRODUCTION = (
    "Worst first. Grounding alone rewards copying one sentence of the inputs, so coverage and length stand beside it; "
    "words that a figure is about are marked."
)


@dataclass(frozen=True, kw_only=True)
class CheckedSummary:
    """One summary as it is shown."""

    clip_id: str
    summary: str
    short: str = ""
    frame_captions: tuple[TimedCaption, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    """By the names of `cogvideox.data.captioning.checks.CHECK_COLUMNS`."""
    found: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By figure: the words that it is about."""
    flags: Sequence[str] = ()
    """Suspect figures."""
    pictures: tuple[bytes, ...] = ()
    """Up to 4 JPEG files, about 160 px wide, in the order of time."""


@dataclass(frozen=True, kw_only=True)
class CaptionReport:
    """What `write_caption_report` shows."""

    title: str
    tiles: tuple[tuple[str, str, str], ...]
    """Counts and costs for the top: name, value, and what more there is to say."""
    summaries: tuple[CheckedSummary, ...]
    """All of them; those of `summaries_to_show` with pictures."""
    failures: tuple[tuple[str, str, str], ...] = ()
    """Of what could not be had: clip, stage and reason."""
    settings: str = ""
    """The resolved recipe, as text."""
    notes: tuple[str, ...] = ()
    """Sentences for the top of the page."""


def summaries_to_show(values: Sequence[Mapping[str, float]]) -> list[int]:
    """Return the places of the summaries that the page shows, of all with these figures: they need pictures."""
    shown: dict[int, None] = {}
    for name in COLUMNS_BY_NAME:
        shown |= dict.fromkeys(_worst(name, values))
    shown |= dict.fromkeys(_unsuspected(values))
    return list(shown)


def write_caption_report(path: str | Path, report: CaptionReport) -> None:
    """Write the page, whole or not at all."""
    write_atomically(Path(path), _Page(report).html())


def _column(name: str, values: Sequence[Mapping[str, float]]) -> list[float]:
    return [row.get(name, math.nan) for row in values]


def _worst(name: str, values: Sequence[Mapping[str, float]]) -> list[int]:
    """Return the worst summaries by a figure; if it has a threshold, only those beyond it."""
    if name in _NOT_SHOWN or (name not in SUSPECT and not name.startswith("match")):
        return []
    column = _column(name, values)
    bad = badness(name, column)
    order = np.argsort(-bad, kind="stable").tolist()
    if name in SUSPECT:
        order = [place for place in order if is_suspect(name, column[place])]
    return [place for place in order if not math.isnan(column[place])][:NUM_WORST]


def _unsuspected(values: Sequence[Mapping[str, float]]) -> list[int]:
    good = [place for place, row in enumerate(values) if not any(is_suspect(*item) for item in row.items())]
    places = np.linspace(0, len(good) - 1, min(NUM_BEST, len(good)))
    return [good[round(place)] for place in places.tolist()]


class _Page:
    """Writes the parts of the page; a picture is stored once, as a style, however often it is shown."""

    def __init__(self, report: CaptionReport) -> None:
        self.report = report
        self.values = [one.values for one in report.summaries]
        self.picture_names: dict[bytes, str] = {}
        self.num_picture_bytes = 0

    def html(self) -> str:
        report = self.report
        body = "".join(
            (
                f"<header class='top wrap'><h1>{safe_text(report.title)}</h1>{self.notes()}</header>",
                "<nav aria-label=Sections><ul class=wrap><li><a href='#overview'>Overview</a><li>"
                "<a href='#figures'>Figures</a><li><a href='#worst'>Worst</a><li><a href='#good'>Not suspect</a><li>"
                "<a href='#failed'>Failed</a><li><a href='#recipe'>Recipe</a></ul></nav><main class=wrap>",
                f"<section id=overview><h2>Overview</h2>{self.tiles()}{self.flags()}</section>",
                f"<section id=figures><h2>Figures</h2>{self.figures()}</section>",
                f"<section id=worst><h2>Worst summaries</h2><p class=note>{_INTRODUCTION}</p>{self.worst()}</section>",
                f"<section id=good><h2>Not suspect</h2>{self.good()}</section>",
                f"<section id=failed><h2>Failed</h2>{self.failed()}</section>",
                f"<section id=recipe><h2>Recipe</h2><pre>{safe_lines(report.settings) or 'none given'}</pre></section>",
                "</main>",
            )
        )
        pictures = "".join(
            f'.{name}{{background-image:url("data:image/jpeg;base64,{base64.b64encode(picture).decode()}")}}'
            for picture, name in self.picture_names.items()
        )
        return (
            '<!DOCTYPE html><html lang=en><head><meta charset="utf-8"><meta name=viewport '
            'content="width=device-width, initial-scale=1"><meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
            f"<title>{safe_text(report.title)}</title><style>{_shared_style()}{_STYLE}{pictures}</style></head>"
            f"<body>{body}</body></html>\n"
        )

    def notes(self) -> str:
        return "".join(f"<p class=note>{safe_text(note)}</p>" for note in self.report.notes)

    def tiles(self) -> str:
        cells = "".join(
            f"<div><dt>{safe_text(name)}</dt><dd>{safe_text(value)}<small>{safe_text(more)}</small></dd></div>"
            for name, value, more in self.report.tiles
        )
        return f"<dl class=tiles>{cells}</dl>" if cells else ""

    def flags(self) -> str:
        counts = {name: sum(is_suspect(name, row.get(name, math.nan)) for row in self.values) for name in SUSPECT}
        counts = {name: number for name, number in counts.items() if number}
        if not counts:
            return "<p class=empty>No summary is suspect.</p>"
        most = max(counts.values())
        items = "".join(
            f"<li><a href='#w-{name}'>{_title(name)}</a><span class=bar><span style='width:{number / most:.1%}'></span>"
            f"</span><span class=num>{number:,}<small>{number / len(self.values):.0%}</small></span></li>"
            for name, number in sorted(counts.items(), key=lambda item: -item[1])
        )
        return f"<h3 class=gap>Suspect summaries by figure</h3><ol class=bars>{items}</ol>"

    def figures(self) -> str:
        parts, constant = [], []
        for name, column in COLUMNS_BY_NAME.items():
            values = np.array(_column(name, self.values), np.float64)
            if not values.size or np.isnan(values).all():
                continue
            if np.nanmin(values) == np.nanmax(values):
                constant.append(f"{_title(name)} <b>{number_text(np.nanmin(values))}</b>")
                continue
            suspect = np.array([is_suspect(name, value) for value in values.tolist()], bool)
            side, bound = SUSPECT.get(name, ("below", -math.inf))
            plot = histogram_svg(name, values, ~suspect, [("min" if side == "below" else "max", bound)])
            known = values[~np.isnan(values)]
            parts.append(
                f"<figure class=sheet><h3>{_title(name)} <small>{safe_text(column.unit)}</small></h3>"
                f"<p class=note>{safe_text(column.meaning)}</p>{plot}<figcaption>mean {number_text(known.mean())}, "
                f"{int(suspect.sum()):,} of {known.size:,} suspect</figcaption></figure>"
            )
        if not parts and not constant:
            return "<p class=empty>Nothing was measured.</p>"
        key = (
            "<ul class=key><li style='--swatch:var(--kept)'>not suspect<li style='--swatch:var(--dropped)'>suspect</ul>"
        )
        same = f"<p class=note>The same for all summaries: {', '.join(constant)}</p>" if constant else ""
        return f"{key}<div class=plots>{''.join(parts)}</div>{same}"

    def worst(self) -> str:
        parts = []
        for name in COLUMNS_BY_NAME:
            places = _worst(name, self.values)
            if places:
                cards = "".join(self.card(self.report.summaries[place], name) for place in places)
                parts.append(f"<section class=decision id='w-{name}'><h3>{_title(name)}</h3>{cards}</section>")
        return "".join(parts) or "<p class=empty>No summary is suspect.</p>"

    def good(self) -> str:
        places = _unsuspected(self.values)
        return "".join(self.card(self.report.summaries[place], "") for place in places) or (
            "<p class=empty>Every summary is suspect of something.</p>"
        )

    def card(self, one: CheckedSummary, figure: str) -> str:
        pictures = "".join(self.picture(one, index) for index in range(min(len(one.pictures), 4)))
        film = f"<div class=film>{pictures}</div>" if pictures else ""
        names = dict.fromkeys((figure, "grounding", "coverage", "num_words")) if figure else ("grounding", "coverage")
        facts = "".join(_fact(name, one.values.get(name, math.nan)) for name in names)
        words = list(one.found.get(figure, ()))
        is_missing = figure in ("coverage", "end_coverage")
        about = f"<p class=about><b>Not named:</b> {safe_text(', '.join(words))}</p>" if is_missing and words else ""
        text = marked(one.summary, [] if is_missing else words)
        frames = "".join(
            f"<li><b>{caption.time_s:.1f} s</b> {safe_text(caption.text)}</li>" for caption in one.frame_captions
        )
        short = f"<p class=about><b>Short:</b> {safe_text(one.short)}</p>" if one.short else ""
        inputs = f"<details><summary>What it was made of</summary>{short}<ol class=frames>{frames}</ol></details>"
        others = [name for name in one.flags if name != figure]
        also = f"<p class=note>also suspect: {', '.join(_title(name) for name in others)}</p>" if others else ""
        return (
            f"<article class='card wide'>{film}<p class=span><code>{safe_text(one.clip_id)}</code></p>"
            f"<p class=text>{text}</p>{about}<ul class=facts>{facts}</ul>{also}"
            f"{inputs if short or frames else ''}</article>"
        )

    def picture(self, one: CheckedSummary, index: int) -> str:
        picture = one.pictures[index]
        if picture not in self.picture_names:
            if self.num_picture_bytes + len(picture) > MAX_PICTURE_BYTES:
                return "<span class=blank>no room</span>"
            self.num_picture_bytes += len(picture)
            self.picture_names[picture] = f"p{len(self.picture_names)}"
        label = safe_text(f"{one.clip_id}, picture {index + 1} of {len(one.pictures)}")
        return f"<span class='pic {self.picture_names[picture]}' role=img aria-label='{label}'></span>"

    def failed(self) -> str:
        failures = self.report.failures
        if not failures:
            return "<p class=empty>Nothing failed.</p>"
        by_reason: dict[tuple[str, str], list[str]] = {}
        for clip_id, stage, reason in failures:
            by_reason.setdefault((stage, reason), []).append(clip_id)
        ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
        rows = "".join(
            f"<tr><th scope=row>{safe_text(stage)}</th><td>{safe_text(reason)}</td><td class=n>{len(clips):,}</td>"
            f"<td class=path>{safe_text(', '.join(clips[:3]))}{' ...' if len(clips) > 3 else ''}</td></tr>"
            for (stage, reason), clips in ordered[:MAX_FAILURES]
        )
        more = len(ordered) - MAX_FAILURES
        note = f"<p class=note>and {more:,} more reasons</p>" if more > 0 else ""
        return (
            "<div class=scroll tabindex=0 role=region aria-label='What failed'><table><thead><tr><th scope=col>stage"
            f"<th scope=col>reason<th scope=col class=n>captions<th scope=col>for example</tr></thead><tbody>{rows}"
            f"</tbody></table></div>{note}"
        )


def _fact(name: str, value: float) -> str:
    css = " class=fails" if is_suspect(name, value) else ""
    return f"<li{css}><span>{_title(name)}</span> <b>{number_text(value)}</b></li>"


def marked(text: str, words: Sequence[str]) -> str:
    """Return a text as HTML with some of its words marked."""
    wanted = sorted({word for word in words if word.strip()}, key=len, reverse=True)
    if not wanted:
        return safe_text(text)
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in wanted), re.IGNORECASE)
    parts, end = [], 0
    for match in pattern.finditer(text):
        parts += [safe_text(text[end : match.start()]), f"<mark>{safe_text(match.group())}</mark>"]
        end = match.end()
    return "".join([*parts, safe_text(text[end:])])


def safe_lines(text: str) -> str:
    """Return a text of several lines for use in HTML."""
    return "\n".join(safe_text(line) for line in text.splitlines())


def _title(name: str) -> str:
    return safe_text(name.replace("_", " "))


def _shared_style() -> str:
    """Return the style of the curation's report, so that both look alike."""
    page = Path(curation_report.__file__).with_name("report_page.html").read_text(encoding="utf-8")
    return re.sub(r"<!--[a-z-]+-->", "", page.split("<style>")[1].split("</style>")[0])


_STYLE = """
.gap { margin: 1.6rem 0 .8rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
.sheet { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; }
.sheet .note { font-size: .85rem; min-height: 2.6em; }
.sheet figcaption { white-space: normal; color: var(--soft); }
.card.wide { margin: 0 0 1rem; padding: 0 0 .8rem; }
.card.wide .film { max-width: 60rem; }
.card.wide .span { padding-top: .6rem; }
.card .text { max-width: 80ch; padding: .3rem .8rem; font-size: 1.02rem; overflow-wrap: anywhere; }
.card .about, .card .note, .card details { max-width: 80ch; padding: .2rem .8rem; font-size: .9rem; }
.card .about, .card .note, .card details { overflow-wrap: anywhere; margin: 0; }
.card .facts { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.card .facts li { display: flex; gap: .5rem; }
.card details .about { padding: .3rem 0; }
.frames { margin: .2rem 0; padding: 0; list-style: none; }
.frames li { padding: .1rem 0; }
mark { background: var(--dropped-wash); color: var(--dropped-ink); padding: 0 .15em; border-radius: 3px; }
mark { font-weight: 600; }
summary { color: var(--soft); }
@media (max-width: 700px) { .tiles { grid-template-columns: 1fr 1fr; } }
"""

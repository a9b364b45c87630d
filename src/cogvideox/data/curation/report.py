"""One page that shows what a curation found, kept and dropped, and why: everything in a single HTML file.

It reads without JavaScript; with it the clips can be filtered and sorted. Texts come from file names and are hostile:
whatever is written goes through `safe_text`. Axes: N clips.
"""

import base64
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cogvideox.component_files import write_atomically
from cogvideox.data.curation.operators import Column
from cogvideox.data.curation.plots import duration_text, histogram_svg, number_text, safe_text
from cogvideox.data.curation.policy import ClipScores, Policy, Rule

T = TypeVar("T")

KEPT = "kept"
MAX_TABLE_ROWS = 2000
MAX_TABLE_COLUMNS = 12
NUM_SAMPLES = 8
"""Clips shown of each decision."""
NUM_EXTREMES = 4
"""Kept clips shown at each end of a column."""
MAX_PICTURE_BYTES = 6_000_000
"""Of all pictures together as JPEG; what comes later on the page is shown without."""


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """One file that was looked at."""

    path: str
    status: str
    """"ok", or for example "damaged" or "rejected"."""
    reason: str = ""
    """Why, unless it is "ok"."""
    num_frames: int = 0
    duration_s: float = 0.0
    height_px: int = 0
    width_px: int = 0
    num_clips: int = 0


@dataclass(frozen=True, kw_only=True)
class ClipCard:
    """A clip as it is shown."""

    clip_id: str
    source: str
    start_s: float
    """In its source, as ``end_s``."""
    end_s: float
    is_kept: bool
    reasons: tuple[str, ...] = ()
    """Why it is dropped, in the words of ``first_reasons``; the first counts."""
    values: Mapping[str, float] = field(default_factory=dict)
    """By ``<operator>.<column>``; NaN where there is none."""
    pictures: tuple[bytes, ...] = ()
    """Up to 3 JPEG files, about 160 px wide, in the order of time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportInputs:
    """What `write_report` shows."""

    title: str
    sources: tuple[SourceRow, ...]
    scores: ClipScores
    """Of all clips that were found."""
    is_kept: NDArray[np.bool_]
    """(N,) by the policy at ``step`` and whatever else decides, for example duplicates."""
    first_reasons: tuple[str, ...]
    """(N,) the main reason of each dropped clip, such as a rule's name; empty if it is kept."""
    policy: Policy
    """Resolved."""
    cards: tuple[ClipCard, ...]
    """The clips that can be shown: those of `rows_to_show` with pictures, others for the table without."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """By ``<operator>.<column>``: units and meanings."""
    step: int = 0
    """Of the training, at which the policy is taken."""
    settings: str = ""
    """The resolved recipe, as text."""
    notes: tuple[str, ...] = ()
    """Sentences for the top of the page, for example when it was made."""

    def __post_init__(self) -> None:
        num_clips = len(self.scores.clip_ids)
        for name, found in (("is_kept", self.is_kept.shape[0]), ("first_reasons", len(self.first_reasons))):
            if found != num_clips:
                raise ValueError(f"{name}: expected {num_clips}, one for every clip of scores, got {found}")
        if not self.policy.is_resolved:
            raise ValueError("policy: expected values, got quantiles; call Policy.resolve first")


def rows_to_show(scores: ClipScores, is_kept: NDArray[np.bool_], first_reasons: Sequence[str]) -> list[int]:
    """Return the rows that the page shows with pictures: samples of each decision, and the ends of each column.

    Args:
        scores: of all clips.
        is_kept: (N,).
        first_reasons: (N,), as in `ReportInputs`.
    """
    rows: dict[int, None] = {}
    for members in _decisions(is_kept, first_reasons).values():
        rows |= dict.fromkeys(_spread(members, NUM_SAMPLES))
    for values in scores.values.values():
        for end in _extremes(values, is_kept):
            rows |= dict.fromkeys(end)
    return list(rows)


def _decisions(is_kept: NDArray[np.bool_], first_reasons: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each decision: `KEPT`, then the reasons, the most frequent first."""
    dropped = defaultdict(list)
    for row in np.flatnonzero(~is_kept).tolist():
        dropped[first_reasons[row] or "other"].append(row)
    by_size = sorted(dropped.items(), key=lambda item: (-len(item[1]), item[0]))
    return {KEPT: np.flatnonzero(is_kept).tolist()} | dict(by_size)


def _spread(members: Sequence[T], num_wanted: int) -> list[T]:
    """Return so many of them, evenly spread, so that not all are of one source."""
    places = np.linspace(0, len(members) - 1, min(num_wanted, len(members)))
    return [members[round(place)] for place in places.tolist()]


def _extremes(values: NDArray[np.float64], is_kept: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """Return the kept rows with the lowest and the highest values, none of them in both."""
    rows = np.flatnonzero(is_kept & ~np.isnan(values))
    rows = rows[np.argsort(values[rows], kind="stable")]
    return rows[:NUM_EXTREMES].tolist(), rows[NUM_EXTREMES:][-NUM_EXTREMES:][::-1].tolist()


def write_report(path: str | Path, report: ReportInputs) -> None:
    """Write the page, whole or not at all.

    Raises:
        ValueError: a column of the policy is not among the scores.
    """
    template = Path(__file__).with_name("report_page.html").read_text(encoding="utf-8")
    write_atomically(Path(path), _Page(report).fill(template))


class _Page:
    """Writes the parts of the page; a picture is stored once, as a style, however often it is shown."""

    def __init__(self, report: ReportInputs) -> None:
        self.report = report
        self.bounds = {rule: rule.bound_at(report.step) for rule in report.policy.rules}
        self.cards = {card.clip_id: card for card in report.cards}
        self.in_table = {card.clip_id: index for index, card in enumerate(report.cards[:MAX_TABLE_ROWS])}
        self.picture_names: dict[bytes, str] = {}
        self.num_picture_bytes = 0

    def fill(self, template: str) -> str:
        """Return the template with every ``<!--name-->`` replaced."""
        report = self.report
        parts = {
            "title": safe_text(report.title),
            "notes": "".join(f"<p class=note>{safe_text(note)}</p>" for note in report.notes),
            "summary": self.summary(),
            "reasons": self.reasons(),
            "rules": self.rules(),
            "decisions": self.decisions(),
            "columns": self.columns(),
            "clips": self.clips(),
            "bad": self.bad_sources(),
            "good": self.good_sources(),
            "settings": _safe_lines(report.settings) or "none given",
        }
        parts["pictures"] = "".join(  # last: by now it is known which are shown
            f'.{name}{{background-image:url("data:image/jpeg;base64,{base64.b64encode(picture).decode()}")}}'
            for picture, name in self.picture_names.items()
        )
        script = template.split("<script>")[1].split("</script>")[0]
        parts["script-hash"] = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return re.sub(r"<!--([a-z-]+)-->", lambda match: parts[match.group(1)], template)

    def summary(self) -> str:
        report, durations_s = self.report, self.report.scores.durations_s
        kept_s, all_s = float(durations_s[report.is_kept].sum()), float(durations_s.sum())
        num_kept, num_all = int(report.is_kept.sum()), len(report.scores.clip_ids)
        statuses = Counter(source.status for source in report.sources)
        by_status = ", ".join(f"{number:,} {safe_text(status)}" for status, number in statuses.most_common())
        share = kept_s / all_s if all_s else 0.0
        tiles = (
            ("Sources", f"{len(report.sources):,}", by_status or "none"),
            ("Clips found", f"{num_all:,}", duration_text(all_s)),
            ("Clips kept", f"{num_kept:,}", f"{num_kept / max(num_all, 1):.0%} of clips"),
            ("Time kept", duration_text(kept_s), f"{share:.0%} of {duration_text(all_s)}"),
        )
        cells = "".join(
            f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in tiles
        )
        return (
            f"<dl class=tiles>{cells}</dl><div class=share role=img aria-label='{share:.0%} of the time is kept'>"
            f"<span style='width:{share:.2%}'></span></div>"
        )

    def reasons(self) -> str:
        report, durations_s = self.report, self.report.scores.durations_s
        decisions = _decisions(report.is_kept, report.first_reasons)
        decisions.pop(KEPT)
        if not decisions:
            return "<p class=empty>No clip is dropped.</p>"
        longest = max(len(rows) for rows in decisions.values())
        items = "".join(
            f"<li><a href='#{_anchor(reason)}'>{safe_text(reason)}</a>"
            f"<span class=bar><span style='width:{len(rows) / longest:.2%}'></span></span>"
            f"<span class=num>{_clips(len(rows))}<small>{duration_text(durations_s[rows].sum())}</small></span></li>"
            for reason, rows in decisions.items()
        )
        return f"<ol class=bars>{items}</ol>"

    def rules(self) -> str:
        report = self.report
        if not report.policy.rules:
            return "<p class=empty>The policy has no rules: it keeps every clip.</p>"
        drops = report.policy.drop_reasons(report.scores, report.step)
        rows = "".join(
            f"<tr><th scope=row>{safe_text(rule.name)}</th><td>{self.bound_text(rule)}</td>"
            f"<td class=n>{alone:,}</td><td class=n>{first:,}</td><td class=n>{only:,}</td></tr>"
            for rule, alone, first, only in zip(
                report.policy.rules,
                drops.num_dropped_alone,
                drops.num_dropped_first,
                drops.num_dropped_only,
                strict=True,
            )
        )
        return (
            f"<p class=note>At step {report.step:,}; clips that each drops alone, as the first and as the only one.</p>"
            "<div class=scroll tabindex=0 role=region aria-label=Rules><table><thead><tr>"
            "<th scope=col>rule<th scope=col>keeps<th scope=col class=n>alone<th scope=col class=n>first"
            f"<th scope=col class=n>only</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def bound_text(self, rule: Rule) -> str:
        sign = "&ge;" if rule.side == "min" else "&le;"
        moves = ", moves with the steps" if rule.then else ""
        missing = ", or no value" if rule.missing == "keep" else ""
        bound = f"{number_text(self.bounds[rule])}{self.unit_text(rule.column)}"
        return f"{safe_text(rule.column)} {sign} {bound}{moves}{missing}"

    def unit_text(self, column: str) -> str:
        unit = self.report.columns[column].unit if column in self.report.columns else ""
        return f" {safe_text(unit)}" if unit else ""

    def decisions(self) -> str:
        decisions = _decisions(self.report.is_kept, self.report.first_reasons)
        return "".join(self.decision(name, rows) for name, rows in decisions.items())

    def decision(self, name: str, rows: Sequence[int]) -> str:
        ids = self.report.scores.clip_ids
        shown = [self.cards[ids[row]] for row in rows if ids[row] in self.cards]
        pictured = [card for card in shown if card.pictures] or shown
        cards = "".join(self.card(card) for card in _spread(pictured, NUM_SAMPLES))
        css, title = ("kept", "Kept by every rule") if name == KEPT else ("dropped", safe_text(name))
        samples = f"<div class=strip tabindex=0 role=group aria-label='{title}: samples'>{cards}</div>"
        return (
            f"<section class='decision {css}' id='{_anchor(name)}'><h3><span class=tag>{css}</span> {title} "
            f"<small>{_clips(len(rows))}</small></h3>{samples if cards else ''}</section>"
        )

    def card(self, card: ClipCard) -> str:
        pictures = "".join(self.picture(card, index) for index in range(min(len(card.pictures), 3)))
        facts = "".join(
            self.fact(rule, card.values.get(rule.column, float("nan"))) for rule in self.report.policy.rules
        )
        named = {rule.name for rule in self.report.policy.rules}
        more = "".join(f"<li>{safe_text(reason)}</li>" for reason in card.reasons[1:] if reason not in named)
        also = f"<ul class=also aria-label='Also dropped by'>{more}</ul>" if more else ""
        return (
            f"<article class=card><div class=film>{pictures or '<span class=blank>no picture</span>'}</div>"
            f"<p class=src title='{safe_text(card.source)}'>{safe_text(_file_name(card.source))}</p>"
            f"<p class=span>{_span(card)} · {self.link(card.clip_id)}</p><ul class=facts>{facts}</ul>{also}</article>"
        )

    def fact(self, rule: Rule, value: float) -> str:
        passes = bool(rule.passes(np.array([value]), self.report.step)[0])
        sign = "≥" if rule.side == "min" else "≤"
        wanted = f"<small>{sign} {number_text(self.bounds[rule])}</small>"
        mark = "" if passes else " class=fails"
        word = "" if passes else "<span class=hidden>fails: </span>"
        return f"<li{mark}><span>{word}{safe_text(rule.column)}</span> <b>{number_text(value)}</b> {wanted}</li>"

    def link(self, clip_id: str) -> str:
        text = f"<code>{safe_text(clip_id)}</code>"
        return f"<a href='#clip-{self.in_table[clip_id]}'>{text}</a>" if clip_id in self.in_table else text

    def picture(self, card: ClipCard, index: int) -> str:
        picture = card.pictures[index]
        if picture not in self.picture_names:
            if self.num_picture_bytes + len(picture) > MAX_PICTURE_BYTES:
                return "<span class=blank>no room</span>"
            self.num_picture_bytes += len(picture)
            self.picture_names[picture] = f"p{len(self.picture_names)}"
        label = f"{_file_name(card.source)}, picture {index + 1} of {len(card.pictures)}"
        return f"<span class='pic {self.picture_names[picture]}' role=img aria-label='{safe_text(label)}'></span>"

    def columns(self) -> str:
        names = list(self.report.scores.values)
        ruled = [name for name in self.report.policy.columns if name in names]
        others = [name for name in names if name not in ruled]
        parts = [self.column(name) for name in (ruled or others)]
        if ruled and others:
            more = "".join(self.column(name) for name in others)
            parts.append(f"<details><summary>{len(others)} columns without a rule</summary>{more}</details>")
        return "".join(parts) or "<p class=empty>Nothing was measured.</p>"

    def column(self, name: str) -> str:
        values = self.report.scores.column(name)
        column = self.report.columns.get(name)
        num_missing = int(np.isnan(values).sum())
        missing = f" {_clips(num_missing)} without a value." if num_missing else ""
        meaning = safe_text(column.meaning) if column is not None else ""
        ends = ""
        for title, rows in zip(("lowest kept", "highest kept"), _extremes(values, self.report.is_kept), strict=True):
            tiles = "".join(self.extreme(row, values[row]) for row in rows)
            ends += f"<div class=end><h4>{title}</h4><div class=four>{tiles or '<p class=empty>none</p>'}</div></div>"
        return (
            f"<article class=column><header><h3>{safe_text(name)}<small>{self.unit_text(name)}</small></h3>"
            f"<p>{meaning}{missing}</p></header>{self.histogram(name)}<div class=ends>{ends}</div></article>"
        )

    def extreme(self, row: int, value: float) -> str:
        clip_id = self.report.scores.clip_ids[row]
        picture = "<span class=blank>no picture</span>"
        if (card := self.cards.get(clip_id)) is not None and card.pictures:
            picture = self.picture(card, len(card.pictures) // 2)
        return f"<figure>{picture}<figcaption><b>{number_text(value)}</b> {self.link(clip_id)}</figcaption></figure>"

    def histogram(self, name: str) -> str:
        bounds = [(rule.side, self.bounds[rule]) for rule in self.report.policy.rules if rule.column == name]
        return histogram_svg(name, self.report.scores.column(name), self.report.is_kept, bounds)

    def clips(self) -> str:
        report = self.report
        names = list(dict.fromkeys([*report.policy.columns, *report.scores.values]))[:MAX_TABLE_COLUMNS]
        heads = "".join(
            f"<th scope=col class=n data-c='{safe_text(name)}'>{safe_text(name)}</th>" for name in ("seconds", *names)
        )
        rows = "".join(self.table_row(index, card, names) for index, card in enumerate(report.cards[:MAX_TABLE_ROWS]))
        num_all, num_left = len(report.scores.clip_ids), len(report.scores.values) - len(names)
        note = f"Shows {len(self.in_table):,} of {num_all:,} clips" if len(self.in_table) < num_all else ""
        note += (
            f"{' and' if note else 'Shows'} {len(names)} of {len(report.scores.values)} columns" if num_left > 0 else ""
        )
        return (
            f"<p class=note>{note}{'; the tables have them all.' if note else ''}</p>"
            "<div class=scroll tabindex=0 role=region aria-label=Clips><table id=clips-table><thead><tr>"
            f"<th scope=col data-c=clip>clip</th><th scope=col data-c=decision>decision</th>{heads}"
            f"</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def table_row(self, index: int, card: ClipCard, names: Sequence[str]) -> str:
        picture = self.picture(card, len(card.pictures) // 2) if card.pictures else "<span class='pic none'></span>"
        numbers = [card.end_s - card.start_s, *(card.values.get(name, float("nan")) for name in names)]
        cells = "".join(f"<td data-v={number:.9g}>{number_text(number)}" for number in numbers)
        css = "kept" if card.is_kept else "dropped"
        reasons = ", ".join(safe_text(reason) for reason in card.reasons)
        return (
            f"<tr id=clip-{index} class={css}><th scope=row><div class=clip>{picture}<div><span class=src "
            f"title='{safe_text(card.source)}'>{safe_text(_file_name(card.source))}</span>{_span(card)} "
            f"<code>{safe_text(card.clip_id)}</code></div></div></th>"
            f"<td><span class=tag>{css}</span> {reasons}</td>{cells}</tr>"
        )

    def bad_sources(self) -> str:
        bad = [source for source in self.report.sources if source.status != "ok"]
        if not bad:
            return "<p class=empty>Every file could be read.</p>"
        reasons = Counter((source.status, source.reason) for source in bad).most_common(12)
        counts = "".join(
            f"<li><b>{number:,}</b> {safe_text(status)}: {safe_text(reason)}</li>"
            for (status, reason), number in reasons
        )
        rows = "".join(
            f"<tr><td class=path>{safe_text(source.path)}<td>{safe_text(source.status)}<td>{safe_text(source.reason)}"
            f"<td class=n>{source.num_clips:,}</tr>"
            for source in bad[:MAX_TABLE_ROWS]
        )
        return f"<ul class=counts>{counts}</ul>" + _source_table(
            "Files with a fault", ("status", "reason"), rows, len(bad)
        )

    def good_sources(self) -> str:
        good = [source for source in self.report.sources if source.status == "ok"]
        rows = "".join(
            f"<tr><td class=path>{safe_text(source.path)}<td>{source.width_px} &times; {source.height_px} px, "
            f"{source.num_frames:,} frames<td>{duration_text(source.duration_s)}<td class=n>{source.num_clips:,}</tr>"
            for source in good[:MAX_TABLE_ROWS]
        )
        table = _source_table("Files without a fault", ("pictures", "length"), rows, len(good))
        return f"<details><summary>{len(good):,} files without a fault</summary>{table}</details>" if good else ""


def _source_table(name: str, heads: tuple[str, str], rows: str, num_all: int) -> str:
    note = f"<p class=note>The first {MAX_TABLE_ROWS:,} of {num_all:,}.</p>" if num_all > MAX_TABLE_ROWS else ""
    return (
        f"{note}<div class=scroll tabindex=0 role=region aria-label='{name}'><table><thead><tr><th scope=col>file"
        f"<th scope=col>{heads[0]}<th scope=col>{heads[1]}<th scope=col class=n>clips</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _anchor(name: str) -> str:
    return "decision-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _file_name(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2] or source


def _clips(number: int) -> str:
    return f"{number:,} clip{'' if number == 1 else 's'}"


def _span(card: ClipCard) -> str:
    return f"{_clock(card.start_s)} to {_clock(card.end_s)}"


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    hours, minutes = tenths // 36000, tenths // 600 % 60
    return f"{f'{hours}:{minutes:02}' if hours else minutes}:{tenths % 600 / 10:04.1f}"


def _safe_lines(text: str) -> str:
    return "\n".join(safe_text(line) for line in text.expandtabs(4).splitlines())

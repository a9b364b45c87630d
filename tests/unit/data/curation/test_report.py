"""The page shows what was decided, is one safe file whatever the files are called, and works in a browser."""

import base64
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.curation.operators import Column
from cogvideox.data.curation.plots import axis_ticks, duration_text, histogram_svg, number_text, safe_text
from cogvideox.data.curation.policy import ClipScores, Policy, Rule, Waypoint
from cogvideox.data.curation.report import (
    MAX_PICTURE_BYTES,
    MAX_TABLE_ROWS,
    ClipCard,
    ReportInputs,
    SourceRow,
    rows_to_show,
    write_report,
)
from cogvideox.data.curation.sweep import sweep, write_sweep

HOSTILE = (
    "<script>alert(1)<\\script>.mp4",
    "'\" onload='alert(1)' x=\".mp4",
    "two\nlines\t\x00\x1b[31m.mp4",
    "raw\udcff\udc80bytes.mp4",
    "\u202egpj.mp4",
    "<!--title--><!--clips-->]]>&amp;.mp4",
    "--help",
    "x" * 200,
)
VOID = {"meta", "input", "br", "img", "link", "hr"}
OPTIONAL_ENDS = {"th", "td", "li", "p"}
PICTURE = b"\xff\xd8\xff\xe0 picture"


class Page(HTMLParser):
    """Collects elements and texts, and fails where elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open[-1] != tag:
            assert self._open.pop() in OPTIONAL_ENDS
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def ids(self) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get("id"))]


def inputs(num_clips: int = 24, names: tuple[str, ...] = HOSTILE, picture: bytes = PICTURE) -> ReportInputs:
    speed = np.arange(num_clips) / 4
    text = np.where(np.arange(num_clips) % 5 == 4, np.nan, np.linspace(0, 1, num_clips))
    scores = ClipScores(
        clip_ids=tuple(f"clip{index:05}" for index in range(num_clips)),
        durations_s=np.full(num_clips, 90.0),
        values={"motion.speed": speed, "text.area": text, names[0]: np.full(num_clips, 3.0)},
    )
    moving = Rule(column="motion.speed", min=1.0, then=(Waypoint(step=100, bound=2.0),), label=names[0])
    policy = Policy(rules=(moving, Rule(column="text.area", max=0.5, missing="keep")))
    first = policy.drop_reasons(scores, 0).first_failing
    reasons = tuple("" if index < 0 else policy.rules[index].name for index in first)
    cards = tuple(
        ClipCard(
            clip_id=scores.clip_ids[row],
            source=f"folder/{names[row % len(names)]}",
            start_s=3599.96,
            end_s=3689.96,
            is_kept=not reasons[row],
            reasons=(reasons[row], names[1]) if reasons[row] else (),
            values={name: float(values[row]) for name, values in scores.values.items()},
            pictures=(PICTURE, picture + b"%d" % row, PICTURE),
        )
        for row in range(num_clips)
    )
    sources = tuple(SourceRow(path=name, status="rejected", reason=name, num_clips=2) for name in names)
    return ReportInputs(
        title=names[0],
        sources=(*sources, SourceRow(path="fine.mp4", status="ok", num_frames=9, duration_s=61, num_clips=1)),
        scores=scores,
        is_kept=first < 0,
        first_reasons=reasons,
        policy=policy,
        cards=cards,
        columns={"text.area": Column(name="area", unit=names[1], low=0, high=1, meaning=names[0])},
        settings="\n".join(names),
        notes=names,
    )


def test_hostile_names_stay_texts(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", inputs())
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    whole = "".join(page.texts)
    assert HOSTILE[0] in whole and HOSTILE[1] in whole and HOSTILE[5] in whole
    assert "raw\\xff\\x80bytes.mp4" in whole and "\\u202egpj.mp4" in whole and "two\\nlines\\t\\x00\\x1b[31m" in whole
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", whole)


def test_the_page_is_one_file_with_each_picture_once(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", inputs())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    loads = [attrs.get(name) for _, attrs in page.elements for name in ("src", "href", "action") if name in attrs]
    assert loads and all(target is not None and target.startswith("#") for target in loads)
    assert set(re.findall(r"url\(\"?([a-z]+:)", text)) == {"data:"} and not re.search(
        "@import|https?://(?!www.w3)", text
    )
    assert text.count(base64.b64encode(PICTURE).decode() + '"') == 1
    assert len(page.ids()) == len(set(page.ids()))
    assert {str(target)[1:] for target in loads} <= set(page.ids())


def test_what_was_decided_is_shown(tmp_path: Path) -> None:
    # 24 clips of 90 s: 4 are too slow; of the others 10 have text over a half, and the rest is kept.
    report = inputs()
    write_report(tmp_path / "report.html", report)
    whole = " ".join("".join(Page((tmp_path / "report.html").read_text(encoding="utf-8")).texts).split())
    num_kept = int(report.is_kept.sum())
    num_slow, num_texts = (report.first_reasons.count(rule.name) for rule in report.policy.rules)
    assert (num_slow, num_kept + num_slow + num_texts) == (4, 24) and num_texts > 4
    assert f"Clips kept{num_kept}" in whole and f"Time kept{duration_text(num_kept * 90)}" in whole
    assert f"text.area max{num_texts} clips" in whole and "4 clips without a value." in whole
    assert "9 Sources" in whole.replace("Sources9", "9 Sources") and "8 rejected, 1 ok" in whole
    assert "1:00:00.0 to 1:01:30.0" in whole and "fails: motion.speed 0.75 ≥ 1" in whole
    assert "motion.speed ≥ 1, moves with the steps" in whole and "text.area ≤ 0.5" in whole and "or no value" in whole


def test_rows_to_show_are_samples_and_ends() -> None:
    report = inputs(400)
    rows = rows_to_show(report.scores, report.is_kept, report.first_reasons)
    assert len(rows) == len(set(rows)) <= 3 * 8 + 3 * 8
    kept = np.flatnonzero(report.is_kept)
    speeds = report.scores.column("motion.speed")[kept]
    ends = kept[np.argsort(speeds)]
    assert {*ends[:4].tolist(), *ends[-4:].tolist()} <= set(rows)
    for reason in set(report.first_reasons):
        members = [row for row in rows if report.first_reasons[row] == reason]
        assert len(members) >= 4
    alone = ClipScores(clip_ids=(), durations_s=np.zeros(0), values={"a.a": np.zeros(0)})
    assert rows_to_show(alone, np.zeros(0, bool), ()) == []


def test_thousands_of_clips_stay_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(20_000)
    report = inputs(3 * MAX_TABLE_ROWS, names=("n" * 120, *HOSTILE[1:]), picture=noise)
    write_report(tmp_path / "report.html", report)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert MAX_PICTURE_BYTES < len(text) < 10_500_000
    assert text.count("<tr id=clip-") == MAX_TABLE_ROWS and "Shows 2,000 of 6,000 clips" in text


def test_an_empty_corpus_is_a_page_too(tmp_path: Path) -> None:
    scores = ClipScores(clip_ids=(), durations_s=np.zeros(0), values={"a.a": np.zeros(0)})
    report = ReportInputs(
        title="nothing",
        sources=(),
        scores=scores,
        is_kept=np.zeros(0, bool),
        first_reasons=(),
        policy=Policy(rules=(Rule(column="a.a", min_quantile=0.1),)).resolve(scores),
        cards=(),
    )
    write_report(tmp_path / "report.html", report)
    whole = "".join(Page((tmp_path / "report.html").read_text(encoding="utf-8")).texts)
    assert "No clip is dropped." in whole and "No clip has a value." in whole
    with pytest.raises(ValueError, match=r"call Policy\.resolve first"):
        ReportInputs(
            title="",
            sources=(),
            scores=scores,
            is_kept=np.zeros(0, bool),
            first_reasons=(),
            policy=Policy(rules=(Rule(column="a.a", min_quantile=0.1),)),
            cards=(),
        )


def test_a_histogram_counts_every_clip_once() -> None:
    values = np.array([0.0, 0.0, 0.1, 0.5, 1.0, 1.0, math.nan, *np.linspace(0, 1, 393), 90.0])
    is_kept = np.arange(values.size) % 3 == 0
    svg = histogram_svg("a.a", values, is_kept, [("max", 0.5), ("min", -math.inf)])
    counts = [tuple(map(int, found)) for found in re.findall(r": (\d+) kept, (\d+) dropped", svg)]
    is_known = ~np.isnan(values)
    assert tuple(map(sum, zip(*counts, strict=True))) == ((is_kept & is_known).sum(), (~is_kept & is_known).sum())
    assert "max 0.5" in svg and "min" not in svg and ">+</text>" in svg
    for same in (np.zeros(3), np.full(3, 1e9), np.full(1, -0.0)):
        assert "kept" in histogram_svg("a.a", same, np.ones(same.size, bool), [])


def test_a_sweep_is_what_the_policy_would_keep(tmp_path: Path) -> None:
    report = inputs(200)
    scores, step = report.scores, 50
    swept = sweep(report.policy, scores, "motion.speed", unit="%/s", step=step, num_points=20)
    assert swept.current == 1.5 and swept.side == "min" and (np.diff(swept.thresholds) > 0).all()
    assert swept.thresholds[0] == 0 and swept.thresholds[-1] == scores.column("motion.speed").max()
    assert 20 <= len(swept.to_rows()) <= 21 and sum(row["is_current"] for row in swept.to_rows()) == 1
    for row in json.loads(json.dumps(swept.to_rows())):
        alone = Rule(column="motion.speed", min=row["threshold"])
        both = Policy(rules=(alone, report.policy.rules[1])).keeps(scores, step)
        assert row["num_alone"] == Policy(rules=(alone,)).keeps(scores, step).sum()
        assert (row["num_kept"], row["kept_s"]) == (both.sum(), both.sum() * 90)
    texts = sweep(report.policy, scores, "text.area")
    assert (texts.side, texts.current) == ("max", 0.5)
    assert texts.num_alone[-1] == 200  # at the highest value all pass, and this rule keeps clips without one
    assert sweep(Policy(), scores, "text.area", side="max").num_alone[-1] == 160
    for name in ("sweep.svg", "sweep.html"):
        write_sweep(tmp_path / name, swept)
        assert "now 1.5" in (tmp_path / name).read_text()
    assert HOSTILE[0] not in (write_hostile_sweep(tmp_path, report)).read_text()
    with pytest.raises(ValueError, match=r"did you mean 'text\.area'"):
        sweep(report.policy, scores, "text.areas")
    with pytest.raises(ValueError, match=r"\.svg or \.html"):
        write_sweep(tmp_path / "sweep.png", swept)


def write_hostile_sweep(folder: Path, report: ReportInputs) -> Path:
    write_sweep(folder / "hostile.html", sweep(report.policy, report.scores, HOSTILE[0], unit=HOSTILE[1]))
    Page((folder / "hostile.html").read_text())
    return folder / "hostile.html"


def test_numbers_read_well() -> None:
    assert axis_ticks(0, 5.83) == [0, 1, 2, 3, 4, 5] and axis_ticks(-0.013, 0.021) == [
        -0.01,
        -0.005,
        0,
        0.005,
        0.01,
        0.015,
        0.02,
    ]
    assert [duration_text(seconds) for seconds in (0, 7.5, 90, 4000, 1e7)] == [
        "0 s",
        "7.5 s",
        "1.5 min",
        "1.11 h",
        "2,778 h",
    ]
    assert [number_text(x) for x in (-0.0, -1.2345, 12345.6, math.nan)] == ["0", "-1.23", "12,346", "-"]
    assert safe_text("a\udcffb<'\"\u2066") == "a\\xffb&lt;&#x27;&quot;\\u2066"

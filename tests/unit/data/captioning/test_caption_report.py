"""The page of a captioning: hostile texts stay texts, offending words are marked, and nothing runs."""

from pathlib import Path

from cogvideox.data.captioning.caption_report import (
    CaptionReport,
    CheckedSummary,
    marked,
    summaries_to_show,
    write_caption_report,
)

HOSTILE = '<script>alert(1)</script> " onload=x \u202e'


def summary(**values: float) -> CheckedSummary:
    return CheckedSummary(
        clip_id=HOSTILE,
        summary=f"A dog and a helicopter. {HOSTILE}",
        short=HOSTILE,
        values={"grounding": 0.9, "novel_nouns": 0.5, "coverage": 0.8, **values},
        found={"novel_nouns": ["helicopter", "<script>"]},
        flags=("novel_nouns",),
        pictures=(b"\xff\xd8\xff",),
    )


def test_the_page_holds_everything_and_no_script(tmp_path: Path) -> None:
    report = CaptionReport(
        title=HOSTILE,
        tiles=(("Clips", "2", HOSTILE),),
        summaries=(summary(), summary(grounding=0.2), summary(novel_nouns=0.0)),
        failures=((HOSTILE, "summary", HOSTILE), ("two", "summary", HOSTILE)),
        settings=f"a\n{HOSTILE}",
    )
    write_caption_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page and "\u202e" not in page and "<!--" not in page
    assert "<mark>helicopter</mark>" in page and "data:image/jpeg;base64," in page
    assert "id='w-novel_nouns'" in page and "id='w-grounding'" in page and "href='#w-grounding'" in page


def test_a_page_without_summaries_is_a_page(tmp_path: Path) -> None:
    write_caption_report(tmp_path / "report.html", CaptionReport(title="none", tiles=(), summaries=()))
    assert "Nothing was measured" in (tmp_path / "report.html").read_text()


def test_words_are_marked_whole_and_whatever_they_hold() -> None:
    assert marked("Cats catch a cat.", ["cat"]) == "Cats catch a <mark>cat</mark>."
    assert marked("a & b", ["&", ""]) == "a <mark>&amp;</mark> b"


def test_the_worst_and_some_good_ones_are_shown() -> None:
    values = [{"novel_nouns": 0.0} for _ in range(50)] + [{"novel_nouns": 0.1 * n} for n in range(1, 8)]
    shown = summaries_to_show(values)
    assert set(range(53, 57)) <= set(shown) and 0 in shown and len(shown) <= 10

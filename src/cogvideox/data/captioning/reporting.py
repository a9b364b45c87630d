"""The report of a captioning, made of what is in its tables."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from cogvideox.data.captioning.caption_report import (
    CaptionReport,
    CheckedSummary,
    summaries_to_show,
    write_caption_report,
)
from cogvideox.data.captioning.checks import COLUMNS_BY_NAME
from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.frame_choice import Wanted, decode, spread_frames
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.captioning.stages import CaptionRow, ClipCaptions
from cogvideox.durable_files import replace_text

REPORT_NAME = "report.html"
NUM_PICTURES = 4
PICTURE_WIDTH_PX = 160
VERSION = 1
"""Of the page."""


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """What a report is about."""

    found: Sequence[tuple[CaptionClip, ClipCaptions]]
    checks: Sequence[Mapping[str, Any]]
    """Rows of the table ``check``."""
    settings: str
    """The resolved recipe, as text."""
    costs: tuple[tuple[str, str, str], ...]
    """For the top of the page: name, value, and what more there is to say."""
    notes: tuple[str, ...] = ()


def write_report(out: Path, known_path: Path, given: ReportInput) -> None:
    """Write ``report.html``, unless the one that is there says the same.

    Args:
        out: folder of the captioning.
        known_path: remembers what the page was made of: its pictures are not decoded again for nothing.
        given: what it is about.
    """
    with_text = {clip.clip_id: one for clip, one in given.found if one.summary is not None and one.summary.text}
    rows = {row["clip_id"]: row for row in given.checks}
    summaries = [_summary(clip_id, one, rows.get(clip_id, {})) for clip_id, one in sorted(with_text.items())]
    report = CaptionReport(
        title="Captions",
        tiles=_tiles(given),
        summaries=tuple(summaries),
        failures=tuple(_failures(given.found)),
        settings=given.settings,
        notes=given.notes,
    )
    content = hashlib.sha256(f"{VERSION} {report!r}".encode()).hexdigest()
    path = out / REPORT_NAME
    if path.is_file() and known_path.is_file() and known_path.read_text(encoding="utf-8") == content:
        return
    clips = {clip.clip_id: clip for clip, _ in given.found}
    for place in summaries_to_show([one.values for one in summaries]):
        summaries[place] = replace(summaries[place], pictures=_pictures(clips[summaries[place].clip_id]))
    write_caption_report(path, replace(report, summaries=tuple(summaries)))
    replace_text(known_path, content)


def _summary(clip_id: str, captions: ClipCaptions, row: Mapping[str, Any]) -> CheckedSummary:
    assert captions.summary is not None
    frames = [TimedCaption(time_s=one.time_s, text=one.caption.text) for one in captions.frames if one.caption.text]
    return CheckedSummary(
        clip_id=clip_id,
        summary=captions.summary.text,
        short=captions.short.text if captions.short is not None else "",
        frame_captions=tuple(frames),
        values={name: row[name] for name in COLUMNS_BY_NAME if name in row},
        found=json.loads(row["found"]) if row else {},
        flags=tuple(row["flags"]) if row else (),
    )


def _tiles(given: ReportInput) -> tuple[tuple[str, str, str], ...]:
    captions = [one for _, one in given.found]
    num_summaries = sum(bool(one.summary and one.summary.text) for one in captions)
    num_frames = sum(bool(frame.caption.text) for one in captions for frame in one.frames)
    num_shorts = sum(bool(one.short and one.short.text) for one in captions)
    num_failed = sum(bool(row.error) for one in captions for row in one.rows)
    num_unreadable = sum(bool(clip.reason) for clip, _ in given.found)
    return (
        ("clips", f"{len(captions):,}", f"{num_unreadable} cannot be read"),
        ("dense captions", f"{num_summaries:,}", ""),
        ("captions of frames", f"{num_frames:,}", ""),
        ("short captions", f"{num_shorts:,}", ""),
        ("failed", f"{num_failed:,}", "captions that there are not"),
        *given.costs,
    )


def _failures(found: Sequence[tuple[CaptionClip, ClipCaptions]]) -> list[tuple[str, str, str]]:
    failures: list[tuple[str, str, str]] = []
    for clip, captions in found:
        if clip.reason:
            failures.append((clip.clip_id, "clip", clip.reason))
            continue
        named: list[tuple[str, CaptionRow | None]] = [("short", captions.short)]
        named += [(f"frame at {frame.time_s:.2f} s", frame.caption) for frame in captions.frames]
        named += [("summary", captions.summary), ("judge", captions.judge)]
        failures += [(clip.clip_id, stage, row.error) for stage, row in named if row is not None and row.error]
    return failures


def _pictures(clip: CaptionClip) -> tuple[bytes, ...]:
    """Return JPEG files of a clip; none of one that cannot be read any more."""
    indices = spread_frames(clip.num_frames, NUM_PICTURES)
    wanted = {"report": Wanted(max_side_px=2 * PICTURE_WIDTH_PX, indices=indices)}
    try:
        frames = decode(clip.stream, clip.fps, wanted).frames["report"]
    except (ValueError, OSError):
        return ()
    files: list[bytes] = []
    for frame in frames.values():
        picture, file = Image.fromarray(frame), io.BytesIO()
        picture.thumbnail((PICTURE_WIDTH_PX, 2 * PICTURE_WIDTH_PX), Image.Resampling.LANCZOS)
        picture.save(file, "JPEG", quality=80)
        files.append(file.getvalue())
    return tuple(files)

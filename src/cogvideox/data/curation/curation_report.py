"""The report of a curation: its tables and previews, as the page wants them."""

from pathlib import Path
from typing import Any

import numpy as np

from cogvideox.data.curation.plan import CurationPlan
from cogvideox.data.curation.report import (
    MAX_TABLE_ROWS,
    ClipCard,
    ReportInputs,
    SourceRow,
    rows_to_show,
    write_report,
)
from cogvideox.data.curation.store import Store
from cogvideox.data.curation.tables import Curation
from cogvideox.settings import resolved_json


def write_curation_report(path: Path, curation: Curation, plan: CurationPlan, store: Store) -> None:
    """Write the page of a curation.

    Args:
        path: of the page.
        curation: what was found and decided.
        plan: whose previews are shown.
        store: holds them.
    """
    rows, scores = curation.clips.rows, curation.clips.scores
    is_kept = np.array([decision["is_kept"] for decision in curation.decisions], bool)
    reasons = tuple(decision["reason"] for decision in curation.decisions)
    names: dict[str, str] = {}
    for source in curation.sources:
        names.setdefault(source["sha256"], source["source"])
    shown = rows_to_show(scores, is_kept, reasons)
    pictures = _pictures(plan, store, [rows[index] for index in shown])
    is_shown = set(shown)
    listed = [*shown, *(index for index in range(min(len(rows), MAX_TABLE_ROWS)) if index not in is_shown)]
    cards = tuple(
        ClipCard(
            clip_id=rows[index]["clip_id"],
            source=names[rows[index]["sha256"]],
            start_s=rows[index]["start_s"],
            end_s=rows[index]["end_s"],
            is_kept=bool(is_kept[index]),
            reasons=(reasons[index],) if reasons[index] else (),
            values={name: float(values[index]) for name, values in scores.values.items()},
            pictures=pictures.get(rows[index]["clip_id"], ()),
        )
        for index in listed
    )
    report = ReportInputs(
        title="Curation report",
        sources=tuple(_source_row(source) for source in curation.sources),
        scores=scores,
        is_kept=is_kept,
        first_reasons=reasons,
        policy=curation.policy,
        cards=cards,
        columns=plan.columns,
        settings=resolved_json(plan.recipe),
    )
    write_report(path, report)


def _source_row(source: dict[str, Any]) -> SourceRow:
    names = ("status", "reason", "num_frames", "duration_s", "height_px", "width_px", "num_clips")
    return SourceRow(path=source["source"], **{name: source[name] for name in names})


def _pictures(plan: CurationPlan, store: Store, rows: list[dict[str, Any]]) -> dict[str, tuple[bytes, ...]]:
    """Return the previews of some clips."""
    if not plan.recipe.previews.num_pictures:
        return {}
    wanted = {row["clip_id"] for row in rows}
    found: dict[str, tuple[bytes, ...]] = {}
    for digest in dict.fromkeys(row["sha256"] for row in rows):
        for row in store.read(plan.previews_key, digest):
            if row["clip_id"] in wanted:
                found[row["clip_id"]] = (*found.get(row["clip_id"], ()), row["jpeg"])
    return found

"""The tables of a captioning: the same answers give the same bytes, whoever asked for them and in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogvideox.data.captioning.clip_set import TABLES_NAME
from cogvideox.data.captioning.stages import CaptionRow, ClipCaptions
from cogvideox.data.curation.store import Types, read_table, write_table

ROW_TYPES: Types = {
    "text": "string",
    "error": "string",
    "problem": "string",
    "rejected": "string",
    "model": "string",
    "num_words": "int64",
    "num_tries": "int64",
    "num_input_tokens": "int64",
    "num_output_tokens": "int64",
}
"""Of a caption: `cogvideox.data.captioning.stages.CaptionRow`."""
CLIP_TYPES: Types = {"clip_id": "string", "sha256": "string", **ROW_TYPES}
FRAME_TYPES: Types = {"clip_id": "string", "sha256": "string", "frame": "int64", "time_s": "float64", **ROW_TYPES}
"""``frame`` counts from 0; -1 if it is not known which frames there are."""
STAGE_TABLES = ("short", "frames", "summary", "judge")


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What is in the tables of a captioning."""

    short: Sequence[Mapping[str, Any]]
    frames: Sequence[Mapping[str, Any]]
    summary: Sequence[Mapping[str, Any]]
    judge: Sequence[Mapping[str, Any]] = ()
    check: Sequence[Mapping[str, Any]] = ()


def write_captions(folder: Path, found: Sequence[tuple[str, str, ClipCaptions]]) -> None:
    """Write the tables of all stages that there are, and remove those of others.

    Args:
        folder: of the captioning.
        found: id, SHA-256 and captions of each clip.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGE_TABLES}
    for clip_id, digest, captions in found:
        known = {"clip_id": clip_id, "sha256": digest}
        for name, row in (("short", captions.short), ("summary", captions.summary), ("judge", captions.judge)):
            if row is not None:
                rows[name].append(known | _values(row))
        rows["frames"] += [
            known | {"frame": frame.index, "time_s": frame.time_s} | _values(frame.caption) for frame in captions.frames
        ]
    for name in STAGE_TABLES:
        path = folder / TABLES_NAME / f"{name}.parquet"
        types = FRAME_TYPES if name == "frames" else CLIP_TYPES
        if rows[name]:
            ordered = sorted(rows[name], key=lambda row: (row["clip_id"], row.get("frame", 0)))
            write_table(path, ordered, types)
        else:
            path.unlink(missing_ok=True)


def read_captions(folder: str | Path) -> Captions:
    """Read the tables of a captioning. Raises ValueError if there is none, or one is damaged."""
    tables = Path(folder) / TABLES_NAME
    names = (*STAGE_TABLES, "check")
    if not any((tables / f"{name}.parquet").is_file() for name in names):
        raise ValueError(f"{folder}: expected a folder that cogvideox caption made, got none of its tables")
    found = {
        name: read_table(tables / f"{name}.parquet") if (tables / f"{name}.parquet").is_file() else [] for name in names
    }
    return Captions(**found)


def _values(row: CaptionRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ROW_TYPES}

"""The tables of a curation: written once at its end, sorted, the same bytes for the same content."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.component_files import write_atomically
from cogvideox.data.curation.copies import DUPLICATES_NAME
from cogvideox.data.curation.plan import (
    CLIP_TYPES,
    DECODING_TYPES,
    CurationPlan,
    operator_types,
)
from cogvideox.data.curation.policy import POLICY_NAME, ClipScores, Policy, read_policy
from cogvideox.data.curation.sources import Source
from cogvideox.data.curation.store import Store, Types, arrow_type, read_table, write_table
from cogvideox.data.libraries import pyarrow
from cogvideox.durable_files import replacing

TABLES_NAME, VERSIONS_NAME = "tables", "operators.json"
SOURCE_TYPES: Types = {
    "source": "string",
    "size_bytes": "int64",
    **DECODING_TYPES,
    "num_clips": "int64",
    "clips_s": "float64",
}
DECISION_TYPES: Types = {"clip_id": "string", "is_kept": "bool_", "reason": "string"}
NOTHING: Mapping[str, Any] = {
    "container": "",
    "codec": "",
    "nominal_fps": float("nan"),
    "promised_frames": 0,
    "num_frames": 0,
    "duration_s": 0.0,
    "height_px": 0,
    "width_px": 0,
    "num_errors": 0,
}
"""Of a file that could not even be read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipColumns:
    """The table of clips as columns."""

    rows: list[dict[str, Any]]
    """As `cogvideox.data.curation.plan.CLIP_TYPES`, sorted by id."""
    scores: ClipScores
    num_errors: int = 0
    """Measurements of a clip that failed."""


def gather(plan: CurationPlan, store: Store, digests: Sequence[str], folder: Path) -> ClipColumns:
    """Join the parts of all sources into tables, one for the clips and one for each operator.

    Args:
        plan: whose results.
        store: holds them.
        digests: of the sources, each once.
        folder: of the tables.
    """
    names = {"clips", "sources", "decisions", *(planned.name for planned in plan.all_operators)}
    names |= {DUPLICATES_NAME} if plan.row_operators else set()
    for old in folder.glob("*.parquet"):
        if old.stem not in names:
            old.unlink()  # of an operator that the recipe no longer has
    clips = _join(store, plan.shots_key, digests, CLIP_TYPES, folder / "clips.parquet")
    num_errors = 0
    values: dict[str, NDArray[np.float64]] = {}
    for planned in plan.all_operators:
        types = operator_types(planned.operator.columns)
        table = _join(store, planned.key, digests, types, folder / f"{planned.name}.parquet")
        for column in planned.operator.columns:
            values[f"{planned.name}.{column.name}"] = table.column(column.name).to_numpy()
        num_errors += sum(bool(error) for error in table.column("error").to_pylist())
    versions = {planned.name: planned.operator.version for planned in plan.all_operators}
    write_atomically(folder / VERSIONS_NAME, json.dumps(versions, indent=2) + "\n")
    starts_s, ends_s = (clips.column(name).to_numpy() for name in ("start_s", "end_s"))
    ids = tuple(clips.column("clip_id").to_pylist())
    scores = ClipScores(clip_ids=ids, durations_s=ends_s - starts_s, values=values)
    return ClipColumns(rows=clips.to_pylist(), scores=scores, num_errors=num_errors)


def _join(store: Store, key: str, digests: Sequence[str], types: Types, path: Path) -> Any:
    """Write the parts of one operator as one table, sorted by clip, and return it."""
    pa = pyarrow()
    schema = pa.schema([(name, arrow_type(pa, kind)) for name, kind in types.items()])
    parts = [schema.empty_table()]
    parts += [read_part(store, key, digest, types) for digest in digests]
    table = pa.concat_tables(parts).sort_by("clip_id").combine_chunks()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        pa.parquet.write_table(table, file)
    return table


def read_part(store: Store, key: str, digest: str, types: Types) -> Any:
    """Return columns of a part as a table of pyarrow. Raises ValueError if it is damaged: then it is also removed."""
    pa = pyarrow()
    part = store.path(key, digest)
    schema = pa.schema([(name, arrow_type(pa, kind)) for name, kind in types.items()])
    try:
        with pa.parquet.ParquetFile(part) as file:
            return file.read(columns=list(types)).cast(schema)
    except (OSError, ValueError, pa.ArrowException) as error:
        part.unlink(missing_ok=True)
        raise ValueError(f"{part}: damaged ({error}); it is removed: run curate again, which makes it anew") from None


def write_sources(plan: CurationPlan, store: Store, sources: Sequence[Source], clips: ClipColumns, path: Path) -> Any:
    """Write the table of all files, readable or not, and return its rows, sorted by name."""
    num_clips: dict[str, int] = {}
    clips_s: dict[str, float] = {}
    for row in clips.rows:
        num_clips[row["sha256"]] = num_clips.get(row["sha256"], 0) + 1
        clips_s[row["sha256"]] = clips_s.get(row["sha256"], 0.0) + row["end_s"] - row["start_s"]
    rows: list[dict[str, Any]] = []
    for source in sources:
        decoded = {"status": "rejected", "reason": source.reason} | dict(NOTHING)
        if source.digest:
            decoded = store.read(plan.decoding_key, source.digest)[0]
        found = num_clips.get(source.digest, 0)
        if not found and decoded["status"] == "ok" and not decoded["reason"]:
            decoded["reason"] = f"no shot of at least {plan.recipe.shots.min_duration_s:g} s"
        counts = {"num_clips": found, "clips_s": clips_s.get(source.digest, 0.0)}
        file = {"source": source.name, "size_bytes": source.size_bytes, "sha256": source.digest}
        rows.append(decoded | file | counts)
    write_table(path, rows, SOURCE_TYPES)
    return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Curation:
    """A finished curation, read from its folder."""

    sources: list[dict[str, Any]]
    clips: ClipColumns
    decisions: list[dict[str, Any]]
    policy: Policy
    """With values in place of quantiles."""


def read_curation(folder: str | Path) -> Curation:
    """Read what `cogvideox curate` wrote. Raises ValueError if the folder holds no finished curation."""
    folder = Path(folder)
    tables = folder / TABLES_NAME
    if not (tables / "decisions.parquet").is_file():
        raise ValueError(f"--out: {folder} holds no finished curation; run cogvideox curate RECIPE --out {folder}")
    rows = read_table(tables / "clips.parquet")
    decisions = read_table(tables / "decisions.parquet")
    values: dict[str, NDArray[np.float64]] = {}
    for path in sorted(tables.glob("*.parquet")):
        if path.stem in ("clips", "sources", "decisions"):
            continue
        columns = read_table(path)
        names = [name for name, value in columns[0].items() if not isinstance(value, str)] if columns else []
        values |= {f"{path.stem}.{name}": np.array([row[name] for row in columns], np.float64) for name in names}
    durations_s = np.array([row["end_s"] - row["start_s"] for row in rows], np.float64)
    ids = tuple(row["clip_id"] for row in rows)
    return Curation(
        sources=read_table(tables / "sources.parquet"),
        clips=ClipColumns(rows=rows, scores=ClipScores(clip_ids=ids, durations_s=durations_s, values=values)),
        decisions=decisions,
        policy=read_policy(folder / POLICY_NAME),
    )


def read_copies(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a finished curation's table of copies by clip; none if no copies were sought."""
    path = Path(folder) / TABLES_NAME / f"{DUPLICATES_NAME}.parquet"
    return {row["clip_id"]: row for row in read_table(path)} if path.exists() else {}


def read_versions(folder: str | Path) -> dict[str, int]:
    """Return the versions of the operators that measured a finished curation. Raises ValueError if there are none."""
    path = Path(folder) / TABLES_NAME / VERSIONS_NAME
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: not readable ({error}); run curate again, which measures only what is missing"
        ) from None

"""Clips to be labelled: of a curation, whether kept or not, of a training set, or of a plain folder of videos."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.clip_folder import VIDEO_SUFFIXES
from cogvideox.data.clip_index import INDEX_NAME, read_index
from cogvideox.data.curation.sources import Digests
from cogvideox.data.curation.store import read_table
from cogvideox.data.filters.filter_model import EMBEDDED, FilterModel
from cogvideox.data.labelling.answers import LABELS_FOLDER
from cogvideox.durable_files import read_json

logger = logging.getLogger(__name__)

TABLES_NAME, WORK_NAME, RECIPE_NAME = "tables", "work", "recipe.json"
NO_OPERATORS = ("clips", "sources", "decisions")
"""Tables of a curation that hold no measured columns."""
_CURATED_ID = re.compile(r"[0-9a-f]{16}_\d+_\d+")


@dataclass(frozen=True, kw_only=True)
class LabelClip:
    """A clip and where its pictures are: in one of three places."""

    clip_id: str
    source: str
    """Name of its source, or what else is known of it; empty if nothing is."""
    cut: Mapping[str, Any] | None = None
    """Row of ``tables/clips.parquet``: it is a piece of its source."""
    file: Path | None = None
    """It is a whole file, or a piece of one (``span_bytes``)."""
    span_bytes: tuple[int, int] | None = None
    """Where it begins in a shard, and its size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelDataset:
    """A folder of clips."""

    folder: Path
    labels_folder: Path
    """Where answers go if nothing else is said."""
    clips: Mapping[str, LabelClip]
    """By id, sorted; N of them."""
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """(N,) measured columns by ``<operator>.<column>``; NaN: none."""
    source_rows: Sequence[Mapping[str, Any]] = ()
    """As ``tables/sources.parquet``: at least ``source`` and ``sha256``."""
    digest_of: Mapping[str, str] = field(default_factory=dict)
    """By clip id, the ``sha256`` of its row of ``source_rows``."""

    @property
    def clip_rows(self) -> list[dict[str, str]]:
        """As ``tables/clips.parquet``: ``clip_id`` and ``sha256``."""
        return [{"clip_id": clip_id, "sha256": self.digest_of[clip_id]} for clip_id in self.clips]


def open_dataset(folder: str | Path) -> LabelDataset:
    """Open what `cogvideox curate` made, a training set (``index.parquet``), or a folder of videos.

    Raises:
        MissingPackageError: pyarrow, which reads tables, is not installed.
        ValueError: there is no such folder, it holds no clips, or a table is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"dataset: no such folder: {folder}")
    if (folder / TABLES_NAME / "clips.parquet").is_file():
        return _curated(folder)
    if (folder / INDEX_NAME).is_file():
        return _training_set(folder)
    return _plain_folder(folder)


def labels_folder_of(folder: str | Path) -> Path:
    """Return where the answers for a dataset are: beside its tables.

    A training set inside of a curation shares the curation's: it is written anew by every run of it.
    """
    folder = Path(folder)
    is_inside = (folder / INDEX_NAME).is_file() and (folder.absolute().parent / TABLES_NAME / "clips.parquet").is_file()
    return (folder.absolute().parent if is_inside else folder) / LABELS_FOLDER


def _curated(folder: Path) -> LabelDataset:
    tables = folder / TABLES_NAME
    rows = sorted(read_table(tables / "clips.parquet"), key=lambda row: row["clip_id"])
    if not rows:
        raise ValueError(f"dataset: {folder}: expected clips, got a curation without any; curate other videos")
    source_rows = read_table(tables / "sources.parquet") if (tables / "sources.parquet").is_file() else []
    names: dict[str, str] = {}
    for row in source_rows:
        names.setdefault(row["sha256"], row["source"])
    clips = {
        row["clip_id"]: LabelClip(
            clip_id=row["clip_id"], source=names.get(row["sha256"]) or str(row["sha256"]), cut=row
        )
        for row in rows
    }
    places = {clip_id: place for place, clip_id in enumerate(clips)}
    values: dict[str, NDArray[np.float64]] = {}
    for path in sorted(tables.glob("*.parquet")):
        if path.stem in NO_OPERATORS:
            continue
        for row in read_table(path):
            place = places.get(row["clip_id"])
            for name, value in row.items():
                if place is not None and isinstance(value, int | float):
                    column = values.setdefault(f"{path.stem}.{name}", np.full(len(clips), np.nan))
                    column[place] = value
    return LabelDataset(
        folder=folder,
        labels_folder=labels_folder_of(folder),
        clips=clips,
        values=values,
        source_rows=source_rows,
        digest_of={row["clip_id"]: row["sha256"] for row in rows},
    )


def _training_set(folder: Path) -> LabelDataset:
    index = read_index(folder, needs_captions=False)
    order = sorted(range(len(index.table.clip_ids)), key=lambda row: index.table.clip_ids[row])
    clips: dict[str, LabelClip] = {}
    digest_of: dict[str, str] = {}
    for row in order:
        clip_id = index.table.clip_ids[row]
        source = clip_id[:16] if _CURATED_ID.fullmatch(clip_id) else ""
        digest_of[clip_id] = source or clip_id
        clips[clip_id] = LabelClip(
            clip_id=clip_id,
            source=source,
            file=folder / index.shards[row],
            span_bytes=(int(index.offsets_bytes[row]), int(index.sizes_bytes[row])),
        )
    return LabelDataset(
        folder=folder,
        labels_folder=labels_folder_of(folder),
        clips=clips,
        values={name: column[order] for name, column in index.table.scores.items()},
        source_rows=[{"source": digest, "sha256": digest} for digest in dict.fromkeys(digest_of.values())],
        digest_of=digest_of,
    )


def _plain_folder(folder: Path) -> LabelDataset:
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                shown = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
                found[shown] = path
    if not found:
        raise ValueError(
            f"dataset: {folder}: expected a folder that cogvideox curate made, a training set (index.parquet), or "
            f"videos ({', '.join(VIDEO_SUFFIXES)}), got none of them"
        )
    ids = sorted(found)
    return LabelDataset(
        folder=folder,
        labels_folder=labels_folder_of(folder),
        clips={name: LabelClip(clip_id=name, source=name, file=found[name]) for name in ids},
        source_rows=[{"source": name, "sha256": name} for name in ids],
        digest_of={name: name for name in ids},
    )


def filter_thresholds(folder: str | Path) -> dict[str, float]:
    """Return by label the probability from which on the filters of a curation, or of a training set in it, see it.

    They are those that its recipe names, else those in the package. Nothing, with a warning, if they cannot be read.
    """
    folder = labels_folder_of(Path(folder)).parent
    recipe = read_json(folder / RECIPE_NAME)
    filters = recipe.get("filters") if isinstance(recipe, dict) else None
    model = filters.get("model") if isinstance(filters, dict) else None
    # As it was written, or beside the folder of results.
    places = [base / Path(model).expanduser() for base in (Path(), folder.absolute().parent)] if model else [EMBEDDED]
    try:
        found = FilterModel.load(next((place for place in places if place.is_dir()), places[0]))
    except ValueError as error:
        logger.warning("the filters' thresholds are not known, 0.5 is used: %s", error)
        return {}
    return {str(label): one.threshold for label, one in found.filters.items()}


class SourceFinder:
    """Finds the files that a curation was made of, by their content."""

    def __init__(self, dataset: LabelDataset, digests: Path) -> None:
        """Read where they were; ``digests`` remembers what had to be looked at again."""
        self._digests = Digests(digests)
        self._candidates: dict[str, list[Path]] = {}
        known = read_json(dataset.folder / WORK_NAME / "digests.json")
        for name, facts in known.items() if isinstance(known, dict) else ():
            if isinstance(facts, list) and len(facts) == 4:
                self._candidates.setdefault(str(facts[3]), []).append(Path(name))
        recipe = read_json(dataset.folder / RECIPE_NAME)
        inputs = recipe.get("inputs", []) if isinstance(recipe, dict) else []
        # Without work/ only the recipe says where they are: as it was written, or beside the folder of results.
        tops = [
            Path(os.path.abspath(base / Path(top).expanduser()))
            for top in inputs
            for base in (Path(), dataset.folder.parent)
        ]
        self._names: dict[str, str] = {}
        for row in dataset.source_rows:
            self._names.setdefault(row["sha256"], row["source"])
            parts = Path(row["source"]).parts
            for top in tops:
                self._candidates.setdefault(row["sha256"], []).append(Path(top, *parts[1:]) if len(parts) > 1 else top)

    def find(self, digest: str) -> Path:
        """Return a file of this content. Raises ValueError if there is none where it was."""
        for path in dict.fromkeys(self._candidates.get(digest, ())):
            try:
                if path.is_file() and self._digests.digest(path, path.stat()) == digest:
                    self._digests.save()
                    return path
            except OSError:
                continue  # another of the same content may be readable
        name = self._names.get(digest, digest[:16])
        raise ValueError(f"its source {name} is not where it was, or has changed; put it back, or curate again")

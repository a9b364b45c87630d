"""The searches for copies in a curation, each done once: what was found is kept beside the parts it was found in.

Results depend on the clips that are there and on settings, never on the policy: another policy groups the same pairs.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.copies import VECTOR_TYPES, CopySearchSettings
from cogvideox.data.curation.duplicates import (
    Compare,
    ComparedPairs,
    Contamination,
    DuplicateSettings,
    Likeness,
    Pair,
    compare_candidates,
    find_contamination,
    fingerprint_likeness,
)
from cogvideox.data.curation.fingerprints import TYPES, Fingerprints
from cogvideox.data.curation.plan import PlannedRowOperator
from cogvideox.data.curation.semantic import compare_vectors, vector_likeness
from cogvideox.data.curation.store import Store, Types, operator_key
from cogvideox.data.curation.tables import read_part

logger = logging.getLogger(__name__)

SearchName = Literal["copies", "alike", "contamination"]
VERSION = 1
"""Of the code of all searches."""
PAIR_TYPES: Types = {
    "first": "string",
    "second": "string",
    "similarity": "float64",
    "kind": "string",
    "matched_s": "float64",
}
"""``kind`` is empty for clips that are not alike."""
CONTAMINATION_TYPES: Types = {
    "clip_id": "string",
    "evaluation_id": "string",
    "similarity": "float64",
    "matched_s": "float64",
    "start_s": "float64",
    "end_s": "float64",
    "item_start_s": "float64",
}


class MeasuredRows:
    """What one row operator measured of the clips of a run."""

    def __init__(
        self, store: Store, planned: PlannedRowOperator, digests: Iterable[str], clip_ids: Iterable[str]
    ) -> None:
        """Read which clips were measured, and which could not be.

        Args:
            store: with the parts.
            planned: the operator.
            digests: of the sources.
            clip_ids: of the clips; rows of others do not count.

        Raises:
            ValueError: a part is damaged: then it is also removed.
        """
        self.key = planned.key
        self.failed: dict[str, str] = {}
        """What went wrong, by clip."""
        self._store = store
        self._digests = sorted(digests)
        self._clip_ids = frozenset(clip_ids)
        for digest in self._digests:
            table = read_part(store, self.key, digest, {"clip_id": "string", "error": "string"})
            for clip_id, error in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if error and clip_id in self._clip_ids:
                    self.failed[clip_id] = f"{planned.operator.name}: {error}"

    @cached_property
    def content(self) -> str:
        """What the rows are known by: an id says what a clip shows, so the rows need not be read for it."""
        text = json.dumps([self.key, sorted(self._clip_ids), sorted(self.failed)])
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """The rows of `cogvideox.data.curation.fingerprints`."""
        return Fingerprints.from_tables(self._tables(TYPES))

    @cached_property
    def vectors(self) -> tuple[list[str], NDArray[np.float32]]:
        """Ids (N,) and vectors (N, D)."""
        rows = [row for table in self._tables(VECTOR_TYPES) for row in table.to_pylist()]
        values = [np.frombuffer(row["vector"], np.float32) for row in rows]
        return [row["clip_id"] for row in rows], np.stack(values) if values else np.zeros((0, 1), np.float32)

    def _tables(self, types: Types) -> Iterable[Any]:
        wanted = self._clip_ids - self.failed.keys()
        for digest in self._digests:
            table = read_part(self._store, self.key, digest, types)
            is_wanted = [clip_id in wanted for clip_id in table.column("clip_id").to_pylist()]
            yield table if all(is_wanted) else table.take(np.flatnonzero(is_wanted))


class KeptPairs(ComparedPairs):
    """Compared pairs that are kept in the store."""

    def __init__(
        self,
        store: Store,
        name: SearchName,
        settings: Mapping[str, Any],
        rows: MeasuredRows,
        *,
        search: Callable[[], dict[Pair, Likeness | None]],
        open_likeness: Callable[[], Compare],
    ) -> None:
        """Read what is kept, or search.

        Args:
            store: keeps them.
            name: of the search.
            settings: of the search.
            rows: searched.
            search: compares the clips.
            open_likeness: gives what compares further pairs; called only if one is asked for.
        """
        self._store, self._content = store, rows.content
        self._key = operator_key(name, VERSION, settings, (), rows.key)
        kept = _read_kept(store, self._key, self._content)
        super().__init__(search() if kept is None else _pairs_of(kept), self._compare_more)
        self._open_likeness = open_likeness
        if kept is None:
            self._write()

    @cached_property
    def _likeness(self) -> Compare:
        return self._open_likeness()

    def _compare_more(self, ours: str, theirs: str) -> Likeness | None:
        return self._likeness(ours, theirs)

    def save(self) -> None:
        """Keep the pairs that were compared since."""
        if self.num_added:
            self._write()
            self.num_added = 0

    def _write(self) -> None:
        rows = [
            {
                "first": first,
                "second": second,
                "similarity": alike.similarity if alike else 0.0,
                "kind": alike.kind if alike else "",
                "matched_s": alike.matched_s if alike else 0.0,
            }
            for (first, second), alike in sorted(self.compared.items())
        ]
        _keep(self._store, self._key, self._content, rows, PAIR_TYPES)


def copies_among(store: Store, rows: MeasuredRows, settings: DuplicateSettings) -> KeptPairs:
    """Return the pairs of clips that are copies by their fingerprints."""
    return KeptPairs(
        store,
        "copies",
        dataclasses.asdict(settings),
        rows,
        search=lambda: compare_candidates(rows.fingerprints, settings),
        open_likeness=lambda: fingerprint_likeness(rows.fingerprints, settings),
    )


def alike_among(store: Store, rows: MeasuredRows, settings: CopySearchSettings) -> KeptPairs:
    """Return the pairs of clips whose vectors point nearly the same way."""
    return KeptPairs(
        store,
        "alike",
        {"min_cosine": settings.min_cosine},
        rows,
        search=lambda: compare_vectors(*rows.vectors, settings.min_cosine),
        open_likeness=lambda: vector_likeness(*rows.vectors, settings.min_cosine),
    )


def contamination_of(
    store: Store, rows: MeasuredRows, evaluation: MeasuredRows, settings: DuplicateSettings
) -> list[Contamination]:
    """Return the clips that show what evaluation items show."""
    key = operator_key("contamination", VERSION, dataclasses.asdict(settings), (), rows.key, evaluation.key)
    content = hashlib.sha256(f"{rows.content} {evaluation.content}".encode()).hexdigest()
    kept = _read_kept(store, key, content)
    if kept is not None:
        return [Contamination(**row) for row in kept]
    found = find_contamination(rows.fingerprints, evaluation.fingerprints, settings)
    _keep(store, key, content, [dataclasses.asdict(row) for row in found], CONTAMINATION_TYPES)
    return found


def _pairs_of(rows: Sequence[Mapping[str, Any]]) -> dict[Pair, Likeness | None]:
    return {
        (row["first"], row["second"]): Likeness(
            similarity=row["similarity"], kind=row["kind"], matched_s=row["matched_s"]
        )
        if row["kind"]
        else None
        for row in rows
    }


def _read_kept(store: Store, key: str, content: str) -> list[dict[str, Any]] | None:
    """Return the rows of a search that was done before; None if it was not."""
    if not store.has(key, content):
        return None
    try:
        return store.read(key, content)
    except ValueError as error:
        logger.warning("%s; it is searched again", error)
        return None


def _keep(store: Store, key: str, content: str, rows: Sequence[Mapping[str, Any]], types: Types) -> None:
    """Keep the rows of a search, and no longer those of the same search in other clips."""
    store.write(key, content, rows, types)
    for old in (store.folder / key).glob("*/*.parquet"):
        if old.stem != content:
            old.unlink(missing_ok=True)

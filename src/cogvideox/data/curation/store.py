"""What has been computed, in parts: one file for each source and operator, named by content and settings.

A part is there or not; it is never half there, and never out of date. So a run that was killed goes on where it was,
and a change of one operator leaves the others' parts as they are. Sources are named by their content: moved or renamed
ones are known again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogvideox.data.libraries import pyarrow
from cogvideox.durable_files import replacing

Types = Mapping[str, str]
"""Columns of a table and pyarrow's name of their type: string, int64, float64, bool_, binary, or list (of strings)."""
KEY_LENGTH = 12


def operator_key(name: str, version: int, settings: Mapping[str, Any], weights: Sequence[str], *above: str) -> str:
    """Return what a computation is known by: it changes with all that decides its results.

    Args:
        name: of the operator.
        version: of its code.
        settings: all values that it was made with.
        weights: SHA-256 of its files of weights.
        above: keys of the computations that it builds on.
    """
    description = [name, version, settings, sorted(weights), above]
    text = json.dumps(description, sort_keys=True, default=str)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]}"


class Store:
    """Parts in a folder, on this machine or on a disk that all machines of a cluster share."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, key: str, digest: str, suffix: str = ".parquet") -> Path:
        """Return where the part of a source with this SHA-256 lies."""
        return self.folder / key / digest[:2] / f"{digest}{suffix}"

    def has(self, key: str, digest: str) -> bool:
        """Return whether a part is there."""
        return self.path(key, digest).exists()

    def write(self, key: str, digest: str, rows: Sequence[Mapping[str, Any]], types: Types) -> None:
        """Write a part, whole or not at all; none or any number of rows."""
        write_table(self.path(key, digest), rows, types)

    def read(self, key: str, digest: str) -> list[dict[str, Any]]:
        """Return the rows of a part. Raises ValueError if it is damaged: then it is also removed."""
        path = self.path(key, digest)
        try:
            return read_table(path)
        except ValueError:
            path.unlink(missing_ok=True)
            raise

    def remove(self, key: str, digest: str) -> None:
        """Forget a part."""
        self.path(key, digest).unlink(missing_ok=True)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], types: Types) -> None:
    """Write a parquet table, whole or not at all; the same rows give the same bytes."""
    pa = pyarrow()
    schema = pa.schema([(name, arrow_type(pa, kind)) for name, kind in types.items()])
    columns = [pa.array([row[name] for row in rows], arrow_type(pa, kind)) for name, kind in types.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        pa.parquet.write_table(pa.Table.from_arrays(columns, schema=schema), file)


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a parquet table. Raises ValueError if it is missing or damaged."""
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            return file.read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: not readable as a table ({error}); run curate again, which writes it anew") from None


def arrow_type(pa: Any, kind: str) -> Any:
    """Return a type by its name in `Types`."""
    return pa.list_(pa.string()) if kind == "list" else getattr(pa, kind)()

"""What operators on columns say of a source's clips, from the parts that other operators left."""

import math
from typing import Any

import numpy as np

from cogvideox.data.curation.operators import ColumnOperator
from cogvideox.data.curation.plan import CurationPlan, PlannedColumnOperator, operator_types
from cogvideox.data.curation.store import Store
from cogvideox.errors import MissingPackageError

Rows = list[dict[str, Any]]


def judge(plan: CurationPlan, store: Store, digest: str) -> None:
    """Write the parts of a source's operators on columns that are missing; those of the others are there.

    Raises:
        MissingPackageError: an operator's library is not installed.
        OSError: the store cannot be written.
    """
    for planned in plan.column_operators:
        if not store.has(planned.key, digest):
            rows = _judge(planned, store, digest)
            store.write(planned.key, digest, rows, operator_types(planned.operator.columns))


def _judge(planned: PlannedColumnOperator, store: Store, digest: str) -> Rows:
    parts = {needed.name: store.read(needed.key, digest) for needed in planned.needs}
    clip_ids = [row["clip_id"] for row in next(iter(parts.values()))]
    if not clip_ids:
        return []
    inputs = {}
    for name in planned.operator.inputs:
        table, _, column = name.partition(".")
        inputs[name] = np.array([row[column] for row in parts[table]], np.float64)
    failed = [", ".join(name for name, rows in parts.items() if rows[i]["error"]) for i in range(len(clip_ids))]
    values, error = _values(planned.operator, inputs)
    rows: Rows = []
    for index, clip_id in enumerate(clip_ids):
        if failed[index] or error:
            nothing = dict.fromkeys((column.name for column in planned.operator.columns), math.nan)
            rows.append({"clip_id": clip_id} | nothing | {"error": error or f"needs {failed[index]}, which failed"})
        else:
            rows.append({"clip_id": clip_id} | {name: float(column[index]) for name, column in values.items()})
            rows[-1]["error"] = ""
    return rows


def _values(operator: ColumnOperator, inputs: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return an operator's columns, and what went wrong: no table of numbers must end the run."""
    try:
        judged = operator.judge(inputs)
        values = {column.name: np.asarray(judged[column.name], np.float64) for column in operator.columns}
    except (MissingPackageError, MemoryError):
        raise
    except Exception as error:
        return {}, f"{type(error).__name__}: {error}"
    for column in operator.columns:
        known = values[column.name][~np.isnan(values[column.name])]
        if known.size and not (known.min() >= column.low and known.max() <= column.high):
            return {}, f"{column.name}: expected {column.low} to {column.high}, got {known.min()} to {known.max()}"
    return values, ""

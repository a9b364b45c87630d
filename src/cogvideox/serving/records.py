"""Rows of the tables as values, and values as columns."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from cogvideox.serving.job import FileRef, Job, State, Worker
from cogvideox.serving.schema import jobs


def to_json(value: Any) -> str:
    """Return JSON in ASCII. Raises ValueError for NaN and infinities, TypeError for what JSON has no form of."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"expected a JSON value, got {type(value).__name__}")


def files_json(files: Mapping[str, FileRef]) -> str:
    """Return files by role as JSON."""
    return to_json({role: dataclasses.asdict(file) for role, file in files.items()})


def files_of(text: str) -> dict[str, FileRef]:
    """Return files by role."""
    return {role: FileRef(**values) for role, values in json.loads(text).items()}


def job_of(row: Any) -> Job:
    """Return the job of a row of the table ``jobs``."""
    values = row._mapping
    return Job(
        params=json.loads(values["params"]),
        files=files_of(values["files"]),
        facts=json.loads(values["facts"]),
        warnings=tuple(json.loads(values["warnings"])),
        is_deleted=values["deleted_us"] is not None,
        **{name: values[name] for name in _SAME},
    )


def worker_of(row: Any, steady_us: int) -> Worker:
    """Return the worker of a row of the table ``workers``, at a time of the steady clock."""
    values = row._mapping
    return Worker(
        models=tuple(json.loads(values["models"])),
        facts=json.loads(values["facts"]),
        silent_s=max(steady_us - values["heartbeat_us"], 0) / 1e6,
        **{name: values[name] for name in ("id", "host", "pid", "device", "state", "job_id", "registered_us")},
    )


def ended(row: Any, state: State, now_us: int, change: int) -> dict[str, Any]:
    """Return the columns that change when a job ends, whatever its end is."""
    # The wall clock may have been set back meanwhile: no time of a job is before an earlier one.
    finished_us = max(now_us, row.started_us or row.created_us)
    return {
        "state": state,
        "finished_us": finished_us,
        "expires_us": finished_us + row.retention_us,
        "lease_until_us": None,
        "change": change,
    }


_CONVERTED = ("params", "files", "facts", "warnings", "is_deleted")
_SAME = tuple(field.name for field in dataclasses.fields(Job) if field.name not in _CONVERTED and field.name in jobs.c)

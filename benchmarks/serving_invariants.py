"""What must hold of a store, its files and what clients were told, whatever was killed: invariants I1 to I9."""

import collections
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
import sqlalchemy as sa

from cogvideox.serving.engine_port import Port
from cogvideox.serving.engine_protocol import EngineJob, EngineSettings
from cogvideox.serving.fake_engine import FakeEngine
from cogvideox.serving.files import FileStore
from cogvideox.serving.janitor import Retention, sweep
from cogvideox.serving.job import MAX_CRASHES, Job
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.records import job_of
from cogvideox.serving.schema import idempotency, jobs
from cogvideox.serving.video_params import params_of

COLUMNS = "(job_id, old_state, new_state, attempt, num_crashes)"
VALUES = "(NEW.id, OLD.state, NEW.state, NEW.attempt, NEW.num_crashes)"
ENDED = "OLD.state IN ('completed', 'failed')"
IS_NEWS = (
    f"OLD.state <> NEW.state OR ({ENDED} AND (NEW.finished_us <> OLD.finished_us "
    "OR coalesce(NEW.error_code, '') <> coalesce(OLD.error_code, '') "
    "OR (NEW.files <> OLD.files AND NEW.files <> '{}')))"
)
AUDIT: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TABLE chaos_audit (number INTEGER PRIMARY KEY, job_id TEXT, old_state TEXT, new_state TEXT, "
        "attempt INTEGER, num_crashes INTEGER)",
        f"CREATE TRIGGER chaos_audit_update AFTER UPDATE ON jobs WHEN {IS_NEWS} "
        f"BEGIN INSERT INTO chaos_audit {COLUMNS} VALUES {VALUES}; END",
    ),
    "postgresql": (
        "CREATE TABLE chaos_audit (number SERIAL PRIMARY KEY, job_id TEXT, old_state TEXT, new_state TEXT, "
        "attempt BIGINT, num_crashes BIGINT)",
        "CREATE FUNCTION chaos_audit_note() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN INSERT INTO chaos_audit {COLUMNS} VALUES {VALUES}; RETURN NULL; END $$",
        f"CREATE TRIGGER chaos_audit_update AFTER UPDATE ON jobs FOR EACH ROW WHEN ({IS_NEWS}) "
        "EXECUTE FUNCTION chaos_audit_note()",
    ),
}
"""The database itself writes down every change of state, and every change of a job that had ended."""
ALLOWED_CODES = ("canceled", "worker_lost", "timeout")
"""What a job of good settings may end with when processes are killed and stopped."""


@dataclass
class Told:
    """What clients were told."""

    ids_by_key: dict[str, str] = field(default_factory=dict)
    """Of jobs by idempotency key."""
    owners: dict[str, str] = field(default_factory=dict)
    """By the id of the job: who asked for it."""
    canceled: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    ends: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """By id: state and times, as they were told first of a job that had ended."""
    violations: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """What was found."""

    violations: list[str] = field(default_factory=list)
    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    num_claims: int = 0
    num_resumed: int = 0
    num_crashes: int = 0
    num_retried: int = 0
    """Completed jobs that took more than one try."""
    num_orphans: int = 0
    """Files that no job named, before the sweep."""
    num_videos: int = 0
    """Different ones that were decoded."""

    def check(self, invariant: str, is_right: bool, what: str) -> None:
        """Note a violation."""
        if not is_right:
            self.violations.append(f"{invariant}: {what}")


def install_audit(store: JobStore) -> None:
    """Have the database write down changes of state. Before anything else uses it."""
    with store.database.writing() as transaction:
        for command in AUDIT[store.database.kind]:
            transaction.connection.execute(sa.text(command))


def live_jobs(store: JobStore) -> int:
    """Return how many jobs have not ended, deleted ones too."""
    return len(store.running_attempts())


def check_everything(store: JobStore, files: FileStore, told: Told) -> Findings:
    """Check I1 to I9, of a service that has ended. Sweeps the files."""
    found = Findings(violations=list(told.violations))
    with store.database.reading() as transaction:
        rows = transaction.connection.execute(sa.select(jobs)).all()
        keys = transaction.connection.execute(sa.select(idempotency)).all()
        history = transaction.connection.execute(sa.text("SELECT * FROM chaos_audit ORDER BY number")).all()
    by_id = {row.id: job_of(row) for row in rows}
    tallies = store.tallies()
    found.num_crashes = tallies.get("lease_lost", 0) + tallies.get("attempts:worker_lost", 0)
    _check_accepted(found, by_id, told)
    _check_history(found, by_id, history)
    _check_keys(found, keys, told)
    _check_results(found, by_id, files)
    _check_files(found, by_id, store, files)
    return found


def _check_accepted(found: Findings, by_id: Mapping[str, Job], told: Told) -> None:
    """I1: what was accepted is there and has ended, with what clients were told; and nothing else is there."""
    found.check("I1", set(by_id) == set(told.owners), f"jobs lost {set(told.owners) - set(by_id)}")
    found.check("I1", set(by_id) <= set(told.owners), f"jobs nobody asked for {set(by_id) - set(told.owners)}")
    for job in by_id.values():
        found.check("I1", job.is_terminal, f"{job.id} is still {job.state}")
        code = job.error_code or ("" if job.state == "completed" else "no code")
        found.ends[code or "completed"] += 1
        found.check("I1", code in ("", *ALLOWED_CODES), f"{job.id} ended with {code}: {job.error_message}")
        is_wanted = job.id in told.canceled | told.deleted
        found.check("I1", code != "canceled" or is_wanted, f"{job.id} was canceled by nobody")
        is_lost = job.num_crashes >= MAX_CRASHES or job.attempt >= job.max_attempts
        found.check("I1", code != "worker_lost" or is_lost, f"{job.id} given up after {job.num_crashes} deaths")
        found.check("I1", job.is_deleted == (job.id in told.deleted), f"{job.id} deleted: {job.is_deleted}")
        if job.id in told.ends:
            now = end_of(job.state, job.finished_us, job.error_code)
            found.check("I2", told.ends[job.id] == now, f"{job.id} was {told.ends[job.id]}, is {now}")


def end_of(state: str, finished_us: int | None, code: str | None) -> tuple[Any, ...]:
    """Return what must not change of a job that has ended, to the second, as clients are told."""
    return state, finished_us // 10**6 if finished_us and state == "completed" else None, code


def _check_history(found: Findings, by_id: Mapping[str, Job], history: Any) -> None:
    """I2: every job ended once. I5: no more tries than there may be."""
    num_ends = collections.Counter(row.job_id for row in history if row.new_state in ("completed", "failed"))
    for row in history:
        found.num_claims += row.new_state == "in_progress"
        is_after = row.old_state in ("completed", "failed")
        found.check("I2", not is_after, f"{row.job_id} changed from {row.old_state} to {row.new_state}")
        job = by_id.get(row.job_id)
        found.check("I5", job is None or row.attempt <= job.max_attempts, f"{row.job_id}: try {row.attempt}")
        found.check("I5", row.num_crashes <= MAX_CRASHES, f"{row.job_id}: {row.num_crashes} deaths")
    for job in by_id.values():
        found.check("I2", num_ends[job.id] == 1, f"{job.id} ended {num_ends[job.id]} times")
        found.num_retried += job.state == "completed" and job.attempt > 1
        found.num_resumed += bool(job.facts.get("resumed_from_step"))


def _check_keys(found: Findings, keys: Any, told: Told) -> None:
    """I6: an idempotency key means one job, the one that clients were told."""
    stored = {row.key: row.job_id for row in keys}
    found.check("I6", stored == told.ids_by_key, f"keys differ: {set(stored.items()) ^ set(told.ids_by_key.items())}")
    found.check("I6", len(set(told.ids_by_key.values())) == len(told.ids_by_key), "two keys mean one job")


def _check_results(found: Findings, by_id: Mapping[str, Job], files: FileStore) -> None:
    """I3: completed jobs have their files, whole, with what was asked for. I9: frames are those of a run in peace."""
    checked: dict[str, tuple[Any, ...]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for job in by_id.values():
            if job.state != "completed" or job.is_deleted:
                continue
            roles = {"result", "thumbnail", "spritesheet"}
            found.check("I3", roles <= set(job.files), f"{job.id} has only {sorted(job.files)}")
            found.check("I3", "checkpoint" not in job.files, f"{job.id} still has a checkpoint")
            broken = [role for role, file in job.files.items() if not files.is_whole(file)]
            found.check("I3", not broken, f"{job.id}: gone or damaged: {broken}")
            if broken or "result" not in job.files:
                continue
            sha256 = job.files["result"].sha256
            if sha256 not in checked:
                path = Path(folder) / "result.mp4"
                path.write_bytes(files.read(sha256))
                checked[sha256] = video_facts(path)
            params = params_of(job.params)
            asked = (params.num_frames, float(params.fps), params.width_px, params.height_px)
            found.check("I3", checked[sha256][:4] == asked, f"{job.id}: {checked[sha256][:4]}, asked {asked}")
            reference = _REFERENCES.frames(job, Path(folder))
            found.check("I9", checked[sha256][4] == reference, f"{job.id} (try {job.attempt}): other frames")
    found.num_videos = len(checked)


def _check_files(found: Findings, by_id: Mapping[str, Job], store: JobStore, files: FileStore) -> None:
    """I4: after a sweep there are the files that jobs name, and no others."""
    folder = files.folder / "files"
    found.num_orphans = len({path.name for path in folder.rglob("*") if path.is_file()} - store.named_files())
    sweep(store, files, Retention(grace_s=0, released_grace_s=0))
    there, named = {path.name for path in folder.rglob("*") if path.is_file()}, store.named_files()
    found.check("I4", there == named, f"{len(there - named)} files of no job, {len(named - there)} files gone")
    work = [path.name for path in (files.folder / "work").iterdir()]
    found.check("I4", not work, f"folders of work are left: {work[:3]}")
    expected = {file.sha256 for job in by_id.values() if not job.is_deleted for file in job.files.values()}
    found.check("I4", named == expected, "jobs lost names of files in the sweep")


def video_facts(path: Path) -> tuple[int, float, int, int, str]:
    """Return number of frames, rate, width, height and a digest of the decoded frames."""
    digest, num_frames = hashlib.sha256(), 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            digest.update(np.ascontiguousarray(frame.to_ndarray(format="rgb24")).tobytes())
            num_frames += 1
        rate = float(stream.average_rate or 0)
        return num_frames, rate, stream.width, stream.height, digest.hexdigest()


class References:
    """Frames of jobs as they come out of an engine that nobody disturbs."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}

    @cached_property
    def _engine(self) -> FakeEngine:
        return FakeEngine(EngineSettings(engine="fake", cache_folder=Path("unused"), fake_step_s=0.0))

    def frames(self, job: Job, folder: Path) -> str:
        """Return the digest of the frames of a job."""
        inputs = {role: job.files[role].sha256 for role in ("image", "video") if role in job.files}
        name = f"{dict(job.params)} {job.seed} {inputs}"
        if name not in self._digests:
            run = EngineJob(
                job_id=job.id,
                attempt=1,
                model=job.model,
                seed=job.seed,
                params=job.params,
                folder=folder,
                input_digests=inputs,
            )
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                self._engine.run(run, Port(nowhere))
            finally:
                os.close(nowhere)
            self._digests[name] = video_facts(folder / "result.mp4")[4]
        return self._digests[name]


_REFERENCES = References()

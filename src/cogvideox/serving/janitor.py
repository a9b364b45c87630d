"""Clears away what no job needs: files of deleted and expired jobs, uploads of refused ones, rests of killed processes.

Rows first, then files: a file goes only when no row names it, and never within a time of grace after it was kept.
"""

from dataclasses import dataclass

from cogvideox.serving.files import FileStore, Kept
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.outbox import forget_events


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long things stay that nobody needs."""

    grace_s: float = 2 * 3600.0
    """Files that no job names, counted from when they were last kept: longer than an upload or a publication takes, and
    than an hour by which a clock may be put forward meanwhile."""
    released_grace_s: float = 60.0
    """Files of deleted and expired jobs, counted in the same way."""
    records_s: float = 30 * 24 * 3600.0
    """Rows of deleted and expired jobs: until then pages of a list can begin behind them."""
    events_s: float = 24 * 3600.0
    """Events that their targets have, or will not get."""

    def __post_init__(self) -> None:
        for name in ("grace_s", "released_grace_s", "records_s", "events_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What was cleared away."""

    num_expired_jobs: int
    num_files: int
    num_work_folders: int
    num_records: int
    num_events: int


_RETENTION = Retention()


def sweep(store: JobStore, files: FileStore, retention: Retention = _RETENTION) -> Swept:
    """Clear away everything that is due; for any number of processes at once.

    Raises:
        StoreUnavailableError: the store does not answer; sweep again later.
    """
    num_expired_jobs = store.expire()
    released = store.release_files()
    num_files = files.remove_released(released, store.named_files, grace_s=retention.released_grace_s)
    num_files += files.remove_unnamed(store.named_files, grace_s=retention.grace_s)
    num_work_folders = files.remove_work_folders(store.running_attempts, grace_s=retention.grace_s)
    return Swept(
        num_expired_jobs=num_expired_jobs,
        num_files=num_files,
        num_work_folders=num_work_folders,
        num_records=store.forget(older_than_s=retention.records_s),
        num_events=forget_events(store.database, older_than_s=retention.events_s),
    )


def discard_refused(store: JobStore, files: FileStore, kept: tuple[Kept, ...]) -> int:
    """Remove the uploads of a job that was refused, unless a job names the same file; return how many are gone."""
    named = store.named_files()
    return sum(files.discard(each) for each in kept if each.file.sha256 not in named)

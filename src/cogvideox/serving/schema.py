"""The tables of a job store, and how a store of any age is brought to them.

Names end in their units: ``_us`` is microseconds. Of these, times that are shown (``created_us``, ...) are the wall
clock's, and ``lease_until_us``, ``not_before_us``, ``deadline_us`` and ``heartbeat_us`` are the steady clock's, which
nobody sets (see `cogvideox.serving.database`). JSON is text in ASCII: every database stores it, whatever it says.
"""

from pathlib import Path
from typing import Any

from cogvideox.serving.job import STATES, StoreError
from cogvideox.serving.libraries import alembic, sqlalchemy

sa = sqlalchemy()

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0003"
"""The newest revision in ``migrations/versions``."""
VERSION_TABLE = "alembic_version"
ENDED_BY_BOOT_US = 0
"""End of the lease of a job whose worker ended with its machine; no lease that was given ends then."""

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("priority", sa.BigInteger, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("params_digest", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("max_attempts", sa.BigInteger, nullable=False),
    sa.Column("num_crashes", sa.BigInteger, nullable=False),
    sa.Column("lease_token", sa.Text),
    sa.Column("lease_until_us", sa.BigInteger),
    sa.Column("worker_id", sa.Text),
    sa.Column("not_before_us", sa.BigInteger, nullable=False),
    sa.Column("deadline_us", sa.BigInteger, nullable=False),
    sa.Column("is_cancel_requested", sa.Boolean, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("num_steps", sa.BigInteger, nullable=False),
    sa.Column("progress", sa.BigInteger, nullable=False),
    sa.Column("files", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("warnings", sa.Text, nullable=False),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("remixed_from", sa.Text),
    sa.Column("retention_us", sa.BigInteger, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("started_us", sa.BigInteger),
    sa.Column("finished_us", sa.BigInteger),
    sa.Column("expires_us", sa.BigInteger),
    sa.Column("is_expired", sa.Boolean, nullable=False),
    sa.Column("deleted_us", sa.BigInteger),
    sa.Column("is_purged", sa.Boolean, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False),
    sa.Column("crash_step", sa.BigInteger, nullable=False, server_default="-1"),
    sa.CheckConstraint(f"state IN ({', '.join(repr(state) for state in STATES)})", name="known_state"),
    sa.CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempts_in_range"),
    sa.CheckConstraint("(state IN ('completed', 'failed')) = (finished_us IS NOT NULL)", name="finished_if_terminal"),
    sa.CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="error_if_failed"),
    sa.CheckConstraint("(state = 'in_progress') = (lease_until_us IS NOT NULL)", name="lease_if_running"),
    sa.Index("jobs_by_state", "state", "created_us"),
    sa.Index("jobs_by_count", "state", "priority", "deleted_us"),
    sa.Index("jobs_by_owner", "owner", "created_us", "id"),
    sa.Index("jobs_by_time", "created_us", "id"),
    sa.Index("jobs_by_digest", "owner", "params_digest"),
    sa.Index("jobs_by_expiry", "expires_us"),
    sa.Index("jobs_by_change", "change"),
)

owners = sa.Table(
    "owners",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("last_claim", sa.BigInteger, nullable=False),
)
"""Whose turn it is: the owner whose job was taken longest ago."""

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("params_digest", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("expires_us", sa.BigInteger, nullable=False),
    sa.Index("idempotency_by_job", "job_id"),
    sa.Index("idempotency_by_expiry", "expires_us"),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("models", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("registered_us", sa.BigInteger, nullable=False),
    sa.Column("heartbeat_us", sa.BigInteger, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("expires_us", sa.BigInteger),
    sa.Column("revoked_us", sa.BigInteger),
    sa.Column("last_used_us", sa.BigInteger),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("events", sa.Text, nullable=False),
    sa.Column("is_private_allowed", sa.Boolean, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("disabled_us", sa.BigInteger),
    sa.Column("disabled_reason", sa.Text),
    sa.Column("last_us", sa.BigInteger),
    sa.Column("last_answer", sa.Text),
    sa.Column("num_given_up", sa.BigInteger, nullable=False),
    sa.Index("webhooks_by_owner", "owner"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("webhook_id", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("num_tries", sa.BigInteger, nullable=False),
    sa.Column("not_before_us", sa.BigInteger, nullable=False),
    sa.Column("token", sa.Text),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("ended_us", sa.BigInteger),
    sa.CheckConstraint("(state = 'waiting') = (ended_us IS NULL)", name="ended_unless_waiting"),
    sa.Index("outbox_by_state", "state", "not_before_us"),
    sa.Index("outbox_by_webhook", "webhook_id"),
)
"""Events on their way: whoever sends one has its token, and ``not_before_us`` is then when another may try.

Without foreign keys: that a job ends depends on no target, whoever removes it meanwhile.
"""

store_state = sa.Table(
    "store_state",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
"""Single values: ``change`` and ``claim`` count, ``steady_clock`` holds an offset and the boot that it is for.

``store_id`` names the store and ``data_folder`` the folder of its files (see `cogvideox.serving.data_folder`);
``count:...`` are `JobStore.tallies`.
"""


def revision_of(connection: Any) -> str | None:
    """Return the revision of a store; None if the database has no tables of one.

    Raises:
        StoreError: there are tables of that name, of something else.
    """
    names = set(sa.inspect(connection).get_table_names())
    if VERSION_TABLE not in names:
        if "jobs" in names:
            raise StoreError("job store: its database has a table `jobs` that is not ours; give it one of its own")
        return None
    versions = [row[0] for row in connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))]
    if len(versions) > 1:
        raise StoreError(f"job store: it is at several revisions at once ({', '.join(versions)}); restore a backup")
    return versions[0] if versions else None


def check_revision(revision: str | None) -> None:
    """Raise StoreError unless a revision is one that this program knows how to bring up to date."""
    if revision not in (None, HEAD) and revision not in _known_revisions():
        raise StoreError(
            f"job store: its schema {revision!r} is newer than this program knows ({HEAD}); run the newer cogvideox, "
            "or restore a backup from before the upgrade"
        )


def migrate(connection: Any) -> None:
    """Bring the tables to `HEAD` inside the transaction of a connection."""
    config = alembic().config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    alembic().command.upgrade(config, "head")


def _known_revisions() -> set[str]:
    return {script.revision for script in alembic().script.ScriptDirectory(str(MIGRATIONS)).walk_revisions()}

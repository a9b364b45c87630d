"""The first tables."""

from cogvideox.serving.libraries import alembic, sqlalchemy

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

op = alembic().op
sa = sqlalchemy()


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "jobs",
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
        sa.CheckConstraint("state IN ('queued', 'in_progress', 'completed', 'failed')", name="known_state"),
        sa.CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempts_in_range"),
        sa.CheckConstraint(
            "(state IN ('completed', 'failed')) = (finished_us IS NOT NULL)", name="finished_if_terminal"
        ),
        sa.CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="error_if_failed"),
        sa.CheckConstraint("(state = 'in_progress') = (lease_until_us IS NOT NULL)", name="lease_if_running"),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "created_us"])
    op.create_index("jobs_by_count", "jobs", ["state", "priority", "deleted_us"])
    op.create_index("jobs_by_owner", "jobs", ["owner", "created_us", "id"])
    op.create_index("jobs_by_time", "jobs", ["created_us", "id"])
    op.create_index("jobs_by_digest", "jobs", ["owner", "params_digest"])
    op.create_index("jobs_by_expiry", "jobs", ["expires_us"])
    op.create_index("jobs_by_change", "jobs", ["change"])
    op.create_table(
        "owners",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("last_claim", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("params_digest", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_by_job", "idempotency", ["job_id"])
    op.create_index("idempotency_by_expiry", "idempotency", ["expires_us"])
    op.create_table(
        "workers",
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
    op.create_table(
        "api_keys",
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
    op.create_table(
        "store_state",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    counters = sa.table("store_state", sa.column("name"), sa.column("number"), sa.column("text"))
    op.bulk_insert(counters, [{"name": name, "number": 0, "text": ""} for name in ("change", "claim")])


def downgrade() -> None:
    """Refuse: a store is never taken back."""
    raise NotImplementedError("a job store is not taken back to an older schema; restore a backup")

"""Targets that are told when videos end, and what is on its way to them."""

from cogvideox.serving.libraries import alembic, sqlalchemy

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

op = alembic().op
sa = sqlalchemy()


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "webhooks",
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
    )
    op.create_index("webhooks_by_owner", "webhooks", ["owner"])
    op.create_table(
        "outbox",
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
    )
    op.create_index("outbox_by_state", "outbox", ["state", "not_before_us"])
    op.create_index("outbox_by_webhook", "outbox", ["webhook_id"])


def downgrade() -> None:
    """Refuse: a store is never taken back."""
    raise NotImplementedError("a job store is not taken back to an older schema; restore a backup")

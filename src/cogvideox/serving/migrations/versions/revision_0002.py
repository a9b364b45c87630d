"""How far a job was when its worker died last, and a name of the store, which folders of files remember."""

import secrets

from cogvideox.serving.libraries import alembic, sqlalchemy

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

op = alembic().op
sa = sqlalchemy()


def upgrade() -> None:
    """Add them. A death before now was one at an unknown step: the next one counts as the first without progress."""
    op.add_column("jobs", sa.Column("crash_step", sa.BigInteger, nullable=False, server_default="-1"))
    values = sa.table("store_state", sa.column("name"), sa.column("number"), sa.column("text"))
    op.bulk_insert(values, [{"name": "store_id", "number": 0, "text": secrets.token_hex(16)}])


def downgrade() -> None:
    """Refuse: a store is never taken back."""
    raise NotImplementedError("a job store is not taken back to an older schema; restore a backup")

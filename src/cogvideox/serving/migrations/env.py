"""Runs the revisions on the connection that `cogvideox.serving.schema.migrate` hands over."""

from cogvideox.serving.libraries import alembic
from cogvideox.serving.schema import VERSION_TABLE, metadata

context = alembic().context
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite can, though Alembic does not take it for granted
)
with context.begin_transaction():
    context.run_migrations()

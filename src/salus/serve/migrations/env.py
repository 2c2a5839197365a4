"""Run by Alembic: brings the database of a connection that is open already to the newest version."""

from __future__ import annotations

from alembic import context

from salus.serve.migrations import VERSION_TABLE
from salus.serve.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite changes tables by copying them
)
with context.begin_transaction():
    context.run_migrations()

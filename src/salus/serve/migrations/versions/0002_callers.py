"""What callers asked, for the monitor of queries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make its tables."""
    op.create_table(
        "callers",
        sa.Column("guard", sa.String(128), primary_key=True),
        sa.Column("monitor", sa.String(64), primary_key=True),
        sa.Column("caller", sa.String(32), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("suspicion", sa.Float(), nullable=False),
        sa.Column("asked", _COUNT, nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.Column("alarmed", sa.Float()),
        sa.Column("lifted", sa.Float()),
    )
    op.create_index("ix_callers_seen", "callers", ["seen"])
    op.create_table(
        "queries",
        sa.Column("id", _COUNT, primary_key=True),
        sa.Column("guard", sa.String(128), nullable=False),
        sa.Column("monitor", sa.String(64), nullable=False),
        sa.Column("caller", sa.String(32), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("answer", sa.Integer(), nullable=False),
        sa.Column("suspicion", sa.Float(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("trace", sa.LargeBinary()),
    )
    op.create_index("ix_queries_of", "queries", ["guard", "monitor", "caller", "id"])
    op.create_index("ix_queries_time", "queries", ["time"])
    op.create_table(
        "salts",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
    )

"""The first version's tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "entries",
        sa.Column("seq", _COUNT, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("request", sa.String(64)),
        sa.Column("guard", sa.String(128)),
        sa.Column("outcome", sa.String(16)),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    for column in ("time", "request", "guard"):
        op.create_index(f"ix_entries_{column}", "entries", [column])
    for table in ("checkpoints", "anchors"):
        op.create_table(
            table,
            sa.Column("seq", _COUNT, primary_key=True, autoincrement=False),
            sa.Column("time", sa.Float(), nullable=False),
            sa.Column("body", sa.Text(), nullable=False),
            sa.Column("signature", sa.String(128), nullable=False),
        )
    op.create_table(
        "answers",
        sa.Column("token", sa.String(32), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_answers_time", "answers", ["time"])
    op.create_table(
        "inputs",
        sa.Column(
            "seq", _COUNT, sa.ForeignKey("entries.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False
        ),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("x", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_inputs_time", "inputs", ["time"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(128), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float()),
        sa.Column("revoked", sa.Float()),
    )
    op.create_table(
        "windows",
        sa.Column("guard", sa.String(128), primary_key=True),
        sa.Column("bundle", sa.String(64), primary_key=True),
        sa.Column("minute", _COUNT, primary_key=True, autoincrement=False),
        sa.Column("worker", sa.String(32), primary_key=True),
        sa.Column("counts", sa.Text(), nullable=False),
    )
    op.create_table(
        "baselines",
        sa.Column("guard", sa.String(128), primary_key=True),
        sa.Column("bundle", sa.String(64), primary_key=True),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
    )
    op.create_table(
        "alarms",
        sa.Column("id", _COUNT, primary_key=True),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("guard", sa.String(128), nullable=False),
        sa.Column("bundle", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("cleared", sa.Float()),
        sa.Column("delivered", sa.Float()),
    )
    op.create_index("ix_alarms_time", "alarms", ["time"])

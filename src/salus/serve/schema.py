"""Tables of the service's database, in SQLite or PostgreSQL. Times are seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

#: SQLite counts by itself only in a column of this very type.
_Count = BigInteger().with_variant(Integer, "sqlite")

#: The log, append-only: ``body`` is canonical JSON, ``hash`` is SHA-256 of the previous hash and it.
entries = Table(
    "entries",
    metadata,
    Column("seq", _Count, primary_key=True, autoincrement=False),
    Column("time", Float, nullable=False, index=True),
    Column("kind", String(16), nullable=False),  # verdict, event
    Column("request", String(64), index=True),
    Column("guard", String(128), index=True),
    Column("outcome", String(16)),
    Column("body", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)

#: Signed heads of the chain.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("seq", _Count, primary_key=True, autoincrement=False),
    Column("time", Float, nullable=False),
    Column("body", Text, nullable=False),  # canonical JSON: what is signed
    Column("signature", String(128), nullable=False),
)

#: Where the chain begins after older entries were pruned; signed as checkpoints are.
anchors = Table(
    "anchors",
    metadata,
    Column("seq", _Count, primary_key=True, autoincrement=False),  # the last entry that is gone
    Column("time", Float, nullable=False),
    Column("body", Text, nullable=False),
    Column("signature", String(128), nullable=False),
)

#: Answers to requests with an idempotency key.
answers = Table(
    "answers",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),  # of the request: another one under the same key is refused
    Column("time", Float, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
)

#: Prepared inputs, only where the service is told to keep them.
inputs = Table(
    "inputs",
    metadata,
    Column("seq", _Count, ForeignKey("entries.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("time", Float, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("x", LargeBinary, nullable=False),  # float32, little endian, of the guard's shape
)

#: Who may do what; of a secret only its hash is kept.
tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("scopes", String(128), nullable=False),  # words apart
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)

#: What each worker counted in each minute; no single input can be told from it.
windows = Table(
    "windows",
    metadata,
    Column("guard", String(128), primary_key=True),
    Column("bundle", String(64), primary_key=True),
    Column("minute", _Count, primary_key=True, autoincrement=False),
    Column("worker", String(32), primary_key=True),
    Column("counts", Text, nullable=False),  # JSON
)

#: What a bundle's inputs looked like at first, to tell drift by.
baselines = Table(
    "baselines",
    metadata,
    Column("guard", String(128), primary_key=True),
    Column("bundle", String(64), primary_key=True),
    Column("time", Float, nullable=False),
    Column("counts", Text, nullable=False),  # JSON
)

#: Alarms that were raised, and whether the webhook was told.
alarms = Table(
    "alarms",
    metadata,
    Column("id", _Count, primary_key=True),
    Column("time", Float, nullable=False, index=True),
    Column("guard", String(128), nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
    Column("cleared", Float),
    Column("delivered", Float),
)

#: How suspicious each caller of a guard is, under one fitted monitor.
callers = Table(
    "callers",
    metadata,
    Column("guard", String(128), primary_key=True),
    Column("monitor", String(64), primary_key=True),  # what tells its fit apart: another one begins anew
    Column("caller", String(32), primary_key=True),  # a token
    Column("state", Text, nullable=False),  # JSON: the tests' running figures
    Column("suspicion", Float, nullable=False),  # 1 is where the alarm is raised
    Column("asked", _Count, nullable=False),
    Column("seen", Float, nullable=False, index=True),
    Column("alarmed", Float),
    Column("lifted", Float),
)

#: What callers asked, in the form that the monitor compares; the digest is made with the salt.
queries = Table(
    "queries",
    metadata,
    Column("id", _Count, primary_key=True),
    Column("guard", String(128), nullable=False),
    Column("monitor", String(64), nullable=False),
    Column("caller", String(32), nullable=False),
    Column("time", Float, nullable=False, index=True),
    Column("answer", Integer, nullable=False),  # -1: rejected
    Column("suspicion", Float, nullable=False),  # of the caller, once it was asked
    Column("digest", LargeBinary, nullable=False),
    Column("trace", LargeBinary),  # none once it has left the window: the digest alone tells repeats
    Index("ix_queries_of", "guard", "monitor", "caller", "id"),
)

#: Secrets that all workers share, and that nothing shows.
salts = Table(
    "salts",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("salt", LargeBinary, nullable=False),
)

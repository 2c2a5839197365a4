"""What is handed in to the log, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salus.errors import SalusError, StoreError
from salus.serve.log.entry import Entry


class LogUnavailable(StoreError):  # noqa: N818  (says what is so)
    """The log cannot take an entry now, so that nothing may be answered; trying again later may help."""


class RepeatConflict(SalusError):  # noqa: N818
    """An idempotency key came again with another request."""


@dataclass(frozen=True)
class KeptInput:
    """A prepared input that is kept beside its entry.

    Attributes:
        row: the index of its entry in the submission.
        name: what its source calls it.
        x: float32, little endian.
    """

    row: int
    name: str
    x: bytes


@dataclass(frozen=True)
class Repeatable:
    """What makes a request the same as one before.

    Attributes:
        token: whose it is.
        key: the idempotency key.
        digest: of the request's content.
    """

    token: str
    key: str
    digest: str


@dataclass(frozen=True)
class Submission:
    """What one request adds to the log, whole or not at all.

    Attributes:
        entries: one for each input.
        answer: what is answered when the request is repeated.
        repeatable: how a repetition is recognised; None where it is not.
        kept: inputs to keep.
    """

    entries: Sequence[Entry]
    answer: bytes = b""
    repeatable: Repeatable | None = None
    kept: Sequence[KeptInput] = ()


@dataclass(frozen=True)
class Receipt:
    """What became of a submission.

    Attributes:
        first_seq: the number of its first entry; None where it added none.
        answer: what to answer: its own answer, or that of the request that it repeats.
        repeated: whether it repeats one.
    """

    first_seq: int | None
    answer: bytes
    repeated: bool


@dataclass(frozen=True)
class LogState:
    """How the log is.

    Attributes:
        available: whether the last try to write succeeded.
        seq: the last entry known.
        last_commit: when something was written last, in seconds since 1970; 0 for never.
        waiting: entries that wait.
        fault: what is wrong, in a sentence.
        commits: transactions so far.
    """

    available: bool = True
    seq: int = 0
    last_commit: float = 0.0
    waiting: int = 0
    fault: str | None = None
    commits: int = 0

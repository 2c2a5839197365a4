"""What is remembered of each caller's queries: a bounded, expiring past, behind a protocol."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import torch
from pydantic import Field
from torch import Tensor

from salus.options import checked

#: Digests that are kept for each query whose trace is: a recording that is sent again has long left the window.
_DIGESTS = 64


@dataclass(eq=False)
class Past:
    """What is remembered of one caller.

    Attributes:
        traces: what a monitor keeps of each query ``[M, W]``, oldest first.
        answers: what each was answered, int64 ``[M]``, -1 where it was rejected.
        times: when each was asked, seconds, float64 ``[M]``.
        digests: of the inputs that were asked, by which repeats are known, newest last.
        state: a monitor's running figures, float64 ``[T]``; empty at first.
        suspicion: the highest that the caller has reached.
        asked: queries so far, repeats left out.
        seen: when the last was asked.
    """

    traces: Tensor
    answers: Tensor
    times: Tensor
    digests: dict[bytes, None] = field(default_factory=dict, repr=False)
    state: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    suspicion: float = 0.0
    asked: int = 0
    seen: float = 0.0

    @classmethod
    def empty(cls) -> Past:
        """Give the past of a caller who has asked nothing."""
        return cls(torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64))

    def __len__(self) -> int:
        return len(self.traces)


@dataclass(frozen=True, eq=False)
class News:
    """What a batch of queries adds to a caller's past.

    Attributes:
        traces: of the queries that were no repeats ``[N, W]``.
        answers: int64 ``[N]``.
        times: float64 ``[N]``.
        digests: of these.
        state: the running figures after them.
        scores: the caller's suspicion after each, float64 ``[N]``.
    """

    traces: Tensor
    answers: Tensor
    times: Tensor
    digests: tuple[bytes, ...]
    state: Tensor
    scores: Tensor


class Memory(Protocol):
    """Where the past of callers lies; in a process or in a database that several share."""

    def salt(self) -> bytes:
        """Give the secret that digests and fingerprints are made with; the same for all who share the memory."""

    def recall(self, caller: str) -> Past:
        """Give what is remembered of a caller; not to be written to."""

    def keep(self, caller: str, news: News) -> None:
        """Add to a caller's past, and forget what no longer fits."""

    def forget(self, before: float) -> int:
        """Forget what was asked before this time; return how many queries that were."""

    def callers(self) -> Iterator[tuple[str, Past]]:
        """Go through the callers that are remembered."""


class InProcess:
    """Remembers in this process's memory alone.

    Bounded: at most ``callers x window`` traces, and 64 digests of 16 bytes for each place of a window. Of too many
    callers those are forgotten who have been silent longest.

    Args:
        window: queries that are remembered of each caller.
        most_callers: callers that are remembered.
        salt: the secret; drawn when not given.
    """

    @checked
    def __init__(
        self,
        *,
        window: Annotated[int, Field(ge=2, description="queries that are remembered of each caller")] = 2000,
        most_callers: Annotated[int, Field(ge=1, description="callers that are remembered")] = 500,
        salt: bytes | None = None,
    ) -> None:
        self.window, self.most_callers = window, most_callers
        self._salt = secrets.token_bytes(32) if salt is None else salt
        self._callers: OrderedDict[str, _Buffer] = OrderedDict()

    def salt(self) -> bytes:
        """Give the secret."""
        return self._salt

    def recall(self, caller: str) -> Past:
        """Give what is remembered of a caller; views, not copies."""
        buffer = self._callers.get(caller)
        return Past.empty() if buffer is None else buffer.past

    def keep(self, caller: str, news: News) -> None:
        """Add to a caller's past; of too many the oldest go."""
        if caller not in self._callers:
            self._callers[caller] = _Buffer(self.window)
            while len(self._callers) > self.most_callers:
                self._callers.popitem(last=False)
        self._callers.move_to_end(caller)
        self._callers[caller].add(news)

    def forget(self, before: float) -> int:
        """Forget what was asked before this time, and callers of whom nothing is left."""
        gone = 0
        for caller, buffer in list(self._callers.items()):
            gone += buffer.drop(before)
            if buffer.past.seen < before:
                del self._callers[caller]
        return gone

    def callers(self) -> Iterator[tuple[str, Past]]:
        """Go through the callers that are remembered, those who were silent longest first."""
        for caller, buffer in list(self._callers.items()):
            yield caller, buffer.past


class _Buffer:
    """The past of one caller in arrays twice as long as the window, so that old rows are moved out of the way rarely.

    Args:
        window: rows that are remembered.
    """

    def __init__(self, window: int) -> None:
        self.window, self._first, self._end = window, 0, 0
        self.past = Past.empty()
        self._columns: tuple[Tensor, ...] = (self.past.traces, self.past.answers, self.past.times)

    def add(self, news: News) -> None:
        past, count = self.past, min(len(news.traces), self.window)
        if count:
            self._make_room(news, count)
            rows = slice(self._end, self._end + count)
            for column, fresh in zip(self._columns, (news.traces, news.answers, news.times), strict=True):
                column[rows] = fresh[-count:]
            self._end += count
            self._first = max(self._first, self._end - self.window)
            self._show()
        past.digests.update(dict.fromkeys(news.digests))
        while len(past.digests) > _DIGESTS * self.window:
            del past.digests[next(iter(past.digests))]
        past.state = news.state
        past.suspicion = max(past.suspicion, float(news.scores.max()) if len(news.scores) else 0.0)
        past.asked += len(news.traces)
        past.seen = max(past.seen, float(news.times.max()) if len(news.times) else past.seen)

    def drop(self, before: float) -> int:
        old = int((self.past.times < before).sum())
        self._first += old
        self._show()
        return old

    def _make_room(self, news: News, count: int) -> None:
        needed, size = self._end + count, len(self._columns[0])
        if needed <= size and self._columns[0].shape[1:] == news.traces.shape[1:]:
            return
        kept = max(self._end - self._first + count - self.window, 0)  # how many of the old ones must go
        first = self._first + kept
        length = min(max(64, 2 * (self._end - first + count)), 2 * self.window)
        fresh = []
        for column, like in zip(self._columns, (news.traces, news.answers, news.times), strict=True):
            longer = torch.zeros(length, *like.shape[1:], dtype=like.dtype)
            if self._end > first:
                longer[: self._end - first] = column[first : self._end]
            fresh.append(longer)
        self._columns, self._first, self._end = tuple(fresh), 0, self._end - first

    def _show(self) -> None:
        rows = slice(self._first, self._end)
        self.past.traces, self.past.answers, self.past.times = (column[rows] for column in self._columns)

"""Counts what one worker judges, minute by minute, and brings it to the database in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from salus.errors import SalusError
from salus.serve.monitoring.axes import Axes
from salus.serve.monitoring.counts import Counts
from salus.verdict import Verdict

if TYPE_CHECKING:
    from salus.serve.database import Database
    from salus.serve.monitoring.look import Served
    from salus.serve.settings import Settings

#: Seconds between two writings.
_EVERY = 5.0

#: Inputs and bytes that wait to be counted; more are counted at once.
_MOST_INPUTS, _MOST_BYTES = 2048, 32 * 2**20

#: Minutes of all guards that are kept while the database is away: a day of one guard.
_MOST_MINUTES = 1440


@dataclass
class _Minute:
    """One minute of a bundle, as this worker counted it.

    Attributes:
        counts: so far.
        writer: what its row calls the worker.
        changed: whether the database does not have all of it.
    """

    counts: Counts
    writer: str
    changed: bool = True


@dataclass
class _Batch:
    minute: int
    verdict: Verdict | None
    x: Tensor | None
    not_judged: int = 0


@dataclass
class _Waiting:
    """Verdicts that are not counted yet, by guard and bundle."""

    batches: dict[tuple[str, str], list[_Batch]] = field(default_factory=dict)
    inputs: int = 0
    bytes: int = 0


class Recorder:
    """Counts verdicts; threads may share it.

    Small batches are gathered and counted together, and a thread writes the counts every few seconds. While the
    database is away they stay in memory, a day of them at most.

    Args:
        database: has the table ``windows``.
        worker: names this process; no other that runs has the same name.
        settings: of the service.
        guards: those that are served at the moment, by name: they name what is counted, and bound it. Where they lack
            one, its classes and features have numbers, and its values lie between 0 and 1.
        clock: tells the time, in seconds since 1970; it may jump.

    Attributes:
        fault: why the last writing failed; None where it did not.
        lost: inputs whose counts were given up because the database was away for too long.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        settings: Settings,
        guards: Mapping[str, Served] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._worker = worker
        self._clock = clock
        self._guards = {} if guards is None else guards
        self._axes: dict[tuple[str, str], Axes] = {}
        self._waiting = _Waiting()
        self._minutes: dict[tuple[str, str, int], _Minute] = {}  # in the order in which they began
        self._latest_left = -1  # the latest minute that is no longer in memory
        self._turn = 0  # how often the clock went back to such minutes
        self._lock = threading.Lock()  # of what waits
        self._counting = threading.Lock()  # of what is counted
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.fault: str | None = None
        self.lost = 0

    def add(self, guard: str, bundle: str, verdict: Verdict | None, x: Tensor | None, not_judged: int = 0) -> None:
        """Count the verdicts on prepared inputs x ``[N, ...]``, soon; neither may change afterwards.

        Args:
            guard: who judged.
            bundle: its fingerprint.
            verdict: on x; None where nothing could be judged.
            x: the inputs.
            not_judged: how many could not be prepared.
        """
        count = 0 if x is None else len(x)
        batch = _Batch(int(self._clock() // 60), verdict, x, not_judged)
        with self._lock:
            self._waiting.batches.setdefault((guard, bundle), []).append(batch)
            self._waiting.inputs += max(count, 1)
            self._waiting.bytes += 0 if x is None else x.element_size() * x.nelement()
            full = self._waiting.inputs >= _MOST_INPUTS or self._waiting.bytes >= _MOST_BYTES
        if full:
            self.count()

    def count(self) -> None:
        """Count what waits."""
        with self._counting:
            with self._lock:
                waiting, self._waiting = self._waiting, _Waiting()
            for (guard, bundle), batches in waiting.batches.items():
                for minute in dict.fromkeys(batch.minute for batch in batches):
                    counts = self._counted((guard, bundle), [batch for batch in batches if batch.minute == minute])
                    self._keep((guard, bundle, minute), counts)

    def _counted(self, key: tuple[str, str], batches: list[_Batch]) -> Counts:
        pairs = [(batch.verdict, batch.x) for batch in batches if batch.verdict is not None and batch.x is not None]
        counts = Counts()
        if pairs:
            axes = self._axes_of(key, pairs[0][1].shape[1:])
            x = torch.cat([axes.thinned(x) for _, x in pairs])
            counts = Counts.of(Verdict.joined([verdict for verdict, _ in pairs]), x, axes)
        counts.not_judged = sum(batch.not_judged for batch in batches)
        return counts

    def _axes_of(self, key: tuple[str, str], shape: Sequence[int]) -> Axes:
        if key not in self._axes:
            name, bundle = key
            served = self._guards.get(name)
            if served is None or served.fingerprint != bundle:
                return Axes.within((0.0, 1.0), shape)
            self._axes[key] = Axes.of(served.guard)
        return self._axes[key]

    def _keep(self, key: tuple[str, str, int], counts: Counts) -> None:
        if key not in self._minutes:
            if key[2] <= self._latest_left:  # the clock went back: the row that was written must not be overwritten
                self._latest_left = -1
                self._turn += 1
            self._minutes[key] = _Minute(Counts(), f"{self._worker}.{self._turn}" if self._turn else self._worker)
        minute = self._minutes[key]
        minute.counts.add(counts)
        minute.changed = True
        while len(self._minutes) > _MOST_MINUTES:
            oldest = next(iter(self._minutes))
            self.lost += self._minutes.pop(oldest).counts.judged
            self._latest_left = max(self._latest_left, oldest[2])

    def write(self) -> None:
        """Count what waits and bring it to the database; where that fails, it is tried again the next time."""
        from sqlalchemy.exc import SQLAlchemyError

        self.count()
        with self._counting:
            changed = {key: minute for key, minute in self._minutes.items() if minute.changed}
            rows = [
                {
                    "guard": guard,
                    "bundle": bundle,
                    "minute": number,
                    "worker": minute.writer,
                    "counts": minute.counts.text(),
                }
                for (guard, bundle, number), minute in changed.items()
            ]
            try:
                if rows:
                    self._upsert(rows)
            except (SQLAlchemyError, SalusError, OSError) as error:
                self.fault = f"The counts of verdicts wait for the database: {error}"
                return
            self.fault = None
            for minute in changed.values():
                minute.changed = False
            now = int(self._clock() // 60)
            for key in [key for key in self._minutes if key[2] != now]:
                del self._minutes[key]
                self._latest_left = max(self._latest_left, key[2])

    def _upsert(self, rows: list[dict[str, object]]) -> None:
        from sqlalchemy.dialects import postgresql, sqlite

        from salus.serve.schema import windows

        dialect = sqlite if self._database.sqlite else postgresql
        statement = dialect.insert(windows)
        update = statement.on_conflict_do_update(
            index_elements=["guard", "bundle", "minute", "worker"], set_={"counts": statement.excluded.counts}
        )
        with self._database.writing() as connection:
            connection.execute(update, rows)

    def start(self) -> None:
        """Write every few seconds from now on."""
        self._thread = threading.Thread(target=self._run, name="salus-recorder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(_EVERY):
            try:
                self.write()
            except Exception as error:  # whatever it is, counting goes on and the verdicts too
                self.fault = f"The counts of verdicts could not be written: {error!r}"

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        self.write()

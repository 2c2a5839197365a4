"""The monitors of the guards that are served: who is watched, who stands under suspicion, and what follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from sqlalchemy import select
from torch import Tensor

from salus.detectors.queries import POLICIES, Monitor, Policy, load_monitor
from salus.errors import OptionError, StoreError
from salus.jobs.watching import FOLDER
from salus.serve.database import Database
from salus.serve.guards import LoadedGuard
from salus.serve.schema import callers, queries
from salus.serve.settings import Settings
from salus.serve.watching.memory import SharedMemory, shared_salt

T = TypeVar("T")

#: Seconds after which what was seen is written, and what other workers saw is taken in.
_SYNC = 0.5
#: Seconds between looks for what is too old.
_FORGET = 600.0

#: Points of a caller's trail that a page shows.
_POINTS = 200


@dataclass(frozen=True)
class Suspect:
    """A caller as pages show one.

    Attributes:
        guard: that was asked.
        caller: a token's id.
        suspicion: now; 1 is where the alarm is raised.
        asked: queries so far, repeats left out.
        seen: when the last came, seconds since 1970.
        alarmed: when the alarm was raised; None: it was not.
        trail: the suspicion after its latest queries, oldest first: (when, how high, what was answered).
    """

    guard: str
    caller: str
    suspicion: float
    asked: int
    seen: float
    alarmed: float | None
    trail: tuple[tuple[float, float, int], ...] = ()


class Watchers:
    """Shows every judged request to the guard's monitor, where its bundle holds one.

    A thread of its own looks at one request after another, and brings what it remembers together with the database.

    Args:
        database: of the service.
        settings: say what follows from an alarm, and how much is remembered.

    Attributes:
        policy: what follows; None: nobody is watched.
        fault: why what was seen could not be written lately; None where it was.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self.policy = policy_of(settings.monitor)
        self.fault: str | None = None
        self._database, self._settings = database, settings
        self._monitors: dict[str, tuple[str, Monitor | None]] = {}  # guard -> which bundle and fit, and who watches
        self._synced = self._forgot = time.monotonic()
        self._thread = ThreadPoolExecutor(1, "salus-watch")

    def monitor_of(self, served: LoadedGuard) -> Monitor | None:
        """Give the monitor of a guard; None where nobody watches its callers.

        Raises:
            BundleError: the bundle's monitor cannot be used.
            StoreError: the database is away.
        """
        if self.policy is None:
            return None
        folder = Path(served.files) / FOLDER
        card = folder / "monitor.json"
        mark = f"{served.fingerprint} {card.stat().st_mtime_ns if card.exists() else None}"
        known = self._monitors.get(served.name)
        if known is None or known[0] != mark:
            monitor = None
            if folder.is_dir():
                monitor = load_monitor(folder, served.guard.classifier)
                monitor.memory = SharedMemory(
                    self._database,
                    served.name,
                    monitor,
                    shared_salt(self._database),
                    window=self._settings.monitor_window,
                    most=self._settings.monitor_callers,
                )
            known = self._monitors[served.name] = mark, monitor
        return known[1]

    @property
    def watched(self) -> dict[str, str]:
        """The guards whose callers are watched, and by whom, in a sentence each."""
        return {name: monitor.describe() for name, (_, monitor) in self._monitors.items() if monitor is not None}

    async def refuses(self, served: LoadedGuard, caller: str) -> bool:
        """Tell whether a caller is refused, before anything of the request is judged."""
        if self.policy is None or not self.policy.refuses:
            return False
        return await self._run(partial(self._stands, served, caller))

    async def look(self, served: LoadedGuard, caller: str, x: Tensor, answers: list[int]) -> tuple[bool, bool]:
        """Show a judged request to the monitor.

        Returns:
            Whether the caller is under suspicion, and whether the alarm was raised by this very request.
        """
        if self.policy is None:
            return False, False
        return await self._run(partial(self._look, served, caller, x, answers))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _stands(self, served: LoadedGuard, caller: str) -> bool:
        monitor = self.monitor_of(served)
        if monitor is None:
            return False
        self._catch_up()
        return monitor.memory.recall(caller).suspicion >= 1

    def _look(self, served: LoadedGuard, caller: str, x: Tensor, answers: list[int]) -> tuple[bool, bool]:
        monitor = self.monitor_of(served)
        if monitor is None:
            return False, False
        before = monitor.memory.recall(caller).suspicion >= 1
        monitor.observe(caller, x, time.time(), torch.tensor(answers, dtype=torch.int64))
        after = monitor.memory.recall(caller).suspicion >= 1
        self._catch_up(at_once=after and not before)
        return after, after and not before

    def _catch_up(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if not at_once and now - self._synced < _SYNC:
            return
        self._synced = now
        try:
            for memory in self._memories():
                memory.sync()
                if now - self._forgot > _FORGET:
                    memory.forget(time.time() - 86_400 * self._settings.monitor_days)
            self.fault = None
        except StoreError as error:  # what was seen is kept, and written once the database is back
            self.fault = str(error)
        if now - self._forgot > _FORGET:
            self._forgot = now

    def _memories(self) -> list[SharedMemory]:
        held = (monitor.memory for _, monitor in self._monitors.values() if monitor is not None)
        return [memory for memory in held if isinstance(memory, SharedMemory)]

    def suspects(self, *, most: int = 50) -> list[Suspect]:
        """List the callers of all guards, the most suspicious first.

        Raises:
            StoreError: the database is away.
        """
        order = (callers.c.alarmed.isnot(None).desc(), callers.c.suspicion.desc())
        with self._database.reading() as connection:
            rows = connection.execute(select(callers).order_by(*order).limit(most)).all()
        return [Suspect(row.guard, row.caller, row.suspicion, row.asked, row.seen, row.alarmed) for row in rows]

    def suspect(self, guard: str, caller: str) -> Suspect | None:
        """Give a caller with the trail of what was asked lately; None where nobody of that name asked.

        Raises:
            StoreError: the database is away.
        """
        with self._database.reading() as connection:
            where = (callers.c.guard == guard, callers.c.caller == caller)
            row = connection.execute(select(callers).where(*where).order_by(callers.c.seen.desc()).limit(1)).first()
            if row is None:
                return None
            of = (queries.c.guard == guard, queries.c.monitor == row.monitor, queries.c.caller == caller)
            points = connection.execute(
                select(queries.c.time, queries.c.suspicion, queries.c.answer)
                .where(*of)
                .order_by(queries.c.id.desc())
                .limit(_POINTS)
            ).all()
        trail = tuple((point.time, point.suspicion, point.answer) for point in reversed(points))
        return Suspect(guard, caller, row.suspicion, row.asked, row.seen, row.alarmed, trail)

    def lift(self, guard: str, caller: str) -> bool:
        """Take the suspicion off a caller; the other workers hear of it within a second.

        Raises:
            StoreError: the database is away.
        """
        return bool(self._thread.submit(self._lift, guard, caller).result())

    def _lift(self, guard: str, caller: str) -> bool:
        known = self._monitors.get(guard)
        if known is None or known[1] is None or not isinstance(known[1].memory, SharedMemory):
            return False
        memory = known[1].memory
        memory.sync()
        found = memory.lift(caller, time.time())
        memory.sync()
        return found

    def close(self) -> None:
        """Write what is still to be written."""
        if self.policy is not None:
            self._thread.submit(self._catch_up, at_once=True).result()
        self._thread.shutdown()


def policy_of(word: str) -> Policy | None:
    """Read what follows from an alarm: ``off``, or a policy with its options.

    Raises:
        OptionError: it is none.
    """
    if word == "off":
        return None
    try:
        policy: Policy = POLICIES.parse(word)
    except OptionError as error:
        raise OptionError(f"{error} Or say --monitor off: nobody is watched.") from error
    return policy

"""Running a plan: each cell once, stored as it finishes, so that a killed audit goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salus.attacks import ATTACKS
from salus.audit.bare import BareAttacks
from salus.audit.cell import Cell
from salus.audit.duration import Stopwatch, announcement
from salus.audit.grid import lay_out, questions
from salus.audit.harm import count_harm
from salus.audit.leeway import leeways
from salus.audit.plan import Plan
from salus.audit.results import AuditResults, write_results
from salus.audit.setup import Setup, Workbench
from salus.audit.spread import Spread
from salus.audit.work import CellWork, Record, Sheet
from salus.data.plausibility import values_of
from salus.engines import Engine
from salus.errors import OptionError
from salus.progress import Advance, console, progress
from salus.storage import Store


@dataclass(frozen=True)
class Outcome:
    """What an audit came to.

    Attributes:
        meta: what was audited, how, the verdict and the warnings.
        cells: the records of all cells of the plan.
        computed: how many of them this run computed, the check for masked gradients among them; others were stored.
        failed: how many failed.
    """

    meta: dict[str, Any]
    cells: list[dict[str, Any]]
    computed: int
    failed: int


def run_audit(plan: Plan, out: Path | str, *, command: str = "", engine: Engine | None = None) -> Outcome:
    """Run every cell of the plan that the folder does not hold yet, and write the results.

    Args:
        plan: what to do.
        out: the audit's folder, new, empty, or of the same audit.
        command: how to repeat it, for the report.
        engine: where cells are computed; in this process, one after another, when not given.

    Raises:
        SalusError: the plan, the data, the model or the folder cannot be used.
    """
    started = time.perf_counter()
    store = Store(Path(out))
    store.check_free()
    setup = Setup.of(plan)
    if engine is not None and setup.subject.remote is not None:
        raise OptionError(
            f"{setup.subject.remote.name} is asked from one process, which keeps to its rate and knows what was "
            "answered: leave --engine and --jobs out."
        )
    with store.locked(), ExitStack() as stack:
        store.claim(setup.subject.identity(), plan.model_dump(mode="json"))
        bench = stack.enter_context(closing(Workbench(setup, store.folder)))
        grid = lay_out(setup, bench)
        if (line := questions(setup, grid)) is not None:
            console.print(line)
        checks = [] if grid.check is None else [grid.check]
        with _computing(store, [*grid.cells, *checks]) as compute:
            if engine is not None:
                compute.spread(engine)
            records = [compute(cell) for cell in grid.cells]
            check = next((compute(cell) for cell in checks), None)
        values = values_of(bench.splits)
        room = leeways(setup.attacks, grid.data, values)
        for record in records:
            leeway = room.get((record["norm"], record["eps"])) if record["attack"] in ATTACKS else None
            record["movable"] = None if leeway is None else leeway.movable
        harm = count_harm(store, grid.data, records, setup.harm)
        results = AuditResults(setup, bench, grid, records, check, harm, values, room)
        meta = results.meta(command, time.perf_counter() - started)
        write_results(store.folder, meta, results)
    failed = sum(record["error"] is not None for record in records)
    return Outcome(meta, records, compute.computed, failed)


class _Compute:
    """Computes cells that the store does not hold, and reads the others; ``computed`` counts the former."""

    def __init__(self, store: Store, cells: Sequence[Cell], advance: Advance) -> None:
        self.store, self.advance, self.computed = store, advance, 0
        self._keys = {cell: cell.key() for cell in cells}
        self._records: dict[str, Record] = {}  # of cells that an engine has computed
        stopwatch = Stopwatch()
        pending = [cell for cell in cells if not store.has_cell(self._keys[cell])]
        self._bare = BareAttacks(store, pending)
        self._work = CellWork(store, self._bare)
        at_hand = {cell for cell, ready in self._bare.askers() if ready}
        self._estimates = {cell: stopwatch.estimate(cell, at_hand=cell in at_hand) for cell in pending}
        self._thought = sum(each.seconds for each in self._estimates.values() if each is not None)
        for line in announcement(list(self._estimates.items())):
            console.print(line)

    def spread(self, engine: Engine) -> None:
        """Let an engine compute all that is pending."""
        cells = {self._keys[cell]: cell for cell in self._estimates}
        if not cells:
            return
        estimates = {key: self._estimates[cell] for key, cell in cells.items()}
        for key, record in Spread(self.store, engine, Sheet(cells, self._bare), estimates):
            self._records[key] = record
            self.computed += 1
            self._forget(cells[key])
            self.advance(1, note=f"on {engine.words}", left=self._left(engine.slots))

    def __call__(self, cell: Cell) -> Record:
        """Return a cell's record."""
        key = self._keys[cell]
        if key in self._records:
            return dict(self._records[key])
        record = self.store.read_cell(key)
        if record is None:
            self.computed += 1
            self.advance(0, left=self._left(1))
            record = self._measured(cell, key)
        self._forget(cell)
        record.pop("sha256", None)
        self.advance(1)
        return record

    def _left(self, slots: int) -> float | None:
        """Estimate the seconds that are left, where so many cells are computed side by side."""
        return max(self._thought, 0.0) / max(slots, 1) or None

    def _forget(self, cell: Cell) -> None:
        """Count a cell no longer among those that take time."""
        estimate = self._estimates.pop(cell, None)
        self._thought -= 0.0 if estimate is None else estimate.seconds

    def _measured(self, cell: Cell, key: str) -> Record:
        with progress(cell.title(), len(cell.data)) as advance:
            record = self._work(cell, key, advance, self._estimates.get(cell))
        if record["error"] is None:
            self.store.write_cell(key, record)
        return record


@contextmanager
def _computing(store: Store, cells: Sequence[Cell]) -> Iterator[_Compute]:
    """Compute cells under one progress bar."""
    with progress("Audit, cells", len(cells)) as advance:
        yield _Compute(store, cells, advance)

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
from salus.audit.duration import CellWatch, Stopwatch, announcement
from salus.audit.grid import lay_out, questions
from salus.audit.harm import count_harm
from salus.audit.leeway import leeways
from salus.audit.measure import measure_cell
from salus.audit.plan import Plan
from salus.audit.results import AuditResults, write_results
from salus.audit.setup import Setup, Workbench
from salus.data.plausibility import values_of
from salus.errors import EndpointError, StoreError
from salus.progress import Advance, console, progress
from salus.storage import Store
from salus.verdict import Verdict


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


def run_audit(plan: Plan, out: Path | str, *, command: str = "") -> Outcome:
    """Run every cell of the plan that the folder does not hold yet, and write the results.

    Args:
        plan: what to do.
        out: the audit's folder, new, empty, or of the same audit.
        command: how to repeat it, for the report.

    Raises:
        SalusError: the plan, the data, the model or the folder cannot be used.
    """
    started = time.perf_counter()
    store = Store(Path(out))
    store.check_free()
    setup = Setup.of(plan)
    with store.locked(), ExitStack() as stack:
        store.claim(setup.subject.identity(), plan.model_dump(mode="json"))
        bench = stack.enter_context(closing(Workbench(setup, store.folder)))
        grid = lay_out(setup, bench)
        if (line := questions(setup, grid)) is not None:
            console.print(line)
        checks = [] if grid.check is None else [grid.check]
        with _computing(store, [*grid.cells, *checks]) as compute:
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
        self._verdicts: dict[tuple[str, int], Verdict] = {}
        stopwatch = Stopwatch()
        pending = [cell for cell in cells if not store.has_cell(self._keys[cell])]
        self._bare = BareAttacks(store, pending)
        at_hand = {cell for cell, ready in self._bare.askers() if ready}
        self._estimates = {cell: stopwatch.estimate(cell, at_hand=cell in at_hand) for cell in pending}
        for line in announcement(list(self._estimates.items())):
            console.print(line)

    def __call__(self, cell: Cell) -> dict[str, Any]:
        """Return a cell's record."""
        key = self._keys[cell]
        record = self.store.read_cell(key)
        if record is None:
            self.computed += 1
            thought = list(self._estimates.values())
            self.advance(0, left=sum(estimate.seconds for estimate in thought if estimate is not None) or None)
            record = self._measured(cell, key)
        self._estimates.pop(cell, None)
        record.pop("sha256", None)
        self.advance(1)
        return record

    def _measured(self, cell: Cell, key: str) -> dict[str, Any]:
        count = len(cell.data)
        try:
            with progress(cell.title(), count) as advance, self.store.cell_rows(key, count) as append:
                watch = CellWatch(count, advance, self._estimates.get(cell))
                record = measure_cell(cell, self._clean(cell), append, watch=watch, bare=self._bare)
            record["id"] = key[:16]
            self.store.write_cell(key, record)
        except (StoreError, EndpointError):
            raise
        except Exception as error:  # whatever a user's model raises fails its cell, and no other
            record = {**cell.blank(), "id": key[:16], "error": f"{type(error).__name__}: {error}"}
            console.print(f"{cell.title()} failed: {error}")
        return record

    def _clean(self, cell: Cell) -> Verdict:
        """Return the guard's verdict on the clean samples, the same for all cells."""
        where = (cell.guard.name, len(cell.data))
        if where not in self._verdicts:
            self._verdicts[where] = cell.guard(cell.data.x)
        return self._verdicts[where]


@contextmanager
def _computing(store: Store, cells: Sequence[Cell]) -> Iterator[_Compute]:
    """Compute cells under one progress bar."""
    with progress("Audit, cells", len(cells)) as advance:
        yield _Compute(store, cells, advance)

"""The work of an audit: one cell, or one attack that several cells begin with, wherever it is computed."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.audit.bare import BareAttacks
from salus.audit.cell import Attempt, Cell
from salus.audit.duration import CellWatch, Estimate
from salus.audit.measure import Measurement, Part, measure_cell
from salus.errors import EndpointError, StoreError
from salus.progress import Advance, console
from salus.storage import Store
from salus.verdict import Verdict

Record = dict[str, Any]

#: The bytes of a file, which travel without a copy.
Bytes = NDArray[np.uint8]


def _unseen(*args: object, **options: object) -> None:
    """Show nobody how far it is."""


class CellWork:
    """Computes cells; what it has seen of a guard on clean samples it remembers.

    Args:
        store: where arrays are written, and what cells begin with is read.
        bare: what cells begin with.
    """

    def __init__(self, store: Store, bare: BareAttacks) -> None:
        self.store, self.bare = store, bare.at(store)
        self._verdicts: dict[tuple[str, int], Verdict] = {}

    def __call__(self, cell: Cell, key: str, advance: Advance = _unseen, estimate: Estimate | None = None) -> Record:
        """Compute a cell: its arrays are stored, its record is not.

        Args:
            cell: the cell.
            key: its key.
            advance: told how far it is.
            estimate: how long it was thought to take.

        Returns:
            The record; where a user's model failed, one that says how.

        Raises:
            StoreError: the folder cannot be written.
            EndpointError: the endpoint cannot be asked.
        """
        count = len(cell.data)
        try:
            with self.store.cell_rows(key, count) as append:
                watch = CellWatch(count, advance, estimate)
                record = measure_cell(cell, self.clean(cell), append, watch=watch, bare=self.bare)
        except (StoreError, EndpointError):
            raise
        except Exception as error:  # whatever a user's model raises fails its cell, and no other
            return failed(cell, key, f"{type(error).__name__}: {error}")
        record["id"] = key[:16]
        return record

    def clean(self, cell: Cell) -> Verdict:
        """Return the guard's verdict on the clean samples, the same for all cells."""
        where = (cell.guard.name, len(cell.data))
        if where not in self._verdicts:
            self._verdicts[where] = cell.guard(cell.data.x)
        return self._verdicts[where]

    def measurement(self, cell: Cell, attempt: Attempt) -> Measurement:
        """Return what measures a cell in parts."""
        return Measurement(cell, attempt, self.clean(cell), CellWatch(len(cell.data)), self.bare)


def failed(cell: Cell, key: str, reason: str) -> Record:
    """Make the record of a cell that failed, and say so."""
    console.print(f"{cell.title()} failed: {reason}")
    return {**cell.blank(), "id": key[:16], "error": reason}


class Sheet:
    """What all tasks of an audit share; each process keeps beside it what it has computed for several cells.

    Args:
        cells: those that are to be computed, by key.
        bare: what they begin with.
    """

    def __init__(self, cells: Mapping[str, Cell], bare: BareAttacks) -> None:
        self.cells, self.bare = dict(cells), bare
        self._work: CellWork | None = None

    def work(self, folder: Path | None) -> CellWork:
        """Return what computes in a folder, or in a temporary one of this process's own."""
        if self._work is None:
            if folder is None:
                folder = Path(tempfile.mkdtemp(prefix="salus-cells-"))
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._work = CellWork(Store(folder), self.bare)
        return self._work


@dataclass(frozen=True, eq=False)
class Computed:
    """What a task sends back.

    Attributes:
        records: of the cells, in their order; none of an attack on a bare classifier.
        arrays: the files of what did not fail, in their order; empty where they were written into the owner's folder.
        fault: why the folder cannot be written, which ends the audit.
    """

    records: Sequence[Record] = ()
    arrays: Sequence[Bytes] = ()
    fault: str | None = None


@dataclass(frozen=True, eq=False)
class Begun:
    """What cells begin with, where their task does not see the owner's folder.

    Attributes:
        keys: of the attacks on bare classifiers.
    """

    keys: tuple[str, ...] = ()

    def put_down(self, store: Store, arrays: Sequence[Bytes]) -> None:
        """Write the arrays, which are those of the keys, to where the cells look for them."""
        for key, content in zip(self.keys, arrays, strict=True):
            if not store.has_bare(key):
                store.put_arrays("bare", key, content.data)
                store.write_bare(key, {})


def compute_cells(sheet: Sheet, keys: Sequence[str], folder: Path | None, begun: Begun, *arrays: Bytes) -> Computed:
    """As a task: compute some cells.

    Args:
        sheet: what the tasks share.
        keys: of the cells.
        folder: the owner's; None where it is out of sight.
        begun: what they begin with.
        arrays: the files of that.
    """
    work = sheet.work(folder)
    try:
        begun.put_down(work.store, arrays)
        records = [work(sheet.cells[key], key) for key in keys]
    except StoreError as error:
        return Computed(fault=str(error))
    good = [key for key, record in zip(keys, records, strict=True) if record["error"] is None]
    return Computed(records, () if folder is not None else [_taken(work.store, key) for key in good])


def compute_piece(sheet: Sheet, key: str, number: int, folder: Path | None, begun: Begun, *arrays: Bytes) -> Part:
    """As a task: attack and judge one part of a large cell's samples; see :func:`compute_cells`.

    Args:
        sheet: what the tasks share.
        key: of the cell.
        number: which part, from 0 up.
        folder: the owner's; None where it is out of sight.
        begun: what it begins with.
        arrays: the files of that.
    """
    work, cell = sheet.work(folder), sheet.cells[key]
    begun.put_down(work.store, arrays)
    measurement = work.measurement(cell, attempt_of(cell))
    return measurement.part(list(measurement.parts())[number])


def count_pieces(sheet: Sheet, key: str, folder: Path | None, parts: Sequence[Part]) -> Record:
    """As a task: count the parts of a cell, which are in the order of its samples."""
    work, cell = sheet.work(folder), sheet.cells[key]
    measured = work.measurement(cell, attempt_of(cell)).count(parts)
    return {**cell.blank(), **measured, "id": key[:16]}


def attempt_of(cell: Cell) -> Attempt:
    """Return the attack of a cell that has one."""
    if cell.attempt is None:
        raise TypeError("Clean samples are not attacked in parts.")
    return cell.attempt


def compute_bare(sheet: Sheet, key: str, folder: Path | None) -> Computed:
    """As a task: run the attack that the cell of this key, and others, begin with."""
    work, cell = sheet.work(folder), sheet.cells[key]
    bare = work.bare.key(cell)
    try:
        work.bare.prepare(cell)
    except StoreError as error:
        return Computed(fault=str(error))
    return Computed(arrays=() if folder is not None or bare is None else [file_bytes(work.store.arrays("bare", bare))])


def file_bytes(file: Path) -> Bytes:
    """Read a file."""
    return np.fromfile(file, np.uint8)


def _taken(store: Store, key: str) -> Bytes:
    """Read a cell's arrays, and delete them."""
    file = store.arrays("cells", key)
    content = file_bytes(file)
    file.unlink()
    return content

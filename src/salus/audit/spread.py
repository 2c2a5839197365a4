"""Cells spread over an engine's tasks, and stored by one owner as they come back."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from salus.audit.duration import Estimate
from salus.audit.measure import Measurement, Part
from salus.audit.work import (
    Begun,
    Bytes,
    Computed,
    Record,
    Sheet,
    compute_bare,
    compute_cells,
    compute_piece,
    count_pieces,
    failed,
    file_bytes,
)
from salus.engines import Done, Engine, Shared, Task
from salus.engines.folders import offered
from salus.errors import StoreError
from salus.progress import console
from salus.storage import Store

#: Seconds that a task should take: cells that take less go together, so that the way to and fro is a small part.
_WORTHWHILE = 0.5

#: Cells that go together at most.
_MOST = 64


#: A cell's key and record.
Keyed = tuple[str, Record]


@dataclass(eq=False)
class _Pieces:
    """A large cell, whose parts come back one by one.

    Attributes:
        left: how many are still out.
        parts: those that are back, by number.
        seconds: that they took.
        gone: one of them failed, and so did the cell.
    """

    left: int
    parts: dict[int, Part] = field(default_factory=dict)
    seconds: float = 0.0
    gone: bool = False


class Spread:
    """Hands cells to an engine, those that begin with the same attack after it, and stores what comes back.

    Args:
        store: the audit's folder, of which this process is the owner.
        engine: computes.
        sheet: the cells that are to be computed.
        estimates: how long each takes; None where nobody can tell.
    """

    def __init__(self, store: Store, engine: Engine, sheet: Sheet, estimates: Mapping[str, Estimate | None]) -> None:
        self._store, self._engine, self._sheet, self._estimates = store, engine, sheet, estimates
        self._shared = engine.share(sheet)
        self._folder = offered(engine, store.folder)
        self._ready: list[
            str
        ] = []  # by how long they take: the longest goes next, so that none is left alone at the end
        self._attack_of: dict[str, str] = {}  # cell -> the attack on a bare classifier that it begins with
        self._blocked: defaultdict[str, list[str]] = defaultdict(list)  # such an attack -> cells that wait for it
        self._files: dict[str, Shared[Bytes]] = {}  # of such attacks, where tasks do not see the folder
        self._first: deque[Task] = deque()  # what goes before the cells that are ready
        self._then: dict[Task, Callable[[Done], Iterator[Keyed]]] = {}  # what runs -> what follows
        self._said: set[str] = set()
        for key, cell in sheet.cells.items():
            attack = sheet.bare.key(cell)
            if attack is not None:
                self._attack_of[key] = attack
            if attack is None or store.read_bare(attack) is not None:
                insort(self._ready, key, key=self._seconds)
            else:
                self._blocked[attack].append(key)
        for attack, waiting in self._blocked.items():
            task = Task(f"attack {attack[:16]}", compute_bare, (self._shared, waiting[0], self._folder))
            self._go_first(task, partial(self._after_attack, attack))

    def __iter__(self) -> Iterator[Keyed]:
        """Yield the key and the record of each cell as it comes back; it is stored by then, unless it failed.

        Raises:
            StoreError: the folder cannot be written.
            EngineError: nothing can be computed any more.
        """
        while self._first or self._ready or self._engine.pending:
            while (self._first or self._ready) and self._engine.pending < 2 * self._engine.slots:
                if self._first:
                    self._engine.submit(self._first.popleft())
                else:
                    self._submit_cells()
            done = self._engine.wait()
            self._say(done.said)
            yield from self._then.pop(done.task)(done)

    def _say(self, lines: Sequence[str]) -> None:
        """Say what a task would have said; each process would say some of it again."""
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                console.print(line)

    def _go_first(self, task: Task, then: Callable[[Done], Iterator[Keyed]]) -> None:
        self._then[task] = then
        self._first.append(task)

    def _submit_cells(self) -> None:
        """Hand in the next cell, or several small ones; a large one goes in pieces."""
        key = self._ready.pop()
        pieces = Measurement.pieces(self._sheet.cells[key])
        if pieces > 1 and self._engine.slots > 1:
            whole = _Pieces(pieces)
            for number in range(pieces):
                begun, files = self._begun([key])
                arguments = (self._shared, key, number, self._folder, begun, *files)
                task = Task(f"cell {key[:16]}, part {number}", compute_piece, arguments)
                self._go_first(task, partial(self._after_piece, key, number, whole))
            return
        most = -(-len(self._ready) // (2 * self._engine.slots))  # so that the last ones are dealt evenly
        keys, seconds = [key], self._seconds(key)
        while self._ready and seconds < _WORTHWHILE and len(keys) < min(most, _MOST):
            keys.append(self._ready.pop())
            seconds += self._seconds(keys[-1])
        task = self._task(keys)
        self._then[task] = partial(self._after_cells, keys)
        self._engine.submit(task)

    def _seconds(self, key: str) -> float:
        estimate = self._estimates.get(key)
        return _WORTHWHILE if estimate is None else estimate.seconds

    def _task(self, keys: Sequence[str]) -> Task:
        begun, files = self._begun(keys)
        arguments = (self._shared, tuple(keys), self._folder, begun, *files)
        return Task(f"cell {keys[0][:16]}", compute_cells, arguments)

    def _begun(self, keys: Sequence[str]) -> tuple[Begun, list[Shared[Bytes]]]:
        """Name what cells begin with, where their task does not see it, and give its files."""
        if self._folder is not None:
            return Begun(), []
        attacks = sorted({self._attack_of[key] for key in keys if key in self._attack_of})
        for attack in attacks:
            if attack not in self._files:
                self._files[attack] = self._engine.share(file_bytes(self._store.arrays("bare", attack)))
        return Begun(tuple(attacks)), [self._files[attack] for attack in attacks]

    def _after_cells(self, keys: Sequence[str], done: Done) -> Iterator[Keyed]:
        if done.error is not None and len(keys) > 1:  # one of them is at fault; alone it fails alone
            for key in keys:
                self._go_first(self._task([key]), partial(self._after_cells, [key]))
            return
        if done.error is not None:
            yield keys[0], self._failed(keys[0], done.error)
            return
        computed = _checked(done)
        arrays = iter(computed.arrays)
        for key, record in zip(keys, computed.records, strict=True):
            if record["error"] is None:
                if self._folder is None:
                    self._store.put_arrays("cells", key, next(arrays).data)
                self._store.write_cell(key, record)
            yield key, record

    def _after_attack(self, attack: str, done: Done) -> Iterator[Keyed]:
        """Store an attack, and let those go on that waited for it; where it failed, they do."""
        waiting = self._blocked.pop(attack)
        if done.error is not None:
            for key in waiting:
                yield key, self._failed(key, done.error)
            return
        for content in _checked(done).arrays:
            self._store.put_arrays("bare", attack, content.data)
            self._store.write_bare(attack, self._sheet.bare.facts(self._sheet.cells[waiting[0]]))
        for key in waiting:
            insort(self._ready, key, key=self._seconds)

    def _after_piece(self, key: str, number: int, whole: _Pieces, done: Done) -> Iterator[Keyed]:
        """Keep a part; where it failed the cell does, and once all are there they are counted."""
        whole.left -= 1
        whole.seconds += done.seconds
        if done.error is not None and not whole.gone:
            whole.gone = True
            whole.parts.clear()
            yield key, self._failed(key, done.error)
        if whole.gone:
            return
        whole.parts[number] = done.value
        if not whole.left:
            counted = [whole.parts[each].counted() for each in sorted(whole.parts)]
            task = Task(f"cell {key[:16]}, counted", count_pieces, (self._shared, key, self._folder, counted))
            self._go_first(task, partial(self._after_count, key, whole))

    def _after_count(self, key: str, whole: _Pieces, done: Done) -> Iterator[Keyed]:
        if done.error is not None:
            yield key, self._failed(key, done.error)
            return
        record: Record = {**done.value, "seconds": round(whole.seconds + done.seconds, 3)}
        with self._store.cell_rows(key, len(self._sheet.cells[key].data)) as append:
            for number in sorted(whole.parts):
                append(whole.parts.pop(number).stored)
        self._store.write_cell(key, record)
        yield key, record

    def _failed(self, key: str, reason: str) -> Record:
        return failed(self._sheet.cells[key], key, reason)


def _checked(done: Done) -> Computed:
    """Return what a task sent back.

    Raises:
        StoreError: it could not write.
    """
    computed: Computed = done.value
    if computed.fault is not None:
        raise StoreError(computed.fault)
    return computed

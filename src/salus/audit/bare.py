"""Attacks on classifiers alone, each computed once for all cells of an audit that begin with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.attacks.universal import UAP
from salus.audit.cell import BARE_VERSION, Attempt, Cell
from salus.batches import rows_held
from salus.classifier import Classifier
from salus.data import Dataset
from salus.data.packed import take
from salus.guard import Guard
from salus.progress import progress
from salus.storage import Store, digest
from salus.threats.engines import changed, full_strength

#: What of a result is stored; what its first successes are, under names of their own.
_COLUMNS = tuple(field.name for field in fields(AttackResult) if field.name != "first")
_FIRST = "first."


class BareResults(Protocol):
    """Results of an attack on all samples of a cell."""

    def __call__(self, rows: Tensor) -> AttackResult:
        """Return those of consecutive samples, at these positions int64 ``[n]``."""


class BareAttacks:
    """Runs attacks on classifiers at full strength and keeps what comes of each, with each sample's first success.

    A white-box attacker wants the first success, an oblivious one the full strength; who knows a guard begins there.

    Args:
        store: the audit's folder.
        cells: those that are to be computed.
    """

    def __init__(self, store: Store, cells: Iterable[Cell]) -> None:
        self._store = store
        self._fingerprints: dict[int, str] = {}
        self._keys = {cell: key for cell in cells if (key := self._key(cell)) is not None}
        self._fingerprints.clear()  # by identity, which no copy of this has
        self._askers = Counter(self._keys.values())

    def at(self, store: Store) -> BareAttacks:
        """Return the same attacks, kept in another folder."""
        other = copy(self)
        other._store = store
        return other

    def key(self, cell: Cell) -> str | None:
        """Return the key of the attack that a cell begins with; None where it runs its own."""
        return self._keys[cell] if self.shared(cell) else None

    def prepare(self, cell: Cell) -> None:
        """Run the attack that a cell begins with, unless somebody has."""
        if cell.attempt is not None:
            self.of(cell, aim_of(cell.data, cell.guard, cell.attempt))

    def shared(self, cell: Cell) -> bool:
        """Tell whether another cell begins with the same attack, or one did in an earlier run."""
        key = self._keys.get(cell)
        return key is not None and (self._askers[key] > 1 or self._store.has_bare(key))

    def askers(self) -> Iterator[tuple[Cell, bool]]:
        """List the cells that share an attack, and whether it is at hand when they are computed in this order."""
        known: set[str] = set()
        for cell, key in self._keys.items():
            if self.shared(cell):
                yield cell, key in known or self._store.has_bare(key)
                known.add(key)

    def of(self, cell: Cell, aim: Tensor) -> BareResults | None:
        """Return what comes of the attack that a cell begins with, run where nobody has run it.

        Args:
            cell: the cell.
            aim: the labels of its samples, or what the attack aims for ``[N]``.

        Returns:
            None where the cell begins with none, or no other does: it runs its own.
        """
        if not self.shared(cell) or cell.attempt is None:
            return None
        key = self._keys[cell]
        file = self._store.read_bare(key)
        if file is None:
            victim = cell.attempt.threat.begins_with(cell.attempt.attack, cell.guard)
            if victim is None:
                return None
            self._run(key, cell.attempt.attack, victim, cell.data, aim)
            file = self._store.read_bare(key)
        return None if file is None else _Stored(file, cell.data.y.device)

    def _run(self, key: str, attack: Attack, victim: Classifier, data: Dataset, aim: Tensor) -> None:
        """Attack some samples at a time, as many as the cells do, and store them."""
        count, full = len(data), full_strength(attack)
        note_first = full != attack
        radius = "" if attack.eps is None else f" eps={attack.eps:g}"
        with (
            progress(f"{attack.title}{radius} on the classifier alone", count) as advance,
            self._store.bare_rows(key, count) as append,
        ):
            for rows in torch.arange(count, device=data.y.device).split(rows_held(data.x, attack.batch_size)):
                part = full
                if full.time_limit is not None and len(rows) < count:
                    part = changed(full, time_limit=full.time_limit * len(rows) / count)
                x = take(data.x, rows).contiguous()
                result = part.run(victim, x, aim[rows], samples=rows, progress=advance, note_first=note_first)
                columns = {name: getattr(result, name) for name in _COLUMNS}
                if result.first is not None:
                    columns |= {f"{_FIRST}{name}": getattr(result.first, name) for name in _COLUMNS}
                append(columns)
        self._store.write_bare(key, self._facts(attack, victim, data))

    def facts(self, cell: Cell) -> dict[str, Any]:
        """Say what the attack is that a cell begins with."""
        attempt = cell.attempt
        victim = None if attempt is None else attempt.threat.begins_with(attempt.attack, cell.guard)
        return {} if attempt is None or victim is None else self._facts(attempt.attack, victim, cell.data)

    @staticmethod
    def _facts(attack: Attack, victim: Classifier, data: Dataset) -> dict[str, Any]:
        return {"attack": full_strength(attack).name, "classifier": victim.name, "n": len(data)}

    def _key(self, cell: Cell) -> str | None:
        """Hash all that decides what comes of the attack that a cell begins with; None where it begins with none."""
        attempt = cell.attempt
        if attempt is None or isinstance(attempt.attack, UAP) or attempt.threat.refusal(attempt.attack) is not None:
            return None
        victim = attempt.threat.begins_with(attempt.attack, cell.guard)
        if victim is None:
            return None
        attack = full_strength(attempt.attack)
        return digest(
            {
                "version": BARE_VERSION,
                "torch": torch.__version__.split("+")[0],
                "device": cell.data.x.device.type,
                "data": cell.data.fingerprint(),
                "classifier": self._fingerprint(victim),
                "probe": cell.probe,
                "attack": [attack.name, asdict(attack)],
                "first": attack != attempt.attack,
                "target": [attempt.target, self._fingerprint(cell.guard.classifier)] if attempt.aims else None,
            }
        )

    def _fingerprint(self, classifier: Classifier) -> str:
        if id(classifier) not in self._fingerprints:
            self._fingerprints[id(classifier)] = classifier.fingerprint()
        return self._fingerprints[id(classifier)]


def aim_of(data: Dataset, guard: Guard, attempt: Attempt) -> Tensor:
    """Return true labels ``[N]``, or the targets of a targeted attack."""
    if not attempt.aims:
        return data.y
    if attempt.target is not None:
        return torch.full_like(data.y, attempt.target)
    logits = guard.classifier.predict(data.x)
    return logits.scatter(1, data.y[:, None], -torch.inf).argmax(1)


class _Stored:
    """Reads results back, some consecutive samples at a time."""

    def __init__(self, file: Path, device: torch.device) -> None:
        self.file, self.device = file, device

    def __call__(self, rows: Tensor) -> AttackResult:
        first, last = int(rows[0]), int(rows[-1]) + 1
        with safe_open(self.file, framework="pt") as arrays:
            names = list(arrays.keys())
            columns = {name: arrays.get_slice(name)[first:last].to(self.device) for name in names}
        firsts = {name.removeprefix(_FIRST): columns.pop(name) for name in list(columns) if name.startswith(_FIRST)}
        return AttackResult(**columns, first=AttackResult(**firsts) if firsts else None)

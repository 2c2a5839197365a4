"""The folder of a finished audit, read for drawing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from salus.errors import BundleError
from salus.metrics import Commonest
from salus.storage import RESULTS_FORM
from salus.threats import threat_named

Record = dict[str, Any]

#: Values of an array that are read together.
_VALUES = 2**22


@dataclass(frozen=True)
class Line:
    """One attack under one threat model on one guard, at all its eps.

    Attributes:
        guard: the guard's name, "none" for the bare classifier.
        name: of the attack, with the options that tell it from its likes, and the threat model.
        norm: what eps measures.
        cells: by rising eps, at least one.
    """

    guard: str
    name: str
    threat: str
    norm: str
    cells: tuple[Record, ...]


class ArrayFile(Mapping[str, NDArray[Any]]):
    """Arrays in a safetensors file, read when they are asked for: attacked inputs may be more than memory holds.

    Args:
        path: of the file; without one, or where there is no file, there are no arrays.

    Raises:
        BundleError: the file is damaged.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._names: tuple[str, ...] = ()
        if path is not None and path.exists():
            with self._open() as file:
                self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.rows(name, slice(None))

    def __contains__(self, name: object) -> bool:
        return name in self._names  # Mapping would read the array to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def rows(self, name: str, rows: slice) -> NDArray[Any]:
        """Read some rows of an array."""
        if name not in self._names:
            raise KeyError(name)
        with self._open() as file:
            array = file.get_slice(name)
            first, last, _ = rows.indices(array.get_shape()[0])
            return np.asarray(array[first:last])

    def pieces(self, name: str) -> Iterator[NDArray[Any]]:
        """Read an array, some rows at a time."""
        with self._open() as file:
            count, *shape = file.get_slice(name).get_shape()
        size = max(1, _VALUES // max(math.prod(shape), 1))
        for first in range(0, count, size):
            yield self.rows(name, slice(first, first + size))

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Open the file for one reading: its pages count as this process's memory for as long as it is open."""
        try:
            with safe_open(self._path, framework="np") as file:
                yield file
        except (OSError, SafetensorError, ValueError) as error:
            raise BundleError(f"{self._path} cannot be read ({error}); run the audit again.") from error


class Run:
    """What one audit stored.

    Args:
        folder: holds ``results.json``, ``samples.safetensors`` and ``cells/``.

    Attributes:
        meta: what was audited, and how.
        cells: all records, failed ones too.

    Raises:
        BundleError: ``results.json`` is missing, damaged, or of something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "results.json"
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BundleError(f"{folder} holds no results.json; name the folder (--out) of an audit.") from error
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read ({error}); run the audit again.") from error
        form = results.get("form", 0) if isinstance(results, dict) else 0
        if not isinstance(form, int) or form > RESULTS_FORM:
            raise BundleError(
                f"{path} has the form {form!r}; this Salus reads up to {RESULTS_FORM}: take a newer one, or run the "
                "audit again."
            )
        try:
            self.meta: Record = results["meta"]
            self.cells: list[Record] = results["cells"]
            self.classes: list[str] = [str(name) for name in self.meta["data"]["classes"]]
            self.kind: str = self.meta["data"]["kind"]
            for cell in self.cells:
                for field in ("id", "guard", "attack", "eps", "norm", "threat_model", "error"):
                    cell[field]
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"{path} is no audit of Salus: {error} is missing or of another kind; run the audit again."
            ) from error

    @property
    def guards(self) -> list[str]:
        """Names of what was judged, the bare classifier ("none") first."""
        return sorted(dict.fromkeys(cell["guard"] for cell in self.cells), key=lambda name: name != "none")

    @property
    def group(self) -> str:
        """What samples belong together by, ``patient`` or ``lesion``; empty where they are independent."""
        data = self.meta["data"]
        return str(data.get("group_word") or "patient") if data.get("groups") else ""

    @property
    def constant(self) -> Commonest | None:
        """Always the commonest class of the attacked samples; None in audits of before."""
        found = self.meta.get("commonest")
        return None if found is None else Commonest(**found)

    @property
    def codes(self) -> dict[str, tuple[str, str]]:
        """The ids of NIST AI 100-2 and MITRE ATLAS that stand in the results: their edition and their name."""
        parts = self.meta.get("codes") or []
        return {key: (part["title"], name) for part in parts for key, name in part["names"].items()}

    @property
    def attacked(self) -> list[Record]:
        """Finished cells of attacks, without controls and without those that a monitor of callers watched."""
        attacks = [c for c in self.finished if c["attack"] is not None and threat_named(c["threat_model"]).attacks]
        return [cell for cell in attacks if cell.get("monitor") is None]

    @property
    def watched(self) -> list[Record]:
        """Finished cells of attacks that a monitor of callers watched."""
        return [cell for cell in self.finished if cell.get("monitor") is not None]

    @property
    def controls(self) -> list[Record]:
        """Finished cells of harmless changes."""
        return [c for c in self.finished if c["attack"] is not None and not threat_named(c["threat_model"]).attacks]

    @property
    def finished(self) -> list[Record]:
        """Cells that did not fail."""
        return [cell for cell in self.cells if cell["error"] is None]

    def clean(self, guard: str) -> Record | None:
        """Find the cell of unattacked inputs."""
        cells = (cell for cell in self.finished if cell["attack"] is None and cell["guard"] == guard)
        return next(cells, None)

    def strongest(self, guard: str) -> Record | None:
        """Find the attack that leaves the least right; of equals, the one with the smallest eps."""
        rows = [c for c in self.attacked if c["guard"] == guard and c.get("robust_accuracy") is not None]
        rows_with_eps = [cell for cell in rows if cell["eps"] is not None]
        return min(rows_with_eps or rows, key=lambda c: (c["robust_accuracy"], c["eps"] or 0), default=None)

    def lines(self, guard: str) -> list[Line]:
        """Group a guard's attacks into lines over eps."""
        from salus.report.words import line_names

        rows = [cell for cell in self.attacked if cell["guard"] == guard]
        groups: dict[tuple[str, str], list[Record]] = {}
        for cell, name in zip(rows, line_names(rows), strict=True):
            groups.setdefault((name, cell["norm"] or ""), []).append(cell)
        by_eps: Callable[[Record], float] = lambda cell: cell["eps"] or 0.0  # noqa: E731
        return [
            Line(guard, name, cells[0]["threat_model"] or "", norm, tuple(sorted(cells, key=by_eps)))
            for (name, norm), cells in groups.items()
        ]

    @cached_property
    def samples(self) -> ArrayFile:
        """The attacked samples: ``indices``, ``x`` and ``y``; empty when not stored."""
        return ArrayFile(self.folder / "samples.safetensors")

    def arrays(self, cell: Record) -> ArrayFile:
        """Read what a cell stored of each sample: ``x_adv``, ``label``, ``reached``, ``accepted``."""
        key = str(cell["id"])
        if not key.isalnum():  # a hash; anything else must not become part of a path
            return ArrayFile(None)
        return ArrayFile(self.folder / "cells" / f"{key}.safetensors")

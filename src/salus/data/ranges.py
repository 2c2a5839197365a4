"""What each feature of a table may become, and what that costs: from a CSV file, so that patients stay possible.

The file has a row for each feature that it says something of, and these columns, in any order, of which only
``feature`` must be there; an empty cell says nothing. All numbers are in the feature's own unit.

==============  =====================================================================================================
``feature``     its name, as the data have it
``least``       the lowest value that it may take
``most``        the highest
``step``        what it changes by: 1 for counts and whole years, 0.5 for half points; empty: anything
``change``      ``free`` (the default), ``never``, ``up`` or ``down``: which way it may go from a patient's own value
``cost``        of one unit of change, either way
``cost_up``     of one unit up, where that is another
``cost_down``   of one unit down
==============  =====================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.errors import DataError, nearest
from salus.preprocessing.csv_file import RawTable, read_csv
from salus.preprocessing.tables import numbers

COLUMNS = ("feature", "least", "most", "step", "change", "cost", "cost_up", "cost_down")

#: Which way a feature may go.
WAYS = {"": 0, "free": 0, "up": 1, "down": -1, "never": 0}

#: How far beyond its range a value of the data may lie, as a share of the range: rounding.
_SLACK = 1e-6


@dataclass(frozen=True)
class FeatureRanges:
    """What the features of a table may become, in their order, and what it costs.

    Attributes:
        features: their names.
        least: the lowest value of each, in its own unit or in that of x; minus infinity where there is none.
        most: the highest; infinity where there is none.
        step: what each changes by; 0 where by anything.
        way: 1 where it may only go up from a sample's own value, -1 where only down, 0 where both ways.
        never: whether it may change at all.
        up: cost of one unit up; 0 where nothing was said.
        down: cost of one unit down.
        units: how many of its own unit one of x is, once it is in that of x.
    """

    features: tuple[str, ...]
    least: tuple[float, ...]
    most: tuple[float, ...]
    step: tuple[float, ...]
    way: tuple[int, ...]
    never: tuple[bool, ...]
    up: tuple[float, ...]
    down: tuple[float, ...]
    units: tuple[float, ...] = ()

    @property
    def fixed(self) -> tuple[str, ...]:
        """Names of the features that never change."""
        return tuple(name for name, never in zip(self.features, self.never, strict=True) if never)

    @property
    def stepped(self) -> tuple[str, ...]:
        """Names of the features that change by steps."""
        return tuple(name for name, step in zip(self.features, self.step, strict=True) if step)

    @property
    def costly(self) -> bool:
        """Whether any change has a cost."""
        return any(self.up) or any(self.down)

    def scaled(self, low: NDArray[np.float64], span: NDArray[np.float64]) -> FeatureRanges:
        """Bring it into the units of x: ``(value - low) / span``; costs are those of one unit of x then."""
        return FeatureRanges(
            self.features,
            tuple(((np.array(self.least) - low) / span).tolist()),
            tuple(((np.array(self.most) - low) / span).tolist()),
            tuple((np.array(self.step) / span).tolist()),
            self.way,
            self.never,
            tuple((np.array(self.up) * span).tolist()),
            tuple((np.array(self.down) * span).tolist()),
            tuple(np.broadcast_to(span, len(self.features)).astype(float).tolist()),
        )

    def within(self, bounds: tuple[float, float]) -> tuple[tuple[float, float, int], ...]:
        """Give the range of each feature and the way that it may go, as attacks take them: inside the bounds of x."""
        low, high = bounds
        pairs = zip(self.least, self.most, self.way, strict=True)
        return tuple((max(least, low), min(most, high), way) for least, most, way in pairs)

    def cost(self, x: Tensor, changed: Tensor) -> Tensor:
        """Sum what the changes from x ``[N, F]`` cost, float64 ``[N]``."""
        moved = changed.double() - x.double()
        up, down = (torch.tensor(prices, dtype=torch.float64, device=x.device) for prices in (self.up, self.down))
        return (moved.clamp(min=0) * up - moved.clamp(max=0) * down).sum(1)

    def fault(self, x: NDArray[Any]) -> str | None:
        """Say which sample ``[N, F]`` lies outside; None where all lie within."""
        least, most = np.array(self.least), np.array(self.most)
        width = np.where(np.isfinite(most - least), most - least, np.maximum(np.abs(x).max(0, initial=1.0), 1.0))
        values = np.asarray(x, np.float64)
        outside = (values < least - _SLACK * width) | (values > most + _SLACK * width)
        if not outside.any():
            return None
        row, column = (int(place[0]) for place in np.nonzero(outside))
        return (
            f"sample {row}: feature {self.features[column]!r} is {values[row, column]:g}, outside its range "
            f"{self.least[column]:g} to {self.most[column]:g}"
        )

    def describe(self) -> list[str]:
        """Say of each feature what it may become, for people, in its own unit."""
        return [text for place in range(len(self.features)) if (text := self._said(place))]

    def _said(self, place: int) -> str:
        words = []
        if self.never[place]:
            words.append("never changes")
        elif self.way[place]:
            words.append("only rises" if self.way[place] > 0 else "only falls")
        if math.isfinite(self.least[place]) or math.isfinite(self.most[place]):
            words.append(f"{self.least[place]:g} to {self.most[place]:g}")
        if self.step[place]:
            words.append(f"in steps of {self.step[place]:g}")
        up, down = self.up[place], self.down[place]
        if up or down:
            words.append(f"costs {up:g} a unit" if up == down else f"costs {up:g} a unit up, {down:g} down")
        return f"{self.features[place]}: {', '.join(words)}" if words else ""


def read_ranges(path: Path, features: Sequence[str]) -> FeatureRanges:
    """Read the file for these features, in their order.

    Args:
        path: of the CSV file.
        features: of the data.

    Raises:
        DataError: it is no such file, names a feature that the data lack or one twice, or contradicts itself.
    """
    rows: dict[str, dict[str, float | str]] = {}
    for table in read_csv(path):
        for name, row in _rows_of(table, path):
            if name not in features:
                raise DataError(f"File {path}: the data have no feature {name!r}; {nearest(name, features)}")
            if name in rows:
                raise DataError(f"File {path} names the feature {name!r} twice; keep one row of it.")
            rows[name] = row
    each = [_checked(name, rows.get(name, {}), path) for name in features]
    return FeatureRanges(tuple(features), *zip(*each, strict=True)) if each else FeatureRanges(*([()] * 8))


def _rows_of(table: RawTable, path: Path) -> list[tuple[str, dict[str, float | str]]]:
    strange = [name for name in table.columns if name not in COLUMNS]
    if strange:
        raise DataError(f"File {path} has a column {strange[0]!r}; {nearest(strange[0], COLUMNS)}")
    if "feature" not in table.columns:
        raise DataError(f"File {path} has no column 'feature', which names the features.")
    columns: dict[str, Any] = {}
    for name, cells in table.columns.items():
        if name in ("feature", "change"):
            columns[name] = [str(cell) for cell in cells]
            continue
        values = numbers(cells)
        for row in np.flatnonzero(~np.isfinite(values)).tolist():
            if str(cells[row]).strip():
                raise DataError(f"File {path}: {table.names[row]}, column {name!r} holds {cells[row]!r}, no number.")
        columns[name] = values.tolist()
    return [
        (columns["feature"][row], {key: cells[row] for key, cells in columns.items() if key != "feature"})
        for row in range(len(table))
    ]


def _checked(name: str, row: dict[str, float | str], path: Path) -> tuple[float, float, float, int, bool, float, float]:
    """Make of one row what it says: least, most, step, way, never, cost up, cost down."""

    def number(key: str, default: float) -> float:
        value = float(row.get(key, math.nan))
        return default if math.isnan(value) else value

    least, most, step = number("least", -math.inf), number("most", math.inf), number("step", 0.0)
    cost = number("cost", 0.0)
    up, down = number("cost_up", cost), number("cost_down", cost)
    change = str(row.get("change", "")).lower()
    if change not in WAYS:
        raise DataError(f"File {path}: feature {name!r} changes {change!r}; {nearest(change, [w for w in WAYS if w])}")
    if least > most:
        raise DataError(f"File {path}: feature {name!r} goes from {least:g} to {most:g}; the lower is first.")
    if step < 0 or up < 0 or down < 0:
        raise DataError(f"File {path}: steps and costs of feature {name!r} must be numbers from 0 up.")
    return least, most, step, WAYS[change], change == "never", up, down

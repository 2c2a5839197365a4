"""Rows of a table: columns by name, categories, missing values, units, scaling."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.errors import DataError, nearest
from salus.preprocessing.base import Prepared, Refusal, common, inside, numbered, tensor_of
from salus.preprocessing.csv_file import LABEL_NAMES, SUFFIXES, RawTable, read_csv
from salus.preprocessing.scaled import ScaledPreprocessor, restored_scaling

#: What people write where a value is missing, in lower case.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})

#: The same in a column of words, where ``none`` is one: no symptoms, no treatment.
NO_WORD = MISSING - {"none"}

#: A unit in a column's name: "glucose [mg/dl]", "age (years)".
_UNIT = re.compile(r"^(.*\S)\s*[\[(]([^\])]+)[\])]$")


@dataclass(frozen=True)
class Column:
    """A column that features are made of.

    Attributes:
        name: as training had it.
        categories: the words that it may hold, each of which becomes a feature of 0 and 1; () for a number.
        fill: what a missing value becomes; None where it is refused.
    """

    name: str
    categories: tuple[str, ...] = ()
    fill: float | str | None = None

    @property
    def fill_word(self) -> str:
        """What a missing value becomes, for sentences."""
        return f"{self.fill:g}" if isinstance(self.fill, float) else str(self.fill)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it becomes."""
        return tuple(f"{self.name}={word}" for word in self.categories) or (self.name,)

    def encode(self, cells: Sequence[str] | NDArray[Any]) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Turn cells ``[N]`` into numbers ``[N, features]``; say of each row that will not do why."""
        return self._words(cells) if self.categories else self._numbers(cells)

    def _numbers(self, cells: Sequence[str] | NDArray[Any]) -> tuple[NDArray[np.float64], dict[int, str]]:
        values = numbers(cells)
        faults: dict[int, str] = {}
        for row in np.flatnonzero(~np.isfinite(values)).tolist():
            cell = cells[row]
            if (
                self.fill is not None
                and (not isinstance(cell, str) or cell.lower() in MISSING)
                and not np.isinf(values[row])
            ):
                values[row] = float(self.fill)
            else:
                faults[row] = f"column {self.name!r} {fault_of(cell)}"
        return values[:, None], faults

    def _words(self, cells: Sequence[str] | NDArray[Any]) -> tuple[NDArray[np.float64], dict[int, str]]:
        places = {word: place for place, word in enumerate(self.categories)}
        values, faults = np.zeros((len(cells), len(places))), {}
        for row, cell in enumerate(cells):
            word = self._word(str(cell))
            if self.fill is not None and word not in places and word.lower() in NO_WORD:
                word = str(self.fill)
            if word in places:
                values[row, places[word]] = 1
            else:
                faults[row] = f"column {self.name!r} holds {word!r}; {nearest(word, places)}"
        return values, faults

    def _word(self, word: str) -> str:
        """Find a word among the categories; 1 and 1.0 are one: pandas turns whole numbers beside a gap into these."""
        return next((same for same in (word, word.removesuffix(".0"), f"{word}.0") if same in self.categories), word)


@dataclass(frozen=True, kw_only=True, eq=False)
class TablePreprocessor(ScaledPreprocessor):
    """How rows of a table become x ``[N, F]``.

    Attributes:
        columns: what features are made of, in their order.
        label: the column of the labels.
        identifiers: columns that say whose a row is, and are no features.
        ignored: columns that are left out.
    """

    kind: ClassVar[str] = "table"
    takes: ClassVar[str] = "a CSV file"

    columns: tuple[Column, ...]
    label: str | None = None
    identifiers: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        table: RawTable,
        rows: NDArray[np.int64],
        *,
        categories: Sequence[str] = (),
        impute: str | None = None,
        **settings: Any,
    ) -> TablePreprocessor:
        """Learn from a table what its columns hold, and from its training rows what stands for a missing value.

        Args:
            table: all rows; categories are gathered from all, so that a rare one is known.
            rows: those of training.
            categories: columns that hold words.
            impute: ``median`` or ``mean`` of the training rows stands for a missing number, and the most frequent word
                for a missing word; None: missing values are refused.
            **settings: other attributes.

        Raises:
            DataError: training has no value in a column.
        """
        columns = []
        for name, cells in table.columns.items():
            if name in categories:
                words = [str(cell) for cell in cells]
                known = sorted({word for word in words if word.lower() not in NO_WORD})
                fill: float | str | None = None
                if not known:
                    raise DataError(f"Column {name!r} holds nothing but missing values; leave it out.")
                if impute is not None:
                    often = Counter(words[row] for row in rows.tolist())
                    fill = max(known, key=lambda word: often[word])
                    if not often[fill]:
                        raise DataError(f"Column {name!r} has no value in the training rows; leave it out.")
                columns.append(Column(name, tuple(known), fill))
                continue
            fill = None
            if impute is not None:
                values = numbers(cells)[rows]
                values = values[np.isfinite(values)]
                if not len(values):
                    raise DataError(f"Column {name!r} has no value in the training rows; leave it out.")
                fill = float(np.median(values) if impute == "median" else np.mean(values))
            columns.append(Column(name, (), fill))
        return cls(columns=tuple(columns), **settings)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features of x."""
        return tuple(feature for column in self.columns for feature in column.features)

    @property
    def one_hot(self) -> tuple[str, ...]:
        """Names of the features that say whether a column holds a word."""
        return tuple(feature for column in self.columns if column.categories for feature in column.features)

    def encode(self, table: RawTable) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Turn rows into numbers in their own units ``[N, F]``; say of each row that will not do why."""
        blocks, faults = [], {}
        for column, name in zip(self.columns, self.match(list(table.columns)), strict=True):
            values, bad = column.encode(table.columns[name])
            blocks.append(values)
            faults.update({row: reason for row, reason in bad.items() if row not in faults})
        return np.concatenate(blocks, axis=1), faults

    def match(self, header: Sequence[str]) -> list[str]:
        """Find every column by its name, whatever their order.

        Raises:
            DataError: one is missing, or is in another unit.
        """
        own = {column.name for column in self.columns}
        others = [name for name in header if name not in own]
        return [column.name if column.name in header else _alike(column.name, others) for column in self.columns]

    def transform(self, raw: Any) -> Prepared:
        """Prepare a mapping of columns (a DataFrame), or a tensor of numbers ``[N, F]`` in their own units.

        Raises:
            DataError: a column is missing, or the numbers are not as many as the features.
        """
        if isinstance(raw, (RawTable, Mapping)) or hasattr(raw, "columns"):
            return self._prepare(raw if isinstance(raw, RawTable) else _table(raw))
        values = tensor_of(raw, "Rows")
        if values.ndim != 2 or values.shape[1] != len(self.features):
            raise DataError(
                f"Rows have the shape {list(values.shape)}; they must be [N, {len(self.features)}], one number a "
                f"feature: {', '.join(self.features)}."
            )
        x, outside = self._scaled(values)
        x, names, refused = inside(x, numbered(len(x), "row"), self.bounds)
        return Prepared(x, tuple(names), refused=tuple(refused), clipped=outside)

    def _scaled(self, values: Tensor) -> tuple[Tensor, int]:
        if self.scaling is None:
            return values.float(), 0
        x, outside = self.scaling.scale(values)
        return x, int(outside.sum())

    def _prepare(self, table: RawTable, label: str | None = None) -> Prepared:
        values, faults = self.encode(table)
        good = [row for row in range(len(table)) if row not in faults]
        names = self._names(table)
        x, clipped = self._scaled(torch.from_numpy(values[good]))
        x, kept, outside = inside(x, [names[row] for row in good], self.bounds)
        refused = [*(Refusal(names[row], reason) for row, reason in sorted(faults.items())), *outside]
        labels: tuple[str, ...] = ()
        if label is not None:
            at = dict(zip(names, range(len(names)), strict=True))
            labels = tuple(str(table.columns[label][at[name]]) for name in kept)
        return Prepared(x, tuple(kept), labels, tuple(refused), self._notes(table), clipped)

    def _names(self, table: RawTable) -> list[str]:
        """Name the rows, and whose they are where a column says that."""
        known = [name for name in self.identifiers if name in table.columns]
        if not known:
            return list(table.names)
        whose = zip(*(table.columns[name] for name in known), strict=True)
        return [f"{row} ({', '.join(map(str, words))})" for row, words in zip(table.names, whose, strict=True)]

    def _notes(self, table: RawTable) -> tuple[str, ...]:
        names = self.match(list(table.columns))
        used = {*names, self.label, *self.identifiers, *self.ignored}
        unused = [name for name in table.columns if name not in used and name.lower() not in LABEL_NAMES]
        notes = [f"columns that the model does not read: {', '.join(unused)}"] if unused else []
        for column, name in zip(self.columns, names, strict=True):
            gaps = NO_WORD if column.categories else MISSING
            if column.fill is not None and any(_is_gap(cell, gaps) for cell in table.columns[name]):
                notes.append(
                    f"missing values of column {column.name!r} were filled with {column.fill_word}, of training"
                )
        return tuple(notes)

    def reads(self, thing: Path) -> bool:
        """Tell whether it is a CSV file, by its name."""
        return thing.suffix.lower() in SUFFIXES

    def stream(self, thing: Path, label: str | None = None) -> Iterator[Prepared]:
        """Prepare the rows of a CSV file."""
        try:
            for table in read_csv(thing):
                if label is not None and label not in table.columns:
                    raise DataError(f"there is no column {label!r}; {nearest(label, table.columns)}")
                named = label or self.label
                if named not in table.columns:
                    candidates = [name for name in table.columns if name.lower() in LABEL_NAMES]
                    named = candidates[0] if len(candidates) == 1 else None
                if len(table):
                    yield self._prepare(table, named)
        except DataError as error:
            text = str(error)
            if str(thing) in text:
                raise
            raise DataError(f"File {thing}: {text[0].lower()}{text[1:]}") from error

    def describe(self) -> str:
        """Say in a line how rows are prepared."""
        parts = [f"{len(self.columns)} columns by name"]
        if self.one_hot:
            parts.append(f"{len(self.one_hot)} features of words")
        if any(column.fill is not None for column in self.columns):
            parts.append("missing values filled as in training")
        parts.append("in their own units" if self.scaling is None else "min-max scaling fitted on training")
        return ", ".join(parts)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> TablePreprocessor:
        """Make it again."""
        columns = tuple(map(_column, settings["columns"]))
        scaling = restored_scaling(tensors)
        label, shared = settings["label"], common(settings)
        width = sum(len(column.features) for column in columns)
        if not columns or shared["shape"] not in ((), (width,)):
            raise ValueError(f"{len(columns)} columns of {width} features become inputs of {list(shared['shape'])}")
        if scaling is not None and not scaling.low.shape == scaling.span.shape == (width,):
            raise ValueError(f"{width} features are scaled by {scaling.low.size} values")
        return cls(
            columns=columns,
            scaling=scaling,
            label=None if label is None else str(label),
            identifiers=tuple(map(str, settings["identifiers"])),
            ignored=tuple(map(str, settings["ignored"])),
            **shared,
        )


def _column(settings: Mapping[str, Any]) -> Column:
    """Make a column again."""
    categories, fill = tuple(map(str, settings["categories"])), settings["fill"]
    if fill is not None:
        fill = str(fill) if categories else float(fill)
    return Column(str(settings["name"]), categories, fill)


def numbers(cells: Sequence[str] | NDArray[Any]) -> NDArray[np.float64]:
    """Read numbers ``[N]``; NaN where a cell holds none."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiub":
        return cells.astype(np.float64)
    try:
        if not any("_" in str(cell) for cell in cells):  # Python alone reads 1_000 as a number
            return np.array(cells, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    return np.array([_number(cell) for cell in cells], dtype=np.float64)


def fault_of(cell: Any) -> str:
    """Say why a cell is no number."""
    return f"holds {str(cell)!r}, which is no number" if str(cell).strip() else "is empty"


def _is_gap(cell: Any, gaps: Collection[str]) -> bool:
    return str(cell).lower() in gaps


def _number(cell: Any) -> float:
    try:
        return float(str(cell).replace("_", "?"))
    except ValueError:
        return float("nan")


def _table(raw: Any) -> RawTable:
    """Take a mapping of columns, or a DataFrame, for a table of words."""
    names = [str(name).strip() for name in raw]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"Several columns are called {name!r}; name every column differently.")
    columns: dict[str, Any] = {name: [_cell(value) for value in raw[key]] for name, key in zip(names, raw, strict=True)}
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) != 1:
        raise DataError(f"Columns must be of one length; they have {sorted(lengths)} values.")
    return RawTable(columns, numbered(lengths.pop(), "row"))


def _cell(value: Any) -> str:
    """Write a value as a CSV file would; a missing one as nothing."""
    if getattr(value, "ndim", None) == 0:  # a number of numpy's or torch's
        value = value.item()
    if value is None or str(value) == "<NA>" or value != value:  # NaN
        return ""
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value).strip()


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _unit(name: str) -> tuple[str, str]:
    """Take a column's name apart, so that its case, its spaces and the kind of its brackets do not count."""
    match = _UNIT.match(name)
    return (_plain(match[1]), _plain(match[2])) if match else (_plain(name), "")


def _alike(name: str, header: Sequence[str]) -> str:
    """Find a column that is written in another way.

    Raises:
        DataError: there is none, there are several, or it is in another unit.
    """
    what, unit = _unit(name)
    same = [other for other in header if _unit(other)[0] == what]
    found = [other for other in same if _unit(other)[1] == unit]
    if len(found) > 1:
        raise DataError(f"Columns {found[0]!r} and {found[1]!r} could both be {name!r}; name it as training did.")
    if found:
        return found[0]
    if same:
        raise DataError(
            f"Column {same[0]!r}: training had {name!r}; bring its values in that unit and name the column as training "
            "did."
        )
    raise DataError(f"There is no column {name!r}; {nearest(name, header)}")

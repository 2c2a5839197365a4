"""One's own table in a CSV file: a header, a column of labels, numbers in all other columns."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salus.data.assemble import RawData, assemble
from salus.data.base import FeatureMarks, Provenance, Splits
from salus.data.groups import Groups, by_pattern, group_names
from salus.data.identifiers import refuse_identifiers, refuse_named
from salus.data.labels import encode_words
from salus.data.options import LoadOptions
from salus.data.published import file_sha256
from salus.data.split import SHARES, describe_shares, grouped, stratified
from salus.errors import DataError, nearest

#: A column with one of these names holds the labels, unless another is named.
LABEL_NAMES = ("label", "class", "target", "y", "diagnosis")


def load_csv(options: LoadOptions) -> Splits:
    """Load a table; rows are counted from 1, the header aside.

    Raises:
        DataError: no label column, a cell that is no number, rows of unequal length, not UTF-8.
    """
    path = Path(options.name)
    header, cells, words, patients = _read(path, options)
    y, classes = encode_words(words, name=path.name)
    marked = {*options.immutable, *options.integer, *options.derived}
    refuse_identifiers({feature: cells[:, i] for i, feature in enumerate(header) if feature not in marked}, path)
    names = tuple(f"row {row}" for row in range(1, len(y) + 1))
    groups = _groups(options, names, patients, path)
    notes = [f"columns left out: {', '.join(options.ignore)}"] if options.ignore else []
    notes += [
        f"column {feature!r} was read as a feature; if it says who is who, write --group-by {feature}"
        for feature in header
        if feature.lower() == "group"
    ]
    if groups is not None and not patients:
        notes.append(groups.note)
    raw = RawData(
        x=cells,
        y=y,
        classes=classes,
        groups=None if groups is None else groups.ids,
        bounds=options.bounds or (0.0, 1.0),
        positive=options.positive,
        features=tuple(header),
        marks=FeatureMarks(options.immutable, options.integer, options.derived),
        names=names,
        provenance=Provenance(
            name=path.stem,
            source=path.name,
            checksum=file_sha256(path),
            split=f"{'stratified by class' if groups is None else f'by patient ({groups.rule})'}, "
            f"seed {options.seed}: {describe_shares(SHARES)}",
            notes=tuple(notes),
        ),
    )
    if groups is None:
        parts = stratified(y, classes, SHARES, seed=options.seed, name=path.name)
    else:
        parts = grouped(y, groups.ids, classes, SHARES, seed=options.seed, name=path.name)
    return assemble(raw, parts, scale=options.scale)


def _read(path: Path, options: LoadOptions) -> tuple[list[str], NDArray[np.float64], list[str], list[str]]:
    """Read features' names, numbers ``[N, F]``, labels and patients, row by row."""
    numbers, labels, patients = array("d"), [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, delimiter=_delimiter(file.readline()), strict=True)
            file.seek(0)
            header = _header(next(rows, []), path)
            label = header.index(_label_column(header, options.label, path))
            group = _group_column(header, options.group_by, path)
            ignored = {header.index(_column(header, word, path)) for word in options.ignore}
            if label in ignored:
                raise DataError(f"File {path}: column {header[label]!r} holds the label and cannot be left out.")
            columns = [i for i in range(len(header)) if i not in (label, group, *ignored)]
            if not columns:
                raise DataError(f"File {path} has no feature columns beside {', '.join(header)}.")
            for number, row in enumerate((row for row in rows if row), start=1):
                if len(row) != len(header):
                    raise DataError(
                        f"File {path}: row {number} has {len(row)} cells, the header {len(header)}; mend the row."
                    )
                numbers.extend(_number(row[i], number, header[i], path) for i in columns)
                labels.append(row[label].strip())
                if group is not None:
                    patients.append(row[group].strip())
    except UnicodeDecodeError as error:
        raise DataError(f"File {path} is not text in UTF-8; save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"File {path} is no readable CSV ({error}); save it again.") from error
    if not labels:
        raise DataError(f"File {path} has a header but no samples.")
    cells = np.array(numbers).reshape(len(labels), len(columns))
    return [header[i] for i in columns], cells, labels, patients


def _header(row: Sequence[str], path: Path) -> list[str]:
    header = [name.strip() for name in row]
    if not any(header):
        raise DataError(f"File {path} is empty; its first line must name the columns.")
    header = [name or f"Unnamed: {position}" for position, name in enumerate(header)]  # as pandas calls them
    for position, name in enumerate(header):
        if name in header[:position]:
            raise DataError(
                f"File {path}: column {position + 1} has the name {name!r} of another; name every column differently."
            )
    return header


def _label_column(header: Sequence[str], label: str | None, path: Path) -> str:
    if label is not None:
        return _column(header, label, path)
    candidates = [name for name in header if name.lower() in LABEL_NAMES]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(f"File {path}: columns {' and '.join(candidates)} could hold the label; name one with --label.")
    raise DataError(
        f"File {path} has no column called {', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name the one "
        f"that holds the label with --label. Columns: {', '.join(header)}."
    )


def _group_column(header: Sequence[str], rule: str | None, path: Path) -> int | None:
    """The column that says who is who: named alone, or as ``COLUMN:PATTERN``; None where none does."""
    if rule is None or rule in header:
        return None if rule is None else header.index(rule)
    column, colon, pattern = rule.partition(":")
    if colon and "(" in pattern and column in header:
        return header.index(column)
    if rule.lower().endswith(".csv") or "(" in rule:
        return None
    return header.index(_column(header, rule, path))


def _groups(options: LoadOptions, names: Sequence[str], cells: Sequence[str], path: Path) -> Groups | None:
    """Find the patient of each row: by the cells of a column, or else by a rule on the names of rows."""
    rule, name = options.group_by, path.name
    if rule is None:
        return None
    if not cells:
        return group_names(rule, names, name=name, aliases=lambda row: (row, row.removeprefix("row ")))
    column, _, pattern = rule.partition(":")
    if "(" in pattern:
        return Groups.of(
            by_pattern(pattern, cells, name=name), f"the pattern {pattern!r} on column {column}", name=name
        )
    return Groups.of(cells, f"column {rule}", name=name)


def _column(header: Sequence[str], name: str, path: Path) -> str:
    if name not in header:
        raise DataError(f"File {path} has no column {name!r}; {nearest(name, header)}")
    return name


def _number(cell: str, row: int, column: str, path: Path) -> float:
    try:
        value = float(cell.replace("_", "?"))  # Python alone reads 1_000 as a number
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        refuse_named(column, path)
        fault = f"holds {cell!r}, which is no number" if cell.strip() else "is empty"
        raise DataError(
            f"File {path}: row {row}, column {column!r} {fault}; fill it in, or leave out the row or the column."
        )
    return value


def _delimiter(line: str) -> str:
    """The comma, unless the header has none and has semicolons or tabs."""
    return next((mark for mark in ",;\t" if mark in line), ",")

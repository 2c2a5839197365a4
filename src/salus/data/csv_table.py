"""One's own table in a CSV file: a header, one label column, features by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from salus.data.ranges import read_ranges
from salus.data.split import ALL, SHARES, all_test, describe_shares, grouped, stratified
from salus.errors import DataError
from salus.preprocessing import TablePreprocessor
from salus.preprocessing.csv_file import RawTable, find_column, label_column, read_csv
from salus.preprocessing.tables import MISSING, NO_WORD, fault_of, numbers

SPLITS = ("dealt", ALL)


@dataclass(frozen=True, eq=False)
class _Table:
    """A file as read.

    Attributes:
        features: the columns of features.
        label: the name of the column of labels.
        labels: its words ``[N]``.
        whose: the name of the column of patients; None where there is none.
        patients: its words ``[N]``; [] where there is none.
        unread: columns that the model does not read.
    """

    features: RawTable
    label: str
    labels: list[str]
    whose: str | None
    patients: list[str]
    unread: list[str]


def load_csv(options: LoadOptions) -> Splits:
    """Load a table; rows are counted from 1, the header aside.

    Columns are matched by name with those of a model's preprocessor, where one is given.

    Raises:
        DataError: no label column, a cell that is no number, rows of unequal length, not UTF-8.
    """
    path = Path(options.name)
    given = options.made_by(TablePreprocessor)
    table = _read(path, options, given)
    y, classes = encode_words(table.labels, name=path.name)
    if given is None:
        marked = {*options.immutable, *options.integer, *options.derived, *options.categories}
        refuse_identifiers({name: cells for name, cells in table.features.columns.items() if name not in marked}, path)
    groups = _groups(options.group_by or table.whose, table.features.names, table.patients, path)
    names = table.features.names
    if table.patients:
        names = tuple(f"{name} ({whose})" for name, whose in zip(names, table.patients, strict=True))
    notes = [f"columns left out: {', '.join(options.ignore)}"] if options.ignore else []
    notes += [
        f"column {feature!r} was read as a feature; if it says who is who, write --group-by {feature}"
        for feature in table.features.columns
        if feature.lower() == "group"
    ]
    if groups is not None and not table.patients:
        notes.append(groups.note)
    words = f"{'stratified by class' if groups is None else f'by patient ({groups.rule})'}, "
    words += f"seed {options.seed}: {describe_shares(SHARES)}"
    if options.choose_split(SPLITS) == ALL:
        parts, words = all_test(len(y)), "all rows are test samples"
    elif groups is None:
        parts = stratified(y, classes, SHARES, seed=options.seed, name=path.name)
    else:
        parts = grouped(y, groups.ids, classes, SHARES, seed=options.seed, name=path.name)
    preprocessor = given or TablePreprocessor.fit(
        table.features,
        parts["train"],
        categories=options.categories,
        impute=options.impute,
        label=table.label,
        identifiers=() if table.whose is None else (table.whose,),
        ignored=options.ignore,
    )
    x, faults = preprocessor.encode(table.features)
    if faults:
        row, fault = min(faults.items())
        raise DataError(
            f"File {path}: row {row + 1}, {fault}; fill it in, leave out the row, or let Salus fill it "
            "(--impute median)."
        )
    notes += _notes(table, preprocessor)
    held = preprocessor.one_hot
    raw = RawData(
        x=x,
        y=y,
        classes=classes,
        groups=None if groups is None else groups.ids,
        bounds=(preprocessor.bounds if given is not None else options.bounds) or (0.0, 1.0),
        positive=options.positive,
        features=preprocessor.features,
        marks=FeatureMarks((*options.immutable, *held), options.integer, options.derived),
        ranges=None if options.ranges is None else read_ranges(options.ranges, preprocessor.features),
        names=names,
        preprocessor=preprocessor,
        known_classes=options.known_classes,
        provenance=Provenance(
            name=path.stem,
            source=path.name,
            checksum=file_sha256(path),
            split=words,
            notes=tuple(notes),
        ),
    )
    return assemble(raw, parts, scale=options.scale)


def _whose(header: Sequence[str], rule: str | None, path: Path) -> str | None:
    """The column that says who is who: named alone, or as ``COLUMN:PATTERN``; None where none does."""
    if rule is None or rule in header:
        return rule
    column, colon, pattern = rule.partition(":")
    if colon and "(" in pattern and column in header:
        return column
    if rule.lower().endswith(".csv") or "(" in rule:
        return None
    return find_column(header, rule, path)


def _groups(rule: str | None, names: Sequence[str], cells: Sequence[str], path: Path) -> Groups | None:
    """Find the patient of each row: by the cells of a column, or else by a rule on the names of rows."""
    name = path.name
    if rule is None:
        return None
    if not cells:
        return group_names(rule, names, name=name, aliases=lambda row: (row, row.removeprefix("row ")))
    column, _, pattern = rule.partition(":")
    if "(" in pattern:
        rule_words = f"the pattern {pattern!r} on column {column}"
        return Groups.of(by_pattern(pattern, cells, name=name), rule_words, name=name)
    return Groups.of(cells, f"column {rule}", name=name)


def _notes(table: _Table, preprocessor: TablePreprocessor) -> list[str]:
    """Say what was assumed of cells, and what was left out."""
    notes = []
    for column, cells in zip(preprocessor.columns, table.features.columns.values(), strict=True):
        gaps = NO_WORD if column.categories else MISSING
        missing = sum(_missing(cell, gaps) for cell in cells) if column.fill is not None else 0
        if missing:
            fill = f"{column.fill:g}" if isinstance(column.fill, float) else column.fill
            notes.append(f"column {column.name!r}: {missing} missing values were filled with {fill}, of training")
    if preprocessor.one_hot:
        notes.append(f"features of words, which attacks hold fixed: {', '.join(preprocessor.one_hot)}")
    if table.unread:
        notes.append(f"columns that the model does not read: {', '.join(table.unread)}")
    return notes


def _missing(cell: str | float, gaps: frozenset[str]) -> bool:
    return cell.lower() in gaps if isinstance(cell, str) else bool(np.isnan(cell))


def _read(path: Path, options: LoadOptions, given: TablePreprocessor | None) -> _Table:
    """Read the columns of features, as numbers unless they hold words, and those of labels and patients."""
    words: dict[str, list[str]] = {}
    values: dict[str, list[NDArray[np.float64]]] = {}
    label, whose, count = "", None, 0
    for piece in read_csv(path):
        header = list(piece.columns)
        if not words:
            known = given.label if given is not None and given.label in header else None
            label = label_column(header, options.label or known, path)
            of_words: Sequence[str] = options.categories
            if given is not None:
                read = given.match(header)
                of_words = [name for name, column in zip(read, given.columns, strict=True) if column.categories]
            whose = _whose(header, options.group_by, path)
            if whose is None and options.group_by is None and given is not None:
                whose = next((name for name in given.identifiers if name in header), None)
            ignored = [find_column(header, name, path) for name in options.ignore]
            if label in ignored:
                raise DataError(f"File {path}: column {label!r} holds the label and cannot be left out.")
            beside = [label, *([] if whose is None else [whose])]
            words = {find_column(header, name, path): [] for name in (*beside, *of_words)}
            features = [name for name in header if name not in {*beside, *ignored}]
            if given is not None:
                features = read
            values = {name: [] for name in features if name not in words}
        for name, cells in words.items():
            cells += map(str, piece.columns[name])
        for name, pieces in values.items():
            pieces.append(_numbers(piece, name, path, impute=given is not None or options.impute is not None))
        count += len(piece)
    if not count:
        raise DataError(f"File {path} has a header but no samples.")
    columns: dict[str, list[str] | NDArray[np.float64]] = {
        name: words[name] if name in words else np.concatenate(values[name]) for name in features
    }
    if not columns:
        raise DataError(f"File {path} has no feature columns beside {', '.join(words)}.")
    names = tuple(f"row {row}" for row in range(1, count + 1))
    unread = [name for name in header if name not in {*columns, *words, *options.ignore}]
    patients = [] if whose is None else words[whose]
    return _Table(RawTable(columns, names), label, words[label], whose, patients, unread)


def _numbers(piece: RawTable, name: str, path: Path, *, impute: bool) -> NDArray[np.float64]:
    """Read numbers; NaN where one is missing and something is to stand for it.

    Raises:
        DataError: a cell holds none.
    """
    cells = piece.columns[name]
    values = numbers(cells)
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        missing = str(cells[row]).lower() in MISSING
        refuse_named(name, path)
        if not (impute and missing):
            remedy = "fill it in, leave out the row or the column, or let Salus fill it (--impute median)"
            if not missing:
                remedy = "mend it, leave out the row or the column, or name a column of words by --categories"
            raise DataError(f"File {path}: {piece.names[row]}, column {name!r} {fault_of(cells[row])}; {remedy}.")
    return values

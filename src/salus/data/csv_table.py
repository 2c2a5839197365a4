"""One's own table in a CSV file: a header, one label column, features by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salus.data.assemble import RawData, assemble
from salus.data.base import FeatureMarks, Provenance, Splits
from salus.data.labels import encode_groups, encode_words
from salus.data.options import LoadOptions
from salus.data.published import file_sha256
from salus.data.split import SHARES, describe_shares, grouped, stratified
from salus.errors import DataError
from salus.preprocessing import TablePreprocessor
from salus.preprocessing.csv_file import RawTable, find_column, label_column, read_csv
from salus.preprocessing.tables import MISSING, fault_of, numbers

#: A column with one of these names, left among the features, is probably no measurement.
PATIENT_NAMES = ("group", "id", "patient", "patient_id", "patientid", "subject", "subject_id")


@dataclass(frozen=True, eq=False)
class _Table:
    """A file as read: its feature columns, and the words of the columns that hold labels and patients."""

    features: RawTable
    label: str
    labels: list[str]
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
    groups = encode_groups(table.patients, name=path.name) if options.group else None
    notes = [
        f"column {feature!r} was read as a feature; if it names patients, name it as the group"
        for feature in table.features.columns
        if feature.lower() in PATIENT_NAMES
    ]
    if groups is None:
        parts = stratified(y, classes, SHARES, seed=options.seed, name=path.name)
    else:
        parts = grouped(y, groups, classes, SHARES, seed=options.seed, name=path.name)
    preprocessor = given or TablePreprocessor.fit(
        table.features,
        parts["train"],
        categories=options.categories,
        impute=options.impute,
        label=table.label,
        identifiers=(options.group,) if options.group else (),
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
        groups=groups,
        bounds=(preprocessor.bounds if given is not None else options.bounds) or (0.0, 1.0),
        positive=options.positive,
        features=preprocessor.features,
        marks=FeatureMarks((*options.immutable, *held), options.integer, options.derived),
        names=tuple(f"row {row}" for row in range(1, len(y) + 1)),
        preprocessor=preprocessor,
        known_classes=options.known_classes,
        provenance=Provenance(
            name=path.stem,
            source=path.name,
            checksum=file_sha256(path),
            split=f"{'stratified by class' if groups is None else f'by patient (column {options.group})'}, "
            f"seed {options.seed}: {describe_shares(SHARES)}",
            notes=tuple(notes),
        ),
    )
    return assemble(raw, parts, scale=options.scale)


def _notes(table: _Table, preprocessor: TablePreprocessor) -> list[str]:
    """Say what was assumed of cells, and what was left out."""
    notes = []
    for column, cells in zip(preprocessor.columns, table.features.columns.values(), strict=True):
        missing = sum(_missing(cell) for cell in cells) if column.fill is not None else 0
        if missing:
            fill = f"{column.fill:g}" if isinstance(column.fill, float) else column.fill
            notes.append(f"column {column.name!r}: {missing} missing values were filled with {fill}, of training")
    if preprocessor.one_hot:
        notes.append(f"features of words, which attacks hold fixed: {', '.join(preprocessor.one_hot)}")
    if table.unread:
        notes.append(f"columns that the model does not read: {', '.join(table.unread)}")
    return notes


def _missing(cell: str | float) -> bool:
    return cell.lower() in MISSING if isinstance(cell, str) else bool(np.isnan(cell))


def _read(path: Path, options: LoadOptions, given: TablePreprocessor | None) -> _Table:
    """Read the columns of features, as numbers unless they hold words, and those of labels and patients."""
    words: dict[str, list[str]] = {}
    values: dict[str, list[NDArray[np.float64]]] = {}
    label, count = "", 0
    for piece in read_csv(path):
        header = list(piece.columns)
        if not words:
            known = given.label if given is not None and given.label in header else None
            label = label_column(header, options.label or known, path)
            of_words = options.categories if given is None else [c.name for c in given.columns if c.categories]
            beside = [label, *([options.group] if options.group else [])]
            words = {find_column(header, name, path): [] for name in (*beside, *of_words)}
            features = given.match(header) if given is not None else [name for name in header if name not in beside]
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
    unread = [name for name in header if name not in {*columns, *words}]
    return _Table(RawTable(columns, names), label, words[label], words[options.group] if options.group else [], unread)


def _numbers(piece: RawTable, name: str, path: Path, *, impute: bool) -> NDArray[np.float64]:
    """Read numbers; NaN where one is missing and something is to stand for it.

    Raises:
        DataError: a cell holds none.
    """
    cells = piece.columns[name]
    values = numbers(cells)
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        missing = str(cells[row]).lower() in MISSING
        if not (impute and missing):
            remedy = "fill it in, leave out the row or the column, or let Salus fill it (--impute median)"
            if not missing:
                remedy = "mend it, leave out the row or the column, or name a column of words by --categories"
            raise DataError(f"File {path}: {piece.names[row]}, column {name!r} {fault_of(cells[row])}; {remedy}.")
    return values

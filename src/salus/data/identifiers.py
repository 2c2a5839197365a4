"""Columns of a table that say who a row is of, not how they are: never a feature without a word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError

#: A column of one of these names holds no measurement.
NAMES = frozenset(
    {
        "case", "casenumber", "file", "filename", "imagename", "mrn", "name", "nhsnumber", "patient",
        "patientname", "patientnumber", "path", "pid", "record", "recordnumber", "recordname", "row",
        "rowindex", "rownumber", "rowname", "index", "studynumber", "subject", "subjectnumber", "ssn",
    }
)  # fmt: skip

#: A name with one of these words in it names somebody or something: ``PatientID``, ``hadm_id``.
WORDS = frozenset({"id", "ids", "mrn", "uuid", "guid", "ssn", "identifier"})

#: With fewer rows, values that are all different say nothing.
_FEWEST = 20


def refuse_identifiers(columns: Mapping[str, NDArray[Any] | Sequence[str]], path: Path) -> None:
    """Refuse a column that is to be a feature and looks like an identifier.

    Args:
        columns: values by name, without those that the user calls features (by marking them).
        path: of the table.

    Raises:
        DataError: naming the first such column, why, and what can be done.
    """
    for name, values in columns.items():
        if len(set(np.asarray(values).tolist())) > 2:  # yes and no identify nobody
            refuse_named(name, path)
        _refuse(name, _by_values(values), path)


def refuse_named(name: str, path: Path) -> None:
    """Refuse a column that is an identifier by its name alone.

    Raises:
        DataError: see :func:`refuse_identifiers`.
    """
    _refuse(name, _by_name(name), path)


def _refuse(name: str, reason: str, path: Path) -> None:
    if reason:
        word = f"'{name}'" if re.search(r"\W", name) else name
        raise DataError(
            f"File {path}: column {name!r} {reason}; if it says who is who, write --group-by {word}, if it means "
            f"nothing, --ignore {word}; if it is a measurement all the same, mark it (--integer {word} where it "
            f"counts, --immutable {word} where it never changes)."
        )


def _by_name(name: str) -> str:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)  # patient_id, PatientID
    plain = "".join(word.lower() for word in words)
    if re.fullmatch(r"unnamed\d*", plain):
        return "has no name, as pandas writes the numbers of rows"
    if plain in NAMES or any(word.lower() in WORDS for word in words) or plain.removesuffix("id") in NAMES:
        return "looks like an identifier by its name"
    return ""


def _by_values(values: NDArray[Any] | Sequence[str]) -> str:
    """Say why values look like an identifier: a counter, or all different where measurements would repeat."""
    count = len(values)
    if count < _FEWEST:
        return ""
    column = np.asarray(values)
    if column.dtype.kind not in "fiu":
        return f"holds {count} different words in {count} rows" if len(set(column.tolist())) == count else ""
    if not bool((column == np.round(column)).all()):
        return ""
    if bool((column == column[0] + np.arange(count)).all()):
        return f"counts the rows, from {column[0]:.0f} to {column[-1]:.0f}"
    if len(np.unique(column)) < count:
        return ""
    spread = float(column.max() - column.min()) + 1
    digits = {len(f"{abs(value):.0f}") for value in (column.min(), column.max())}
    # Were these measurements, two of them would be equal but for one case in e^10; or they are numbers of one length.
    if count**2 > 20 * spread or (len(digits) == 1 and max(digits) >= 6):
        return f"holds {count} different whole numbers in {count} rows"
    return ""

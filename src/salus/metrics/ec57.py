"""Beat-by-beat tables in the manner of ANSI/AAMI EC57: every record, then gross and average figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.metrics.arrays import Values, check_lengths, flat
from salus.metrics.classification import REJECTED

#: (class, true class) whose beats are no false positives of the class. EC57 does not count a fusion of a
#: ventricular and a normal beat (F) against the detection of ventricular ectopic beats (V).
EXEMPT = frozenset({("V", "F")})


class ClassFigures(TypedDict):
    """One class of one row, None where it is undefined.

    Attributes:
        beats: of the class; the average row has the total.
        sensitivity: share of them that were found.
        positive_predictivity: share of the answers naming the class that were right.
    """

    beats: int
    sensitivity: float | None
    positive_predictivity: float | None


class EC57Row(TypedDict):
    """One line of the table.

    Attributes:
        kind: a record's own row, ``gross`` (all beats pooled) or ``average`` (every record weighs the same).
        record: its name, that of the row where it is not a record's.
        beats: of all classes.
        classes: figures by class name.
    """

    kind: Literal["record", "gross", "average"]
    record: str
    beats: int
    classes: dict[str, ClassFigures]


class AttackedFigures(ClassFigures):
    """Figures on clean beats and on the same beats under attack.

    Attributes:
        sensitivity_attacked: under attack.
        positive_predictivity_attacked: under attack.
    """

    sensitivity_attacked: float | None
    positive_predictivity_attacked: float | None


class AttackedRow(TypedDict):
    """One line of the table with clean and attacked figures side by side; as ``EC57Row`` otherwise."""

    kind: Literal["record", "gross", "average"]
    record: str
    beats: int
    classes: dict[str, AttackedFigures]


class _ClassCounts(NamedTuple):
    """Of a class in one record."""

    beats: int
    found: int
    false: int


def ec57_table(
    y: Values, labels: Values, records: Values, classes: Sequence[str] = ("N", "S", "V", "F")
) -> list[EC57Row]:
    """Sensitivity and positive predictivity of each class in each record, then gross and average.

    The standard reports S (its SVEB) and V (VEB); N and F are counted alike. A fusion beat (F) answered V is
    not a false positive of V. A rejected beat counts as one that the algorithm calls unclassifiable: missed,
    and nobody's false positive. Beats come from annotations, so that missed and extra detections of
    heartbeats, which the standard also counts, do not occur.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``, -1 where rejected.
        records: the record, or the patient, of each beat ``[N]``.
        classes: class names.

    Returns:
        A row for each record in order of name, then ``gross`` and ``average``. The average of a figure is
        taken over the records in which it is defined; None where it is in none.

    Raises:
        DataError: lengths differ, or a class index has no name.
    """
    true, answer = flat(y, "y").astype(np.int64), flat(labels, "labels").astype(np.int64)
    record = flat(records, "records")
    check_lengths("y, labels and records", true, answer, record)
    k = len(classes)
    if len(true) and not (true.min() >= 0 and max(true.max(), answer.max()) < k and answer.min() >= REJECTED):
        raise DataError(f"y and labels must be indices of the {k} classes {', '.join(classes)}, or -1 in labels.")
    names, of_record = np.unique(record, return_inverse=True)
    # One more column for the rejected: index -1 is the last.
    matrices = np.zeros((len(names), k, k + 1), np.int64)
    np.add.at(matrices, (of_record, true, answer), 1)  # [R, K, K + 1]

    counts = [[_count(matrix, index, classes) for index in range(k)] for matrix in matrices]
    rows = [_row("record", str(name), classes, of_class) for name, of_class in zip(names, counts, strict=True)]
    totals = [_count(matrices.sum(0), index, classes) for index in range(k)]
    gross = _row("gross", "gross", classes, totals)
    average: EC57Row = {"kind": "average", "record": "average", "beats": gross["beats"], "classes": {}}
    for name in classes:
        of_records = [row["classes"][name] for row in rows]
        average["classes"][name] = {
            "beats": gross["classes"][name]["beats"],
            "sensitivity": _mean([figures["sensitivity"] for figures in of_records]),
            "positive_predictivity": _mean([figures["positive_predictivity"] for figures in of_records]),
        }
    return [*rows, gross, average]


def ec57_under_attack(
    y: Values,
    labels: Values,
    attacked_labels: Values,
    records: Values,
    classes: Sequence[str] = ("N", "S", "V", "F"),
) -> list[AttackedRow]:
    """The table of ``ec57_table`` on clean beats and on the same beats under attack, side by side.

    Args:
        y: true classes ``[N]``.
        labels: answers to the clean beats ``[N]``, -1 where rejected.
        attacked_labels: answers to the attacked ones, in the same order.
        records: the record, or the patient, of each beat ``[N]``.
        classes: class names.
    """
    table: list[AttackedRow] = []
    rows = zip(ec57_table(y, labels, records, classes), ec57_table(y, attacked_labels, records, classes), strict=True)
    for clean, attacked in rows:
        figures: dict[str, AttackedFigures] = {
            name: {
                **clean["classes"][name],
                "sensitivity_attacked": attacked["classes"][name]["sensitivity"],
                "positive_predictivity_attacked": attacked["classes"][name]["positive_predictivity"],
            }
            for name in classes
        }
        table.append({"kind": clean["kind"], "record": clean["record"], "beats": clean["beats"], "classes": figures})
    return table


def _count(matrix: NDArray[np.int64], index: int, classes: Sequence[str]) -> _ClassCounts:
    false = sum(
        int(matrix[true, index])
        for true, name in enumerate(classes)
        if true != index and (classes[index], name) not in EXEMPT
    )
    return _ClassCounts(int(matrix[index].sum()), int(matrix[index, index]), false)


def _row(
    kind: Literal["record", "gross", "average"], record: str, classes: Sequence[str], counts: Sequence[_ClassCounts]
) -> EC57Row:
    figures: dict[str, ClassFigures] = {
        name: {
            "beats": beats,
            "sensitivity": _share(found, beats),
            "positive_predictivity": _share(found, found + false),
        }
        for name, (beats, found, false) in zip(classes, counts, strict=True)
    }
    return {"kind": kind, "record": record, "beats": sum(count.beats for count in counts), "classes": figures}


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def _mean(figures: Sequence[float | None]) -> float | None:
    values = [figure for figure in figures if figure is not None]
    return float(np.mean(values)) if values else None

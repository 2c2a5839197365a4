"""Beat-by-beat tables in the manner of EC57."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salus.errors import DataError
from salus.metrics import ec57_table, ec57_under_attack, per_class

CLASSES = ("N", "S", "V", "F")
N, S, V, F = range(4)

# Record 100: N N N S V, record 200: N V V F F.
Y = [N, N, N, S, V, N, V, V, F, F]
LABELS = [N, N, S, S, V, V, V, -1, V, F]
RECORDS = ["100"] * 5 + ["200"] * 5

beats = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3), st.integers(1, 4)), min_size=1, max_size=60)


def test_every_figure_of_a_small_table_by_hand() -> None:
    first, second, gross, average = ec57_table(Y, LABELS, RECORDS)
    assert [(row["kind"], row["record"], row["beats"]) for row in (first, second, gross, average)] == [
        ("record", "100", 5),
        ("record", "200", 5),
        ("gross", "gross", 10),
        ("average", "average", 10),
    ]
    assert first["classes"] == {
        "N": {"beats": 3, "sensitivity": 2 / 3, "positive_predictivity": 1.0},
        "S": {"beats": 1, "sensitivity": 1.0, "positive_predictivity": 0.5},
        "V": {"beats": 1, "sensitivity": 1.0, "positive_predictivity": 1.0},
        "F": {"beats": 0, "sensitivity": None, "positive_predictivity": None},
    }
    assert second["classes"] == {
        "N": {"beats": 1, "sensitivity": 0.0, "positive_predictivity": None},
        "S": {"beats": 0, "sensitivity": None, "positive_predictivity": None},
        # One V found, one rejected; N answered V is false, F answered V is not counted.
        "V": {"beats": 2, "sensitivity": 0.5, "positive_predictivity": 0.5},
        "F": {"beats": 2, "sensitivity": 0.5, "positive_predictivity": 1.0},
    }
    assert gross["classes"]["N"] == {"beats": 4, "sensitivity": 0.5, "positive_predictivity": 1.0}
    assert gross["classes"]["V"] == {"beats": 3, "sensitivity": 2 / 3, "positive_predictivity": 2 / 3}
    assert average["classes"]["N"] == {"beats": 4, "sensitivity": 1 / 3, "positive_predictivity": 1.0}
    assert average["classes"]["S"] == {"beats": 1, "sensitivity": 1.0, "positive_predictivity": 0.5}
    assert average["classes"]["V"] == {"beats": 3, "sensitivity": 0.75, "positive_predictivity": 0.75}


def test_a_ventricular_beat_called_fusion_is_missed_and_a_false_fusion() -> None:
    *_, gross, _ = ec57_table([V, V, F], [V, F, F], [1, 1, 1])
    assert gross["classes"]["V"] == {"beats": 2, "sensitivity": 0.5, "positive_predictivity": 1.0}
    assert gross["classes"]["F"] == {"beats": 1, "sensitivity": 1.0, "positive_predictivity": 0.5}


@given(beats)
def test_records_add_up_to_the_gross_row(rows: list[tuple[int, int, int]]) -> None:
    y, labels, records = np.array(rows).T
    *of_records, gross, average = ec57_table(y, labels, records)
    assert [row["record"] for row in of_records] == [str(name) for name in np.unique(records)]
    assert gross["beats"] == len(y) == sum(row["beats"] for row in of_records)
    for k, name in enumerate(CLASSES):
        figures = [row["classes"][name] for row in of_records]
        pooled = gross["classes"][name]
        assert pooled["beats"] == int((y == k).sum()) == sum(figure["beats"] for figure in figures)
        found = sum(figure["beats"] * (figure["sensitivity"] or 0) for figure in figures)
        assert found == pytest.approx(int(((y == k) & (labels == k)).sum()))
        assert (pooled["sensitivity"] is None) == (pooled["beats"] == 0)
        for column in ("sensitivity", "positive_predictivity"):
            defined = [value for figure in figures if (value := figure[column]) is not None]
            assert average["classes"][name][column] == (pytest.approx(np.mean(defined)) if defined else None)
            assert (average["classes"][name][column] is None) == (pooled[column] is None)


@given(beats)
def test_only_the_predictivity_of_ventricular_beats_differs_from_plain_counting(
    rows: list[tuple[int, int, int]],
) -> None:
    y, labels, records = np.array([row for row in rows if row[1] >= 0] or [(0, 0, 1)]).T
    *_, gross, _ = ec57_table(y, labels, records)
    for plain in per_class(y, labels, CLASSES):
        row = gross["classes"][plain["class"]]
        assert row["sensitivity"] == plain["sensitivity"]
        if plain["class"] != "V":
            assert row["positive_predictivity"] == plain["positive_predictivity"]
        elif row["positive_predictivity"] is not None:
            assert row["positive_predictivity"] >= plain["positive_predictivity"]


def test_clean_and_attacked_figures_stand_side_by_side() -> None:
    attacked = [S] * len(Y)
    table = ec57_under_attack(Y, LABELS, attacked, RECORDS)
    alone, under = ec57_table(Y, LABELS, RECORDS), ec57_table(Y, attacked, RECORDS)
    for row, clean, fooled in zip(table, alone, under, strict=True):
        assert (row["kind"], row["record"], row["beats"]) == (clean["kind"], clean["record"], clean["beats"])
        for name in CLASSES:
            figures = row["classes"][name]
            before = clean["classes"][name]
            assert {key: value for key, value in figures.items() if key in before} == before
            assert figures["sensitivity_attacked"] == fooled["classes"][name]["sensitivity"]
            assert figures["positive_predictivity_attacked"] == fooled["classes"][name]["positive_predictivity"]
    assert table[2]["classes"]["S"]["positive_predictivity_attacked"] == 0.1
    json.dumps(table, allow_nan=False)


def test_no_beats_leave_two_rows_without_figures() -> None:
    gross, average = ec57_table([], [], [])
    assert gross["beats"] == average["beats"] == 0
    assert all(figures["sensitivity"] is None for figures in average["classes"].values())


def test_classes_without_a_name_and_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="indices of the 4 classes"):
        ec57_table([4], [0], [1])
    with pytest.raises(DataError, match="indices of the 4 classes"):
        ec57_table([0], [-2], [1])
    with pytest.raises(DataError, match="y, labels and records"):
        ec57_table([0, 0], [0, 0], [1])

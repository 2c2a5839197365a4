"""Columns of a table that name somebody, and who is who in a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salus.data import load
from salus.data.identifiers import refuse_identifiers
from salus.errors import DataError

RNG = np.random.default_rng(0)
COUNT = 60


def _table(folder: Path, name: str, cells: list[str], *, first: bool = False) -> Path:
    """A table of one measurement, a label, and a column more."""
    rows = [[f"{value:.3f}", str(i % 2)] for i, value in enumerate(RNG.random(COUNT))]
    place = 0 if first else 1
    lines = [[*row[:place], cell, *row[place:]] for row, cell in zip(rows, cells, strict=True)]
    header = ["dose", "label"]
    header.insert(place, name)
    (folder / "own.csv").write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n")
    return folder / "own.csv"


NUMBERS = [f"{value / 100:.2f}" for value in RNG.integers(0, 40, COUNT)]
PATIENTS = [f"{i // 3}" for i in range(COUNT)]


@pytest.mark.parametrize(
    "name",
    ["id", "ID", "patient_id", "PatientID", "patientId", "patientid", "Subject", "MRN", "hadm_id", "UUID", "case id",
     "study-id", "index", "Unnamed: 0", "Unnamed: 0.1", "file_name", "ImageName"],
)  # fmt: skip
def test_a_column_that_is_an_identifier_by_name_is_refused_with_both_ways_out(tmp_path: Path, name: str) -> None:
    path = _table(tmp_path, name, PATIENTS)
    with pytest.raises(DataError, match=rf"column '{name}' .*--group-by '?{name}'?, .*--ignore '?{name}'?;"):
        load(path)
    assert load(path, ignore=name, scale=True).test.features == ("dose",)
    assert f"columns left out: {name}" in load(path, ignore=name).test.provenance.notes
    groups = load(path, group_by=name).test.groups
    assert groups is not None and len(set(groups.tolist())) == 4
    assert load(path, integer=name, scale=True).test.features == ("dose", name)


@pytest.mark.parametrize("name", ["fluid", "steroids", "identical_twin", "width", "paid", "gridline", "groups"])
def test_other_names_are_measurements(tmp_path: Path, name: str) -> None:
    assert load(_table(tmp_path, name, NUMBERS)).test.features == ("dose", name)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([str(i) for i in range(COUNT)], "counts the rows, from 0 to 59"),
        ([f"{i + 1}.0" for i in range(COUNT)], "counts the rows, from 1 to 60"),
        ([str(i) for i in RNG.permutation(COUNT) + 7], "holds 60 different whole numbers in 60 rows"),
        ([str(i) for i in RNG.choice(10**6, COUNT, replace=False) + 3 * 10**7], "holds 60 different whole numbers"),
    ],
)
def test_values_that_no_measurement_would_take_are_refused(tmp_path: Path, cells: list[str], reason: str) -> None:
    path = _table(tmp_path, "value", cells)
    with pytest.raises(DataError, match=f"column 'value' {reason}"):
        load(path, scale=True)
    assert load(path, scale=True, integer="value").test.features == ("dose", "value")


@pytest.mark.parametrize(
    "cells",
    [
        [f"{i / COUNT}" for i in range(COUNT)],  # all different, not whole
        [str(20 + i % 50) for i in range(COUNT)],
        [str(value) for value in RNG.choice(400, COUNT, replace=False) + 100],  # platelets
        [str(10 ** (3 + i % 4) + i) for i in range(COUNT)],  # a viral load
        ["7"] * COUNT,
    ],
)
def test_measurements_pass(tmp_path: Path, cells: list[str]) -> None:
    assert load(_table(tmp_path, "value", cells), scale=True).test.features == ("dose", "value")


def test_few_rows_and_yes_or_no_identify_nobody() -> None:
    refuse_identifiers({"count": np.arange(19.0), "pid": np.arange(40) % 2, "words": ["a", "b"]}, Path("own.csv"))
    with pytest.raises(DataError, match="column 'word' holds 40 different words in 40 rows"):
        refuse_identifiers({"word": [f"case {i}" for i in range(40)]}, Path("own.csv"))


def test_the_counter_that_pandas_writes_without_a_name_is_refused_by_the_name_that_it_reads(tmp_path: Path) -> None:
    path = _table(tmp_path, "", [str(i) for i in range(COUNT)], first=True)
    with pytest.raises(DataError, match=r"column 'Unnamed: 0' has no name.*--ignore 'Unnamed: 0'"):
        load(path)
    assert load(path, ignore="Unnamed: 0").test.features == ("dose",)


def test_columns_to_leave_out_must_be_there_and_not_be_needed(tmp_path: Path) -> None:
    path = _table(tmp_path, "id", PATIENTS)
    with pytest.raises(DataError, match="has no column 'idd'; did you mean 'id'"):
        load(path, ignore="idd")
    with pytest.raises(DataError, match="'label' holds the label and cannot be left out"):
        load(path, ignore="label")
    assert load(path, ignore="id", group_by="id").test.groups is not None


def test_a_column_of_names_and_a_pattern_say_who_is_who(tmp_path: Path) -> None:
    path = _table(tmp_path, "file", [f"patient{i // 3}_{i}.png" for i in range(COUNT)])
    splits = load(path, group_by=r"file:(patient\d+)_")
    owners = [set(data.groups.tolist()) for _, data in splits if data.groups is not None]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 20
    assert splits.test.features == ("dose",)
    assert splits.test.provenance.split.startswith(r"by patient (the pattern '(patient\\d+)_' on column file), seed 0")


def test_a_table_beside_a_table_says_who_is_who_by_rows(tmp_path: Path) -> None:
    path = _table(tmp_path, "value", NUMBERS)
    for call in ("row {}", "{}"):
        (tmp_path / "who.csv").write_text("name,group\n" + "".join(f"{call.format(i)},{i % 9}\n" for i in range(1, 61)))
        splits = load(path, group_by=str(tmp_path / "who.csv"))
        assert "9 patients by the table who.csv" in splits.test.provenance.notes
        assert {int(name[4:]) % 9 for name in splits.test.names} == set(splits.test.groups.tolist())  # type: ignore[union-attr]

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salus.data import load
from salus.errors import DataError, OptionError

ROWS = [f"{20 + i % 50},{i % 7 / 7},{'malignant' if i % 3 == 0 else 'benign'},p{i // 2}" for i in range(60)]
HEADER = "age,dose,diagnosis,patient"


def _write(folder: Path, header: str = HEADER, rows: list[str] | None = None) -> Path:
    path = folder / "own.csv"
    path.write_text("\n".join([header, *(ROWS if rows is None else rows)]) + "\n", encoding="utf-8")
    return path


def test_a_table_is_read_with_its_labels_features_and_patients(tmp_path: Path) -> None:
    splits = load(_write(tmp_path), group_by="patient", scale=True, integer="age", positive="malignant")
    train = splits.train
    assert train.classes == ("benign", "malignant")
    assert train.features == ("age", "dose")
    assert train.positive == ("malignant",)
    assert sum(len(data) for _, data in splits) == 60
    owners = [set(data.groups.tolist()) for _, data in splits if data.groups is not None]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 30
    assert train.steps[1] == 0
    units = train.x[:, 0] / train.steps[0]
    np.testing.assert_allclose(units, units.round(), atol=1e-4)


def test_without_groups_rows_are_stratified(tmp_path: Path) -> None:
    splits = load(_write(tmp_path), ignore="patient", scale=True)
    assert [len(data) for _, data in splits] == [30, 6, 12, 12]
    assert splits.train.features == ("age", "dose")
    assert "columns left out: patient" in splits.test.provenance.notes


@pytest.mark.parametrize("name", ["label", "Class", "target", "y", "Diagnosis"])
def test_the_label_column_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    rows = [f"{i / 60},{i % 3}" for i in range(60)]
    assert load(_write(tmp_path, f"a,{name}", rows)).test.classes == ("0", "1", "2")
    assert load(_write(tmp_path, "a,kind", rows), label="kind").test.classes == ("0", "1", "2")


def test_numbers_as_labels_are_sorted_as_numbers_and_marks_in_front_are_read_past(tmp_path: Path) -> None:
    rows = [f"{i / 60};{(2, 10)[i % 2]}" for i in range(60)]
    path = _write(tmp_path, "\ufeffa;label", rows)
    splits = load(path)
    assert splits.test.classes == ("2", "10")
    assert splits.test.features == ("a",)


BAD = {
    "no label column": ("age,dose,kind,patient", None, r"no column called label, .*--label.*kind"),
    "two label columns": ("age,y,label,patient", None, "columns y and label could hold the label"),
    "a column twice": ("age,age,label,patient", None, "column 2 has the name 'age' of another"),
    "a column without name": (
        "age,,label,dose",
        [f"3,{i / 60},{i % 2},1" for i in range(60)],
        "column 'Unnamed: 1' has no name.*--ignore 'Unnamed: 1'",
    ),
    "no rows": (HEADER, [], "no samples"),
    "a short row": (HEADER, ["1,2,benign,3", "1,2,benign"], "row 2 has 3 cells, the header 4"),
    "a long row": (HEADER, ["1,2,benign,3", "1,2,benign,3,9"], "row 2 has 5 cells"),
    "a word": (
        HEADER,
        [*ROWS[:3], "old,2,benign,3"],
        "row 4, column 'age' holds 'old', which is no number",
    ),
    "an open quote": (HEADER, ['1,2,"benign'], "no readable CSV"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    header, rows, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        load(_write(tmp_path, header, rows))
    assert "own.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("old", "holds 'old'"),
        ("", "is empty"),
        ("nan", "holds 'nan'"),
        ("1_000", "holds '1_000'"),
        ("1e999", "1e999"),
    ],
)
def test_a_cell_that_is_no_number_is_named_by_row_and_column(tmp_path: Path, cell: str, message: str) -> None:
    rows = [*ROWS[:4], f"30,{cell},benign,p2", *ROWS[5:]]
    with pytest.raises(DataError, match=f"row 5, column 'dose' .*{message}|row 5, column 'dose' {message}"):
        load(_write(tmp_path, rows=rows), group_by="patient", scale=True)


def test_a_wrong_column_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'diagnoses'; did you mean 'diagnosis'"):
        load(_write(tmp_path), label="diagnoses")
    with pytest.raises(DataError, match="no column 'patients'; did you mean 'patient'"):
        load(_write(tmp_path), group_by="patients")


def test_unscaled_values_name_the_first_sample_outside(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sample 0 has values from 0 to 20, outside .*--scale"):
        load(_write(tmp_path), group_by="patient")


def test_empty_labels_patients_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample 1 has an empty label"):
        load(_write(tmp_path, rows=[ROWS[0], "1,2,,p1"]), group_by="patient")
    with pytest.raises(DataError, match="sample 1 has no patient"):
        load(_write(tmp_path, rows=[ROWS[0], "1,2,benign,"]), group_by="patient")
    (tmp_path / "own.csv").write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        load(tmp_path / "own.csv")
    (tmp_path / "own.csv").write_bytes(b"a,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not text in UTF-8"):
        load(tmp_path / "own.csv")


def test_options_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Option smote does not apply to a CSV file"):
        load(_write(tmp_path), smote=3)


def test_all_rows_are_test_samples_for_a_model_trained_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("a,label\n0.5,x\n0.25,y\n0.75,x\n")
    splits = load(path, split="all")
    assert len(splits.test) == 3 and not len(splits.train)
    assert splits.test.provenance.split == "all rows are test samples"
    with pytest.raises(DataError, match="none for --scale to be fitted on"):
        load(path, split="all", scale=True)

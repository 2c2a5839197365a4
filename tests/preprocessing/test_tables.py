"""Tables: columns by name whatever their order, words, gaps and units; nothing learnt from the rows of the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from salus.classifier import Classifier
from salus.data import Splits, load
from salus.data.load import load_for
from salus.errors import DataError
from salus.preprocessing import Prepared, TablePreprocessor
from salus.preprocessing.base import joined
from salus.preprocessing.csv_file import RawTable

HEADER = ("age", "glucose [mg/dl]", "sex", "label")


def rows(count: int = 60, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        ill = number % 2
        glucose = f"{80 + 60 * ill + rng.normal(0, 5):.2f}"
        made.append([str(rng.integers(20, 90)), glucose, rng.choice(["f", "m"]), "ill" if ill else "well"])
    return made


def write(path: Path, table: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    path.write_text("\n".join(",".join(row) for row in [header, *table]) + "\n")
    return path


def trained(
    folder: Path, table: Sequence[Sequence[str]] | None = None, **options: Any
) -> tuple[TablePreprocessor, Splits]:
    path = write(folder / "train.csv", rows() if table is None else table)
    splits = load(path, **{"scale": True, "categories": ("sex",), **options})
    preprocessor = splits.test.preprocessor
    assert isinstance(preprocessor, TablePreprocessor)
    return preprocessor, splits


def read(preprocessor: TablePreprocessor, path: Path, label: str | None = None) -> Prepared:
    return joined(list(preprocessor.stream(path, label)), preprocessor.shape)


def reordered(table: Sequence[Sequence[str]], order: Sequence[int]) -> list[list[str]]:
    return [[row[place] for place in order] for row in table]


# --- columns


def test_raw_rows_become_what_training_saw_whatever_the_order_and_the_case_of_columns(tmp_path: Path) -> None:
    preprocessor, splits = trained(tmp_path)
    as_trained = read(preprocessor, tmp_path / "train.csv")
    by_name = dict(zip(as_trained.names, as_trained.x, strict=True))
    for _, part in splits:
        for name, x in zip(part.names, part.x, strict=True):
            assert torch.equal(by_name[name], x)
    shuffled = write(
        tmp_path / "shuffled.csv",
        reordered(rows(), (2, 3, 1, 0)),
        ("SEX", "Label", "Glucose  (mg/dL)", " Age "),
    )
    prepared = read(preprocessor, shuffled)
    assert torch.equal(prepared.x, as_trained.x)
    assert prepared.labels == as_trained.labels
    assert not prepared.notes
    given = load_for(preprocessor, shuffled, {})
    assert torch.equal(given.test.x, splits.test.x)
    assert given.test.features == splits.test.features


@pytest.mark.parametrize("other", ["glucose [mmol/l]", "Glucose (mmol/l)", "glucose"])
def test_another_unit_in_a_columns_name_is_refused(tmp_path: Path, other: str) -> None:
    preprocessor, _ = trained(tmp_path)
    path = write(tmp_path / "b.csv", rows(), ("age", other, "sex", "label"))
    with pytest.raises(DataError, match=r"bring its values in that unit and name the column as training did") as error:
        read(preprocessor, path)
    assert repr(other) in str(error.value)
    assert "'glucose [mg/dl]'" in str(error.value)


def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    preprocessor, _ = trained(tmp_path)
    with pytest.raises(DataError, match=r"b\.csv: there is no column 'age'; .*'agee'"):
        read(preprocessor, write(tmp_path / "b.csv", rows(), ("agee", *HEADER[1:])))


def test_columns_that_could_both_be_meant_are_refused(tmp_path: Path) -> None:
    preprocessor, _ = trained(tmp_path)
    table = [[*row, "1"] for row in rows(4)]
    with pytest.raises(DataError, match="'Age' and 'AGE' could both be 'age'"):
        read(preprocessor, write(tmp_path / "b.csv", table, ("Age", *HEADER[1:], "AGE")))
    exact = write(tmp_path / "c.csv", table, (*HEADER, "AGE"))
    assert torch.equal(read(preprocessor, exact).x, read(preprocessor, write(tmp_path / "d.csv", rows(4))).x)


def test_one_column_never_stands_for_two() -> None:
    table = RawTable({"a": np.array([1.0, 2.0]), "A": np.array([3.0, 4.0])}, ("row 1", "row 2"))
    preprocessor = TablePreprocessor.fit(table, np.arange(2))
    with pytest.raises(DataError, match="There is no column 'a'"):
        preprocessor.transform({"A": [0.1]})


def test_columns_that_nobody_reads_are_named(tmp_path: Path) -> None:
    preprocessor, _ = trained(tmp_path)
    path = write(tmp_path / "b.csv", [[*row, "x", "3"] for row in rows(4)], (*HEADER, "ward", "bed"))
    assert read(preprocessor, path).notes == ("columns that the model does not read: ward, bed",)


# --- cells


def test_an_unseen_word_or_a_gap_costs_its_row_alone(tmp_path: Path) -> None:
    preprocessor, splits = trained(tmp_path)
    table = rows(5)
    table[1][2], table[2][0], table[3][1] = "diverse", "", "high"
    path = write(tmp_path / "b.csv", table)
    prepared = read(preprocessor, path)
    assert prepared.names == ("row 1", "row 5")
    reasons = {refusal.name: refusal.reason for refusal in prepared.refused}
    assert reasons["row 2"].startswith("column 'sex' holds 'diverse'")
    assert reasons["row 3"] == "column 'age' is empty"
    assert reasons["row 4"] == "column 'glucose [mg/dl]' holds 'high', which is no number"
    module = torch.nn.Linear(len(preprocessor.features), 2)
    classifier = Classifier(module, splits.test.classes, shape=splits.test.x.shape[1:], preprocessor=preprocessor)
    assert len(joined(list(classifier.read(path)), classifier.shape).x) == 2


@pytest.mark.parametrize("missing", ["", "NA", "n/a", "NaN", "?", "null"])
def test_gaps_are_filled_with_what_training_had_where_one_asked(tmp_path: Path, missing: str) -> None:
    table = rows()
    table[0][0], table[1][2] = missing, missing
    preprocessor, splits = trained(tmp_path, table, impute="median")
    part = splits.train
    training = [int(name.split()[1]) - 1 for name in part.names]
    ages = [float(table[row][0]) for row in training if row != 0]
    words = [table[row][2] for row in training if row != 1]
    assert preprocessor.columns[0].fill == np.median(ages)
    assert preprocessor.columns[2].fill == max("fm", key=words.count)
    prepared = preprocessor.transform({"age": [missing], "glucose [mg/dl]": ["90"], "sex": [missing]})
    raw = preprocessor.inverse(prepared.x)[0]
    torch.testing.assert_close(raw[0].item(), float(np.median(ages)))
    assert raw[preprocessor.features.index(f"sex={preprocessor.columns[2].fill}")] == 1


def test_none_is_a_word_in_a_column_of_words_and_a_gap_in_one_of_numbers() -> None:
    table = RawTable({"pain": ["none", "mild", "", "mild"], "age": ["30", "none", "50", "70"]}, ("1", "2", "3", "4"))
    made = TablePreprocessor.fit(table, np.arange(4), categories=("pain",), impute="median")
    assert made.features == ("pain=mild", "pain=none", "age")
    values, faults = made.encode(table)
    assert not faults
    assert values.tolist() == [[0, 1, 30], [1, 0, 50], [1, 0, 50], [1, 0, 70]]


def test_a_column_without_a_value_in_training_is_refused() -> None:
    numbers = RawTable({"a": np.array([np.nan, 1.0])}, ("row 1", "row 2"))
    words = RawTable({"a": ["", "x"]}, ("row 1", "row 2"))
    for table, categories in ((numbers, ()), (words, ("a",))):
        with pytest.raises(DataError, match="'a' has no value in the training rows"):
            TablePreprocessor.fit(table, np.array([0]), categories=categories, impute="median")


def test_what_is_fitted_never_depends_on_the_rows_that_are_tested(tmp_path: Path) -> None:
    table = rows()
    table[0][0] = ""
    (tmp_path / "a").mkdir()
    first, splits = trained(tmp_path / "a", table, impute="mean")
    for _, part in splits:
        if part is not splits.train:
            for name in part.names:
                table[int(name.split()[1]) - 1][:2] = ["1000", "-5000"]
    (tmp_path / "b").mkdir()
    second, changed = trained(tmp_path / "b", table, impute="mean")
    assert splits.train.names == changed.train.names
    assert first.fingerprint() == second.fingerprint()
    assert torch.equal(splits.train.x, changed.train.x)


# --- in memory


def test_a_data_frame_and_a_mapping_are_read_as_the_file_is(tmp_path: Path) -> None:
    preprocessor, _ = trained(tmp_path)
    expected = read(preprocessor, tmp_path / "train.csv")
    frame = pd.read_csv(tmp_path / "train.csv")
    mapping = {name: frame[name].tolist() for name in reversed(HEADER)}
    arrays = {**mapping, "age": np.asarray(frame["age"]), "glucose [mg/dl]": torch.tensor(frame[HEADER[1]].to_numpy())}
    as_text = {name: [str(cell) for cell in cells] for name, cells in mapping.items()}
    for raw in (frame, frame[list(reversed(HEADER))], mapping, arrays, as_text, frame.astype(object)):
        prepared = preprocessor.transform(raw)
        assert torch.equal(prepared.x, expected.x)
        assert prepared.names == expected.names


def test_gaps_of_a_data_frame_are_gaps(tmp_path: Path) -> None:
    preprocessor, _ = trained(tmp_path)
    frame = pd.DataFrame(
        {"age": pd.array([30, None], dtype="Int64"), "glucose [mg/dl]": [90.0, 91.0], "sex": ["f", "m"]}
    )
    prepared = preprocessor.transform(frame)
    assert [(refusal.name, refusal.reason) for refusal in prepared.refused] == [("row 2", "column 'age' is empty")]
    for gap in (None, float("nan"), pd.NaT):
        prepared = preprocessor.transform({"age": [30, gap], "glucose [mg/dl]": [90, 90], "sex": ["f", "f"]})
        assert prepared.names == ("row 1",)


def test_whole_numbers_that_pandas_made_decimals_are_the_same_words(tmp_path: Path) -> None:
    table = [[row[0], row[1], "1" if row[2] == "f" else "2", row[3]] for row in rows()]
    preprocessor, _ = trained(tmp_path, table)
    columns = {"age": [30, 40], "glucose [mg/dl]": [90, 91]}
    whole = preprocessor.transform({**columns, "sex": [1, 2]})
    decimal = preprocessor.transform({**columns, "sex": pd.Series([1.0, 2.0])})
    assert torch.equal(whole.x, decimal.x)
    assert preprocessor.transform({**columns, "sex": [1.5, 3]}).x.shape[0] == 0


def test_numbers_in_their_own_units_are_scaled_as_rows_are(tmp_path: Path) -> None:
    preprocessor, splits = trained(tmp_path)
    raw = torch.tensor([[30.0, 90.0, 1.0, 0.0], [500.0, 90.0, 0.0, 1.0], [float("nan"), 90.0, 0.0, 1.0]])
    prepared = preprocessor.transform(raw)
    rows_of_words = {"age": [30, 500], "glucose [mg/dl]": [90, 90], "sex": ["f", "m"]}
    assert torch.equal(prepared.x, preprocessor.transform(rows_of_words).x)
    assert prepared.clipped == 1
    assert prepared.names == ("row 1", "row 2")
    assert [refusal.name for refusal in prepared.refused] == ["row 3"]
    assert splits.test.bounds == (0, 1)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (torch.rand(2, 3), r"\[2, 3\]; they must be \[N, 4\], one number a feature: age, glucose \[mg/dl\], sex=f"),
        ({"age": [1, 2], "glucose [mg/dl]": [1], "sex": ["f"]}, r"of one length; they have \[1, 2\]"),
        ({}, "of one length"),
        ({"age": [1], "age ": [2], "glucose [mg/dl]": [1], "sex": ["f"]}, "Several columns are called 'age'"),
        (pd.DataFrame([[1, 2]], columns=["age", "age"]), "Several columns are called 'age'"),
        ("text", "no array of numbers"),
    ],
)
def test_what_is_no_table_in_memory_is_refused(tmp_path: Path, raw: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        trained(tmp_path)[0].transform(raw)


def test_labels_come_from_the_column_of_training_or_the_one_that_is_named(tmp_path: Path) -> None:
    preprocessor, _ = trained(tmp_path)
    table = [[*row, "b"] for row in rows(3)]
    path = write(tmp_path / "b.csv", table, (*HEADER, "truth"))
    assert read(preprocessor, path).labels == ("well", "ill", "well")
    assert read(preprocessor, path, "truth").labels == ("b", "b", "b")
    with pytest.raises(DataError, match="there is no column 'truht'"):
        read(preprocessor, path, "truht")


def test_rows_are_called_by_the_patients_that_training_grouped_by(tmp_path: Path) -> None:
    table = [[*row, f"P{number // 2}"] for number, row in enumerate(rows())]
    write(tmp_path / "t.csv", table, (*HEADER, "patient"))
    preprocessor = load(tmp_path / "t.csv", categories=("sex",), group_by="patient", scale=True).test.preprocessor
    assert isinstance(preprocessor, TablePreprocessor)
    prepared = read(preprocessor, tmp_path / "t.csv")
    assert prepared.names[:3] == ("row 1 (P0)", "row 2 (P0)", "row 3 (P1)")
    assert len(prepared.labels) == len(prepared.names)


def test_a_judged_row_with_a_gap_says_what_filled_it() -> None:
    table = RawTable({"age": ["30", "40", "80"], "sex": ["f", "f", "m"]}, ("row 1", "row 2", "row 3"))
    fitted = TablePreprocessor.fit(table, np.arange(3), categories=["sex"], impute="median")
    made = fitted.of(classes=("a", "b"), bounds=(0, 100), shape=(3,)).transform({"age": [31, None], "sex": ["m", "f"]})
    assert made.x.tolist() == [[31, 0, 1], [40, 1, 0]]
    assert made.notes == ("missing values of column 'age' were filled with 40, of training",)

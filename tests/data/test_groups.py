from __future__ import annotations

from pathlib import Path

import pytest

from salus.data.groups import Groups, group_names, refuse_shared
from salus.errors import DataError, OptionError

NAMES = ("benign/p1_a.png", "benign/p2_a.png", "malignant/p1_b.png")


def _table(folder: Path, *rows: str, header: str = "name,group") -> str:
    (folder / "who.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(folder / "who.csv")


def test_a_pattern_takes_the_patient_from_a_name() -> None:
    groups = group_names(r"/(p\d+)_", NAMES, name="own")
    assert groups.words == ("p1", "p2", "p1")
    assert groups.ids.tolist() == [0, 1, 0]
    assert groups.note == r"2 patients by the pattern '/(p\\d+)_' on names"
    assert group_names(r"p(\d+)(?:_[ab])", NAMES, name="own").ids.tolist() == [1, 2, 1]
    assert len(set(group_names("(.*)", NAMES, name="own").words)) == 3


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        (r"(p\d", OptionError, "is no regular expression"),
        (r"(p)(\d)", OptionError, r"has 2 groups; put parentheses around what names the patient, and write \(\?:"),
        (r"\(p\d", OptionError, "has 0 groups"),
        ("patient", OptionError, r"is neither a pattern with one group, such as '\(patient"),
        (
            r"(q\d)",
            DataError,
            "says of benign/p1_a.png, benign/p2_a.png, malignant/p1_b.png of which patient they are n",
        ),
        (r"malignant/(p\d)|benign", DataError, "says of benign/p1_a.png, benign/p2_a.png of which patient"),
    ],
)
def test_a_pattern_that_will_not_do_is_refused(rule: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        group_names(rule, NAMES, name="own")


@pytest.mark.parametrize(
    "rows",
    [
        NAMES,
        [name.split("/")[1] for name in NAMES],
        ["p1_a", "p2_a", "p1_b"],
        ["benign/p1_a", "p2_a.png", "p1_b"],
    ],
)
def test_a_table_may_call_files_by_their_path_or_name_with_or_without_suffix(tmp_path: Path, rows: list[str]) -> None:
    lines = [f"{row},{group}" for row, group in zip(rows, ("Ann", "Bob", "Ann"), strict=True)]
    groups = group_names(_table(tmp_path, *lines, "another,Cid"), NAMES, name="own")
    assert groups.words == ("Ann", "Bob", "Ann")
    assert groups.rule == "the table who.csv"


def test_a_table_in_another_order_with_more_columns_and_semicolons_is_read(tmp_path: Path) -> None:
    table = _table(tmp_path, "7;p1_a;x", "8;p2_a;x", "7;p1_b;x", header="\ufeffgroup;name;site")
    assert group_names(table, NAMES, name="own").ids.tolist() == [7, 8, 7]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["p1_a,1", "p2_a,2"], "name,group", "who.csv .* says of malignant/p1_b.png of which patient they are not"),
        (["p1_a,1", "p1_a,2"], "name,group", "says that 'p1_a' is of '1' and of '2'"),
        (["p1_a,"], "name,group", "has no group for 'p1_a'"),
        (["p1_a,1"], "file,patient", "must have the columns name,group; it has file, patient"),
    ],
)
def test_a_table_that_will_not_do_is_refused(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        group_names(_table(tmp_path, *rows, header=header), NAMES, name="own")


def test_a_missing_table_and_a_name_of_two_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.csv, which is to say who is who .* cannot be read \(No such file"):
        group_names(str(tmp_path / "nowhere.csv"), NAMES, name="own")
    with pytest.raises(DataError, match=r"'1.png' in .* could be benign/1.png or malignant/1.png; write .* longer"):
        group_names(_table(tmp_path, "1.png,Ann"), ("benign/1.png", "malignant/1.png"), name="own")


def test_patients_on_two_sides_are_counted_and_the_first_is_named() -> None:
    groups = Groups.of(["Ann", "Bob", "Ann", "Cid"], "groups", name="own")
    refuse_shared(groups, ["train", "val", "train", "test"], "mend it.", name="own")
    with pytest.raises(DataError, match=r"1 patient \(the first is group Ann\) are on both sides; mend it"):
        refuse_shared(groups, ["train", "train", "val", "test"], "mend it.", name="own")

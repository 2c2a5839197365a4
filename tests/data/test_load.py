from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from salus.data import LoadOptions, catalogue, load
from salus.data.load import SOURCES
from salus.errors import DataError, OptionError


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no data set 'brest-cancer'.*did you mean 'breast-cancer'"):
        load("brest-cancer")
    known = "breast-cancer, cifar10, digits, fashion-mnist, ham10000, isic2018, mitdb, mnist, ptbdb"
    with pytest.raises(DataError, match=rf"no data set 'zzz'.*known: {known}"):
        load("zzz")


def test_a_path_that_is_not_there_or_of_no_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder .*own\.npz"):
        load(tmp_path / "own.npz")
    with pytest.raises(DataError, match=r"no file or folder own\.csv"):
        load("own.csv")
    (tmp_path / "own.txt").write_text("")
    with pytest.raises(DataError, match=r"own\.txt is of no kind that Salus reads"):
        load(tmp_path / "own.txt")


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="no option 'sede'; did you mean 'seed'"):
        load("digits", sede=1)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("seed", -1, "seed must be a whole number"),
        ("seed", "one", "seed must be a whole number"),
        ("smote", 0, "smote must be the number"),
        ("without_mlii", "v6", "without_mlii must be 'v5' or 'drop'"),
        ("bounds", (1, 0), "the lower first"),
        ("bounds", (0, float("inf")), "finite"),
        ("bounds", "01x", "must be two numbers"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(option: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LoadOptions(name="digits", **{option: value})  # type: ignore[arg-type]


def test_every_named_set_refuses_what_does_not_apply_and_takes_the_seed(tmp_path: Path) -> None:
    for name in ("breast-cancer", "digits"):
        load(name, seed=5, data_dir=tmp_path)
        for option, value in {"label": "y", "group": "id", "scale": True, "bounds": (0, 2)}.items():
            with pytest.raises(OptionError, match=f"Option {option} does not apply to the data '{name}'"):
                load(name, **{option: value})


def test_the_catalogue_says_what_is_at_hand(
    tmp_path: Path, small_mitdb: Path, small_ptbdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    at_hand = {entry.name: entry.at_hand for entry in catalogue(tmp_path)}
    embedded = {"breast-cancer", "digits"}
    assert at_hand == {name: name in embedded for name in SOURCES}
    monkeypatch.setenv("SALUS_DATA", str(small_mitdb))
    entries = catalogue(small_ptbdb)
    assert {entry.name for entry in entries if entry.at_hand} == embedded | {"mitdb", "ptbdb"}
    assert all(entry.licence and entry.home for entry in entries)


def test_importing_the_room_imports_nothing_heavy() -> None:
    heavy = ("wfdb", "pandas", "sklearn", "imblearn", "requests", "scipy", "PIL")
    code = f"import sys, salus.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

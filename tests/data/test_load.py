from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from salus.audit import Plan
from salus.data import SOURCES, DataOptions, LoadOptions, catalogue, load
from salus.errors import DataError, OptionError
from salus.options import option_names, options_of
from salus.registry import PluginWarning


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"Unknown data set 'brest-cancer'; did you mean 'breast-cancer'\? Nor is"):
        load("brest-cancer")
    known = "breast-cancer, cifar10, digits, fashion-mnist, ham10000, incartdb, isic2018, mitdb, mnist, ptbdb, svdb"
    with pytest.raises(DataError, match=rf"Unknown data set 'zzz'; known: {known}\. Nor is there"):
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
    ("option", "value", "words"),
    [
        ("seed", -1, "a whole number from 0 up"),
        ("seed", "one", "a whole number from 0 up"),
        ("smote", 0, "a whole number from 1 up or none"),
        ("without_mlii", "v6", "'v5', 'drop' or none"),
        ("bounds", (1, 0), "two finite numbers, LOW,HIGH (the lower first) or none"),
        ("bounds", (0, float("inf")), "two finite numbers, LOW,HIGH (the lower first) or none"),
        ("bounds", "01x", "two finite numbers, LOW,HIGH (the lower first) or none"),
        ("size", "tall", "a number of pixels, HEIGHTxWIDTH or none"),
        ("size", (8, 8, 8), "a number of pixels, HEIGHTxWIDTH or none"),
        ("scale", "perhaps", "true or false"),
        ("positive", [None], "names, comma-separated"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(option: str, value: object, words: str) -> None:
    with pytest.raises(OptionError) as error:
        LoadOptions(name="digits", **{option: value})  # type: ignore[arg-type]
    assert str(error.value) == f"Option {option} must be {words}, not {value!r}."


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("bounds", "-1, 2/4", (-1.0, 0.5)),
        ("bounds", [0, 2], (0.0, 2.0)),
        ("size", "150x200", (150, 200)),
        ("size", "150,200", (150, 200)),
        ("size", 224, (224, 224)),
        ("size", [150, 200], (150, 200)),
        ("positive", "MEL, BCC", ("MEL", "BCC")),
        ("positive", ["1,5 mg", 3], ("1,5 mg", "3")),
        ("integer", 7, ("7",)),
        ("label", 3, "3"),
        ("label", "none", "none"),
        ("data_dir", "here", Path("here")),
        ("smote", "none", None),
        ("scale", "true", True),
    ],
)
def test_the_command_line_plans_and_python_are_read_alike(option: str, value: object, read: object) -> None:
    assert getattr(LoadOptions(name="own.csv", **{option: value}), option) == read  # type: ignore[arg-type]


def test_what_is_asked_for_can_be_compared_and_not_be_changed() -> None:
    options = LoadOptions(name="digits", size="8")  # type: ignore[arg-type]
    assert options == LoadOptions(name="digits", size=(8, 8)) and options != LoadOptions(name="digits")
    assert hash(options) == hash(LoadOptions(name="digits", size=(8, 8)))
    with pytest.raises(ValueError, match="frozen"):
        options.seed = 3


def test_other_classes_take_the_declarations_over() -> None:
    class Order(DataOptions):
        data: str = "digits"
        rounds: Annotated[int, Field(ge=1, description="how often")] = 1

    order = Order(positive="a,b", size=8, rounds="2")  # type: ignore[arg-type]
    assert (order.data, order.positive, order.size, order.rounds) == ("digits", ("a", "b"), (8, 8), 2)
    assert [option.name for option in options_of(Order)] == [*option_names(DataOptions), "rounds"]
    assert all(option.help for option in options_of(LoadOptions))
    for name, words in {"smote": "a whole number from 1 up or none", "rounds": "a whole number from 1 up"}.items():
        with pytest.raises(OptionError, match=f"Option {name} must be {words}, not 0"):
            Order(**{name: 0})  # type: ignore[arg-type]


def test_every_named_set_refuses_what_does_not_apply_and_takes_the_seed(tmp_path: Path) -> None:
    for name in ("breast-cancer", "digits"):
        load(name, seed=5, data_dir=tmp_path)
        for option, value in {"label": "y", "group_by": "id", "scale": True, "bounds": (0, 2)}.items():
            with pytest.raises(OptionError, match=f"Option {option} does not apply to the data '{name}'"):
                load(name, **{option: value})


def test_the_catalogue_says_what_is_at_hand(
    tmp_path: Path, small_mitdb: Path, small_ptbdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    at_hand = {entry.name: entry.at_hand for entry in catalogue(tmp_path)}
    embedded = {"breast-cancer", "digits"}
    assert at_hand == {name: name in embedded for name in SOURCES.own}
    monkeypatch.setenv("SALUS_DATA", str(small_mitdb))
    entries = catalogue(small_ptbdb)
    assert {entry.name for entry in entries if entry.at_hand} == embedded | {"mitdb", "ptbdb"}
    assert all(entry.licence and entry.home for entry in entries)


PACKAGE = """
from pathlib import Path

from salus.data import LoadOptions, Source, Splits
from salus.data.load import load_digits


def load_beats(options: LoadOptions) -> Splits:
    return load_digits(options)


BEATS = Source(
    name="our-beats",
    loader=load_beats,
    kind="image",
    summary="a folder of our beats",
    licence="ours",
    home="https://example.org/beats",
    options=frozenset({"split"}),
    reads=lambda path: (path / "beats.txt").is_file(),
)
"""


@pytest.fixture
def our_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that brings a source."""
    (tmp_path / "our_beats.py").write_text(PACKAGE)
    (tmp_path / "our_beats-1.0.dist-info").mkdir()
    (tmp_path / "our_beats-1.0.dist-info" / "METADATA").write_text("Name: our-beats\nVersion: 1.0\n")
    points = "[salus.sources]\nour-beats = our_beats:BEATS\nnothing = our_beats:load_beats\n"
    (tmp_path / "our_beats-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delattr(SOURCES, "_loaded", raising=False)
    with pytest.warns(PluginWarning, match=r"'nothing' of our-beats 1.0 is left out: our_beats:load_beats is no salus"):
        assert "our-beats" in SOURCES
    yield
    vars(SOURCES).pop("_loaded")
    sys.modules.pop("our_beats")


@pytest.mark.usefixtures("our_beats")
def test_another_package_brings_a_data_set_that_is_loaded_listed_and_refused_as_ours_are(tmp_path: Path) -> None:
    assert len(load("our-beats", split="any").test) == len(load("digits").test)
    assert SOURCES.origin("our-beats") == "our-beats 1.0"
    assert [option.name for option in SOURCES.options("our-beats")] == ["split", "data_dir", "classes"]
    entry = next(entry for entry in catalogue(tmp_path) if entry.name == "our-beats")
    assert (entry.summary, entry.licence, entry.at_hand) == ("a folder of our beats", "ours", True)
    with pytest.raises(OptionError, match=r"Option smote does not apply to the data .our-beats.; these do: classes"):
        load("our-beats", smote=3)
    with pytest.raises(DataError, match="Unknown data set 'our-beat'; did you mean 'our-beats'"):
        load("our-beat")


@pytest.mark.usefixtures("our_beats")
def test_another_package_reads_its_own_kind_of_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "beats.txt").write_text("")
    assert len(load(tmp_path / "mine").train)
    with pytest.raises(OptionError, match="Option size does not apply to a folder of our beats"):
        load(tmp_path / "mine", size=8)


def test_importing_the_room_imports_nothing_heavy() -> None:
    heavy = ("wfdb", "pandas", "sklearn", "imblearn", "requests", "scipy", "PIL")
    code = f"import sys, salus.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plan_that_was_stored_before_still_says_who_is_who_and_nobody_else_does() -> None:
    assert Plan.of({"data": "own.csv", "group": "patient"}).data_options == {"group_by": "patient"}
    assert Plan.of({"data": "own.csv", "group": None}).group_by is None
    assert Plan.of({"data": "own.csv", "group-by": "(p1)", "ignore": "a, b"}).ignore == ("a", "b")
    with pytest.raises(OptionError, match="no option 'group'; did you mean 'group_by'"):
        load("digits", group="patient")

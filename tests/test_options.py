"""Options are declared once: read, checked and described from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field

from salus.errors import OptionError, nearest
from salus.options import Words, build, check_fields, checked, option_names, options_of, parse_value, split_spec

Count = Annotated[int, Field(ge=1, le=16, description="how many blades fold out")]
READ = [
    ("3", 3),
    ("0.5", 0.5),
    ("1e-3", 1e-3),
    ("1E3", 1000.0),
    ("-2", -2),
    ("2/255", 2 / 255),
    ("2 / 255", 2 / 255),
    ("linf", "linf"),
    ("a/b", "a/b"),
    ("1/0", "1/0"),
    ("[1", "[1"),
    ("eq6", "eq6"),
    ("true", True),
    ("False", False),
    ("trueish", "trueish"),
]


@dataclass(frozen=True, kw_only=True)
class Knife:
    length: Annotated[float, Field(gt=0, description="of the longest blade, in cm")]
    blades: Count = 1
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    steel: Literal["none", "carbon"] | None = None
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (3,)
    names: tuple[str, ...] = ()
    bounds: tuple[float, float] = (0.0, 1.0)
    weight: Annotated[int, Field(ge=1)] | Literal["light"] | None = None
    sheath: Annotated[Path | None, Words("a folder of `salus sheath`")] = None
    folding: bool = False
    notes: Any = None

    def __post_init__(self) -> None:
        check_fields(self, "Knife")


class Fork:
    """A fork."""

    name = "fork"

    @checked
    def __init__(self, *, tines: Annotated[int, Field(ge=2, description="points")] = 4, metals: tuple[str, ...] = ()):
        self.tines, self.metals = tines, metals


@dataclass(frozen=True)
class Drawer:
    knife: Annotated[Knife, Field(description="the one that is kept in it")]

    def __post_init__(self) -> None:
        check_fields(self, "Drawer")


class Spork:
    @classmethod
    def declared_options(cls) -> tuple[Any, ...]:
        return (*options_of(Fork), *options_of(Knife)[:1])

    @classmethod
    def of(cls, options: dict[str, Any], what: str) -> tuple[dict[str, Any], str]:
        return options, what


@pytest.mark.parametrize(("text", "value"), READ)
def test_values_are_read_as_numbers_fractions_or_words(text: str, value: object) -> None:
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


def test_specs_are_split_into_a_name_and_its_options() -> None:
    assert split_spec("pgd:eps=0.01,steps=40", "attack") == ("pgd", {"eps": 0.01, "steps": 40})
    assert split_spec("pgd", "attack") == ("pgd", {}) == split_spec(" pgd : ", "attack")
    assert split_spec("csv:path=a:b=c", "data") == ("csv", {"path": "a:b=c"})


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("length", "1/4", 0.25),
        ("length", 1, 1.0),
        ("length", np.float32(0.5), 0.5),
        ("blades", np.int64(3), 3),
        ("blades", "3", 3),
        ("widths", "16+32", (16, 32)),
        ("widths", 16, (16,)),
        ("widths", [16, np.int32(32)], (16, 32)),
        ("widths", torch.tensor([16, 32]), (16, 32)),
        ("length", torch.tensor(0.5), 0.5),
        ("names", "a+b", ("a", "b")),
        ("names", 3, ("3",)),
        ("steel", "none", "none"),
        ("steel", None, None),
        ("weight", "none", None),
        ("weight", "light", "light"),
        ("weight", "4", 4),
        ("sheath", "runs/3", Path("runs/3")),
        ("bounds", [0, 2], (0.0, 2.0)),
        ("bounds", np.array([0, 2], dtype=np.float32), (0.0, 2.0)),
        ("bounds", (np.float32(0.5), 2), (0.5, 2.0)),
        ("folding", "true", True),
        ("notes", {"any": "thing"}, {"any": "thing"}),
    ],
)
def test_a_value_becomes_what_its_declaration_says_by_spec_and_in_python_alike(
    option: str, value: Any, read: object
) -> None:
    by_spec = getattr(build(Knife, {"length": 1, option: value}, "knife"), option)
    in_python = getattr(Knife(**{"length": 1, option: value}), option)
    assert by_spec == read == in_python and type(by_spec) is type(read) is type(in_python)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("length", 0, "a number above 0"),
        ("length", float("nan"), "a number above 0"),
        ("length", float("inf"), "a number above 0"),
        ("length", "long", "a number above 0"),
        ("blades", 17, "a whole number from 1 to 16"),
        ("blades", True, "a whole number from 1 to 16"),
        ("blades", 1.5, "a whole number from 1 to 16"),
        ("share", 1, "a number between 0 and 1"),
        ("steel", "tin", "'none', 'carbon' or none"),
        ("widths", "3+x", "whole numbers from 1 up, joined by +"),
        ("widths", (1, True), "whole numbers from 1 up, joined by +"),
        ("bounds", 3, "two numbers"),
        ("weight", 0, "a whole number from 1 up, 'light' or none"),
        ("sheath", 3.5, "a folder of `salus sheath`"),
        ("folding", "perhaps", "true or false"),
        ("folding", 1, "true or false"),
    ],
)
def test_what_will_not_do_is_refused_in_words_that_the_declaration_gives(option: str, value: Any, words: str) -> None:
    values = {"length": 1, option: value}
    with pytest.raises(OptionError) as by_spec:
        build(Knife, values, "knife")
    with pytest.raises(OptionError) as in_python:
        Knife(**values)
    assert str(by_spec.value) == str(in_python.value) == f"Knife: {option} must be {words}, not {value!r}."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "Knife needs length: write length=VALUE (a number above 0)."),
        ({"length": 1, "blade": 2}, "Knife has no option 'blade'; did you mean 'blades'?"),
        ({"length": 1, "colour": 2}, "Knife has no option 'colour'; known: blades, bounds, folding, length, "),
    ],
)
def test_unknown_and_missing_options_are_named(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        build(Knife, options, "knife")
    message = str(error.value)
    assert message.startswith(sentence) and "\n" not in message and message[-1] in ".?"


def test_constructors_declare_and_check_their_keywords_as_dataclasses_do_their_fields() -> None:
    assert build(Fork, {"tines": "3", "metals": "tin+iron"}, "fork").metals == ("tin", "iron")
    assert Fork(tines=2).tines == 2
    both: tuple[Callable[[], Fork], ...] = (lambda: Fork(tines=1), lambda: build(Fork, {"tines": 1}, "fork"))
    for make in both:
        with pytest.raises(OptionError, match=r"[Ff]ork: tines must be a whole number from 2 up, not 1"):
            make()
    with pytest.raises(OptionError, match="Fork has no option 'tine'; did you mean 'tines'"):
        build(Fork, {"tine": 1}, "fork")


def test_options_are_described_from_the_declaration() -> None:
    by_name = {option.name: option for option in options_of(Knife)}
    assert by_name["blades"].help == "how many blades fold out" and by_name["blades"].default == 1
    assert by_name["length"].words == "a number above 0" and option_names(Fork) == ("tines", "metals")


def test_an_option_may_be_another_thing_with_options() -> None:
    knife = Knife(length=1)
    assert Drawer(knife).knife is knife
    with pytest.raises(OptionError, match="Drawer: knife must be a Knife, not 3"):
        Drawer(3)  # type: ignore[arg-type]


def test_a_class_may_name_its_options_and_read_them_itself() -> None:
    read: object = build(Spork, {"tines": 3, "length": 1}, "spork")
    assert read == ({"tines": 3, "length": 1}, "spork")
    with pytest.raises(OptionError, match="Spork has no option 'blades'"):
        build(Spork, {"blades": 3}, "spork")


def test_a_part_that_is_no_option_is_refused() -> None:
    for spec in ("pgd:eps", "pgd:eps=", "pgd:eps=0.1,40"):
        with pytest.raises(OptionError, match="is not an option; write pgd:key=value,key=value"):
            split_spec(spec, "attack")


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="gives eps twice"):
        split_spec("pgd:eps=0.1,eps=0.2", "attack")


def test_the_nearest_names_are_offered() -> None:
    assert nearest("pdg", ["pgd", "fgsm"]) == "did you mean 'pgd'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b."

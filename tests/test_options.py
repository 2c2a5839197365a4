"""Options as users write them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from salus.errors import OptionError, nearest
from salus.options import build, parse_value, split_spec


@dataclass(frozen=True, kw_only=True)
class Knife:
    length: float
    blades: int = 1
    name: str = "knife"
    folding: bool = False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("0.5", 0.5), ("1e-3", 1e-3), ("1E3", 1000.0), ("-2", -2), ("2/255", 2 / 255),
        ("2 / 255", 2 / 255), ("linf", "linf"), ("a/b", "a/b"), ("1/0", "1/0"), ("[1", "[1"), ("eq6", "eq6"),
        ("true", True), ("False", False), ("trueish", "trueish"),
    ],
)  # fmt: skip
def test_values_are_read_as_numbers_fractions_or_words(text: str, value: object) -> None:
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


def test_specs_are_split_into_a_name_and_its_options() -> None:
    assert split_spec("pgd:eps=0.01,steps=40", "attack") == ("pgd", {"eps": 0.01, "steps": 40})
    assert split_spec("pgd", "attack") == ("pgd", {}) == split_spec(" pgd : ", "attack")
    assert split_spec("csv:path=a:b=c", "data") == ("csv", {"path": "a:b=c"})


def test_options_become_fields() -> None:
    assert build(Knife, {"length": "1/4", "blades": 3}, "knife") == Knife(length=0.25, blades=3)
    assert build(Knife, {"length": 1, "folding": "true"}, "knife").folding is True
    assert build(Knife, {"length": 1, "folding": "false"}, "knife").folding is False


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "Knife needs length: write length=VALUE."),
        ({"length": "long"}, "Knife: length='long' will not do"),
        ({"length": 1, "blade": 2}, "Knife has no option 'blade'; did you mean 'blades'?"),
        ({"length": 1, "colour": 2}, "Knife has no option 'colour'; known: blades, folding, length, name."),
        ({"length": 1, "blades": 1.5}, "Knife: blades=1.5 will not do"),
        ({"length": 1, "folding": "perhaps"}, "Knife: folding='perhaps' will not do"),
    ],
)
def test_each_mistake_is_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        build(Knife, options, "knife")
    message = str(error.value)
    assert message.startswith(sentence) and "\n" not in message and message[-1] in ".?"


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

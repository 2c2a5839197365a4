"""Attacks by name and options, as they are written on the command line."""

from __future__ import annotations

import pytest

import salus.attacks
from salus.attacks import ATTACKS, BIM, FGSM, PGD, parse_attack
from salus.errors import OptionError


def test_names_and_options_make_attacks() -> None:
    assert parse_attack("fgsm:eps=0.01") == FGSM(eps=0.01)
    assert parse_attack("pgd:eps=8/255,steps=7,norm=l2,early-stop=false") == PGD(
        eps=8 / 255, steps=7, norm="l2", early_stop=False
    )
    assert parse_attack("bim : eps = 1e-3 , step_size = 1/1000") == BIM(eps=0.001, step_size=0.001)
    assert parse_attack("pgd", eps=0.1, bounds=(-1.0, 1.0), seed=3) == PGD(eps=0.1, bounds=(-1.0, 1.0), seed=3)
    assert parse_attack("pgd:eps=0.2", eps=0.1).eps == 0.2


def test_what_is_parsed_is_a_key_as_good_as_what_is_written() -> None:
    assert hash(parse_attack("pgd:eps=0.5", bounds=[0, 1])) == hash(PGD(eps=0.5))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("pdg:eps=0.1", "Unknown attack 'pdg'; did you mean 'pgd'"),
        ("", "Unknown attack ''; known: apgd, auto-attack, auto-attack-plus, bim"),
        ("pgd", "Attack 'pgd' needs eps: write eps=VALUE"),
        ("pgd:epsilon=0.1", "no option 'epsilon'; did you mean 'eps'"),
        ("pgd:0.1", "'0.1' is not an option; write pgd:key=value"),
        ("pgd:eps=", "'eps=' is not an option"),
        ("pgd:eps=big", "Attack 'pgd': eps must be a number from 0 up, not 'big'"),
        ("pgd:eps=1/0", "eps must be a number from 0 up, not '1/0'"),
        ("pgd:eps=0.1,steps=many", "steps must be a whole number from 1 up, not 'many'"),
        ("pgd:eps=0.1,steps=2.5", "steps must be a whole number from 1 up, not 2.5"),
        ("pgd:eps=0.1,norm=l3", "norm must be 'linf', 'l2' or 'l1', not 'l3'"),
        ("pgd:eps=nan", "eps must be a number from 0 up, not 'nan'"),
        ("pgd:eps=8", "whole range"),
        ("fgsm:eps=0.1,steps=3", "Attack 'fgsm' has no option 'steps'"),
    ],
)
def test_mistakes_are_answered_with_one_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        parse_attack(spec)
    message = str(error.value)
    assert sentence in message and "\n" not in message
    assert message[0].isupper() and message[-1] in ".?"


def test_every_registered_attack_is_public_and_named_in_kebab_case() -> None:
    for name, cls in ATTACKS.own.items():
        assert cls.name == name == name.lower() and "_" not in name
        assert getattr(salus.attacks, cls.__name__) is cls and cls.__name__ in salus.attacks.__all__
        assert cls.__doc__

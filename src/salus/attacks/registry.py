"""Attacks by the name that the command line and plans use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salus.attacks.base import Attack
from salus.attacks.gradient import BIM, FGSM, PGD
from salus.errors import OptionError, nearest
from salus.options import build, split_spec

ATTACKS: dict[str, type[Attack]] = {cls.name: cls for cls in (FGSM, BIM, PGD)}


def parse_attack(spec: str, **defaults: Any) -> Attack:
    """Make an attack from ``pgd:eps=0.01,steps=40``; ``defaults`` hold where the text is silent.

    Raises:
        OptionError: the attack or an option is unknown (the nearest names are given), or a value makes no
            sense.
    """
    name, options = split_spec(spec, "attack")
    return build_attack(name, {**defaults, **options})


def build_attack(name: str, options: Mapping[str, Any]) -> Attack:
    """Make the attack of this name with these options."""
    if name not in ATTACKS:
        raise OptionError(f"Unknown attack {name!r}; {nearest(name, ATTACKS)}")
    return build(ATTACKS[name], options, f"attack {name!r}")

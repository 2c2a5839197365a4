"""Attacks by the name that the command line and plans use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from salus.attacks.apgd import APGD
from salus.attacks.base import Attack
from salus.attacks.boundary import Boundary
from salus.attacks.carlini_wagner import CarliniWagnerL2, CarliniWagnerLinf
from salus.attacks.deepfool import DeepFool
from salus.attacks.ensemble import AutoAttack
from salus.attacks.fab import FAB
from salus.attacks.gradient import BIM, FGSM, PGD
from salus.attacks.hop_skip_jump import HopSkipJump
from salus.attacks.patch import Patch
from salus.attacks.peers import LIBRARIES, peer_class, split_peer
from salus.attacks.smooth import SmoothPGD
from salus.attacks.sparse_rs import SparseRS
from salus.attacks.square import Square
from salus.attacks.universal import UAP
from salus.errors import OptionError, nearest
from salus.options import build, split_spec

ATTACKS: dict[str, type[Attack]] = {
    cls.name: cls
    for cls in (
        FGSM, BIM, PGD, APGD, SmoothPGD,
        CarliniWagnerL2, CarliniWagnerLinf, DeepFool, FAB,
        UAP,
        Square,
        SparseRS, Patch,
        Boundary, HopSkipJump,
        AutoAttack,
    )
}  # fmt: skip


def parse_attack(spec: str, **defaults: Any) -> Attack:
    """Make an attack from ``pgd:eps=0.01,steps=40``; ``defaults`` hold where the text is silent.

    Raises:
        OptionError: the attack or an option is unknown (the nearest names are given), or a value makes no
            sense.
    """
    name, options = split_attack(spec)
    return build_attack(name, {**defaults, **options})


def build_attack(name: str, options: Mapping[str, Any]) -> Attack:
    """Make the attack of this name with these options."""
    return build(attack_class(name), options, f"attack {name!r}")


def split_attack(spec: str) -> tuple[str, dict[str, Any]]:
    """Split an attack's name from its options; those of other libraries are named ``art:HopSkipJump``."""
    if spec.partition(":")[0].strip() in LIBRARIES:
        return split_peer(spec)
    return split_spec(spec, "attack")


def attack_class(name: str) -> type[Attack]:
    """Find the class of the attack of this name.

    Raises:
        OptionError: there is none; the nearest names are given.
    """
    if name.partition(":")[0] in LIBRARIES:
        return peer_class(name)
    if name not in ATTACKS:
        raise OptionError(f"Unknown attack {name!r}; {nearest(name, ATTACKS)}")
    return ATTACKS[name]


def known_options(name: str) -> frozenset[str]:
    """Give the names of the options that an attack has."""
    return frozenset(field.name for field in fields(attack_class(name)) if field.init)

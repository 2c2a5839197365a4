"""Attacks by the name that the command line and plans use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from salus.attacks.apgd import APGD
from salus.attacks.auto_attack_plus import AutoAttackPlus
from salus.attacks.base import Attack
from salus.attacks.boundary import Boundary
from salus.attacks.carlini_wagner import CarliniWagnerL2, CarliniWagnerLinf
from salus.attacks.cgba import CGBA
from salus.attacks.ddn import DDN
from salus.attacks.deepfool import DeepFool
from salus.attacks.dual_averaging import DualAveraging
from salus.attacks.ensemble import AutoAttack
from salus.attacks.fab import FAB
from salus.attacks.fmn import FMN
from salus.attacks.gradient import BIM, FGSM, PGD
from salus.attacks.hop_skip_jump import HopSkipJump
from salus.attacks.nes import NES
from salus.attacks.patch import Patch
from salus.attacks.peers import LIBRARIES, peer_class, split_peer
from salus.attacks.sigma_zero import SigmaZero
from salus.attacks.smooth import SmoothPGD
from salus.attacks.sparse_rs import SparseRS
from salus.attacks.square import Square
from salus.attacks.universal import UAP
from salus.registry import Registry

_OWN: tuple[type[Attack], ...] = (
    FGSM,
    BIM,
    PGD,
    APGD,
    SmoothPGD,
    CarliniWagnerL2,
    CarliniWagnerLinf,
    DeepFool,
    DDN,
    FMN,
    SigmaZero,
    DualAveraging,
    FAB,
    UAP,
    Square,
    NES,
    SparseRS,
    Patch,
    Boundary,
    HopSkipJump,
    CGBA,
    AutoAttack,
    AutoAttackPlus,
)


class _Attacks(Registry[type[Attack]]):
    """Attacks by name: Salus's own, those of plug-ins, and those of other libraries, ``art:HopSkipJump``.

    The last are found by name alone; to list them, their library would have to be imported.
    """

    def find(self, name: str, others: Iterable[str] = ()) -> type[Attack]:
        return peer_class(name) if _of_library(name) else super().find(name, others)

    def split(self, spec: str) -> tuple[str, dict[str, Any]]:
        return split_peer(spec) if _of_library(spec) else super().split(spec)

    def origin(self, name: str) -> str:
        return peer_class(name).paper if _of_library(name) else super().origin(name)


ATTACKS = _Attacks("attack", "salus.attacks", {cls.name: cls for cls in _OWN}, Attack)


def parse_attack(spec: str, **defaults: Any) -> Attack:
    """Make an attack from ``pgd:eps=0.01,steps=40``; ``defaults`` hold where it has them and the text is silent.

    Raises:
        OptionError: the attack or an option is unknown (the nearest names are given), or a value makes no
            sense.
    """
    attack: Attack = ATTACKS.parse(spec, **defaults)
    return attack


def _of_library(spec: str) -> bool:
    return spec.partition(":")[0].strip() in LIBRARIES

"""Attacks: each turns ``(model, x, y)`` into ``x_adv``, inside the bounds and its own norm ball."""

from salus.attacks.apgd import APGD
from salus.attacks.auto_attack_plus import AutoAttackPlus
from salus.attacks.ball import Ball, NormName
from salus.attacks.base import Attack, AttackResult
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
from salus.attacks.objective import DecisionObjective, Evaluation, LogitObjective, Objective
from salus.attacks.patch import Patch
from salus.attacks.perturbation import Perturbation
from salus.attacks.registry import ATTACKS, parse_attack
from salus.attacks.search import Search
from salus.attacks.sides import SideObjective
from salus.attacks.sigma_zero import SigmaZero
from salus.attacks.smooth import SmoothPGD
from salus.attacks.sparse_rs import SparseRS
from salus.attacks.square import Square
from salus.attacks.universal import UAP

__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "CGBA",
    "DDN",
    "FAB",
    "FGSM",
    "FMN",
    "NES",
    "PGD",
    "UAP",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "AutoAttackPlus",
    "Ball",
    "Boundary",
    "CarliniWagnerL2",
    "CarliniWagnerLinf",
    "DecisionObjective",
    "DeepFool",
    "DualAveraging",
    "Evaluation",
    "HopSkipJump",
    "LogitObjective",
    "NormName",
    "Objective",
    "Patch",
    "Perturbation",
    "Search",
    "SideObjective",
    "SigmaZero",
    "SmoothPGD",
    "SparseRS",
    "Square",
    "parse_attack",
]

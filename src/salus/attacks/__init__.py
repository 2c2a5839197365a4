"""Attacks: each turns ``(model, x, y)`` into ``x_adv``, inside the bounds and its own norm ball."""

from salus.attacks.apgd import APGD
from salus.attacks.ball import Ball, NormName
from salus.attacks.base import Attack, AttackResult
from salus.attacks.boundary import Boundary
from salus.attacks.ensemble import AutoAttack
from salus.attacks.gradient import BIM, FGSM, PGD
from salus.attacks.hop_skip_jump import HopSkipJump
from salus.attacks.objective import DecisionObjective, Evaluation, LogitObjective, Objective
from salus.attacks.perturbation import Perturbation
from salus.attacks.registry import ATTACKS, parse_attack
from salus.attacks.search import Search
from salus.attacks.smooth import SmoothPGD
from salus.attacks.square import Square
from salus.attacks.universal import UAP

__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "FGSM",
    "PGD",
    "UAP",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "Ball",
    "Boundary",
    "DecisionObjective",
    "Evaluation",
    "HopSkipJump",
    "LogitObjective",
    "NormName",
    "Objective",
    "Perturbation",
    "Search",
    "SmoothPGD",
    "Square",
    "parse_attack",
]

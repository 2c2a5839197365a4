"""Attacks: each turns ``(model, x, y)`` into ``x_adv``, inside the bounds and its own norm ball."""

from salus.attacks.ball import Ball, NormName
from salus.attacks.base import Attack, AttackResult
from salus.attacks.gradient import BIM, FGSM, PGD
from salus.attacks.objective import Evaluation, LogitObjective, Objective
from salus.attacks.registry import ATTACKS, parse_attack
from salus.attacks.search import Search

__all__ = [
    "ATTACKS",
    "BIM",
    "FGSM",
    "PGD",
    "Attack",
    "AttackResult",
    "Ball",
    "Evaluation",
    "LogitObjective",
    "NormName",
    "Objective",
    "Search",
    "parse_attack",
]

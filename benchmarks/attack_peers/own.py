"""Salus itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import salus.attacks
from attack_peers.task import OURS, Attack, Contender, Task

LIBRARY = "salus"


def contenders(task: Task) -> list[Contender]:
    """List Salus's attacks for a row."""
    steps, eps, norm = task.budget.get("steps"), task.eps, task.norm
    match task.row:
        case "fgsm":
            return [_one("FGSM", eps=eps)]
        case "bim":
            return [_one("BIM", eps=eps, steps=steps, early_stop=False)]
        case "pgd":
            full = _one("PGD", "every step", eps=eps, steps=steps, early_stop=False)
            return [full, _one("PGD", "early stopping", eps=eps, steps=steps)]
        case "apgd-ce" | "apgd-dlr":
            return [_one("APGD", eps=eps, steps=steps, loss=task.row.partition("-")[2])]
        case "autoattack":
            return [_one("AutoAttack", eps=eps)]
        case "square":
            return [_one("Square", eps=eps, queries=task.budget["queries"])]
        case "fab":
            return [_one("FAB", norm=norm, steps=steps)]
        case "cw-l2":
            return [_one("CarliniWagnerL2", searches=task.budget["searches"], steps=steps)]
        case "cw-linf":
            return [_one("CarliniWagnerLinf")]
        case "deepfool" | "deepfool-linf":
            return [_one("DeepFool", norm=norm)]
        case "hop-skip-jump":
            return [_one("HopSkipJump", norm=norm, queries=task.budget["queries"])]
        case "boundary":
            return [_one("Boundary", queries=task.budget["queries"])]
        case "uap":
            return [Contender(library=LIBRARY, settings=OURS, attack=_universal(task))]
    return []


def _one(name: str, settings: str = OURS, **options: Any) -> Contender:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv: Tensor = getattr(salus.attacks, name)(**options)(model, x, y)
        return x_adv

    return Contender(library=LIBRARY, settings=settings, attack=attack)


def _universal(task: Task) -> Attack:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # A rate of 1 lets every epoch run, here and in the peers.
        universal = salus.attacks.UAP(eps=task.radius, fooling_rate=1.0, epochs=task.budget["own_epochs"])
        x_adv: Tensor = universal.fit(model, x, y)(task.held_out[0])
        return x_adv

    return attack

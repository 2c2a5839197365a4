"""Foolbox."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor, nn

from attack_peers.task import DEFAULTS, OURS, Attack, Contender, Task

LIBRARY = "foolbox"


def contenders(task: Task) -> list[Contender]:
    """List Foolbox's attacks for a row."""
    fb: Any = import_module("foolbox.attacks")
    steps = task.budget.get("steps")
    match task.row:
        case "fgsm":
            return [_one(DEFAULTS, fb.FGSM(), task)]
        case "bim":
            own = fb.LinfBasicIterativeAttack(steps=steps, abs_stepsize=task.stride)
            return [_one(OURS, own, task), _one(DEFAULTS, fb.LinfBasicIterativeAttack(steps=steps), task)]
        case "pgd":
            own = fb.LinfPGD(steps=steps, abs_stepsize=task.stride)
            return [_one(OURS, own, task), _one(DEFAULTS, fb.LinfPGD(steps=steps), task)]
        case "cw-l2":
            searches = task.budget["searches"]
            return [_one(DEFAULTS, fb.L2CarliniWagnerAttack(binary_search_steps=searches, steps=steps), task)]
        case "deepfool":
            return [_one(DEFAULTS, fb.L2DeepFoolAttack(), task)]
        case "deepfool-linf":
            return [_one(DEFAULTS, fb.LinfDeepFoolAttack(), task)]
        case "hop-skip-jump":
            attack = fb.HopSkipJumpAttack(steps=task.budget["foolbox_steps"])
            return [_one(DEFAULTS, attack, task), _one("given starts", attack, task, task.starts)]
        case "boundary":
            return [_one(DEFAULTS, fb.BoundaryAttack(steps=task.budget["foolbox_steps"]), task)]
    return []


def _one(settings: str, attack: Any, task: Task, starts: Tensor | None = None) -> Contender:
    return Contender(library=LIBRARY, settings=settings, attack=_run(attack, task.eps, starts))


def _run(attack: Any, eps: float | None, starts: Tensor | None) -> Attack:
    def attacked(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        from foolbox.models.pytorch import PyTorchModel

        given = {} if starts is None else {"starting_points": starts[: len(x)]}
        x_adv: Tensor = attack(PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=eps, **given)[1]
        return x_adv

    return attacked

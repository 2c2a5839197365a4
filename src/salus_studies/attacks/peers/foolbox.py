"""Foolbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from salus_studies.attacks.contenders import DEFAULTS, Contender, Goal, Task

LIBRARY = "foolbox"

_FMN = {"l0": "L0FMNAttack", "l1": "L1FMNAttack", "l2": "L2FMNAttack", "linf": "LInfFMNAttack"}
_PGD = {"l1": "L1PGD", "l2": "L2PGD", "linf": "LinfPGD"}


def contenders(task: Task) -> list[Contender]:
    """List Foolbox's attacks for a task."""
    fb: Any = import_module("foolbox.attacks")
    return list(_listed(fb, task))


def _listed(fb: Any, task: Task) -> Iterator[Contender]:
    norm, steps = task.norm, task.steps
    yield _one(_FMN[norm], "fmn", lambda eps: getattr(fb, _FMN[norm])(steps=steps))
    if norm in _PGD:
        name = _PGD[norm]
        yield _one(name, "pgd", lambda eps: getattr(fb, name)(steps=steps), "within")
        quarter = "step eps/4"
        yield _one(name, "pgd", lambda eps: getattr(fb, name)(steps=steps, rel_stepsize=0.25), "within", quarter)
    match norm:
        case "l1":
            searches = {"binary_search_steps": 9, "steps": task.searched(9), "decision_rule": "L1"}
            yield _one("EADAttack", "ead", lambda eps: fb.EADAttack(**searches))
            yield _one(
                "SparseL1DescentAttack", "sparse-l1", lambda eps: fb.SparseL1DescentAttack(steps=steps), "within"
            )
        case "l2":
            yield _one("DDNAttack", "ddn", lambda eps: fb.DDNAttack(steps=steps))
            yield _one("L2DeepFoolAttack", "deepfool", lambda eps: fb.L2DeepFoolAttack(steps=task.class_steps))
            yield _one(
                "L2CarliniWagnerAttack",
                "cw",
                lambda eps: fb.L2CarliniWagnerAttack(binary_search_steps=9, steps=task.searched(9)),
            )
        case "linf":
            yield _one("LinfDeepFoolAttack", "deepfool", lambda eps: fb.LinfDeepFoolAttack(steps=task.class_steps))


def _one(
    name: str, family: str, make: Callable[[float], Any], goal: Goal = "nearest", settings: str = DEFAULTS
) -> Contender:
    def run(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        from foolbox.models.pytorch import PyTorchModel

        radius = None if goal == "nearest" else eps
        x_adv: Tensor = make(eps)(PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=radius)[1]
        return x_adv

    return Contender(library=LIBRARY, attack=name, family=family, goal=goal, settings=settings, run=run)

"""adv-lib. It imports visdom and torchvision, which its attacks do not use; where they do not import, empty
modules stand in for them, and the benchmark says so."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from attack_peers.task import DEFAULTS, OURS, Contender, Task

LIBRARY = "adv-lib"

#: Modules that stand in for what does not import here.
STAND_INS: list[str] = []


def contenders(task: Task) -> list[Contender]:
    """List adv-lib's attacks for a row."""
    for name in ("visdom", "torchvision"):
        _stand_in(name)
    import adv_lib.attacks as al

    eps, steps = task.eps, task.budget.get("steps")
    norm = 2 if task.norm == "l2" else float("inf")
    match task.row:
        case "pgd":
            own = _one(OURS, al.pgd_linf, ε=eps, steps=steps, absolute_step_size=task.stride)
            return [own, _one(DEFAULTS, al.pgd_linf, ε=eps, steps=steps)]
        case "apgd-ce" | "apgd-dlr":
            loss = task.row.partition("-")[2]
            return [_one(DEFAULTS, al.apgd, eps=eps, norm=norm, n_iter=steps, loss_function=loss)]
        case "fab":
            return [_one(DEFAULTS, al.fab, norm=norm, n_iter=steps)]
        case "cw-l2":
            searches = task.budget["searches"]
            return [_one(DEFAULTS, al.carlini_wagner_l2, binary_search_steps=searches, max_iterations=steps)]
        case "cw-linf":
            return [_one(DEFAULTS, al.carlini_wagner_linf, max_iterations=steps)]
        case "deepfool" | "deepfool-linf":
            return [_one(DEFAULTS, al.df, norm=norm)]
    return []


def _one(settings: str, function: Callable[..., Tensor], **options: Any) -> Contender:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return function(model, x, y, **options)

    return Contender(library=LIBRARY, settings=settings, attack=attack)


def _stand_in(name: str) -> None:
    if name in STAND_INS:
        return
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):
        for part in [module for module in sys.modules if module.split(".")[0] == name]:
            del sys.modules[part]  # left behind half imported
        empty = ModuleType(name)
        empty.__dict__["models"] = ModuleType(f"{name}.models")
        sys.modules[name] = empty
        STAND_INS.append(name)

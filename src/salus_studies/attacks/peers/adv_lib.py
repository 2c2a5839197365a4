"""adv-lib. It imports visdom, which its attacks do not use; where that is missing an empty module stands in for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from salus.models import load_torchvision
from salus_studies.attacks.contenders import DEFAULTS, Contender, Goal, Task

LIBRARY = "adv-lib"

_ORDER = {"l0": 0.0, "l1": 1.0, "l2": 2.0, "linf": float("inf")}


def contenders(task: Task) -> list[Contender]:
    """List adv-lib's attacks for a task."""
    load_torchvision()
    stand_in_for_visdom()
    al: Any = importlib.import_module("adv_lib.attacks")
    norm, steps, order = task.norm, task.steps, _ORDER[task.norm]
    found = [_one(al.fmn, "fmn", norm=order, steps=steps)]
    if norm != "l0":
        found.append(_one(al.pdpgd, "pdpgd", norm=order, num_steps=steps))
        found.append(_one(al.fab, "fab", norm=order, n_iter=task.class_steps))
        for loss in ("ce", "dlr") if task.classes > 2 else ("ce",):
            options: dict[str, Any] = {
                "norm": order,
                "n_iter": steps,
                "loss_function": loss,
                "use_large_reps": norm == "l1",
            }
            found.append(_one(al.apgd, f"apgd-{loss}", "within", **options))
        if task.classes > 3:
            targets = min(9, task.classes - 1)
            options = {"norm": order, "n_iter": task.searched(targets), "num_targets": targets}
            found.append(_one(al.apgd_targeted, "apgd-t", "within", use_large_reps=norm == "l1", **options))
    return [*found, *_of_norm(al, task)]


def _of_norm(al: Any, task: Task) -> Iterator[Contender]:
    steps = task.steps
    match task.norm:
        case "l0":
            yield _one(al.sigma_zero, "sigma-zero", num_steps=steps)
            yield _one(al.vfga, "vfga", targeted=False)
        case "l1":
            yield _one(al.alma, "alma", num_steps=steps, distance="l1", init_lr_distance=0.5)
        case "l2":
            yield _one(al.ddn, "ddn", steps=steps)
            yield _one(al.ddn, "ddn", settings="levels=none", steps=steps, levels=None)
            yield _one(al.alma, "alma", num_steps=steps, init_lr_distance=0.1)
            yield _one(al.pdgd, "pdgd", num_steps=steps)
            yield _one(al.df, "deepfool", norm=2, steps=task.class_steps)
            searches: dict[str, Any] = {"binary_search_steps": 9, "max_iterations": task.searched(9)}
            yield _one(al.carlini_wagner_l2, "cw", **searches)
            searches = {"binary_search_steps": 3, "max_iterations": task.searched(3), "initial_const": 1}
            yield _one(al.carlini_wagner_l2, "cw", settings="3 searches from c=1", **searches)
        case "linf":
            yield _one(al.df, "deepfool", norm=float("inf"), steps=task.class_steps)
            yield _one(al.carlini_wagner_linf, "cw", max_iterations=task.searched(20))
            yield _one(al.pgd_linf, "pgd", "within", steps=steps)
            yield _one(al.pgd_linf, "pgd", "within", settings="step eps/4", quarter=True, steps=steps)


def _one(
    function: Callable[..., Tensor], family: str, goal: Goal = "nearest", settings: str = DEFAULTS, **options: Any
) -> Contender:
    quarter = options.pop("quarter", False)
    radius = "ε" if function.__name__ == "pgd_linf" else "eps"

    def run(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        told: dict[str, Any] = {} if goal == "nearest" else {radius: eps}
        if quarter:
            told["absolute_step_size"] = eps / 4
        return function(model, x, y, **told, **options)

    return Contender(library=LIBRARY, attack=function.__name__, family=family, goal=goal, settings=settings, run=run)


def stand_in_for_visdom() -> None:
    """Put an empty module where visdom is not installed; nothing of it is used."""
    if importlib.util.find_spec("visdom") is None:
        module = ModuleType("visdom")
        module.__spec__ = ModuleSpec("visdom", None)
        sys.modules["visdom"] = module

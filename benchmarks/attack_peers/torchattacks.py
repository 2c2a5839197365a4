"""torchattacks. Some of its attacks know images alone: they get signals as they are, and as images of height 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from attack_peers.task import DEFAULTS, OURS, Contender, Task, as_images

LIBRARY = "torchattacks"
IMAGES_ALONE = ("apgd-ce", "apgd-dlr", "autoattack", "square")


def contenders(task: Task) -> list[Contender]:
    """List torchattacks' attacks for a row."""
    import torchattacks as ta

    eps, steps = task.eps, task.budget.get("steps")
    match task.row:
        case "fgsm":
            return _one(task, DEFAULTS, lambda model: ta.FGSM(model, eps=eps))
        case "bim":
            own = _one(task, OURS, lambda model: ta.BIM(model, eps=eps, alpha=task.stride, steps=steps))
            return own + _one(task, DEFAULTS, lambda model: ta.BIM(model, eps=eps, steps=steps))
        case "pgd":
            own = _one(task, OURS, lambda model: ta.PGD(model, eps=eps, alpha=task.stride, steps=steps))
            return own + _one(task, DEFAULTS, lambda model: ta.PGD(model, eps=eps, steps=steps))
        case "apgd-ce" | "apgd-dlr":
            loss = task.row.partition("-")[2]
            return _one(task, DEFAULTS, lambda model: ta.APGD(model, eps=eps, steps=steps, loss=loss))
        case "fab":
            classes = task.classes
            return _one(task, DEFAULTS, lambda model: ta.FAB(model, eps=None, steps=steps, n_classes=classes))
        case "cw-l2":
            many = (steps or 0) * task.budget["searches"]
            own = _one(task, f"{many} steps", lambda model: ta.CW(model, steps=many))
            return own + _one(task, DEFAULTS, lambda model: ta.CW(model))
        case "deepfool":
            return _one(task, DEFAULTS, lambda model: ta.DeepFool(model))
        case "square":
            queries = task.budget["queries"]
            return _one(task, DEFAULTS, lambda model: ta.Square(model, eps=eps, n_queries=queries))
        case "autoattack":
            return _one(task, DEFAULTS, lambda model: ta.AutoAttack(model, eps=eps, n_classes=task.classes))
    return []


def _one(task: Task, settings: str, make: Callable[[nn.Module], Any]) -> list[Contender]:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv: Tensor = make(model)(x, y)
        return x_adv

    plain = Contender(library=LIBRARY, settings=settings, attack=attack)
    if task.is_image or task.row not in IMAGES_ALONE:
        return [plain]
    return [plain, Contender(library=LIBRARY, settings=f"{settings}, as images", attack=as_images(attack))]

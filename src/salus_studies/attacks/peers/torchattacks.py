"""torchattacks. Some of its attacks know images alone: they see signals and tables as images of height 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from salus.models import load_torchvision
from salus_studies.attacks.contenders import DEFAULTS, Contender, Goal, Task
from salus_studies.attacks.peers.views import as_images

LIBRARY = "torchattacks"


def contenders(task: Task) -> list[Contender]:
    """List torchattacks' attacks for a task."""
    load_torchvision()
    import torchattacks

    return list(_listed(torchattacks, task))


def _listed(ta: Any, task: Task) -> Iterator[Contender]:
    steps, classes, seed = task.steps, task.classes, task.seed
    match task.norm:
        case "l1":
            searches = {"binary_search_steps": 9, "max_iterations": task.searched(9)}
            yield _one("EADL1", "ead", lambda m, eps: ta.EADL1(m, **searches))
        case "l2":
            yield _one("CW", "cw", lambda m, eps: ta.CW(m, steps=steps))
            yield _one("PGDL2", "pgd", lambda m, eps: ta.PGDL2(m, eps=eps, alpha=eps / 5, steps=steps), "within")
            yield from _apgd(ta, task, "L2")
            yield _one(
                "Square",
                "square",
                lambda m, eps: ta.Square(m, "L2", eps, n_queries=task.budget - 2, seed=seed),
                "within",
            )
        case "linf":
            yield _one("PGD", "pgd", lambda m, eps: ta.PGD(m, eps=eps, alpha=eps / 4, steps=steps), "within")
            yield _one("BIM", "pgd", lambda m, eps: ta.BIM(m, eps=eps, alpha=eps / 4, steps=steps), "within")
            yield _one("MIFGSM", "mi-fgsm", lambda m, eps: ta.MIFGSM(m, eps=eps, alpha=eps / 4, steps=steps), "within")
            yield from _apgd(ta, task, "Linf")
            yield _one(
                "FAB",
                "fab",
                lambda m, eps: ta.FAB(m, eps=None, steps=task.class_steps, n_classes=classes, seed=seed),
            )
            yield _one(
                "Square",
                "square",
                lambda m, eps: ta.Square(m, "Linf", eps, n_queries=task.budget - 2, seed=seed),
                "within",
            )


def _apgd(ta: Any, task: Task, norm: str) -> Iterator[Contender]:
    steps, seed = task.steps - 1, task.seed
    for loss in ("ce", "dlr") if task.classes > 3 else ("ce",):
        yield _one(
            "APGD",
            f"apgd-{loss}",
            lambda m, eps, loss=loss: ta.APGD(m, norm, eps, steps=max(steps, 1), loss=loss, seed=seed),
            "within",
            DEFAULTS if loss == "ce" else "loss=dlr",
        )
    if task.classes > 3:
        targets = min(9, task.classes - 1)
        yield _one(
            "APGDT",
            "apgd-t",
            lambda m, eps: ta.APGDT(m, norm, eps, steps=task.searched(targets), n_classes=task.classes, seed=seed),
            "within",
        )


def _one(
    name: str, family: str, make: Callable[..., Any], goal: Goal = "nearest", settings: str = DEFAULTS
) -> Contender:
    def run(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        def attack(view: nn.Module, samples: Tensor, labels: Tensor) -> Tensor:
            x_adv: Tensor = make(view, eps)(samples, labels)
            return x_adv

        return as_images(model, x, y, attack)

    return Contender(library=LIBRARY, attack=name, family=family, goal=goal, settings=settings, run=run)

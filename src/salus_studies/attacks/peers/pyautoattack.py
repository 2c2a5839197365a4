"""pyautoattack, a copy of AutoAttack's reference.

Some of it needs images and ten classes: it sees signals and tables as images of height 1, and logits of classes that
never win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from salus_studies.attacks.contenders import DEFAULTS, Contender, Goal, Task
from salus_studies.attacks.peers.views import Padded, as_images

LIBRARY = "pyautoattack"

_NORMS = {"l1": "L1", "l2": "L2", "linf": "Linf"}


def contenders(task: Task) -> list[Contender]:
    """List pyautoattack's attacks for a task."""
    return list(_listed(task)) if task.norm in _NORMS else []


def _listed(task: Task) -> Iterator[Contender]:
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    norm, steps = _NORMS[task.norm], max(task.steps - 1, 1)
    common: dict[str, Any] = {"norm": norm, "seed": task.seed, "device": "cpu"}
    targets = min(9, task.classes - 1)
    largest: dict[str, Any] = {"use_largereps": norm == "L1"}
    yield _one("FABAttack_PT", "fab", lambda m, eps: FABAttack_PT(m, n_iter=task.class_steps, **common))
    if task.classes > 2:
        options = {"targeted": True, "n_target_classes": targets, "n_iter": task.searched(targets)}
        yield _one("FABAttack_PT", "fab", lambda m, eps: FABAttack_PT(m, **options, **common), settings="targeted")
    for loss in ("ce", "dlr") if task.classes > 2 else ("ce",):
        yield _one(
            "APGDAttack",
            f"apgd-{loss}",
            lambda m, eps, loss=loss: APGDAttack(m, n_iter=steps, eps=eps, loss=loss, **largest, **common),
            "within",
        )
    if task.classes > 3:
        yield _one(
            "APGDAttack_targeted",
            "apgd-t",
            lambda m, eps: APGDAttack_targeted(
                m, n_iter=task.searched(targets), eps=eps, n_target_classes=targets, **largest, **common
            ),
            "within",
        )
    if norm != "L1":
        queries = task.budget - 2
        yield _one(
            "SquareAttack", "square", lambda m, eps: SquareAttack(m, n_queries=queries, eps=eps, **common), "within"
        )


def _one(
    name: str, family: str, make: Callable[..., Any], goal: Goal = "nearest", settings: str = DEFAULTS
) -> Contender:
    def run(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        def attack(view: nn.Module, samples: Tensor, labels: Tensor) -> Tensor:
            x_adv: Tensor = make(view, eps).perturb(samples, labels)
            return x_adv

        return as_images(Padded(model).eval(), x, y, attack)

    return Contender(library=LIBRARY, attack=name, family=family, goal=goal, settings=settings, run=run)


def standard(norm: str, eps: float) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Make AutoAttack's standard evaluation, as its authors wrote it."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        from pyautoattack import AutoAttack

        def attack(view: nn.Module, samples: Tensor, labels: Tensor) -> Tensor:
            x_adv: Tensor = AutoAttack(view, norm=_NORMS[norm], eps=eps, seed=0).run_standard_evaluation(
                samples, labels
            )[0]
            return x_adv

        return as_images(Padded(model).eval(), x, y, attack)

    return run

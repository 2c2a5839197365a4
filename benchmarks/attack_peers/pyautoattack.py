"""pyautoattack, a copy of AutoAttack's reference. Some of it needs images and ten classes: signals are given as they
are, and again as images of height 1 with logits of classes that never win."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from attack_peers.task import DEFAULTS, Attack, Contender, Padded, Task, as_images

LIBRARY = "pyautoattack"
IMAGES_ALONE = ("autoattack", "square")


def contenders(task: Task) -> list[Contender]:
    """List pyautoattack's attacks for a row."""
    from pyautoattack import AutoAttack
    from pyautoattack.autopgd_base import APGDAttack
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    eps, steps, seed = task.eps, task.budget.get("steps"), 0
    match task.row:
        case "apgd-ce" | "apgd-dlr":
            loss = task.row.partition("-")[2]
            return _both(task, lambda m: APGDAttack(m, n_iter=steps, eps=eps, seed=seed, loss=loss, device="cpu"))
        case "fab":
            return _both(task, lambda m: FABAttack_PT(m, n_iter=steps, seed=seed, device="cpu"))
        case "square":
            queries = task.budget["queries"]
            return _both(task, lambda m: SquareAttack(m, eps=eps, n_queries=queries, seed=seed, device="cpu"))
        case "autoattack":
            attack = _standard(lambda m: AutoAttack(m, eps=eps, seed=seed))
            return _as_it_wants(task, attack)
    return []


def _both(task: Task, make: Callable[[nn.Module], Any]) -> list[Contender]:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv: Tensor = make(model).perturb(x, y)
        return x_adv

    return _as_it_wants(task, attack)


def _standard(make: Callable[[nn.Module], Any]) -> Attack:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv: Tensor = make(model).run_standard_evaluation(x, y)[0]
        return x_adv

    return attack


def _as_it_wants(task: Task, attack: Attack) -> list[Contender]:
    plain = Contender(library=LIBRARY, settings=DEFAULTS, attack=attack)
    if task.is_image or task.row not in IMAGES_ALONE:
        return [plain]

    def padded(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return as_images(attack)(Padded(model).eval(), x, y)

    settings = f"{DEFAULTS}, as images of ten classes"
    return [plain, Contender(library=LIBRARY, settings=settings, attack=padded)]

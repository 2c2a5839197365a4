"""The Adversarial Robustness Toolbox (ART). Several of its attacks take one sample after another: they get fewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attack_peers.task import DEFAULTS, OURS, Contender, InFloat32, Task, as_images

LIBRARY = "adversarial-robustness-toolbox"


def contenders(task: Task) -> list[Contender]:
    """List ART's attacks for a row."""
    from art.attacks import evasion as art
    from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
        ProjectedGradientDescentPyTorch as TorchPGD,
    )

    eps, steps, many = task.eps, task.budget.get("steps"), len(task.x)
    quiet, options = {"verbose": False}, dict[str, Any]()
    match task.row:
        case "fgsm":
            return [_one(task, DEFAULTS, lambda c: art.FastGradientMethod(c, eps=eps, batch_size=many))]
        case "bim":
            options = {"eps": eps, "eps_step": task.stride, "max_iter": steps, "batch_size": many, **quiet}
            return [_one(task, OURS, lambda c: art.BasicIterativeMethod(c, **options))]
        case "pgd":
            options = {"eps": eps, "eps_step": task.stride, "max_iter": steps, "batch_size": many, **quiet}
            plain = _one(task, DEFAULTS, lambda c: TorchPGD(c, **{**options, "batch_size": 32}))
            return [_one(task, OURS, lambda c: TorchPGD(c, num_random_init=1, **options)), plain]
        case "apgd-ce" | "apgd-dlr":
            loss = {"apgd-ce": "cross_entropy", "apgd-dlr": "difference_logits_ratio"}[task.row]
            options = {"eps": eps, "eps_step": 2 * task.radius, "max_iter": steps, "loss_type": loss, **quiet}
            return [
                _one(
                    task,
                    OURS,
                    lambda c: art.AutoProjectedGradientDescent(c, nb_random_init=1, batch_size=many, **options),
                )
            ]
        case "autoattack":
            return [_one(task, DEFAULTS, lambda c: art.AutoAttack(c, eps=eps, eps_step=task.radius / 4))]
        case "square":
            # A step takes two to three queries.
            options = {"eps": eps, "max_iter": task.budget["queries"] * 2 // 5, "batch_size": many, **quiet}
            plain = _one(task, DEFAULTS, lambda c: art.SquareAttack(c, **options))
            if task.is_image:
                return [plain]
            viewed = _one(task, f"{DEFAULTS}, as images", lambda c: art.SquareAttack(c, **options), images=True)
            return [plain, viewed]
        case "cw-l2":
            options = {"binary_search_steps": task.budget["searches"], "max_iter": steps, **quiet}
            own = _one(task, "one batch", lambda c: art.CarliniL2Method(c, batch_size=task.few, **options), task.few)
            return [own, _one(task, DEFAULTS, lambda c: art.CarliniL2Method(c, **options), 2)]
        case "cw-linf":
            options = {"max_iter": steps, **quiet}
            return [
                _one(task, "one batch", lambda c: art.CarliniLInfMethod(c, batch_size=task.few, **options), task.few)
            ]
        case "deepfool":
            own = _one(task, "one batch", lambda c: art.DeepFool(c, batch_size=many, epsilon=0.02, **quiet))
            return [own, _one(task, DEFAULTS, lambda c: art.DeepFool(c, **quiet), task.few)]
        case "hop-skip-jump":
            return _with_patch(task, lambda c: art.HopSkipJump(c, max_iter=task.budget["art_steps"], **quiet))
        case "boundary":
            options = {"targeted": False, "max_iter": task.budget["art_steps"], **quiet}
            return _with_patch(task, lambda c: art.BoundaryAttack(c, **options))
        case "uap":
            options = {
                "eps": eps,
                "delta": 0.0,
                "max_iter": task.budget["epochs"],
                **quiet,
            }  # go on until all are fooled
            fool = {"attacker": "deepfool", "attacker_params": {"max_iter": 20, **quiet}}
            step = {"eps": eps, "eps_step": task.radius / 4, "max_iter": 4, **quiet}
            pgd = {"attacker": "pgd", "attacker_params": step}
            return [
                _universal(task, "with DeepFool", lambda c: art.UniversalPerturbation(c, **fool, **options)),
                _universal(task, "with PGD", lambda c: art.UniversalPerturbation(c, **pgd, **options)),
            ]
    return []


def _one(
    task: Task, settings: str, make: Callable[[Any], Any], samples: int | None = None, *, images: bool = False
) -> Contender:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return torch.from_numpy(make(_classifier(task, model, x)).generate(x.numpy(), y.numpy()))

    return Contender(
        library=LIBRARY, settings=settings, attack=as_images(attack) if images else attack, samples=samples
    )


def _with_patch(task: Task, make: Callable[[Any], Any]) -> list[Contender]:
    """Run an attack as it is, and with a model that takes the float64 that it makes under NumPy 2."""
    plain = _one(task, DEFAULTS, make, task.few)

    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return plain.attack(InFloat32(model).eval(), x, y).float()

    patched = Contender(library=LIBRARY, settings=f"{DEFAULTS}, patched", attack=attack, samples=task.few)
    return [plain, patched]


def _universal(task: Task, settings: str, make: Callable[[Any], Any]) -> Contender:
    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        universal = make(_classifier(task, model, x))
        universal.generate(x.numpy(), y.numpy())
        noise = torch.from_numpy(np.asarray(universal.noise, dtype=np.float32))
        return (task.held_out[0] + noise).clamp(0, 1)

    return Contender(library=LIBRARY, settings=settings, attack=attack)


def _classifier(task: Task, model: nn.Module, x: Tensor) -> Any:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), task.classes, clip_values=(0, 1))

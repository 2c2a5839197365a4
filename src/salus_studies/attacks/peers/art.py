"""The Adversarial Robustness Toolbox (ART)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from salus_studies.attacks.contenders import DEFAULTS, Contender, Goal, Task
from salus_studies.attacks.peers.views import InFloat32, as_images

LIBRARY = "adversarial-robustness-toolbox"

#: Of a batch: all samples side by side.
_MANY = 1024
_ORDER = {"l1": 1, "l2": 2, "linf": float("inf")}


def contenders(task: Task) -> list[Contender]:
    """List ART's attacks for a task."""
    from art.attacks import evasion

    return list(_listed(evasion, task))


def _listed(art: Any, task: Task) -> Iterator[Contender]:
    from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
        ProjectedGradientDescentPyTorch as TorchPGD,
    )

    norm, steps = task.norm, task.steps
    common: dict[str, Any] = {"batch_size": _MANY, "verbose": False}
    if norm in _ORDER:
        order = _ORDER[norm]
        # Defaults: a step of a third of eps.
        for share, words in ((3, DEFAULTS), (4, "step eps/4")):
            yield _one(
                task,
                "ProjectedGradientDescent",
                "pgd",
                lambda c, eps, share=share: TorchPGD(
                    c, norm=order, eps=eps, eps_step=eps / share, max_iter=steps, num_random_init=1, **common
                ),
                "within",
                words,
            )
        losses = {"apgd-ce": "cross_entropy", "apgd-dlr": "difference_logits_ratio"}
        for family, loss in losses.items() if task.classes > 2 else list(losses.items())[:1]:
            yield _one(
                task,
                "AutoProjectedGradientDescent",
                family,
                lambda c, eps, loss=loss: art.AutoProjectedGradientDescent(
                    c,
                    norm=order,
                    eps=eps,
                    eps_step=2 * eps,
                    max_iter=max((task.budget - 6) // 3, 1),  # two forward passes and one backward
                    nb_random_init=1,
                    loss_type=loss,
                    **common,
                ),
                "within",
            )
    match norm:
        case "l1":
            searches = {"binary_search_steps": 9, "max_iter": task.searched(9), "decision_rule": "L1"}
            yield _one(task, "ElasticNet", "ead", lambda c, eps: art.ElasticNet(c, **searches, **common))
        case "l2":
            yield _one(
                task,
                "DeepFool",
                "deepfool",
                lambda c, eps: art.DeepFool(c, max_iter=task.class_steps, epsilon=0.02, **common),
                settings="overshoot 0.02",
            )
            searches = {"binary_search_steps": 9, "max_iter": task.searched(9)}
            yield _one(task, "CarliniL2Method", "cw", lambda c, eps: art.CarliniL2Method(c, **searches, **common))
        case "linf":
            yield _one(
                task,
                "BasicIterativeMethod",
                "pgd",
                lambda c, eps: art.BasicIterativeMethod(c, eps=eps, eps_step=eps / 3, max_iter=steps, **common),
                "within",
            )
            # A step takes two to three queries.
            yield _one(
                task,
                "SquareAttack",
                "square",
                lambda c, eps: art.SquareAttack(c, eps=eps, max_iter=task.budget * 2 // 5, **common),
                "within",
                images=True,
            )


def _one(
    task: Task,
    name: str,
    family: str,
    make: Callable[..., Any],
    goal: Goal = "nearest",
    settings: str = DEFAULTS,
    *,
    images: bool = False,
) -> Contender:
    def run(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        def attack(view: nn.Module, samples: Tensor, labels: Tensor) -> Tensor:
            adversarial = make(estimator(view, samples, task.classes), eps).generate(samples.numpy(), labels.numpy())
            return torch.from_numpy(adversarial).float()

        view = InFloat32(model).eval()
        return as_images(view, x, y, attack) if images else attack(view, x, y)

    return Contender(library=LIBRARY, attack=name, family=family, goal=goal, settings=settings, run=run)


def estimator(model: nn.Module, x: Tensor, classes: int) -> Any:
    """Wrap a model as ART takes it."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0, 1))

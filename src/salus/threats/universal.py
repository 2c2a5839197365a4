"""Universal perturbations fitted to a guard itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from salus.attacks import Perturbation
from salus.attacks.universal import UAP
from salus.guard import Guard
from salus.threats.objectives import GuardObjective
from salus.threats.worst import judged

#: What acceptance weighs beside the cross-entropy where one perturbation is to pass a guard with every sample.
UNIVERSAL_WEIGHTS = (0.1, 1.0, 10.0)


def universal_variants(attack: UAP, guard: Guard, x: Tensor, y: Tensor) -> dict[str, Perturbation]:
    """Fit universal perturbations to the guard itself, each with another weight, and one to its bare classifier.

    Args:
        attack: the engine.
        guard: the guard.
        x: samples to fit to ``[M, ...]``.
        y: their labels, or targets ``[M]``.

    Returns:
        The perturbations by the names of their variants, the oblivious one first.
    """
    victims: dict[str, Any] = {"oblivious": guard.classifier}
    if guard.detectors and attack.reads_loss:
        for weight in UNIVERSAL_WEIGHTS:
            victims[f"acceptance weight={weight:g}"] = GuardObjective(guard, weight=weight, targeted=attack.targeted)
    else:  # there is nothing to weigh
        victims["end-to-end"] = GuardObjective(guard, targeted=attack.targeted)
    return {name: attack.fit(victim, x, y) for name, victim in victims.items()}


def adaptive_universal(
    variants: dict[str, Perturbation], guard: Guard, x: Tensor, y: Tensor, *, targeted: bool = False
) -> tuple[Tensor, Tensor]:
    """Put every perturbation on each sample, and take the one that gets furthest.

    Args:
        variants: what :func:`universal_variants` made.
        guard: the guard.
        x: samples to judge on ``[N, ...]``.
        y: their labels, or targets ``[N]``.
        targeted: y are targets.

    Returns:
        x_adv, and which variant each is of, int64 ``[N]``; of equals the first.
    """
    judge = GuardObjective(guard, targeted=targeted)
    first, *others = variants.values()
    best = first(x)
    margin, chance = judged(judge, guard, best, y, y, targeted)
    chosen = torch.zeros_like(y)
    for place, variant in enumerate(others, 1):
        point = variant(x)
        value, likely = judged(judge, guard, point, y, y, targeted)
        better = (likely > chance) | ((likely == chance) & (likely < 1) & (value < margin))
        best[better], margin[better], chance[better] = point[better], value[better], likely[better]
        chosen[better] = place
    return best, chosen

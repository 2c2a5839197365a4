"""Universal perturbations fitted to a guard itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from salus.attacks.universal import UAP
from salus.guard import Guard
from salus.threats.adaptive import judged
from salus.threats.objectives import GuardObjective

#: What acceptance weighs beside the cross-entropy where one perturbation is to pass a guard with every sample.
UNIVERSAL_WEIGHTS = (0.1, 1.0, 10.0)


def adaptive_universal(
    attack: UAP, guard: Guard, fit_x: Tensor, fit_y: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Fit universal perturbations to the guard itself, and take for each sample the one that gets furthest.

    Args:
        attack: the engine.
        guard: the guard.
        fit_x: samples to fit to ``[M, ...]``.
        fit_y: their labels, or targets ``[M]``.
        x: samples to judge on ``[N, ...]``.
        y: their labels, or targets ``[N]``.

    Returns:
        x_adv, and the share of samples for which each variant, the oblivious one first, was the worst.
    """
    judge = GuardObjective(guard, targeted=attack.targeted)
    victims: dict[str, Any] = {"oblivious": guard.classifier}
    victims |= {
        f"acceptance weight={weight:g}": GuardObjective(guard, weight=weight, targeted=attack.targeted)
        for weight in (UNIVERSAL_WEIGHTS if attack.reads_loss else UNIVERSAL_WEIGHTS[:1])
    }
    points, margins, chances = [], [], []
    for victim in victims.values():
        points.append(attack.fit(victim, fit_x, fit_y)(x))
        margin, chance = judged(judge, guard, points[-1], y, y, attack.targeted)
        chances.append(chance)
        margins.append(torch.where(chance == 1, -torch.inf, margin))
    likeliest = torch.stack(chances) == torch.stack(chances).amax(0)  # [V, N]
    best = torch.where(likeliest, torch.stack(margins), torch.inf).argmin(0)  # [N], the first of equals
    x_adv = torch.stack(points)[best, torch.arange(len(x), device=x.device)]
    shares = torch.bincount(best, minlength=len(victims)) / len(x)
    return x_adv, dict(zip(victims, shares.tolist(), strict=True))

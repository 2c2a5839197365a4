"""The attacker who drives a detector's score itself down, not only past one threshold.

What stops at a threshold leaves its inputs just below it: their AUC tells how far the threshold lies below the clean
scores, and nothing of an attacker who expects another threshold. So the adaptive attack's results are taken further.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from salus.attacks import APGD, Attack
from salus.attacks.universal import UAP
from salus.guard import Guard
from salus.threats.latent import projections
from salus.threats.objectives import LowestSuspicion
from salus.verdict import Verdict

#: Steps, where the attack that went before took no more.
STEPS = 100


@dataclass(frozen=True, eq=False)
class Driven:
    """What came of N inputs whose scores were driven down.

    Attributes:
        x_adv: ``[N, ...]``.
        queries: int64 ``[N]``, forward passes that it took, 0 of those that were left as they were.
    """

    x_adv: Tensor
    queries: Tensor


def driver(attack: Attack, guard: Guard) -> Attack | None:
    """Make what drives a guard's scores down after this attack: APGD with its norm, eps and limits.

    None where there are no scores, where the attacker sees no gradients, has no eps to keep to, or has one change for
    all inputs.
    """
    if not guard.detectors or attack.knowledge != "gradients" or isinstance(attack, UAP):
        return None
    if attack.eps is None or attack.norm not in APGD.norms:
        return None
    shared = {field.name: getattr(attack, field.name) for field in fields(Attack)}
    steps = getattr(attack, "steps", STEPS)
    if not projections(guard):  # through one of these each step costs thousands of passes
        steps = max(STEPS, steps)
    return APGD(**{**shared, "targeted": True, "queries": None}, steps=steps, early_stop=False)


def drive(
    engine: Attack,
    guard: Guard,
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    *,
    seen: Verdict,
    of_interest: Tensor,
    samples: Tensor,
) -> Driven:
    """Drive down the scores of attacked inputs that the guard's classifier gets wrong; it goes on getting them wrong.

    Args:
        engine: what :func:`driver` made.
        guard: the guard.
        x: clean samples ``[N, ...]``.
        x_adv: what an attack made of them ``[N, ...]``.
        y: true labels ``[N]``.
        seen: the guard's verdict on ``x_adv``.
        of_interest: the samples whose scores count, bool ``[N]``.
        samples: int64 ``[N]``, which samples of a larger whole these are.

    Returns:
        Of each sample the point of the lower score; ``x_adv`` where the label was right, or nobody is interested.
    """
    rows, queries = (of_interest & (seen.labels != y)).nonzero()[:, 0], torch.zeros_like(y)
    if not len(rows):
        return Driven(x_adv, queries)
    result = engine.run(
        LowestSuspicion(guard), x[rows], seen.labels[rows], start=x_adv[rows], samples=samples[rows], judge=False
    )
    after = guard(result.x_adv)
    assert seen.suspicion is not None and after.suspicion is not None  # noqa: S101 - there are detectors
    lower = (after.labels != y[rows]) & (after.suspicion < seen.suspicion[rows])
    driven = x_adv.clone()
    driven[rows[lower]] = result.x_adv[lower]
    queries[rows] = result.queries
    return Driven(driven, queries)

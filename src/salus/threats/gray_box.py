"""The attacker who has the recipe of a guard but not its weights: a twin trained apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from salus.attacks import Attack
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats.adaptive import EQ6_ALPHAS, WEIGHTS, AdaptiveResult, fallen, judged
from salus.threats.latent import LatentSearch, projections
from salus.threats.models import full_strength, oblivious, refusal, reseeded
from salus.threats.objectives import ClassConsistent, Eq6, GuardObjective

#: How far past the twin's boundary between labels is far enough to hope that the guard's is passed too, in logits.
SURE = 5.0


def gray_box(
    attack: Attack,
    twin: Guard,
    x: Tensor,
    y: Tensor,
    *,
    truth: Tensor | None = None,
    samples: Tensor | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> AdaptiveResult:
    """Attack a guard's twin: same architecture and defence, trained apart (I-defender, section 4.3).

    Nothing can be tried on the guard itself. So every attack runs at full strength, past the twin's boundaries, and
    of what fools the twin each sample takes what lies deepest in the region that the twin accepts.

    Args:
        attack: the engine: how steps are taken, its norm, eps and seed.
        twin: the attacker's own guard.
        x: clean samples ``[N, ...]``.
        y: their true labels, or targets if the attack is targeted.
        truth: true labels when ``y`` are targets.
        samples: int64 ``[N]``, which samples of a larger whole x are; by default they are the whole.
        progress: called with each variant's name and how many samples the twin still stands on.

    Returns:
        The attacked inputs; ``success`` and ``chances`` are on the twin, and ``variants`` which variant each is of.

    Raises:
        OptionError: the attack has no adaptive form.
    """
    bare = not twin.detectors and twin.purifier is None
    reason = None if bare else refusal(attack, "gray-box")
    if reason is not None:
        raise OptionError(reason)
    labels = y if truth is None else truth
    judge = GuardObjective(twin, targeted=attack.targeted)
    samples = torch.arange(len(x), device=x.device) if samples is None else samples
    found = oblivious(attack, twin, x, y, samples=samples)
    best, queries, passes = found.x_adv.clone(), found.queries.clone(), found.passes.clone()
    margin, chance = judged(judge, twin, best, y, labels, attack.targeted)
    chosen = torch.zeros_like(y)
    names = ["oblivious"]
    for name, engine, objective, goals in () if bare else _variants(attack, twin, y):
        names.append(name)
        if progress is not None:
            progress(name, int((chance == 0).sum()))
        for turn, goal in enumerate(goals):
            rows = torch.arange(len(x), device=x.device) if goal is None else (goal != labels).nonzero()[:, 0]
            aim = y if goal is None else goal
            if not len(rows):
                continue
            made = reseeded(engine, turn).run(objective, x[rows], aim[rows], samples=samples[rows])
            queries[rows] += made.queries
            passes[rows] += made.passes
            value, likely = judged(judge, twin, made.x_adv, y[rows], labels[rows], attack.targeted)
            # What is likelier to fool the twin comes first; among equals the deeper one.
            better = (likely > chance[rows]) | ((likely == chance[rows]) & (value < margin[rows]))
            taken = rows[better]
            best[taken], margin[taken], chance[taken] = made.x_adv[better], value[better], likely[better]
            chosen[taken] = len(names) - 1
    success = fallen(twin, best, y, labels, attack.targeted)
    return AdaptiveResult(best, success, chance, chosen, tuple(names), queries, passes)


def _variants(attack: Attack, twin: Guard, y: Tensor) -> list[tuple[str, Attack, GuardObjective, list[Tensor | None]]]:
    """List each way's name, engine, objective and goals: targets ``[N]``, or None for the labels themselves."""
    engine = full_strength(attack)
    goal: Tensor | None = y if attack.targeted else None
    each: list[Tensor | None] = [torch.full_like(y, k) for k in range(len(twin.classifier.classes))]
    goals: list[Tensor | None] = [y] if attack.targeted else each
    made: list[tuple[str, Attack, GuardObjective, list[Tensor | None]]] = []
    generated = projections(twin)
    if attack.knowledge == "gradients" and LatentSearch.suits(attack, twin):
        latent = LatentSearch.like(engine, early_stop=False)
        made.append((latent.title, latent, GuardObjective(twin, targeted=True), goals))
    if attack.knowledge != "gradients" or not twin.detectors or not attack.reads_loss:
        plain = GuardObjective(twin, targeted=attack.targeted)
        return [*made, ("end-to-end", engine, plain, [goal])]
    # Each step through a projection onto a generator's range costs thousands of passes: one weight then.
    if not attack.targeted and not generated:
        made += [(f"eq6 alpha={alpha:g}", engine, Eq6(twin, alpha=alpha), [None]) for alpha in EQ6_ALPHAS]
    for weight in WEIGHTS[:1] if generated else WEIGHTS:
        consistent = ClassConsistent(twin, weight=weight, sure=SURE)
        made.append((consistent.title, engine, consistent, goals))
    return made

"""The attacker who has the recipe of a guard but not its weights: a twin trained apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats.adaptive import EQ6_ALPHAS, WEIGHTS, of_parts
from salus.threats.engines import full_strength, no_adaptive_form
from salus.threats.latent import LatentSearch, projections
from salus.threats.objectives import ClassConsistent, Eq6, GuardObjective
from salus.threats.worst import AdaptiveResult, Variant, Worst

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
    bare: AttackResult | None = None,
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
        bare: the oblivious attack's result on the twin, where it is at hand.
        progress: called with each variant's name and how many samples the twin still stands on.

    Returns:
        The attacked inputs; ``success`` and ``chances`` are on the twin, and ``variants`` which variant each is of.

    Raises:
        OptionError: the attack has no adaptive form.
    """
    reason = None if twin.bare else no_adaptive_form(attack)
    if reason is not None:
        raise OptionError(reason)
    worst = Worst(attack, twin, x, y, truth, samples, smallest=False)
    worst.begin(bare)
    everybody = torch.ones_like(worst.standing)
    worst.try_all(() if twin.bare else twin_variants(attack, twin, y), lambda: everybody, progress)
    return worst.result()


def twin_variants(attack: Attack, twin: Guard, y: Tensor) -> list[Variant]:
    """List the ways to attack a twin; y are the labels, or targets ``[N]``."""
    engine = full_strength(attack)
    if engine.parts:
        return list(of_parts(engine, twin, [twin_variants(part, twin, y) for part in engine.parts], y))
    goal: Tensor | None = y if attack.targeted else None
    each: list[Tensor | None] = [torch.full_like(y, k) for k in range(len(twin.classifier.classes))]
    goals: list[Tensor | None] = [y] if attack.targeted else each
    variants: list[Variant] = []
    generated = projections(twin)
    if attack.knowledge == "gradients" and LatentSearch.suits(attack, twin):
        latent = LatentSearch.like(engine, early_stop=False)
        variants.append(Variant(latent.title, latent, GuardObjective(twin, targeted=True), goals, "fresh"))
    if attack.knowledge != "gradients" or not twin.detectors or not attack.reads_loss:
        plain = GuardObjective(twin, targeted=attack.targeted)
        return [*variants, Variant("end-to-end", engine, plain, [goal], "fresh")]
    # Each step through a projection onto a generator's range costs thousands of passes: one weight then. On detectors
    # alone the smaller alpha never led deepest into a twin, behind purifiers it has (benchmarks/audit_passes.json).
    if not attack.targeted and not generated:
        for alpha in EQ6_ALPHAS[-1:] if twin.purifier is None else EQ6_ALPHAS[-2:]:
            eq6 = Eq6(twin, alpha=alpha)
            variants.append(Variant(eq6.title, engine, eq6, [None], "fresh"))
    # Every class once; with other weights who has fallen goes only where they lean to, and would end up again.
    for place, weight in enumerate(WEIGHTS[:1] if generated else WEIGHTS):
        consistent = ClassConsistent(twin, weight=weight, sure=SURE)
        variants.append(Variant(consistent.title, engine, consistent, goals, "fresh", lean=place > 0))
    return variants

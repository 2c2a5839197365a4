"""The attacker who knows a guard, all of it: the worst over many ways to get past it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from salus.attacks import Attack
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats.engines import changed, no_adaptive_form
from salus.threats.latent import LatentSearch, projections
from salus.threats.objectives import ClassConsistent, Eq6, FeatureMatching, GuardObjective, Orthogonal
from salus.threats.purified import around_the_purifier
from salus.threats.worst import AdaptiveResult, Variant, Worst

#: The paper's weights of Eq. 6, and those of the class-consistent attack.
EQ6_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)
WEIGHTS = (1.0, 0.1, 10.0, None)  # None: the gradient of whichever of the two has not passed

#: Random starts of the class-consistent attack: its landscape has many dead ends.
STARTS = 5


def adaptive(
    attack: Attack,
    guard: Guard,
    x: Tensor,
    y: Tensor,
    *,
    truth: Tensor | None = None,
    samples: Tensor | None = None,
    shown: Tensor | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> AdaptiveResult:
    """Attack the guard itself: the oblivious attack first, then every adaptive variant on what is left.

    A guard that draws at random is never asked while the attack goes on: a lucky draw, or one that a seed makes
    repeatable, would be taken for a weakness. What counts is how likely each point is to fall over all draws; the
    verdict comes last.

    Args:
        attack: the engine: how steps are taken, its norm, eps and seed.
        guard: the guard.
        x: clean samples ``[N, ...]``.
        y: their true labels, or targets if the attack is targeted.
        truth: true labels when ``y`` are targets.
        samples: int64 ``[N]``, which samples of a larger whole x are; by default they are the whole.
        shown: clean samples ``[M, ...]`` that show the attacker what hidden states each class has; x by default.
        progress: called with each variant's name and how many samples are still standing.

    Raises:
        OptionError: the attack has no adaptive form.
    """
    reason = no_adaptive_form(attack)
    if reason is not None:
        raise OptionError(reason)
    engine = changed(attack, early_stop=True)
    worst = Worst(attack, guard, x, y, truth, samples, smallest=attack.closest and attack.eps is None)
    worst.try_all(variants_of(engine, guard, x if shown is None else shown, y), worst.improvable, progress)
    result = worst.result()
    return replace(result, variants=torch.where(result.success, result.variants, -1))


def variants_of(engine: Attack, guard: Guard, clean: Tensor, y: Tensor) -> Iterator[Variant]:
    """List the ways to attack a guard with this engine, clean samples at hand; y are the labels, or targets."""
    goal: Tensor | None = y if engine.targeted else None
    plain = GuardObjective(guard, targeted=engine.targeted)
    if engine.knowledge != "gradients":  # which class to aim for, and through which loss, is nothing they can choose
        yield Variant("end-to-end", engine, plain, [goal], "fresh")
        return
    each_class: list[Tensor | None] = [torch.full_like(y, k) for k in range(len(guard.classifier.classes))]
    goals: list[Tensor | None] = [y] if engine.targeted else each_class
    many = changed(engine, restarts=max(STARTS, getattr(engine, "restarts", 1)))
    generated = projections(guard)
    if LatentSearch.suits(engine, guard):
        latent = LatentSearch.like(engine)
        yield Variant(latent.title, latent, GuardObjective(guard, targeted=True), goals, "fresh")
    if not guard.detectors or not engine.reads_loss:  # margins are capped by acceptance whatever the loss
        yield Variant("end-to-end", engine, plain, [goal], "fresh")
        yield Variant("end-to-end, each class", engine, ClassConsistent(guard, weight=None), goals, "nearest")
        if engine.reads_loss and guard.purifier is not None and not generated:
            # What a stand-in for a gradient leads to depends on where it starts.
            yield Variant(
                "end-to-end, each class, fresh start", many, ClassConsistent(guard, weight=None), goals, "fresh"
            )
        yield from around_the_purifier(engine, guard, goals, STARTS)
        return
    if not engine.targeted and not generated:
        for alpha in EQ6_ALPHAS:
            yield Variant(f"eq6 alpha={alpha:g}", engine, Eq6(guard, alpha=alpha), [None], "fresh")
    # Each step through a projection onto a generator's range costs thousands of passes: no starts from anywhere then.
    starts = (("nearest", engine),) if generated else (("oblivious", engine), ("fresh", many))
    for start, runner in starts:
        for weight in WEIGHTS:
            consistent = ClassConsistent(guard, weight=weight)
            yield Variant(f"{consistent.title}, {start} start", runner, consistent, goals, start)
    # Where a sum of the two losses stalls.
    yield Variant(Orthogonal.title, engine, Orthogonal(guard), goals, "nearest")
    if guard.layers:
        matching = FeatureMatching(guard, clean)
        shown = goals if engine.targeted else [goal for goal, known in zip(goals, matching.known, strict=True) if known]
        yield Variant(matching.title, engine, matching, shown, "fresh")
    # The region that passes both tests may be narrow: go on from the nearest point in smaller steps.
    stride = getattr(engine, "stride", 0.0)
    if stride > 0:
        finer = changed(engine, step_size=stride / 4)
        for weight in (None, 1.0):
            consistent = ClassConsistent(guard, weight=weight)
            yield Variant(f"{consistent.title}, nearest start, short steps", finer, consistent, goals, "nearest")
    yield from around_the_purifier(engine, guard, goals, STARTS)

"""The attacker who knows a guard, all of it: the worst over many ways to get past it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats.base import Alone
from salus.threats.engines import changed, no_adaptive_form
from salus.threats.latent import LatentSearch, projections
from salus.threats.objectives import ClassConsistent, Eq6, FeatureMatching, GuardObjective, Orthogonal
from salus.threats.purified import around_the_purifier
from salus.threats.worst import OBLIVIOUS, AdaptiveResult, Variant, Worst

#: The paper's weights of Eq. 6, and those of the class-consistent attack.
EQ6_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)
WEIGHTS = (1.0, 0.1, 10.0, None)  # None: the gradient of whichever of the two has not passed

#: The way to attack that has nothing to do with detectors but to stop when they accept.
CONTROL = "control"

#: What the worst of all variants is called among them.
UNION = "union"

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
    bare: AttackResult | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> AdaptiveResult:
    """Attack the guard itself: the oblivious attack first, then every adaptive variant on what is left.

    Which variant a sample is of says who was first to succeed, not who wins most: that :func:`each_alone` tells.

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
        bare: the oblivious attack's result, where it is at hand.
        progress: called with each variant's name and how many samples are still standing.

    Raises:
        OptionError: the attack has no adaptive form.
    """
    worst = _begun(attack, guard, x, y, truth, samples, bare)
    engine = changed(attack, early_stop=True)
    worst.try_all(variants_of(engine, guard, x if shown is None else shown, y), worst.improvable, progress)
    return _told(worst)


def each_alone(
    attack: Attack,
    guard: Guard,
    x: Tensor,
    y: Tensor,
    *,
    truth: Tensor | None = None,
    samples: Tensor | None = None,
    shown: Tensor | None = None,
    bare: AttackResult | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> tuple[AdaptiveResult, dict[str, Alone]]:
    """Attack the guard itself by each variant alone, on all samples, whatever the others did.

    A variant that starts from where the oblivious attack or others have led starts from the oblivious attack's result.
    At last those that go on from the nearest point do so from the nearest of all, on what is left: so the union is no
    weaker for this order. It takes as many passes as there are variants; the arguments are those of :func:`adaptive`.

    Returns:
        The worst of all for each sample, and what each variant came to by its name: first the oblivious attack, at
        last the union.

    Raises:
        OptionError: the attack has no adaptive form.
    """
    worst = _begun(attack, guard, x, y, truth, samples, bare)
    variants = list(variants_of(changed(attack, early_stop=True), guard, x if shown is None else shown, y))
    alone = {OBLIVIOUS: worst.alone()}
    for variant in variants:
        one = worst.apart()
        one.try_all([variant], one.improvable, progress)
        worst.take_from(one)
        alone[variant.name] = one.alone()
    worst.try_all(going_on(variants), worst.improvable, progress)
    return _told(worst), {**alone, UNION: worst.alone()}


def going_on(variants: Iterable[Variant]) -> list[Variant]:
    """List those of the variants that go on from the nearest point so far, as run after all others."""
    return [replace(each, name=f"{each.name}, after all") for each in variants if each.start == "nearest"]


def _begun(
    attack: Attack,
    guard: Guard,
    x: Tensor,
    y: Tensor,
    truth: Tensor | None,
    samples: Tensor | None,
    bare: AttackResult | None,
) -> Worst:
    """Begin with the oblivious attack.

    Raises:
        OptionError: the attack has no adaptive form.
    """
    reason = no_adaptive_form(attack)
    if reason is not None:
        raise OptionError(reason)
    worst = Worst(attack, guard, x, y, truth, samples, smallest=attack.closest and attack.eps is None)
    worst.begin(bare)
    return worst


def _told(worst: Worst) -> AdaptiveResult:
    """Judge the worst points; of a variant is only what succeeded."""
    result = worst.result()
    return replace(result, variants=torch.where(result.success, result.variants, -1))


def variants_of(engine: Attack, guard: Guard, clean: Tensor, y: Tensor) -> Iterator[Variant]:
    """List the ways to attack a guard with this engine, clean samples at hand; y are the labels, or targets.

    The first is the control: the cross-entropy, and no more than to stop as soon as the guard accepts. What others do
    with acceptance has to win more than that.
    """
    if engine.parts:
        parts = [variants_of(changed(part, early_stop=True), guard, clean, y) for part in engine.parts]
        yield from of_parts(engine, guard, parts, y)
        return
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
        yield Variant(CONTROL if engine.reads_loss else "end-to-end", engine, plain, [goal], "fresh")
        # Towards one class there is no more than one to try.
        single = changed(engine, targets=1) if getattr(engine, "targets", None) else engine
        yield Variant("end-to-end, each class", single, ClassConsistent(guard, weight=None), goals, "nearest")
        if engine.reads_loss and guard.purifier is not None and not generated:
            # What a stand-in for a gradient leads to depends on where it starts.
            yield Variant(
                "end-to-end, each class, fresh start", many, ClassConsistent(guard, weight=None), goals, "fresh"
            )
        yield from around_the_purifier(engine, guard, goals, STARTS)
        return
    yield Variant(CONTROL, engine, plain, [goal], "fresh")
    if not engine.targeted and not generated:
        for alpha in EQ6_ALPHAS:
            eq6 = Eq6(guard, alpha=alpha)
            yield Variant(eq6.title, engine, eq6, [None], "fresh")
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


def of_parts(engine: Attack, guard: Guard, each: Sequence[Iterable[Variant]], y: Tensor) -> Iterator[Variant]:
    """List the ways to attack a guard with an ensemble.

    Its parts that follow gradients take the variants. One that does not can choose neither a class nor a loss, and runs
    once, on the guard's plain objective. What a variant does without its part's own steps is done once, too.

    Args:
        engine: the ensemble.
        guard: the guard.
        each: the variants of each part.
        y: labels, or targets ``[N]``.
    """
    numbers: Counter[str] = Counter()
    blind = [part for part in engine.parts if part.knowledge != "gradients"]
    once: dict[str, Variant] = {}
    for part, variants in zip(engine.parts, each, strict=True):
        numbers[part.name] += 1
        label = part.name if numbers[part.name] == 1 else f"{part.name}#{numbers[part.name]}"
        if part in blind:
            continue
        for variant in variants:
            if isinstance(variant.engine, type(part)):
                yield replace(variant, name=f"{label}: {variant.name}")
            elif variant.engine.knowledge == "gradients" or not blind:
                once.setdefault(variant.name, variant)
    yield from once.values()
    plain, goal = GuardObjective(guard, targeted=engine.targeted), y if engine.targeted else None
    for part in blind:
        yield Variant(part.name, part, plain, [goal], "fresh")

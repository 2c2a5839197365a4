"""The attacker who knows a guard, all of it: the worst over many ways to get past it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from salus.attacks import Attack
from salus.attacks.ball import ball
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats.models import changed, oblivious, refusal
from salus.threats.objectives import ClassConsistent, Eq6, FeatureMatching, GuardObjective, Orthogonal

#: The paper's weights of Eq. 6, and those of the class-consistent attack.
EQ6_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)
WEIGHTS = (1.0, 0.1, 10.0, None)  # None: the gradient of whichever of the two has not passed

#: Random starts of the class-consistent attack: its landscape has many dead ends.
STARTS = 5


@dataclass(frozen=True, eq=False)
class AdaptiveResult:
    """The worst that an attacker who knows the guard did to each of N samples.

    Attributes:
        x_adv: ``[N, ...]``: an input that is accepted and wrong where any variant found one, else the one that
            came nearest.
        success: bool ``[N]``.
        variants: int64 ``[N]``, which variant succeeded first, an index into ``names``; -1 for none.
        names: the variants tried, in order.
        queries: int64 ``[N]``.
        passes: int64 ``[N]``.
    """

    x_adv: Tensor
    success: Tensor
    variants: Tensor
    names: tuple[str, ...]
    queries: Tensor
    passes: Tensor


def adaptive(
    attack: Attack,
    guard: Guard,
    x: Tensor,
    y: Tensor,
    *,
    truth: Tensor | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> AdaptiveResult:
    """Attack the guard itself: the oblivious attack first, then every adaptive variant on what is left.

    Args:
        attack: the engine: how steps are taken, its norm, eps and seed.
        guard: the guard.
        x: clean samples ``[N, ...]``.
        y: their true labels, or targets if the attack is targeted.
        truth: true labels when ``y`` are targets.
        progress: called with each variant's name and how many samples are still standing.

    Raises:
        OptionError: the attack has no adaptive form.
    """
    reason = refusal(attack, "adaptive")
    if reason is not None:
        raise OptionError(reason)
    labels = y if truth is None else truth
    judge = GuardObjective(guard, targeted=attack.targeted)
    engine = changed(attack, early_stop=True)
    start = oblivious(attack, guard, x, y)
    best = start.x_adv.clone()
    margin, fallen = judged(judge, guard, best, y, labels, attack.targeted)
    variants = torch.where(fallen, 0, -1)
    # Where the smallest change is looked for, who has fallen may yet fall nearer.
    smallest = attack.closest and attack.eps is None
    measure = ball(attack.norm, x, math.inf, attack.bounds)
    near = torch.where(fallen, measure.distance(best), torch.inf)
    queries, passes = start.queries.clone(), start.passes.clone()
    names = ["oblivious"]
    for variant in variants_of(engine, guard, x, y):
        names.append(variant.name)
        for target in variant.goals:
            left = torch.ones_like(fallen) if smallest else ~fallen
            left = left if target is None else left & (target != labels)
            if progress is not None:
                progress(variant.name, int((~fallen).sum()))
            if not bool(left.any()):
                continue
            aim = y if target is None else target
            where = {"oblivious": start.x_adv, "nearest": best}.get(variant.start)
            first = None if where is None else where[left]
            result = variant.engine.run(variant.objective, x[left], aim[left], start=first)
            value, won = judged(judge, guard, result.x_adv, y[left], labels[left], attack.targeted)
            rows = left.nonzero()[:, 0]
            queries[rows] += result.queries
            passes[rows] += result.passes
            distance = measure.select(rows).distance(result.x_adv)
            nearer = won & (distance < near[rows])
            better = nearer | (~fallen[rows] & ~won & (value < margin[rows]))
            best[rows[better]] = result.x_adv[better]
            margin[rows[better]] = value[better]
            near[rows[nearer]] = distance[nearer]
            variants[rows[nearer]] = len(names) - 1
            fallen[rows[nearer]] = True
    return AdaptiveResult(best, fallen, variants, tuple(names), queries, passes)


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to attack a guard.

    Attributes:
        name: for reports.
        engine: how steps are taken.
        objective: what they are to reach.
        goals: targets ``[N]`` in turn, or None for the labels themselves.
        start: ``oblivious``: that attack's result; ``nearest``: the best point so far; ``fresh``: the engine's own.
    """

    name: str
    engine: Attack
    objective: GuardObjective
    goals: list[Tensor | None]
    start: str


def variants_of(engine: Attack, guard: Guard, x: Tensor, y: Tensor) -> Iterator[Variant]:
    """List the ways to attack a guard with this engine, the clean ``x`` at hand; y are the labels, or targets."""
    goal: Tensor | None = y if engine.targeted else None
    plain = GuardObjective(guard, targeted=engine.targeted)
    if engine.knowledge != "gradients":  # which class to aim for, and through which loss, is nothing they can choose
        yield Variant("end-to-end", engine, plain, [goal], "fresh")
        return
    each_class: list[Tensor | None] = [torch.full_like(y, k) for k in range(len(guard.classifier.classes))]
    goals: list[Tensor | None] = [y] if engine.targeted else each_class
    if not guard.detectors or not engine.reads_loss:  # margins are capped by acceptance whatever the loss
        yield Variant("end-to-end", engine, plain, [goal], "fresh")
        yield Variant("end-to-end, each class", engine, ClassConsistent(guard, weight=None), goals, "nearest")
        return
    if not engine.targeted:
        for alpha in EQ6_ALPHAS:
            yield Variant(f"eq6 alpha={alpha:g}", engine, Eq6(guard, alpha=alpha), [None], "fresh")
    many = changed(engine, restarts=max(STARTS, getattr(engine, "restarts", 1)))
    for start, runner in (("oblivious", engine), ("fresh", many)):
        for weight in WEIGHTS:
            consistent = ClassConsistent(guard, weight=weight)
            yield Variant(f"{consistent.title}, {start} start", runner, consistent, goals, start)
    # Where a sum of the two losses stalls.
    yield Variant(Orthogonal.title, engine, Orthogonal(guard), goals, "nearest")
    if guard.layers:
        matching = FeatureMatching(guard, x)
        shown = goals if engine.targeted else [goal for goal, known in zip(goals, matching.known, strict=True) if known]
        yield Variant(matching.title, engine, matching, shown, "fresh")
    # The region that passes both tests may be narrow: go on from the nearest point in smaller steps.
    stride = getattr(engine, "stride", 0.0)
    if stride > 0:
        finer = changed(engine, step_size=stride / 4)
        for weight in (None, 1.0):
            consistent = ClassConsistent(guard, weight=weight)
            yield Variant(f"{consistent.title}, nearest start, short steps", finer, consistent, goals, "nearest")


def judged(
    objective: GuardObjective, guard: Guard, x_adv: Tensor, y: Tensor, labels: Tensor, targeted: bool
) -> tuple[Tensor, Tensor]:
    """Return the margin ``[N]`` and, by the guard's own verdict, who has fallen, bool ``[N]``."""
    margins = []
    with torch.no_grad():
        for part, aim in zip(torch.split(x_adv, 512), torch.split(y, 512), strict=True):
            margins.append(objective.evaluate(part, aim).margin)
    answers = guard(x_adv).answers
    won = answers == y if targeted else (answers != labels) & (answers >= 0)
    return torch.cat(margins).double(), won

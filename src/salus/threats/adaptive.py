"""The attacker who knows a guard, all of it: the worst over many ways to get past it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from salus.attacks import Attack, Square
from salus.attacks.ball import ball
from salus.batches import rows_at_once
from salus.errors import OptionError
from salus.generative.projection import OntoRange
from salus.guard import Guard
from salus.purifiers import Purifier
from salus.threats.latent import LatentSearch, projections
from salus.threats.models import changed, oblivious, refusal, reseeded
from salus.threats.objectives import ClassConsistent, Eq6, FeatureMatching, GuardObjective, Orthogonal

#: The paper's weights of Eq. 6, and those of the class-consistent attack.
EQ6_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)
WEIGHTS = (1.0, 0.1, 10.0, None)  # None: the gradient of whichever of the two has not passed

#: Random starts of the class-consistent attack: its landscape has many dead ends.
STARTS = 5

#: From when on a point of a random guard's counts as fallen, and from when on there is nothing to be gained.
_LIKELY, _CERTAIN = 0.5, 1 - 1e-9

#: Of an attacker who goes without the gradients that a purifier hides, for each sample.
QUERIES = 1000


@dataclass(frozen=True, eq=False)
class AdaptiveResult:
    """The worst that an attacker who knows the guard did to each of N samples.

    Attributes:
        x_adv: ``[N, ...]``: an input that is accepted and wrong where any variant found one, else the one that
            came nearest. Of a guard that draws at random, the one most likely to be accepted and wrong.
        success: bool ``[N]``, by one verdict of the guard's.
        chances: float64 ``[N]``, how likely that was over the guard's draws; 0 or 1 where it does not draw.
        variants: int64 ``[N]``, which variant found what succeeded, an index into ``names``; -1 where nothing did.
        names: the variants tried, in order.
        queries: int64 ``[N]``.
        passes: int64 ``[N]``.
    """

    x_adv: Tensor
    success: Tensor
    chances: Tensor
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
    reason = refusal(attack, "adaptive")
    if reason is not None:
        raise OptionError(reason)
    labels = y if truth is None else truth
    judge = GuardObjective(guard, targeted=attack.targeted)
    engine = changed(attack, early_stop=True)
    samples = torch.arange(len(x), device=x.device) if samples is None else samples
    start = oblivious(attack, guard, x, y, samples=samples)
    best = start.x_adv.clone()
    margin, chance = judged(judge, guard, best, y, labels, attack.targeted)
    variants = torch.zeros_like(y)
    # Where the smallest change is looked for, who has fallen may yet fall nearer.
    smallest = attack.closest and attack.eps is None
    measure = ball(attack.norm, x, math.inf, attack.bounds) if smallest else None
    near = torch.full_like(chance, torch.inf)
    if measure is not None:
        near = torch.where(chance > _LIKELY, measure.distance(best), near)
    queries, passes = start.queries.clone(), start.passes.clone()
    names = ["oblivious"]
    for variant in variants_of(engine, guard, x if shown is None else shown, y):
        names.append(variant.name)
        for turn, target in enumerate(variant.goals):
            left = torch.ones_like(y, dtype=torch.bool) if smallest else chance < _CERTAIN
            left = left if target is None else left & (target != labels)
            if progress is not None:
                progress(variant.name, int((chance < _CERTAIN).sum()))
            if not bool(left.any()):
                continue
            aim = y if target is None else target
            where = {"oblivious": start.x_adv, "nearest": best}.get(variant.start)
            first = None if where is None else where[left]
            rows = left.nonzero()[:, 0]
            climb = reseeded(variant.engine, turn)
            result = climb.run(variant.objective, x[rows], aim[rows], start=first, samples=samples[rows])
            value, likely = judged(judge, guard, result.x_adv, y[rows], labels[rows], attack.targeted)
            queries[rows] += result.queries
            passes[rows] += result.passes
            better = (likely > chance[rows]) | ((likely == chance[rows]) & (value < margin[rows]))
            if measure is not None:
                won, distance = likely > _LIKELY, measure.select(rows).distance(result.x_adv)
                better = torch.where(won, distance < near[rows], better & (chance[rows] <= _LIKELY))
                near[rows] = torch.where(better & won, distance, near[rows])
            taken = rows[better]
            best[taken], margin[taken], chance[taken] = result.x_adv[better], value[better], likely[better]
            variants[taken] = len(names) - 1
    success = fallen(guard, best, y, labels, attack.targeted)
    return AdaptiveResult(best, success, chance, torch.where(success, variants, -1), tuple(names), queries, passes)


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
        yield from _around_the_purifier(engine, guard, plain, goals)
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
    yield from _around_the_purifier(engine, guard, plain, goals)


def _around_the_purifier(
    engine: Attack, guard: Guard, objective: GuardObjective, goals: list[Tensor | None]
) -> Iterator[Variant]:
    """Do without a purifier's gradients: ones that lead nowhere, or a bad guess at them, would pass for robustness."""
    if isinstance(guard.purifier, OntoRange):
        straight = ClassConsistent(Guard(guard.classifier, guard.detectors, _Straight(guard.purifier)), weight=None)
        yield Variant("straight through the projection", engine, straight, goals, "nearest")
    hidden = guard.purifier is not None and not guard.purifier.differentiable
    if hidden and engine.eps is not None and engine.norm in Square.norms and getattr(engine, "steps", 1) > 1:
        shared = {field.name: getattr(engine, field.name) for field in fields(Attack)}
        square = Square(**{**shared, "queries": min(QUERIES, engine.queries or QUERIES)})
        goal = goals[0] if engine.targeted else None
        yield Variant(f"{Square.name}, {square.queries} queries", square, objective, [goal], "nearest")


class _Straight(Purifier):
    """A purifier that is passed as the identity (BPDA): descents that bounce have a gradient, but not one to follow."""

    name = "straight"

    def __init__(self, purifier: Purifier) -> None:
        self.purifier = purifier

    def purify(self, x: Tensor) -> Tensor:
        """Purify as it does."""
        return self.purifier.purify(x)

    def settings(self) -> dict[str, Any]:
        """Return the purifier's own."""
        return self.purifier.settings()


def judged(
    objective: GuardObjective, guard: Guard, x_adv: Tensor, y: Tensor, labels: Tensor, targeted: bool
) -> tuple[Tensor, Tensor]:
    """Return the margin ``[N]``, and how likely each is to fall over the guard's draws, both float64 ``[N]``."""
    margins, size = [], rows_at_once(x_adv, 512)
    with torch.no_grad():
        for part, aim in zip(torch.split(x_adv, size), torch.split(y, size), strict=True):
            margins.append(objective.evaluate(part, aim).margin)
    chances, own = guard.chances(x_adv), (y if targeted else labels)[:, None]
    each = chances.gather(1, own)[:, 0] if targeted else chances.scatter(1, own, 0).sum(1)
    return torch.cat(margins).double(), each


def fallen(guard: Guard, x_adv: Tensor, y: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    """Tell by one verdict of the guard's who has fallen, bool ``[N]``."""
    answers = guard(x_adv).answers
    return answers == y if targeted else (answers != labels) & (answers >= 0)

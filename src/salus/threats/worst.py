"""The worst over many ways to attack a guard: one loop for whoever knows the guard, or has its twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.attacks.ball import ball
from salus.batches import rows_at_once
from salus.guard import Guard
from salus.threats.base import Alone, AttackedSamples
from salus.threats.engines import oblivious, reseeded
from salus.threats.objectives import GuardObjective

#: What the attack of who knows of no defence is called among the variants.
OBLIVIOUS = "oblivious"

#: From when on a point of a random guard's counts as fallen, and from when on there is nothing to be gained.
LIKELY, _CERTAIN = 0.5, 1 - 1e-9


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
        zero: int64 ``[N]``, passes that gave no direction; see :class:`salus.attacks.AttackResult`.
        nonfinite: int64 ``[N]``, passes whose gradient held infinities or NaN.
    """

    x_adv: Tensor
    success: Tensor
    chances: Tensor
    variants: Tensor
    names: tuple[str, ...]
    queries: Tensor
    passes: Tensor
    zero: Tensor
    nonfinite: Tensor

    def attacked(self) -> AttackedSamples:
        """Return what any attacker hands on."""
        return AttackedSamples(
            self.x_adv, self.queries, self.passes, self.variants, self.names, self.zero, self.nonfinite
        )


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to attack a guard.

    Attributes:
        name: for reports.
        engine: how steps are taken.
        objective: what they are to reach.
        goals: targets ``[N]`` in turn, those that each sample is nearest to first, or None for the labels themselves.
        start: ``oblivious``: that attack's result; ``nearest``: the best point so far, where there is none yet the
            oblivious attack's; ``fresh``: the engine's own.
        lean: who has fallen already goes for one target alone, that to which the nearest point so far leans.
    """

    name: str
    engine: Attack
    objective: GuardObjective
    goals: Sequence[Tensor | None]
    start: str
    lean: bool = False


class Worst:
    """The worst point so far of each of N samples; nothing is any before something is taken.

    What is likelier to fall over the guard's draws is worse; among equals, what lies deeper in the region that the
    guard accepts. Where the smallest change is looked for, what has fallen is the worse the nearer it lies.

    Args:
        attack: the engine.
        guard: the guard that is attacked.
        x: clean samples ``[N, ...]``.
        y: their true labels, or targets if the attack is targeted.
        truth: true labels when ``y`` are targets.
        samples: int64 ``[N]``, which samples of a larger whole x are; by default they are the whole.
        smallest: the smallest change is looked for.
    """

    def __init__(
        self,
        attack: Attack,
        guard: Guard,
        x: Tensor,
        y: Tensor,
        truth: Tensor | None,
        samples: Tensor | None,
        *,
        smallest: bool,
    ) -> None:
        self.attack, self.guard, self.x, self.y = attack, guard, x, y
        self.labels = y if truth is None else truth
        self.samples = torch.arange(len(x), device=x.device) if samples is None else samples
        self.judge = GuardObjective(guard, targeted=attack.targeted)
        self.oblivious, self.nearest = x, x.clone()
        self.chance = torch.full(y.shape, -1.0, dtype=torch.float64, device=y.device)  # less than nothing
        self.margin, self.distance = torch.full_like(self.chance, torch.inf), torch.full_like(self.chance, torch.inf)
        self.queries, self.passes = torch.zeros_like(y), torch.zeros_like(y)
        self.zero, self.nonfinite = torch.zeros_like(y), torch.zeros_like(y)
        self.variants: Tensor = torch.full_like(y, -1)
        self.names: list[str] = []
        self.measure = ball(attack.norm, x, math.inf, attack.bounds) if smallest else None
        self._clean_logits: list[Tensor] = []  # once they are asked for; one list with those who stand apart

    def begin(self, bare: AttackResult | None) -> None:
        """Take the oblivious attack's result, where others start; it is run where it is not at hand."""
        first = bare or oblivious(self.attack, self.guard, self.x, self.y, samples=self.samples, judge=False)
        self.oblivious = first.x_adv
        self.names.append(OBLIVIOUS)
        self._take(torch.arange(len(self.x), device=self.x.device), first)

    def apart(self) -> Worst:
        """Return one of the same samples and with the same start, to which nothing has been done yet."""
        other = Worst(
            self.attack, self.guard, self.x, self.y, self.labels, self.samples, smallest=self.measure is not None
        )
        other.oblivious, other.nearest = self.oblivious, self.oblivious.clone()
        other._clean_logits = self._clean_logits
        return other

    @property
    def standing(self) -> Tensor:
        """Who has not fallen under every draw of the guard's, bool ``[N]``."""
        return self.chance < _CERTAIN

    def improvable(self) -> Tensor:
        """Who can be brought further, bool ``[N]``: where the smallest change is looked for, everybody."""
        return self.standing if self.measure is None else torch.ones_like(self.standing)

    def try_all(
        self,
        variants: Iterable[Variant],
        left: Callable[[], Tensor],
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        """Try every variant on the samples that are left to it.

        Args:
            variants: the ways to attack.
            left: says before each turn who is attacked, bool ``[N]``.
            progress: called with each variant's name and how many samples are still standing.
        """
        for variant in variants:
            self.names.append(variant.name)
            lean = variant.lean and bool((self.variants >= 0).any())
            done = ~self.standing & lean
            for turn, target in enumerate(self._in_order(variant.goals, lean=lean)):
                going = left() & ~done if turn else left()
                rows = (going if target is None else going & (target != self.labels)).nonzero()[:, 0]
                if progress is not None:
                    progress(variant.name, int(self.standing.sum()))
                if not len(rows):
                    continue
                aim = self.y if target is None else target
                start = {"oblivious": self.oblivious, "nearest": self.nearest}.get(variant.start)
                result = reseeded(variant.engine, turn).run(
                    variant.objective,
                    self.x[rows],
                    aim[rows],
                    start=None if start is None else start[rows],
                    samples=self.samples[rows],
                    judge=False,  # what comes of it is judged below, however it was found
                )
                self._take(rows, result)

    def _in_order(self, goals: Sequence[Tensor | None], *, lean: bool) -> Sequence[Tensor | None]:
        """Deal targets so that each sample comes first to those that it is nearest to: who falls tries no others.

        Args:
            goals: the targets ``[N]`` of each turn.
            lean: it is the nearest point so far that counts, not the clean sample.
        """
        targets = [goal for goal in goals if goal is not None]
        if len(targets) < 2:
            return goals
        each = torch.stack(targets, 1)  # [N, G]
        # No guard is asked for it: the label's logit is put far below all others.
        logits = self.guard.classifier.predict(self.nearest) if lean else self.clean_logits()
        others = logits.scatter(1, self.labels[:, None], -torch.inf)  # [N, K]
        nearness = others.gather(1, each)
        return each.gather(1, nearness.argsort(dim=1, descending=True, stable=True)).unbind(1)

    def clean_logits(self) -> Tensor:
        """Return the classifier's logits of the clean samples ``[N, K]``, computed once."""
        if not self._clean_logits:
            self._clean_logits.append(self.guard.classifier.predict(self.x))
        return self._clean_logits[0]

    def _take(self, rows: Tensor, result: AttackResult) -> None:
        """Keep of a result what is worse than what was there."""
        y, labels, targeted = self.y[rows], self.labels[rows], self.attack.targeted
        margin, chance = judged(self.judge, self.guard, result.x_adv, y, labels, targeted)
        self.queries[rows] += result.queries
        self.passes[rows] += result.passes
        self.zero[rows] += result.zero
        self.nonfinite[rows] += result.nonfinite
        self._keep(rows, result.x_adv, margin, chance)

    def take_from(self, other: Worst) -> None:
        """Keep of another's points, the result of one variant alone, what is worse than what was there."""
        self.names += other.names
        self.queries += other.queries
        self.passes += other.passes
        self.zero += other.zero
        self.nonfinite += other.nonfinite
        tried = (other.variants >= 0).nonzero()[:, 0]
        self._keep(tried, other.nearest[tried], other.margin[tried], other.chance[tried])

    def _keep(self, rows: Tensor, x_adv: Tensor, margin: Tensor, chance: Tensor) -> None:
        before = self.chance[rows]
        better = (chance > before) | ((chance == before) & (margin < self.margin[rows]))
        if self.measure is not None:
            won, distance = chance > LIKELY, self.measure.select(rows).distance(x_adv)
            better = torch.where(won, distance < self.distance[rows], better & (before <= LIKELY))
            self.distance[rows] = torch.where(better & won, distance, self.distance[rows])
        worse = rows[better]
        self.nearest[worse], self.margin[worse] = x_adv[better], margin[better]
        self.chance[worse] = chance[better]
        self.variants[worse] = len(self.names) - 1

    def alone(self) -> Alone:
        """Tell what has been won so far, over the guard's draws."""
        return Alone(self.chance.clamp_min(0), self.queries.clone(), self.passes.clone())

    def result(self) -> AdaptiveResult:
        """Judge the worst points by one verdict of the guard's, which is known already where nothing is drawn."""
        success = self.chance > LIKELY
        if self.guard.random:
            success = fallen(self.guard, self.nearest, self.y, self.labels, self.attack.targeted)
        return AdaptiveResult(
            self.nearest,
            success,
            self.chance,
            self.variants,
            tuple(self.names),
            self.queries,
            self.passes,
            self.zero,
            self.nonfinite,
        )


def judged(
    objective: GuardObjective, guard: Guard, x_adv: Tensor, y: Tensor, labels: Tensor, targeted: bool
) -> tuple[Tensor, Tensor]:
    """Return the margin ``[N]``, and how likely each is to fall over the guard's draws, both float64 ``[N]``."""
    margins, answers, size = [], [], rows_at_once(x_adv, 512)
    with torch.no_grad():
        for part, aim in zip(torch.split(x_adv, size), torch.split(y, size), strict=True):
            view, likely = guard.outlook(part)
            margins.append(objective.seen(part, view, aim).margin)
            answers.append(likely)
    chances, own = torch.cat(answers), (y if targeted else labels)[:, None]
    each = chances.gather(1, own)[:, 0] if targeted else chances.scatter(1, own, 0).sum(1)
    return torch.cat(margins).double(), each


def fallen(guard: Guard, x_adv: Tensor, y: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    """Tell by one verdict of the guard's who has fallen, bool ``[N]``."""
    answers = guard(x_adv).answers
    return answers == y if targeted else (answers != labels) & (answers >= 0)

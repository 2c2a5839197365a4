"""What the attacker knows of a guard, and the attacks that follow from it (DESIGN: threat models).

White-box attacks see a bare classifier; transfer attacks a substitute trained apart; oblivious ones the guard's
classifier without its defence; adaptive ones the guard itself, acceptance included. Every result is judged by
the guard's own verdict: an attacked input *falls* when it is accepted and wrong. Decision-only attacks ask for
the guard's final answers, of which a rejection is one, and count every question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from salus.attacks import Attack, AttackResult, Evaluation, Objective
from salus.attacks.ball import ball
from salus.attacks.objective import DecisionObjective, checked_logits, cross_entropy, logit_margin
from salus.attacks.universal import UAP
from salus.classifier import Classifier
from salus.errors import OptionError, nearest
from salus.guard import Guard, View

THREAT_MODELS = ("white-box", "transfer", "oblivious", "adaptive", "decision-only")

#: The paper's weights of Eq. 6, and those of the class-consistent attack.
EQ6_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)
WEIGHTS = (1.0, 0.1, 10.0, None)  # None: the gradient of whichever of the two has not passed

#: What acceptance weighs beside the cross-entropy where one perturbation is to pass a guard with every sample.
UNIVERSAL_WEIGHTS = (0.1, 1.0, 10.0)

#: Random starts of the class-consistent attack: its landscape has many dead ends.
STARTS = 5


class GuardObjective(Objective):
    """Make a guard accept a wrong label (or the target).

    The loss is the plain sum of cross-entropy and weighted acceptance, for guards and attacks that have
    nothing more pointed; the margin is capped by the acceptance margin.

    Args:
        guard: the guard.
        weight: of the acceptance in the loss.
        targeted: ``y`` is the class to reach.
    """

    def __init__(self, guard: Guard, *, weight: float = 0.0, targeted: bool = False) -> None:
        self.guard = guard
        self.weight = weight
        self.targeted = targeted

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The guard's classifier; its detectors hold no modules."""
        return (self.guard.classifier,)

    @property
    def bounds(self) -> tuple[float, float]:
        """The guard's bounds."""
        return self.guard.bounds

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Look at the guard once."""
        view = self.guard.view(x)
        seen = Evaluation(checked_logits(view.logits, y), y, targeted=self.targeted)
        if view.acceptance is None:
            return Evaluation(seen.logits, y, targeted=self.targeted, loss=self.goal(view, y))
        # An accepted input is one that some class accepts; a way to win ends where its own class accepts.
        accepted = view.acceptance[:, None] if view.class_acceptance is None else view.class_acceptance
        return Evaluation(
            seen.logits,
            y,
            targeted=self.targeted,
            loss=self.goal(view, y),
            margin=torch.maximum(seen.margin, -view.acceptance),
            success=seen.success & (view.acceptance >= 0),
            class_margins=torch.maximum(seen.class_margins, -accepted),
        )

    def goal(self, view: View, y: Tensor) -> Tensor:
        """Return what the attacker raises, ``[N]``."""
        loss = cross_entropy(view.logits, y)
        loss = -loss if self.targeted else loss
        if view.acceptance is not None and self.weight:
            loss = loss + self.weight * view.acceptance.clamp_max(_SURE)
        return loss


class Eq6(GuardObjective):
    """I-defender's own gray-box objective, Eq. 6, as published.

    ``J(x, s) + alpha * prod_{k != s} Reject(x, k) * max_{k != s} log P(H(x) | k)``. The product of indicators
    has no gradient, and vanishes as soon as any other class would accept.
    """

    def __init__(self, guard: Guard, *, alpha: float) -> None:
        super().__init__(guard)
        self.alpha = alpha

    def goal(self, view: View, y: Tensor) -> Tensor:
        """Compute Eq. 6."""
        loss = nn.functional.cross_entropy(view.logits.double(), y, reduction="none")
        if view.class_acceptance is None:
            return loss
        rejected = (view.class_acceptance < 0).scatter(1, y[:, None], True).all(1)  # prod_{k != s}
        likelihood = -sum(view.class_scores.values(), torch.zeros(()))  # [N, K]
        promising = likelihood.scatter(1, y[:, None], -torch.inf).amax(1)
        return loss + self.alpha * rejected * promising


#: How far past a boundary an adaptive attack pushes, in logits or in nats of suspicion.
_SURE = 0.2


class ClassConsistent(GuardObjective):
    """Raise one target class's logit and its likelihood under the detectors together until both pass.

    Args:
        guard: the guard.
        weight: of the log-likelihood beside the logit margin; None follows whichever has not passed yet
            (selective gradients, Bryniarski et al., 2022).
    """

    def __init__(self, guard: Guard, *, weight: float | None) -> None:
        super().__init__(guard, targeted=True)
        self.mix = weight

    @property
    def title(self) -> str:
        """Name the attack for reports."""
        return f"class-consistent {'selective' if self.mix is None else f'weight={self.mix:g}'}"

    def goal(self, view: View, y: Tensor) -> Tensor:
        """Add the logit margin, cut off once it is sure, and the log-likelihood under the target class."""
        label = logit_margin(view.logits, y)
        if self.guard.purifier is not None and view.class_acceptance is not None:
            # The detectors judge the class of the raw input: both have to become the target.
            label = torch.minimum(label, logit_margin(view.raw_logits, y))
        label = label.clamp_max(_SURE)
        if view.class_acceptance is None:
            return label
        likelihood = -sum(view.class_scores.values(), torch.zeros(())).gather(1, y[:, None])[:, 0]
        if self.mix is not None:
            return label + self.mix * likelihood
        return torch.where(label.detach() < _SURE, label, likelihood)


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


def full_strength(attack: Attack) -> Attack:
    """Return the attack without early stopping: what its maker cannot test on the victim, it must overdo."""
    return _with(attack, early_stop=False)


def oblivious(attack: Attack, guard: Guard, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    """Attack the guard's classifier, its defence unknown."""
    return full_strength(attack).run(guard.classifier, x, y, **options)


def transfer(attack: Attack, substitute: Classifier, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    """Attack a substitute that was trained apart."""
    return full_strength(attack).run(substitute, x, y, **options)


def decision_only(attack: Attack, guard: Guard, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    """Attack a guard through its final answers alone; a rejection is never a success.

    Raises:
        OptionError: the attack needs more than answers.
    """
    reason = refusal(attack, "decision-only")
    if reason is not None:
        raise OptionError(reason)
    asked = DecisionObjective(lambda point: guard(point).answers, targeted=attack.targeted)
    return attack.run(asked, x, y, **options)


def refusal(attack: Attack, threat_model: str) -> str | None:
    """Say why an attack does not go with a threat model; None where it does."""
    if threat_model == "decision-only" and attack.knowledge != "answers":
        return f"{attack.title} asks for {attack.knowledge}, which a decision-only attacker does not see."
    if threat_model == "adaptive" and not attack.adaptive:
        return f"{attack.title} has no adaptive form: run it oblivious, and another attack as the adaptive one."
    return None


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
    engine = _with(attack, early_stop=True)
    start = oblivious(attack, guard, x, y)
    best = start.x_adv.clone()
    margin, fallen = _judge(judge, guard, best, y, labels, attack.targeted)
    variants = torch.where(fallen, 0, -1)
    # Where the smallest change is looked for, who has fallen may yet fall nearer.
    smallest = attack.closest and attack.eps is None
    measure = ball(attack.norm, x, math.inf, attack.bounds)
    near = torch.where(fallen, measure.distance(best), torch.inf)
    queries, passes = start.queries.clone(), start.passes.clone()
    names = ["oblivious"]
    for variant in _variants(engine, guard, y):
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
            value, won = _judge(judge, guard, result.x_adv, y[left], labels[left], attack.targeted)
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
    points, margins = [], []
    for victim in victims.values():
        points.append(attack.fit(victim, fit_x, fit_y)(x))
        value, won = _judge(judge, guard, points[-1], y, y, attack.targeted)
        margins.append(torch.where(won, -torch.inf, value))
    best = torch.stack(margins).argmin(0)  # [N], the first of equals
    x_adv = torch.stack(points)[best, torch.arange(len(x), device=x.device)]
    shares = torch.bincount(best, minlength=len(victims)) / len(x)
    return x_adv, dict(zip(victims, shares.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class _Variant:
    """One way to attack a guard: goals are targets, or None for the labels themselves."""

    name: str
    engine: Attack
    objective: GuardObjective
    goals: list[Tensor | None]
    start: str  # "oblivious": that attack's result; "nearest": the best point so far; "fresh": the engine's own


def _variants(engine: Attack, guard: Guard, y: Tensor) -> Iterator[_Variant]:
    goal: Tensor | None = y if engine.targeted else None
    plain = GuardObjective(guard, targeted=engine.targeted)
    if engine.knowledge != "gradients":  # which class to aim for, and through which loss, is nothing they can choose
        yield _Variant("end-to-end", engine, plain, [goal], "fresh")
        return
    each_class: list[Tensor | None] = [torch.full_like(y, k) for k in range(len(guard.classifier.classes))]
    goals: list[Tensor | None] = [y] if engine.targeted else each_class
    if not guard.detectors or not engine.reads_loss:  # margins are capped by acceptance whatever the loss
        yield _Variant("end-to-end", engine, plain, [goal], "fresh")
        yield _Variant("end-to-end, each class", engine, ClassConsistent(guard, weight=None), goals, "nearest")
        return
    if not engine.targeted:
        for alpha in EQ6_ALPHAS:
            yield _Variant(f"eq6 alpha={alpha:g}", engine, Eq6(guard, alpha=alpha), [None], "fresh")
    many = _with(engine, restarts=max(STARTS, getattr(engine, "restarts", 1)))
    for start, runner in (("oblivious", engine), ("fresh", many)):
        for weight in WEIGHTS:
            consistent = ClassConsistent(guard, weight=weight)
            yield _Variant(f"{consistent.title}, {start} start", runner, consistent, goals, start)
    # The region that passes both tests may be narrow: go on from the nearest point in smaller steps.
    stride = getattr(engine, "stride", 0.0)
    if stride > 0:
        finer = _with(engine, step_size=stride / 4)
        for weight in (None, 1.0):
            consistent = ClassConsistent(guard, weight=weight)
            yield _Variant(f"{consistent.title}, nearest start, short steps", finer, consistent, goals, "nearest")


def _judge(
    objective: GuardObjective, guard: Guard, x_adv: Tensor, y: Tensor, labels: Tensor, targeted: bool
) -> tuple[Tensor, Tensor]:
    """Return the margin and, by the guard's own verdict, who has fallen."""
    margins = []
    with torch.no_grad():
        for part, aim in zip(torch.split(x_adv, 512), torch.split(y, 512), strict=True):
            margins.append(objective.evaluate(part, aim).margin)
    answers = guard(x_adv).answers
    won = answers == y if targeted else (answers != labels) & (answers >= 0)
    return torch.cat(margins).double(), won


def _with(attack: Attack, **changes: Any) -> Attack:
    known = {field.name for field in fields(attack)}
    return replace(attack, **{key: value for key, value in changes.items() if key in known})


def check_threat(name: str) -> str:
    """Refuse an unknown threat model.

    Raises:
        OptionError: with the nearest names.
    """
    if name not in THREAT_MODELS:
        raise OptionError(f"Unknown threat model {name!r}; {nearest(name, THREAT_MODELS)}")
    return name

"""What an attacker who knows a guard optimises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.attacks import Evaluation, Objective
from salus.attacks.objective import checked_logits, cross_entropy, logit_margin
from salus.batches import rows_at_once
from salus.guard import Guard
from salus.verdict import View

#: How far past a boundary an adaptive attack pushes, in logits or in nats of suspicion.
_SURE = 0.2

#: Puts every loss of a label that is not sure below those of scores.
_FAR = 1e12


class GuardObjective(Objective):
    """Make a guard accept a wrong label (or the target).

    The loss is the plain sum of cross-entropy and weighted acceptance, for guards and attacks that have
    nothing more pointed; the margin is capped by the acceptance margin. Of a guard that draws at random losses are
    means over its draws (EOT, Athalye et al., 2018); margin and success are those of the worst draw: what the attacker
    has won is won whatever is drawn.

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
        return self.seen(x, self.guard.view(x), y)

    def seen(self, x: Tensor, view: View, y: Tensor) -> Evaluation:
        """Evaluate what a look at the guard has shown."""
        checked_logits(view.logits, y)
        loss = self.goal(x, view, y)
        draws = [Evaluation(logits, y, targeted=self.targeted) for logits in view.draws]
        if view.acceptance is None and len(draws) == 1:
            return Evaluation(view.logits, y, targeted=self.targeted, loss=loss)
        margin, class_margins = draws[0].margin, draws[0].class_margins
        success = draws[0].success
        for one in draws[1:]:
            margin, class_margins = torch.maximum(margin, one.margin), torch.maximum(class_margins, one.class_margins)
            success = success & one.success
        if view.acceptance is not None and view.class_acceptance is not None:
            margin, success = torch.maximum(margin, -view.acceptance), success & (view.acceptance >= 0)
            # An accepted input is one that some class accepts; a way to win ends where its own class accepts.
            class_margins = torch.maximum(class_margins, -view.class_acceptance)
        return Evaluation(
            view.logits,
            y,
            targeted=self.targeted,
            loss=loss,
            margin=margin,
            success=success,
            class_margins=class_margins,
        )

    def goal(self, x: Tensor, view: View, y: Tensor) -> Tensor:
        """Return what the attacker raises, ``[N]``: its mean over the guard's draws."""
        loss = torch.stack([cross_entropy(logits, y) for logits in view.draws]).mean(0)
        loss = -loss if self.targeted else loss
        if view.acceptance is not None and self.weight:
            loss = loss + self.weight * view.acceptance.clamp_max(_SURE)
        return loss

    def label_margins(self, view: View, y: Tensor) -> Tensor:
        """Return how far the guard's label is class y under each of its draws, ``[M, N]``."""
        labels = torch.stack([logit_margin(logits, y) for logits in view.draws])
        if self.guard.purifier is not None and view.class_acceptance is not None:
            # The detectors judge the class of the raw input: both have to become the target.
            labels = torch.minimum(labels, logit_margin(view.raw_logits, y))
        return labels


class Eq6(GuardObjective):
    """I-defender's own gray-box objective, Eq. 6, as published.

    ``J(x, s) + alpha * prod_{k != s} Reject(x, k) * max_{k != s} log P(H(x) | k)``. The product of indicators
    has no gradient, and vanishes as soon as any other class would accept.

    The equation is about log-likelihoods. Of detectors that score classes otherwise (distances, counts, a network's
    answer) minus the score stands in their place, which is nobody's Eq. 6 and is called a gated score: the best score
    of another class, behind the gate that all of them reject.
    """

    def __init__(self, guard: Guard, *, alpha: float) -> None:
        super().__init__(guard)
        self.alpha = alpha

    @property
    def title(self) -> str:
        """Name it for reports: Eq. 6 where the detectors have class likelihoods."""
        likely = bool(self.guard.detectors) and all(detector.likelihoods for detector in self.guard.detectors)
        return f"{'eq6' if likely else 'gated score'} alpha={self.alpha:g}"

    def goal(self, x: Tensor, view: View, y: Tensor) -> Tensor:
        """Compute Eq. 6."""
        loss = nn.functional.cross_entropy(view.logits.double(), y, reduction="none")
        if view.class_acceptance is None:
            return loss
        rejected = (view.class_acceptance < 0).scatter(1, y[:, None], True).all(1)  # prod_{k != s}
        likelihood = -sum(view.class_scores.values(), torch.zeros(()))  # [N, K]
        promising = likelihood.scatter(1, y[:, None], -torch.inf).amax(1)
        return loss + self.alpha * rejected * promising


class ClassConsistent(GuardObjective):
    """Raise one target class's logit and its likelihood under the detectors together until both pass.

    Args:
        guard: the guard.
        weight: of the log-likelihood beside the logit margin; None follows whichever has not passed yet
            (selective gradients, Bryniarski et al., 2022).
        sure: how far past the boundary of the labels is enough, in logits.
    """

    def __init__(self, guard: Guard, *, weight: float | None, sure: float = _SURE) -> None:
        super().__init__(guard, targeted=True)
        self.mix = weight
        self.sure = sure

    @property
    def title(self) -> str:
        """Name the attack for reports."""
        return f"class-consistent {'selective' if self.mix is None else f'weight={self.mix:g}'}"

    def goal(self, x: Tensor, view: View, y: Tensor) -> Tensor:
        """Add the logit margin, cut off once it is sure, and the log-likelihood under the target class."""
        margins = self.label_margins(view, y)
        label = margins.clamp_max(self.sure).mean(0)
        if view.class_acceptance is None:
            return label
        likelihood = _likelihood(x, view, y, margins.mean(0))
        if self.mix is not None:
            return label + self.mix * likelihood
        return torch.where(label.detach() < self.sure, label, likelihood)


class Orthogonal(GuardObjective):
    """Raise the target's logit without lowering its acceptance, or the other way round (Bryniarski et al., 2022).

    While the label is not the target yet, its gradient is followed, less its part along the gradient of the
    acceptance; once it is, the acceptance's gradient, less its part along the label's. A sum of the two stalls where
    they point apart; each step of this makes way on one and, to first order, costs nothing on the other, unless that
    is well past its boundary and has some to spare. Where the two agree nothing is taken off.

    The loss's value is the sum of both, each cut off once it is past its boundary; its gradient is that direction.

    Args:
        guard: the guard.
    """

    title = "orthogonal gradients"

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard, targeted=True)

    def goal(self, x: Tensor, view: View, y: Tensor) -> Tensor:
        """Give the sum of both margins the gradient of the direction to take."""
        label = self.label_margins(view, y).amin(0)
        if view.class_acceptance is None:
            return label
        accepted = view.class_acceptance.gather(1, y[:, None])[:, 0]
        value = label.clamp_max(_SURE) + accepted.clamp_max(_SURE)
        if not x.requires_grad:
            return value
        by_label, by_acceptance = (_slope(value, x) for value in (label, accepted))  # [N, D] each
        passed = (label.detach() >= _SURE)[:, None]
        main, other = torch.where(passed, by_acceptance, by_label), torch.where(passed, by_label, by_acceptance)
        spare = torch.where(passed[:, 0], label, accepted).detach() > 2 * _SURE
        other = other.masked_fill(spare[:, None], 0)
        along = (main * other).sum(1, keepdim=True).clamp_max(0) / other.square().sum(1, keepdim=True).clamp_min(1e-30)
        return _steered(value, x, main - along * other)


class LowestSuspicion(GuardObjective):
    """Drive a guard's scores down, the label kept at a class that the attacker has won, without end.

    The margin is how far the worst detector's suspicion lies above its threshold where the label is y under every
    draw, and infinite elsewhere. It is no success however low, so that no attack is content with a threshold. Where
    the label is not sure, its margin is followed instead.

    Args:
        guard: one with detectors.
    """

    title = "lowest suspicion"

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard, targeted=True)

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Look at the guard once."""
        view = self.guard.view(x)
        checked_logits(view.logits, y)
        label = self.label_margins(view, y).amin(0)
        accepted = torch.stack([each.gather(1, y[:, None])[:, 0] for each in view.detector_acceptance.values()])
        suspicion = -accepted.detach().amin(0).double()
        margin = torch.where(label > 0, suspicion, torch.inf)
        unsure = label.detach() < _SURE
        loss = torch.where(unsure, label.double() - _FAR, _worst_score(view, y, accepted))
        return Evaluation(
            view.logits, y, targeted=True, loss=loss, margin=margin, success=torch.zeros_like(y, dtype=torch.bool)
        )


def _worst_score(view: View, y: Tensor, accepted: Tensor) -> Tensor:
    """Give the lowest of acceptances ``[M, N]`` the gradient of what lowers that detector's score under class y."""
    worst = accepted.detach().argmin(0)  # [N]
    scores = torch.stack([each.gather(1, y[:, None])[:, 0] for each in view.class_scores.values()])  # [M, N]
    score = scores.gather(0, worst[None])[0].double()
    return accepted.detach().amin(0).double() - (score - score.detach())


def _likelihood(x: Tensor, view: View, y: Tensor, label: Tensor) -> Tensor:
    """Return what to raise so that every detector accepts class y, ``[N]``.

    Of one detector these are its own scores. Several have units of their own, and the steepest would be all that a
    sum of them follows: so each that has not passed pulls as hard as the label's margin does.
    """
    scores = [each.gather(1, y[:, None])[:, 0] for each in view.class_scores.values()]
    if len(scores) == 1:
        return -scores[0]
    accepted = [each.gather(1, y[:, None])[:, 0] for each in view.detector_acceptance.values()]
    value = torch.stack([margin.clamp_max(_SURE) for margin in accepted]).sum(0)
    if not x.requires_grad:
        return value
    pull = _slope(label, x).norm(dim=1)
    pull = torch.where(pull > 0, pull, 1.0)
    direction = torch.zeros_like(x).flatten(1)
    for score, margin in zip(scores, accepted, strict=True):
        slope = -_slope(score, x)
        length = slope.norm(dim=1).clamp_min(1e-30)
        direction += torch.where(margin.detach() <= _SURE, pull / length, 0.0)[:, None] * slope
    return _steered(value, x, direction)


def _steered(value: Tensor, x: Tensor, direction: Tensor) -> Tensor:
    """Give values ``[N]`` the gradient ``[N, D]`` in x."""
    linear = (x.flatten(1) * direction).sum(1)
    return value.detach() + (linear - linear.detach())


def _slope(value: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient of each value ``[N]`` in its input, ``[N, D]`` in float32; 0 where there is none."""
    if not value.requires_grad:
        return torch.zeros_like(x).flatten(1)
    (slope,) = torch.autograd.grad(value.sum(), x, retain_graph=True, allow_unused=True)
    return (torch.zeros_like(x) if slope is None else slope).flatten(1)


class FeatureMatching(GuardObjective):
    """Give the input the hidden states of the clean inputs of the target class (Sabour et al., 2016).

    What a detector of hidden states has to accept are states of that kind, and the class follows from them.

    Args:
        guard: one whose detectors read hidden states.
        x: clean inputs ``[N, ...]``, whose accepted ones show what the states of each class are.
    """

    title = "feature matching"

    def __init__(self, guard: Guard, x: Tensor) -> None:
        super().__init__(guard, targeted=True)
        with torch.no_grad():
            hidden = [guard.view(part).hidden for part in x.split(rows_at_once(x, 512))]
            verdict = guard(x)
        self.known = [bool((verdict.answers == label).any()) for label in range(len(guard.classifier.classes))]
        self._guides: dict[str, Tensor] = {}  # layer -> [K, D]
        self._spread: dict[str, Tensor] = {}  # layer -> [D]
        for layer in guard.layers:
            states = torch.cat([part[layer] for part in hidden])
            rows = [states[verdict.answers == label] for label in range(len(self.known))]
            self._guides[layer] = torch.stack([(own if len(own) else states).mean(0) for own in rows])
            self._spread[layer] = states.var(0, correction=0).clamp_min(1e-12)

    def goal(self, x: Tensor, view: View, y: Tensor) -> Tensor:
        """Return minus the mean squared distance to the class's mean states, in units of each state's variance."""
        total = torch.zeros(len(x), device=x.device)
        for layer, guides in self._guides.items():
            apart = view.hidden[layer] - guides[y]
            total = total - (apart.square() / self._spread[layer]).mean(1)
        return total

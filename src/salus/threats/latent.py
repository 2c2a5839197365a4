"""Attacks on Defense-GAN that search the generator's own range (Athalye et al., 2018, Section 5.4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import Attack, Search, SmoothPGD
from salus.attacks.ball import NormName
from salus.attacks.draws import normal
from salus.attacks.objective import logit_margin
from salus.attacks.settings import EarlyStop, Steps
from salus.errors import OptionError
from salus.generative.projection import OntoRange
from salus.guard import Guard
from salus.threats.objectives import GuardObjective

#: How far past the boundary between labels is enough, in logits.
_SURE = 0.5
#: What the label weighs beside the distance from the range, which is 1 at the farther start.
_WEIGHTS = (0.1, 1.0)
#: Samples made at random, of which the nearest of the target class is the other start.
_MADE, _STREAM = 1024, 7


def projections(guard: Guard) -> list[OntoRange]:
    """List the guard's parts that project onto a generator's range, the purifier first."""
    parts: tuple[object, ...] = (guard.purifier, *guard.detectors)
    return [part for part in parts if isinstance(part, OntoRange)]


@dataclass(frozen=True, kw_only=True)
class LatentSearch(Attack):
    """Looks for a latent z and a point of the ball together, such that G(z) is near the point and both are y's.

    Defense-GAN accepts what lies near its generator's range, and classifies the nearest point of it: an input right
    beside a sample G(z) of another class passes both. The search descends

        ``|x' - G(z)|^2 + weight * max(0, sure - margin)``,  ``x' = P(G(z) + d)``,

    over z and d, P the projection onto the ball, in place of the thousands of passes that each projection onto the
    range takes; only what it ends in is shown to the guard. The margin is that by which y is the label of what the
    guard classifies: of x' where detectors judge it, of G(z) where it is purified to that. It starts from the latent
    of the clean sample, and from that of the nearest of many random samples that are of class y, with two weights.

    Its ``y`` are targets, its objective is a guard's.

    Attributes:
        steps: of the descent (Adam).
        rate: of the latents, in their standard deviations a step.
        early_stop: judge no more of what it ended in once the guard has fallen.
    """

    name: ClassVar[str] = "latent-search"
    paper: ClassVar[str] = "Athalye et al., 2018"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2")

    steps: Steps = 100
    rate: Annotated[float, Field(gt=0, description="of the latents, in their standard deviations a step")] = 0.05
    early_stop: EarlyStop = True

    @property
    def title(self) -> str:
        """The attack's name in sentences."""
        return "latent search"

    @classmethod
    def suits(cls, attack: Attack, guard: Guard) -> bool:
        """Tell whether there is a generator to search, and where the attack may go is a ball it can be held to."""
        smooth = isinstance(attack, SmoothPGD)  # what lies near the range need not be smooth
        return bool(projections(guard)) and not smooth and attack.norm in cls.norms

    @classmethod
    def like(cls, attack: Attack, *, early_stop: bool = True) -> LatentSearch:
        """Make one that may go where another attack may, with its seed and its budgets."""
        shared = {field.name: getattr(attack, field.name) for field in fields(Attack)}
        return cls(**{**shared, "targeted": True}, early_stop=early_stop)

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Descend from every start at once, and show the guard what came of each, the likeliest first.

        Raises:
            OptionError: the objective is not that of a guard with a generator.
        """
        if not isinstance(search.objective, GuardObjective) or not projections(search.objective.guard):
            raise OptionError("A latent search attacks guards that hold a generator (Defense-GAN), and nothing else.")
        guard = search.objective.guard
        latents = self._starts(guard, search.ball.x, search.y)  # [S, N, latent]
        points, values = self._descend(guard, search, latents)  # [S, N, ...], [S, N]
        for ranked in values.argsort(0):
            rows = search.rows
            if len(rows) == 0:
                break
            search.record(points[ranked[rows], rows])

    def _starts(self, guard: Guard, x: Tensor, y: Tensor) -> Tensor:
        """Return the latent of each sample, and that of the nearest random sample of class y, ``[2, N, latent]``."""
        part = projections(guard)[0]
        generator = part.generator.to(x.device)
        own = part.project(x).z
        z = normal(self.seed, torch.arange(_MADE, device=x.device), (generator.latent,), _STREAM)
        with torch.no_grad():
            generated = generator(z)
            labels = guard.classifier(generated).argmax(1)
        far = torch.cdist(x.flatten(1), generated.flatten(1)).masked_fill(labels != y[:, None], torch.inf)  # [N, made]
        nearest = far.min(1)
        other = torch.where(nearest.values.isfinite()[:, None], z[nearest.indices], own)
        return torch.stack([own, other])

    def _descend(self, guard: Guard, search: Search, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best points on the way from each start ``[S, N, ...]``, and what was left to lose there."""
        starts, n = len(latents) * len(_WEIGHTS), len(search)
        ball = search.ball.select(torch.arange(n, device=latents.device).repeat(starts))
        y = search.y.repeat(starts)
        weights = torch.tensor(_WEIGHTS, device=y.device).repeat_interleave(len(latents) * n)  # [S N]
        generator = projections(guard)[0].generator
        z = latents.repeat(len(_WEIGHTS), 1, 1).flatten(0, 1).clone()  # [S N, latent]
        d = torch.zeros_like(ball.x)
        width = min(self.radius, self.bounds[1] - self.bounds[0])
        adam = torch.optim.Adam([{"params": [z], "lr": self.rate}, {"params": [d], "lr": 0.05 * width + 1e-12}])
        best, least = ball.x.clone(), torch.full_like(weights, torch.inf)
        scale: Tensor | None = None
        for _ in range(self._affordable(search, starts)):
            search.check_time()
            with torch.enable_grad():
                generated = generator(z.requires_grad_())
                point = ball.near(generated + d.requires_grad_())
                apart = (point - generated).square().flatten(1).sum(1)  # [S N]
                if math.isinf(self.radius):  # no ball: the nearest is looked for
                    apart = apart + (point - ball.x).square().flatten(1).sum(1)
                if scale is None:
                    scale = apart.detach().view(starts, n).amax(0).clamp_min(1e-6).repeat(starts)
                short = (_SURE - _label_margin(guard, point, generated, y)).clamp_min(0)
                loss = apart / scale + weights * short
                z.grad, d.grad = torch.autograd.grad(loss.sum(), (z, d))
            better = (loss < least).detach()
            least = torch.where(better, loss.detach(), least)
            best = torch.where(better.reshape(-1, *[1] * (best.ndim - 1)), point.detach(), best)
            adam.step()
            search.queries[search.rows] += starts
            search.passes[search.rows] += starts
        return ball.project(best).unflatten(0, (starts, n)), least.view(starts, n)

    def _affordable(self, search: Search, starts: int) -> int:
        """Return how many steps the queries allow that judging the ends leaves."""
        return max(0, min(self.steps, int(search.left(search.rows).min()) // starts - 1))


def _label_margin(guard: Guard, point: Tensor, generated: Tensor, y: Tensor) -> Tensor:
    """Return how far y is the label of all that the guard classifies, ``[N]``."""
    classified = [point] if guard.detectors or guard.purifier is None else []
    if isinstance(guard.purifier, OntoRange):
        classified.append(generated)
    elif guard.purifier is not None:
        classified.extend(guard.purifier.outcomes(point))
    return torch.stack([logit_margin(guard.classifier(each), y) for each in classified]).amin(0)

"""Scores turned into p-values among clean samples of the same predicted class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Points kept of each class's distribution: all of the top, the rest thinned.
_TOP, _BULK = 128, 64


@dataclass(frozen=True, eq=False)
class ReferenceScores:
    """Minus the logarithm of a score's p-value, as a continuous, strictly rising function of the score.

    At each clean reference score r of a class with n of them, the p-value is ``#{reference >= r} / (n + 1)``.
    Between them its logarithm is interpolated, beyond the last one it goes on along an exponential tail, so
    that attackers have a gradient and no two different scores tie.

    Attributes:
        knots: ``[K, M]`` rising reference scores, padded with the last one's successors.
        levels: ``[K, M]`` minus log p at the knots.
        slopes: ``[K]`` of the tail.
    """

    knots: Tensor
    levels: Tensor
    slopes: Tensor

    @classmethod
    def fit(cls, scores: Tensor, labels: Tensor, classes: int) -> ReferenceScores:
        """Learn from clean scores ``[N]`` and the labels they belong to ``[N]``.

        A class without reference scores uses those of all classes.
        """
        curves = []
        for label in range(classes):
            own = scores[labels == label]
            curves.append(_curve(own if len(own) else scores))
        width = max(len(knots) for knots, _, _ in curves)
        return cls(
            knots=torch.stack([_pad(knots, width) for knots, _, _ in curves]),
            levels=torch.stack([_pad(levels, width) for _, levels, _ in curves]),
            slopes=torch.stack([slope for _, _, slope in curves]),
        )

    def suspicion(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return minus log p of scores ``[N]`` among the references of their labels ``[N]``; differentiable."""
        knots, levels, slopes = (t.to(scores.device) for t in (self.knots, self.levels, self.slopes))
        width = knots.shape[1]
        last, top = knots[:, -1][labels], levels[:, -1][labels]
        tail = top + slopes[labels] * (scores - last)
        if width == 1:
            return tail
        # Counting is faster than a search for so few knots.
        right = (knots[labels] < scores.detach()[:, None]).sum(1).clamp(1, width - 1)  # [N]
        place = labels * width + right
        x0, x1 = knots.flatten()[place - 1], knots.flatten()[place]
        y0, y1 = levels.flatten()[place - 1], levels.flatten()[place]
        # Padding repeats the last knot; a segment of no width belongs to the tail.
        inner = y0 + (y1 - y0) / (x1 - x0).clamp_min(torch.finfo(x0.dtype).tiny) * (scores - x0)
        return torch.where(scores > last, tail, inner)


def _curve(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ordered = scores.detach().cpu().to(torch.float32).sort().values
    n = len(ordered)
    knots, first = torch.unique_consecutive(ordered, return_counts=True)
    first = torch.cat([torch.zeros(1, dtype=torch.int64), first.cumsum(0)[:-1]])  # references below each knot
    if len(knots) > _TOP + _BULK:
        bulk = torch.linspace(0, len(knots) - _TOP - 1, _BULK).round().long()
        keep = torch.cat([bulk, torch.arange(len(knots) - _TOP, len(knots))])
        knots, first = knots[keep], first[keep]
    levels = -((n - first).double() / (n + 1)).log()
    if len(knots) == 1:
        return knots, levels.float(), 1 / knots[0].abs().clamp_min(1.0)
    # The tail follows the top tenth of the references, at least two of them.
    back = min(max(1, len(knots) // 10), len(knots) - 1)
    rise, run = levels[-1] - levels[-1 - back], (knots[-1] - knots[-1 - back]).double()
    return knots, levels.float(), (rise / run).float()


def _pad(row: Tensor, width: int) -> Tensor:
    return torch.cat([row, row[-1:].expand(width - len(row))])

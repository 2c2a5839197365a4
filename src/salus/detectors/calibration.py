"""Scores turned into p-values among clean samples of the same predicted class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

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

    @cached_property
    def lines(self) -> Tensor:
        """The straight lines that the function is made of, ``[K, M + 1, 3]``: where each begins, at what, how steep.

        Number i ends at knot i, the first one goes on below the first knot, and the last one is the tail.
        """
        x0, y0 = self.knots[:, :-1], self.levels[:, :-1]
        # Padding repeats the last knot; no score falls on a segment of no width.
        widths = (self.knots[:, 1:] - x0).clamp_min(torch.finfo(x0.dtype).tiny)
        inner = torch.stack([x0, y0, (self.levels[:, 1:] - y0) / widths], 2)  # [K, M - 1, 3]
        tail = torch.stack([self.knots[:, -1], self.levels[:, -1], self.slopes], 1)[:, None]
        return torch.cat([inner[:, :1] if inner.shape[1] else tail, inner, tail], 1)

    def suspicion(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return minus log p of scores ``[N]`` among the references of their labels ``[N]``; differentiable."""
        knots, lines = self.knots.to(scores.device), self.lines.to(scores.device)
        values = scores.detach().to(knots.dtype).contiguous()
        below = torch.searchsorted(knots.index_select(0, labels), values[:, None])[:, 0]  # [N], knots
        x0, y0, slope = lines[labels, below].unbind(1)
        return y0 + slope * (scores - x0)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return what :meth:`restore` takes, as ``name|curve``."""
        return {f"{name}|{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], name: str) -> ReferenceScores:
        """Take the curves of that name out of a detector's tensors."""
        return cls(**{field.name: tensors[f"{name}|{field.name}"] for field in fields(cls)})


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

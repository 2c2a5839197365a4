"""The one module around a network that counts and limits passes, and sees each sample's nearest adversarial point."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

#: What a library other than Salus may step out of the bounds by, and out of a ball as a share of its radius.
TOLERANCE = 1e-6
SLACK = 1e-4

#: Directions onto which points are projected to find out whose they are.
_DIRECTIONS = 32


class BudgetSpent(Exception):  # noqa: N818 - no error: the run ends with what was seen
    """An attack asked for a pass more than it may take."""


class Counted(nn.Module):
    """Counts the samples that pass forward and backward through a network, and refuses what exceeds the budget.

    A pass is one sample going forward through the network once, or the gradient going back to it once; both count one.
    An attack on N samples has ``budget * N`` of them, to deal as it likes. A backward pass for each class counts for
    each class.

    Every point that an attack shows the network is judged, as AttackBench does: of those that fool it inside the
    bounds, and the ball where there is one, the distance of each sample's nearest is kept. A full batch is taken in its
    order; for other batches each point is taken for that of the sample whose projection on some random directions lies
    nearest. Mistaken or not, the point fools the model as that sample's, so what is kept was truly reached.

    Args:
        model: the network, in eval mode.
        x: samples ``[N, ...]`` in [0, 1].
        y: their labels.
        norm: in which distances are measured.
        budget: passes a sample; None for any number.
        eps: radius of the ball; None where the smallest change is looked for.

    Attributes:
        forward_passes: so far, of all samples.
        backward_passes: likewise.
        seen: distance of the nearest adversarial point that was shown, infinite where there was none, ``[N]``.
        overhead: processor seconds that watching took, which are not the attack's.
        stopped: the attack asked for more than its budget.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        norm: str,
        budget: int | None = None,
        eps: float | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._x, self._y, self._norm = x, y, norm
        self._most = None if budget is None else budget * len(x)
        self._reach = float("inf") if eps is None else eps * (1 + SLACK)
        self.forward_passes = self.backward_passes = 0
        self.seen = torch.full((len(x),), torch.inf, dtype=torch.float64)
        self.overhead = 0.0
        self.stopped = False
        size = x[0].numel()
        self._directions = torch.randn(size, _DIRECTIONS, generator=torch.Generator().manual_seed(0))
        self._places = x.flatten(1) @ self._directions  # [N, directions]

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits, count, and judge.

        Raises:
            BudgetSpent: that would be more passes than are allowed.
        """
        self._spend(len(x))
        self.forward_passes += len(x)
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        began = time.process_time()
        with torch.no_grad():
            self._judge(x.detach(), logits.detach())
        self.overhead += time.process_time() - began
        return logits

    @property
    def passes(self) -> int:
        """Forward and backward passes so far, of all samples."""
        return self.forward_passes + self.backward_passes

    def _count_backward(self, gradient: Tensor) -> None:
        self._spend(len(gradient))
        self.backward_passes += len(gradient)

    def _spend(self, count: int) -> None:
        if self._most is not None and self.passes + count > self._most:
            self.stopped = True
            raise BudgetSpent

    def _judge(self, points: Tensor, logits: Tensor) -> None:
        if points.shape[1:] != self._x.shape[1:]:
            return  # of another shape than the samples: nothing that counts
        if len(points) == len(self._x):
            whose = torch.arange(len(points))
        else:
            whose = torch.cdist(points.flatten(1).float() @ self._directions, self._places).argmin(1)
        fooled = (logits.argmax(1) != self._y[whose]).nonzero()[:, 0]
        if len(fooled) == 0:
            return
        whose, points = whose[fooled], points[fooled]
        distance = measure(self._norm, points, self._x[whose])
        allowed = within_bounds(points, TOLERANCE) & (distance <= self._reach)
        self.seen.scatter_reduce_(0, whose[allowed], distance[allowed], "amin")


def measure(norm: str, points: Tensor, x: Tensor) -> Tensor:
    """Measure how far points ``[N, ...]`` lie from samples, float64 ``[N]``.

    L0 counts places, as Salus does: a pixel or a moment with all its channels, or a feature.
    """
    if norm == "l0":
        moved = points != x
        return (moved if moved.ndim == 2 else moved.flatten(2).any(1)).sum(1).double()
    change = (points.double() - x.double()).flatten(1).abs()
    if norm == "linf":
        return change.amax(1)
    return change.sum(1) if norm == "l1" else change.square().sum(1).sqrt()


def within_bounds(points: Tensor, slack: float) -> Tensor:
    """Tell which points ``[N, ...]`` lie in [0, 1]; bool ``[N]``, False for NaN too."""
    flat = points.flatten(1)
    return ((flat >= -slack) & (flat <= 1 + slack)).all(1)

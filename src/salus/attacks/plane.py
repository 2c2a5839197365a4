"""The smallest step inside a box that crosses a plane: what attacks solve in place of a network that bends."""

from __future__ import annotations

import torch
from torch import Tensor

from salus.attacks.ball import NormName


def cross(
    slope: Tensor, gap: Tensor, low: Tensor, high: Tensor, norm: NormName, reach: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the smallest step ``s`` with ``low <= s <= high`` along which a linear function falls by ``gap``.

    The solution is ``s(t) = clamp(-t u, low, high)`` with ``u = slope`` in the L2 norm and ``u = sign(slope)`` in
    L-infinity. What it gains, ``-<slope, s(t)>``, is concave and piecewise linear in t, so Newton's method from
    t = 0 climbs to the right t without ever passing it, in a few exact steps and with no sorting.

    Args:
        slope: of the function ``[A, D]``.
        gap: how far it is to fall ``[A]``; where it is not above 0 the step is zero.
        low: the lowest value of each element of the step ``[A, D]``, at most 0.
        high: the highest, at least 0.
        norm: ``"linf"`` or ``"l2"``.
        reach: the largest t ``[A]``; None for no limit.

    Returns:
        The step ``[A, D]``, the farthest useful one where the box or ``reach`` does not let the function fall so
        far, and t ``[A]``.
    """
    # In units of the steepest element, so that no product overflows or vanishes.
    unit = slope.abs().amax(1).clamp_min(torch.finfo(slope.dtype).tiny)
    slope, gap = slope / unit[:, None], gap / unit
    limit = torch.full_like(gap, torch.inf) if reach is None else reach * unit if norm == "l2" else reach
    way = slope.sign() if norm == "linf" else slope
    end = torch.where(way > 0, low, high)  # where each element's way out of 0 stops
    t, step = torch.zeros_like(gap), torch.zeros_like(slope)
    climbing = gap > 0
    for _ in range(_MOST):
        lacking = gap + (slope * step).sum(1)
        rate = torch.where(step == end, 0, slope * way).sum(1)  # of the elements that can still move
        climbing = climbing & (lacking > _NEAR * gap) & (rate > 0) & (t < limit)
        if not bool(climbing.any()):
            break
        t = torch.where(climbing, torch.minimum(t + lacking / rate.clamp_min(1e-30), limit), t)
        step = torch.where(climbing[:, None], (-t[:, None] * way).clamp(low, high), step)
    return step, t / unit if norm == "l2" else t


#: Newton's steps; each but the last takes one more element to its end, in practice many.
_MOST = 64
#: The share of the gap that may be left.
_NEAR = 1e-5

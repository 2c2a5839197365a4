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
    t = 0 climbs to the right t without ever passing it, in a few exact steps and with no sorting. In L1 the steepest
    elements go to their bounds one after the other, until the last one need not go all the way; t is the step's length.

    Args:
        slope: of the function ``[A, D]``.
        gap: how far it is to fall ``[A]``; where it is not above 0 the step is zero.
        low: the lowest value of each element of the step ``[A, D]``, at most 0.
        high: the highest, at least 0.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.
        reach: the largest t ``[A]``; None for no limit.

    Returns:
        The step ``[A, D]``, the farthest useful one where the box or ``reach`` does not let the function fall so
        far, and t ``[A]``.
    """
    # In units of the steepest element, so that no product overflows or vanishes.
    unit = slope.abs().amax(1).clamp_min(torch.finfo(slope.dtype).tiny)
    slope, gap = slope / unit[:, None], gap / unit
    if norm == "l1":
        return _one_by_one(slope, gap, low, high, reach)
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


def _one_by_one(slope: Tensor, gap: Tensor, low: Tensor, high: Tensor, reach: Tensor | None) -> tuple[Tensor, Tensor]:
    """Move the steepest elements to their bounds in turn, as far as is needed."""
    size, order = slope.abs().sort(dim=1, descending=True, stable=True)
    room = torch.where(slope > 0, -low, high).gather(1, order)
    gains = size * room
    lacking = (gap[:, None] - (gains.cumsum(1) - gains)).clamp_min(0)  # before each element
    length = torch.where(size > 0, lacking / size.clamp_min(1e-30), 0).minimum(room)
    if reach is not None:
        length = length.minimum((reach[:, None] - (room.cumsum(1) - room)).clamp_min(0))
    step = torch.zeros_like(slope).scatter(1, order, length) * -slope.sign()
    return step, length.sum(1)


def length(change: Tensor, norm: NormName) -> Tensor:
    """Measure changes ``[..., D]``, ``[...]``."""
    size: Tensor = torch.linalg.vector_norm(change, _ORDERS[norm], dim=-1)
    return size


def dual(slope: Tensor, norm: NormName) -> Tensor:
    """Compute by how much linear functions with these slopes ``[..., D]`` grow along a step of length 1, ``[...]``."""
    growth: Tensor = torch.linalg.vector_norm(slope, _DUAL[norm], dim=-1)
    return growth


#: The exponent of each norm, and that of the norm dual to it.
_ORDERS: dict[NormName, float] = {"linf": float("inf"), "l2": 2, "l1": 1}
_DUAL: dict[NormName, float] = {"linf": 1, "l2": 2, "l1": float("inf")}

#: Newton's steps; each but the last takes one more element to its end, in practice many.
_MOST = 64
#: The share of the gap that may be left.
_NEAR = 1e-5

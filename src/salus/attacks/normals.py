"""The direction in which a model stays fooled, estimated from its answers around a point on the boundary."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from salus.attacks.search import Search

#: (samples' indices ``[A]``, number of the first, how many) to directions ``[A, count, ...]``.
Draw = Callable[[Tensor, int, int], Tensor]

#: Values of one sample's probes that are held at once. The same for every batch, so that sums are too.
_CHUNK = 2**12


def estimate_normal(
    search: Search, rows: Tensor, point: Tensor, probes: Tensor, share: float, draw: Draw, *, tangent: bool = False
) -> Tensor:
    """Estimate the steepest way into the region where the model is fooled (HopSkipJump, Eq. 16), ``[A, ...]``.

    Args:
        search: the search.
        rows: whose points they are ``[A]``.
        point: on the boundary ``[A, ...]``.
        probes: how many each sample may ask ``[A]``.
        share: the probes' length, as a share of the point's Euclidean distance from x.
        draw: where they go; the length is not looked at.
        tangent: keep the probes at right angles to the way from x, along which a walk on a circle cannot go anyhow.
            Near its end, where that way is nearly the normal, it would drown what the answers tell of the rest.
    """
    region, shape = search.batch_ball.select(rows), point.shape[1:]
    low, high, at = (values[:, None].flatten(2) for values in (region.low, region.high, point))  # [A, 1, D]
    free = high > low
    away = at - region.x[:, None].flatten(2)
    length = away.norm(dim=2, keepdim=True)
    ahead, radius = away / length.clamp_min(1e-30), share * length
    along, spread = torch.zeros(2, len(rows), shape.numel(), dtype=torch.float64, device=rows.device)
    balance = torch.zeros_like(probes)
    most, chunk = int(probes.max()), max(_CHUNK // shape.numel(), 1)
    for first in range(0, most, chunk):
        search.check_time()
        mask = torch.arange(first, min(first + chunk, most), device=rows.device) < probes[:, None]  # [A, B]
        noise = draw(search.batch_samples[rows], first, mask.shape[1]).flatten(2).to(point.dtype)  # [A, B, D]
        noise = torch.where(free, noise, 0)
        if tangent:
            noise -= (noise * ahead).sum(2, keepdim=True) * ahead
        noise *= radius / noise.norm(dim=2, keepdim=True).clamp_min(1e-30)
        points = (at + noise).clamp_(low, high)
        noise = torch.where(mask[:, :, None], points - at, 0)
        signs = torch.zeros(mask.shape, dtype=torch.int64, device=rows.device)
        whose = rows[:, None].expand_as(mask)[mask]
        signs[mask] = search.ask(points[mask].reshape(-1, *shape), whose).long() * 2 - 1
        spread += noise.sum(1, dtype=torch.float64)
        along += noise.mul_(signs[:, :, None]).sum(1, dtype=torch.float64)
        balance += signs.sum(1)
    mean = (balance / probes)[:, None]  # [A, 1]
    # Answers that are all the same have no deviation from their mean.
    gradient = along - torch.where(mean.abs() < 1, mean, 0) * spread
    normal: Tensor = (gradient / radius[:, 0].clamp_min(1e-30)).to(point.dtype)
    return normal.reshape(point.shape)

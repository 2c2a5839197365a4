"""Changes brought to lengths of their own, one for each sample: what attacks that search for the smallest one need."""

from __future__ import annotations

import torch
from torch import Tensor

from salus.attacks.ball import NormName, by_place, in_shape


def shortened(change: Tensor, most: Tensor, norm: NormName) -> Tensor:
    """Project changes ``[A, ...]`` onto the balls of these radii ``[A]`` around 0."""
    radius = most.to(change.dtype).reshape(-1, *[1] * (change.ndim - 1))
    if norm == "linf":
        return change.clamp(-radius, radius)
    if norm == "l2":
        nearer: Tensor = change * (
            radius / change.flatten(1).norm(dim=1).clamp_min(1e-30).reshape(radius.shape)
        ).clamp_max(1)
        return nearer
    return _soft(change, most) if norm == "l1" else _largest(change, most)


def _soft(change: Tensor, most: Tensor) -> Tensor:
    """Lower every element by what leaves a sum of absolute values of ``most`` (Duchi et al., 2008)."""
    size = change.flatten(1).abs()
    most = most.to(size.dtype)
    ordered = size.sort(dim=1, descending=True).values
    count = torch.arange(1, size.shape[1] + 1, device=size.device, dtype=size.dtype)
    levels = (ordered.cumsum(1) - most[:, None]) / count
    last = (ordered > levels).sum(1, keepdim=True).clamp_min(1) - 1
    level = torch.where(size.sum(1) > most, levels.gather(1, last)[:, 0], 0).clamp_min(0)
    return (size - level[:, None]).clamp_min(0).reshape(change.shape) * change.sign()


def _largest(change: Tensor, most: Tensor) -> Tensor:
    """Keep the places that changed most, so many of each sample."""
    size = by_place(change).square().sum(1)  # [A, P]
    rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return torch.where(in_shape(rank < most[:, None], change), change, 0)

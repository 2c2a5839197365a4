"""How rarely honest queries come so near: a lower tail for each caller, and the one of the quietest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Shares of a caller's queries at which the tail is held; below the last it falls as a power of the distance.
LEVELS = (0.5, 0.2, 0.05, 0.01)
#: Evidence beyond which nothing more is believed: nobody has seen so many honest queries.
MOST = 20.0


def quietest(samples: Sequence[Tensor]) -> Tensor:
    """Return the distances that are reached at each level by the caller whose queries come nearest, ``[B, 4]``.

    Of each band and level the nearest caller counts, so that no one caller's tail is judged by the others' average.

    Args:
        samples: for each caller its distances ``[N, B]``.
    """
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    found = torch.stack([each.double().quantile(levels, dim=0).T for each in samples])  # [callers, B, 4]
    return found.amin(0).clamp_min(1e-12)


def rarity(distances: Tensor, knots: Tensor) -> Tensor:
    """Return minus the logarithm of how often the quietest caller comes so near, 0 where it is nothing rare.

    Between the levels it is linear in the logarithm of the distance, and beyond the last it goes on at the slope of
    the last two levels: how many of n random points lie within d grows as a power of d.

    Args:
        distances: ``[N, B]``, infinite where there is nothing to be near to.
        knots: of :func:`quietest`, ``[B, 4]``, falling.

    Returns:
        float64 ``[N, B]``, from 0 to 20.
    """
    depth = -torch.tensor(LEVELS, dtype=torch.float64).log()  # rising
    at = distances.double().clamp(1e-12, 1e12).log()
    place, found = knots.log(), torch.zeros_like(at)
    for step in range(len(LEVELS) - 1):
        upper, lower = place[:, step], place[:, step + 1]
        slope = (depth[step + 1] - depth[step]) / (upper - lower).clamp_min(1e-6)
        found = torch.where(at < upper, depth[step] + slope * (upper - at), found)
    return found.clamp(0, MOST)

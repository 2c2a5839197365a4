"""The vote of a random ensemble, and what it does over all the ensembles that could have been drawn.

``values [N, m]`` are what m members measured on N inputs. An ensemble is n of the members, n odd; it rejects an
input when more than half of its members find it above their threshold. Under MultiMagNet's minTA all members of an
ensemble share the lowest of their thresholds.

References:
    Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019, Sections 4.1.1 and 4.1.3.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from salus.errors import CalibrationError

Approach = Literal["MTA", "minTA"]
APPROACHES: tuple[Approach, ...] = ("MTA", "minTA")


def drop_rate_thresholds(values: Tensor, drop_rate: float) -> Tensor:
    """Return each member's threshold ``[m]``: of N falling values on clean inputs the one at ``drop_rate * N``.

    So at most that share of the clean inputs lies above it (Section 4.1.1).

    Raises:
        CalibrationError: that many inputs cannot carry the rate.
    """
    place = math.floor(drop_rate * len(values) + 1e-9)
    if not 1 <= place < len(values):
        raise CalibrationError(
            f"MultiMagNet: a drop rate of {drop_rate:g} drops {'all' if place else 'none'} of {len(values)} clean "
            "samples; give more samples, or another rate."
        )
    return values.sort(0, descending=True).values[place]


def shared(thresholds: Tensor, drawn: Tensor, approach: Approach) -> Tensor:
    """Return the thresholds ``[N, n]`` that drawn members ``[N, n]`` use, out of everyone's ``[m]``."""
    own = thresholds[drawn]
    return own if approach == "MTA" else own.amin(1, keepdim=True).expand_as(own)


def excess(values: Tensor, thresholds: Tensor) -> Tensor:
    """Return values over their thresholds; above 1 exactly where a value is above its threshold."""
    return values / thresholds.clamp_min(torch.finfo(thresholds.dtype).tiny)


def certain(values: Tensor, n: int) -> Tensor:
    """Return the least level at which no ensemble of n members rejects the input, ``[N]``; differentiable.

    It is the ((n + 1) / 2)-th largest value of all members: at most (n - 1) / 2 of them lie above.
    """
    return values.topk((n + 1) // 2, dim=1).values[:, -1]


def certain_excess(values: Tensor, thresholds: Tensor, n: int, approach: Approach) -> Tensor:
    """Return the largest median of :func:`excess` in any ensemble of n members, ``[N]``; differentiable.

    At 1 or below, every ensemble accepts the input.
    """
    if approach == "MTA" or n == 1:
        return certain(excess(values, thresholds), n)
    # The worst ensemble whose lowest threshold is the j-th holds the largest values of those with higher ones.
    order = thresholds.argsort(stable=True)
    values, thresholds = values[:, order], thresholds[order]
    last = values.shape[1] - n
    return torch.stack([excess(certain(values[:, j:], n), thresholds[j]) for j in range(last + 1)]).amax(0)


def rejection_probability(values: Tensor, thresholds: Tensor, n: int, approach: Approach = "MTA") -> Tensor:
    """Return the exact probability ``[N]``, float64, that a random ensemble of n members rejects each input.

    Hypergeometric: all ensembles are equally likely. A value that is NaN counts as above.
    """
    m = values.shape[1]
    if approach == "MTA" or n == 1:
        above = (~(values <= thresholds)).sum(1)  # [N]
        return _majority(m, n, 0).to(values.device)[above]
    order = thresholds.argsort(stable=True)
    values, thresholds = values[:, order], thresholds[order]
    total = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    for j in range(m - n + 1):  # the drawn member of the lowest threshold; the others follow it in order
        above = ~(values[:, j:] <= thresholds[j])  # [N, m - j]
        own, others = above[:, 0].long(), above[:, 1:].sum(1)
        chosen = torch.stack([_majority(m - j - 1, n - 1, 0), _majority(m - j - 1, n - 1, 1)]).to(values.device)
        total += math.comb(m - j - 1, n - 1) / math.comb(m, n) * chosen[own, others]
    return total


@lru_cache(maxsize=512)
def _majority(members: int, drawn: int, already: int) -> Tensor:
    """Return, by how many of the members vote against, the probability of a majority, ``[members + 1]``.

    So many are drawn of them; with an even number a single vote is cast beside theirs, ``already`` 1 or 0.
    """
    needed = drawn // 2 + 1 - already
    return torch.tensor(
        [
            sum(math.comb(against, k) * math.comb(members - against, drawn - k) for k in range(needed, drawn + 1))
            / math.comb(members, drawn)
            for against in range(members + 1)
        ],
        dtype=torch.float64,
    )

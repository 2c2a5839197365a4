"""The vote of a random ensemble, and what it does over all the ensembles that could have been drawn.

``values [N, m]`` are what m members measured on N inputs. An ensemble is n of the members, n odd; it rejects an
input when more than half of its members find it above their threshold. Under MultiMagNet's minTA all members of an
ensemble share the lowest of their thresholds.

References:
    Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019, Sections 4.1.1 and 4.1.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.errors import CalibrationError

Approach = Annotated[
    Literal["MTA", "minTA"], Field(description="thresholds of the members: their own, or the lowest of those drawn")
]
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
    return values.kthvalue(len(values) - place, dim=0).values


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


def expected(values: Tensor, n: int, thresholds: Tensor | None = None, approach: Approach = "MTA") -> Tensor:
    """Return the mean over all ensembles of n members of their median value, ``[N]``; differentiable.

    With thresholds ``[m]``, of their median :func:`excess`.
    """
    drawn = _ensembles(values.shape[1], n).to(values.device)
    taken = values[:, drawn]
    if thresholds is not None:
        taken = excess(taken, shared(thresholds, drawn, approach))
    return taken.median(2).values.mean(1)


def rejection_probability(values: Tensor, thresholds: Tensor, n: int, approach: Approach = "MTA") -> Tensor:
    """Return the exact probability ``[N]``, float64, that a random ensemble of n members rejects each input.

    Hypergeometric: all ensembles are equally likely. A value that is NaN counts as above.
    """
    m = values.shape[1]
    rejecting = _rejecting(m, n, approach).to(values.device)
    return rejecting[_ballots(values, thresholds, approach)].sum(1) / math.comb(m, n)


def acceptance_with(values: Tensor, thresholds: Tensor, n: int, approach: Approach = "MTA") -> Tensor:
    """Return how likely a random ensemble that member i is of accepts each input, float64 ``[N, m]``.

    The mean over the members is 1 - :func:`rejection_probability`: each ensemble has n of them.
    """
    m = values.shape[1]
    drawn = _ensembles(m, n).to(values.device)  # [C, n]
    against = ~(values[:, drawn] <= shared(thresholds, drawn, approach))  # [N, C, n]
    accepting = (against.sum(2) <= n // 2).double()  # [N, C]
    holds = torch.nn.functional.one_hot(drawn, m).sum(1).double()  # [C, m]
    return accepting @ holds / math.comb(m - 1, n - 1)


def expected_rejections(
    values: Tensor, thresholds: Tensor, sizes: Sequence[int], approach: Approach = "MTA"
) -> list[float]:
    """Return, for ensembles of each of these sizes, the sum of :func:`rejection_probability` over the N inputs."""
    m = values.shape[1]
    ballots = _ballots(values, thresholds, approach).flatten()
    tables = torch.stack([_rejecting(m, n, approach) for n in sizes]).to(values.device)  # [sizes, B]
    counts = ballots.bincount(minlength=tables.shape[1]).double()
    return [total / math.comb(m, n) for total, n in zip((tables @ counts).tolist(), sizes, strict=True)]


def _ballots(values: Tensor, thresholds: Tensor, approach: Approach) -> Tensor:
    """Sum up who votes against each input in numbers that :func:`_rejecting` is indexed by, ``[N, 1]`` or ``[N, m]``.

    Under minTA there is one for the ensembles of each lowest threshold, told by how the member that it belongs to
    votes and how many of those with higher ones vote against.
    """
    if approach == "MTA":
        return (~(values <= thresholds)).sum(1, keepdim=True)
    m = values.shape[1]
    order = thresholds.argsort(stable=True)
    against = ~(values[:, None, order] <= thresholds[order, None])  # [N, m, m]: lowest threshold, member
    behind = torch.ones(m, m, dtype=torch.bool, device=values.device).triu(1)
    own, others = against.diagonal(dim1=1, dim2=2), (against & behind).sum(2)
    return (torch.arange(m, device=values.device) * 2 + own) * m + others


@lru_cache(maxsize=512)
def _ensembles(m: int, n: int) -> Tensor:
    """List the ensembles of n out of m members, int64 ``[C, n]``; ``torch.combinations`` goes through m^n tuples."""
    return torch.tensor(list(combinations(range(m), n)))


@lru_cache(maxsize=512)
def _rejecting(m: int, n: int, approach: Approach) -> Tensor:
    """Count the ensembles of n out of m members that reject an input, by its ballots, float64."""
    if approach == "MTA":
        counts = [_majorities(m, n, against, 0) for against in range(m + 1)]
    else:
        # The member of the lowest threshold is drawn, and n - 1 of those behind it.
        counts = [_majorities(m - j - 1, n - 1, others, own) for j in range(m) for own in (0, 1) for others in range(m)]
    return torch.tensor(counts, dtype=torch.float64)


def _majorities(members: int, drawn: int, against: int, already: int) -> int:
    """Count the ways to draw so many of the members that most vote against, as so many of the members do.

    Where an even number is drawn a single vote is cast beside theirs, ``already`` 1 or 0.
    """
    if against > members:
        return 0
    needed = drawn // 2 + 1 - already
    return sum(math.comb(against, k) * math.comb(members - against, drawn - k) for k in range(needed, drawn + 1))

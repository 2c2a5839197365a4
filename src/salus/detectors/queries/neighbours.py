"""The nearest earlier query of each query: exact, without a loop over queries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm

#: Queries that are compared with the past at once, so that the products stay small.
_ROWS = 256
#: As many or fewer are compared by differences, which read the past once; products of matrices pay from there on.
_FEW = 2


def nearest_earlier(queries: Tensor, past: Tensor, parts: Sequence[slice]) -> tuple[Tensor, Tensor]:
    """Find how far the nearest earlier query is in each part of the values, and over all of them.

    Earlier are those of the past, and of the queries those that stand before; of each part the nearest is another.

    Args:
        queries: float32 ``[N, D]``, in order.
        past: ``[M, D]``.
        parts: slices of the D values, which together are all of them.

    Returns:
        Distances ``[N, P + 1]``, the last over all parts, infinite for a first query; and the places of the nearest
        over all parts in the past and then the queries ``[N]``, -1 for a first query.
    """
    if len(queries) <= _FEW and len(past):
        return _by_differences(queries, past, parts)
    known = torch.cat([past, queries]) if len(past) else queries
    centre = known.mean(0)  # products of smaller values cancel fewer digits
    known, queries = known - centre, queries - centre
    sizes = torch.stack([known[:, part].square().sum(1) for part in parts])  # [P, M + N]
    distances, places = [], []
    for first in range(0, len(queries), _ROWS):
        rows = torch.arange(first, min(first + _ROWS, len(queries)))
        place = len(past) + rows
        last = int(place[-1]) + 1
        later = torch.arange(last) >= place[:, None]  # [n, last]
        own, whole, columns = queries[rows], torch.zeros(len(rows), last), []
        for part, size in zip(parts, sizes, strict=True):
            squared = torch.addmm(size[None, :last], own[:, part], known[:last, part].T, alpha=-2)
            squared = (squared + size[place][:, None]).clamp_min_(0)
            whole += squared
            columns.append(_exact(squared, later, own[:, part], known[:last, part])[0])
        near, which = _exact(whole, later, own, known[:last])
        distances.append(torch.stack([*columns, near], 1))
        places.append(torch.where(near.isinf(), -1, which))
    if not distances:
        return torch.zeros(0, len(parts) + 1), torch.zeros(0, dtype=torch.int64)
    return torch.cat(distances), torch.cat(places)


def _by_differences(queries: Tensor, past: Tensor, parts: Sequence[slice]) -> tuple[Tensor, Tensor]:
    """Do the same of a few queries, one pass over the past each."""
    belongs = torch.zeros(queries.shape[1], len(parts) + 1)  # of each value, to a part, and to all
    for column, part in enumerate(parts):
        belongs[part, column] = 1
    belongs[:, -1] = 1
    distances, places = [], []
    for row, query in enumerate(queries):
        squared = torch.cat([(block - query).square_() @ belongs for block in past.split(_ROWS)])  # [M, P + 1]
        *nearest, place = squared.argmin(0).tolist()
        near = [vector_norm(past[which, part] - query[part]) for which, part in zip(nearest, parts, strict=True)]
        least = vector_norm(past[place] - query)
        for number, before in enumerate(queries[:row], len(past)):
            change = query - before
            near = [least.minimum(vector_norm(change[part])) for least, part in zip(near, parts, strict=True)]
            if (length := vector_norm(change)) < least:
                least, place = length, number
        distances.append(torch.stack([*near, least]))
        places.append(place)
    return torch.stack(distances), torch.tensor(places)


def _exact(squared: Tensor, later: Tensor, own: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Take the nearest, and its distance once more from differences: how far ``[n]``, and where ``[n]``."""
    least, where = squared.masked_fill_(later, torch.inf).min(1)
    near = vector_norm(own - known[where], dim=1)
    return near.masked_fill(least.isinf(), torch.inf), where

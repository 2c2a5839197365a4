"""Which other classes an attack targets, and in which order."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.plane import dual
from salus.attacks.search import Observation, Search

Ranking = Annotated[
    Literal["margin", "malt"],
    Field(description="which classes come first: of least margin, or nearest were the model linear (MALT)"),
]


def ranked_classes(search: Search, look: Observation, ranking: Ranking, norm: NormName) -> Tensor:
    """Order the classes by which each sample may be fooled, as they look at x.

    ``"margin"`` puts the lowest margin first. ``"malt"`` (Melamed et al., 2024, Algorithm 1) divides each margin by
    how steeply it can fall, the dual norm of its gradient, which takes a backward pass a class: so far away would the
    boundaries be, were the model linear. Of many classes the hundred of lowest margin are ordered.

    Args:
        search: the active samples.
        look: what the active samples showed at x.
        ranking: the order.
        norm: in which distances are measured.

    Returns:
        Classes of each sample of the batch ``[N, M]``, the first first; zeros for samples that are not active.
    """
    ways = look.class_margins.shape[1] - 1
    order = look.class_margins.argsort(dim=1, stable=True)[:, :ways]
    if ranking == "malt" and ways > 1 and len(search) > 0:
        order = order[:, :_MOST]
        ball = search.ball
        margins, gradients = search.jacobian(ball.x, order)  # [A, M], [A, M, ...]
        falls = dual((gradients * (ball.low < ball.high)[:, None]).flatten(2), norm)
        distance = torch.where((falls > 0) & margins.isfinite(), margins / falls.clamp_min(1e-30), torch.inf)
        order = order.gather(1, distance.argsort(dim=1, stable=True))
    classes = order.new_zeros(len(search.batch_y), order.shape[1])
    classes[search.rows] = order
    return classes


#: Classes that are differentiated at most.
_MOST = 100

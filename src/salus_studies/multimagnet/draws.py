"""MultiMagNet's experiments: ensembles drawn for every 100 images in turn, their votes, and what became of D.

Everything the members measured is known beforehand, so that an experiment is a gathering of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from salus.detectors.multimagnet_calibration import Measured
from salus.detectors.multimagnet_grid import Combination
from salus.detectors.votes import shared
from salus.generative.member_draws import MemberDraws
from salus_studies.multimagnet.observed import labels_of
from salus_studies.multimagnet.published import INPUTS_PER_ENSEMBLE


@dataclass(frozen=True, eq=False)
class Side:
    """One half of D: legitimate or attacked images.

    Attributes:
        measured: what the members measured, with the labels of their reconstructions.
        right: whether the classifier is right about each image, bool ``[N]``.
        y: the true labels ``[N]``.
    """

    measured: Measured
    right: Tensor
    y: Tensor


def experiments(
    legitimate: Side,
    attacked: Side,
    combination: Combination,
    thresholds: Tensor,
    *,
    count: int,
    seed: int,
    sizes: Sequence[int] = (),
) -> dict[str, Any]:
    """Draw ensembles for all of D so many times, and count.

    Args:
        legitimate: the legitimate half.
        attacked: the attacked half.
        combination: how members measure and vote.
        thresholds: of all members ``[m]``.
        count: experiments.
        seed: of the order of D and of the draws.
        sizes: draw the number of members out of these for each ensemble, instead of the combination's n.

    Returns:
        Of each figure its ``mean``, its deviation over ``experiments``, and its deviation over ``batches`` of 100
        images: ``accuracy``, ``ppv`` and ``npv`` as in Tables 2 and 3; ``accepted`` and ``reformed``, the share of
        right answers among accepted images, without and with the reformer (Table 5); ``kept`` and ``kept_reformed``,
        the share of legitimate images that are accepted and right; ``fallen`` and ``fallen_reformed``, the share of
        attacked images that are accepted and wrong.
    """
    values = torch.cat([side.measured.values[combination.measure] for side in (legitimate, attacked)]).cpu()
    labels = torch.cat([labels_of(side.measured) for side in (legitimate, attacked)]).cpu()
    right = torch.cat([side.right for side in (legitimate, attacked)]).cpu()
    y = torch.cat([side.y for side in (legitimate, attacked)]).cpu()
    is_attacked = torch.arange(len(y)) >= len(legitimate.y)
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=rng)
    values, reformed_right, right, is_attacked = (
        values[order],
        (labels == y[:, None])[order],
        right[order],
        is_attacked[order],
    )
    whole, batches = [], []
    for own in torch.randint(2**62, (count,), generator=rng).tolist():
        draws = MemberDraws(own, INPUTS_PER_ENSEMBLE)
        everyone = draws(values, values.shape[1], values.shape[1])  # [N, m], each row a random order of all members
        n = _sizes(len(values), combination.n, sizes, rng)
        rejected = votes(values, thresholds.cpu(), everyone, n, combination)
        reformer = everyone.gather(1, (torch.rand(len(n), 1, generator=rng) * n[:, None]).long())
        reformed = reformed_right.gather(1, reformer)[:, 0]
        columns = {"attacked": is_attacked, "rejected": rejected, "right": right, "reformed": reformed}
        whole.append(figures(columns))
        for start in range(0, len(values), INPUTS_PER_ENSEMBLE):
            part = slice(start, start + INPUTS_PER_ENSEMBLE)
            batches.append(figures({name: column[part] for name, column in columns.items()}))
    return {name: _spread(whole, batches, name) for name in whole[0]}


def votes(values: Tensor, thresholds: Tensor, everyone: Tensor, n: Tensor, combination: Combination) -> Tensor:
    """Tell which inputs most of the first n members of their row of ``everyone [N, m]`` reject, bool ``[N]``.

    Args:
        values: what the members measured ``[N, m]``.
        thresholds: theirs ``[m]``.
        everyone: a random order of all members for each input.
        n: members that vote on each input, odd ``[N]``.
        combination: whether members share the lowest of their thresholds.
    """
    rejected = torch.zeros(len(values), dtype=torch.bool)
    for size in n.unique().tolist():
        rows = n == size
        drawn = everyone[rows, :size]
        above = ~(values[rows].gather(1, drawn) <= shared(thresholds, drawn, combination.approach))
        rejected[rows] = above.sum(1) > size / 2
    return rejected


def figures(columns: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Count what became of images; None where there is nothing to divide by.

    Args:
        columns: ``attacked``, ``rejected``, ``right`` and ``reformed`` (right after reconstruction), bool ``[N]``.
    """
    attacked, rejected, right, reformed = (columns[name] for name in ("attacked", "rejected", "right", "reformed"))
    accepted, legitimate = ~rejected, ~attacked
    return {
        "accuracy": _share(attacked == rejected, torch.ones_like(attacked)),
        "ppv": _share(accepted, legitimate),
        "npv": _share(rejected, attacked),
        "accepted": _share(right, accepted),
        "reformed": _share(reformed, accepted),
        "undefended": _share(right, torch.ones_like(attacked)),
        "kept": _share(accepted & right, legitimate),
        "kept_reformed": _share(accepted & reformed, legitimate),
        "fallen": _share(accepted & ~right, attacked),
        "fallen_reformed": _share(accepted & ~reformed, attacked),
    }


def _share(hit: Tensor, among: Tensor) -> float | None:
    total = int(among.sum())
    return int((hit & among).sum()) / total if total else None


def _sizes(inputs: int, n: int, sizes: Sequence[int], rng: torch.Generator) -> Tensor:
    """Give each input the number of members of its ensemble ``[N]``."""
    ensembles = -(-inputs // INPUTS_PER_ENSEMBLE)
    chosen = torch.full((ensembles,), n)
    if sizes:
        chosen = torch.tensor(sizes)[torch.randint(len(sizes), (ensembles,), generator=rng)]
    return chosen.repeat_interleave(INPUTS_PER_ENSEMBLE)[:inputs]


def _spread(
    whole: Sequence[Mapping[str, float | None]], batches: Sequence[Mapping[str, float | None]], name: str
) -> dict[str, float | None]:
    mean, deviation = _moments([row[name] for row in whole])
    return {"mean": mean, "experiments": deviation, "batches": _moments([row[name] for row in batches])[1]}


def _moments(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of what there is."""
    there = torch.tensor([value for value in values if value is not None], dtype=torch.float64)
    if len(there) == 0:
        return None, None
    return float(there.mean()), float(there.std()) if len(there) > 1 else 0.0

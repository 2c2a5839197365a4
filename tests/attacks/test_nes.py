"""NES: its slope, what it pays, and how strong it is without a gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from salus.attacks import NES, PGD
from salus.attacks.ball import ball
from salus.attacks.objective import LogitObjective
from salus.attacks.probes import orthogonal
from salus.attacks.search import Search
from salus.errors import OptionError


def test_as_many_pairs_as_values_give_the_gradient(trained: Any) -> None:
    net, x, y = trained
    x, y = x[:8].double(), y[:8]
    net = net.double()
    try:
        search = Search(LogitObjective(net), ball("linf", x, 0.1, (0.0, 1.0)), y, torch.arange(8))
        directions = orthogonal(0, (1, 24), 1.0, 0, torch.arange(8), 0, 24)
        slope = NES(eps=0.1, sigma=1e-4).slope(search, x, directions)
        point = x.clone().requires_grad_()
        (exact,) = torch.autograd.grad(LogitObjective(net).evaluate(point, y).margin.sum(), point)
    finally:
        net.float()
    cosine = torch.nn.functional.cosine_similarity(slope.flatten(1), exact.flatten(1))
    assert float(cosine.min()) > 0.999 and bool((search.queries == 48).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_does_nearly_as_well_as_an_attack_with_gradients(norm: Any, trained: Any) -> None:
    net, x, y = trained
    x, y = x[:30], y[:30]
    eps = 0.12 if norm == "linf" else 0.45
    blind, seeing = (attack.run(net, x, y).success.double().mean() for attack in (
        NES(eps=eps, norm=norm, queries=500), PGD(eps=eps, norm=norm)))  # fmt: skip
    assert 0.3 < float(seeing) < 1 and float(blind) > float(seeing) - 0.05


@pytest.mark.parametrize("queries", [1, 3, 60, 101])
def test_no_sample_asks_more_than_it_may(queries: int, trained: Any) -> None:
    net, x, y = trained
    asked = 0

    def counting(batch: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += len(batch)
        return net(batch)  # type: ignore[no-any-return]

    found = NES(eps=0.01, queries=queries, early_stop=False)._run(counting, x, y, judge=False)
    assert int(found.queries.max()) <= queries and int(found.queries.sum()) == asked


@pytest.mark.parametrize("options", [{"pairs": 0}, {"sigma": 0.0}, {"momentum": 1.0}, {"step_size": math.inf}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        NES(eps=0.1, **options)

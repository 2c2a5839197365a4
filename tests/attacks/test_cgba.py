"""CGBA: where its circles end, and how it stands beside HopSkipJump."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from salus.attacks import CGBA, HopSkipJump
from salus.attacks.ball import ball
from salus.attacks.objective import DecisionObjective
from salus.attacks.search import Search
from salus.errors import OptionError


def test_with_the_normal_known_one_circle_ends_in_the_nearest_point_of_a_plane() -> None:
    x, w = torch.full((5, 30), 0.5), torch.ones(30) / math.sqrt(30)

    def model(points: torch.Tensor) -> torch.Tensor:
        return ((points - 0.5) @ w > 0.3).long()

    search = Search(
        DecisionObjective(model), ball("l2", x, math.inf, (-9.0, 9.0)), torch.zeros(5, dtype=torch.int64),
        torch.arange(5), closest=True,
    )  # fmt: skip
    aside = torch.linspace(0.05, 1, 5)[:, None] * torch.nn.functional.one_hot(torch.arange(5), 30)
    aside = aside - (aside @ w)[:, None] * w
    point = x + 0.3001 * w + aside  # on the plane, off its nearest point
    attack = CGBA(angles=16)
    first = torch.full((5,), 0.3, dtype=torch.float64)
    found, angle = attack.turn(search, torch.arange(5), point, w.expand(5, -1), first)
    distance = (found - x).norm(dim=1)
    assert float(distance.max()) < 0.302 and float(distance.min()) >= 0.3 - 1e-6
    torch.testing.assert_close(angle.tan().float(), aside.norm(dim=1) / 0.3, rtol=0.05, atol=0.01)


def test_it_comes_nearer_than_hop_skip_jump_with_as_many_queries(trained: Any) -> None:
    net, x, y = trained
    right = net(x).argmax(1) == y
    x, y = x[right][:40], y[right][:40]
    ours, theirs = (attack.run(net, x, y).distance for attack in (
        CGBA(queries=400), HopSkipJump(queries=400, directions="chen-2020")))  # fmt: skip
    assert float(ours.median()) < 0.95 * float(theirs.median())


@pytest.mark.parametrize("options", [{"evaluations": 0}, {"probe": 1.0}, {"angles": 0}, {"frequencies": 0.0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        CGBA(**options)


def test_the_answers_of_a_boundary_that_is_a_sphere_lead_to_its_nearest_point() -> None:
    class Outside(nn.Module):  # fooled outside a ball around a point beside x
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            away = (points - 0.5).flatten(1).norm(dim=1)
            return torch.stack([1 - away, away - 1], 1)

    x = torch.full((6, 20), 0.5)
    x[:, 0] += 0.4
    found = CGBA(queries=800, bounds=(-2.0, 2.0)).run(Outside(), x, torch.zeros(6, dtype=torch.int64))
    assert bool(found.success.all()) and float(found.distance.max()) < 0.68  # at least 0.6

"""The boundary attack: its steps, where it ends, and how it stands beside others'."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salus.attacks import Boundary
from salus.attacks.boundary import sideways
from salus.errors import OptionError


@pytest.mark.parametrize("shape", [(7,), (2, 30), (3, 5, 6)])
def test_a_step_sideways_keeps_the_distance_and_turns_by_the_asked_angle(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    away, noise = torch.randn(50, *shape, generator=rng), torch.randn(50, *shape, generator=rng)
    delta = torch.linspace(0.001, 1, 50)
    turned = sideways(away, noise, delta)
    one, other = away.flatten(1), turned.flatten(1)
    torch.testing.assert_close(other.norm(dim=1), one.norm(dim=1))
    cosine = nn.functional.cosine_similarity(one.double(), other.double())
    torch.testing.assert_close(cosine, 1 / (1 + delta.double() ** 2).sqrt(), rtol=0, atol=1e-5)


def test_a_lone_value_cannot_step_sideways_and_still_comes_near() -> None:
    x, y = torch.full((4, 1), 0.5), torch.zeros(4, dtype=torch.int64)
    result = Boundary(queries=100).run(lambda batch: torch.cat([0.8 - batch, batch - 0.8], 1), x, y)
    assert bool(result.success.all()) and float(result.distance.max()) == pytest.approx(0.3, abs=0.001)


def test_it_ends_near_the_nearest_point_of_a_plane() -> None:
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(60, generator=rng)
    net = nn.Linear(60, 2)
    with torch.no_grad():
        net.weight.copy_(torch.stack([torch.zeros(60), w]))
        net.bias.copy_(torch.tensor([0.0, -float(w.sum()) / 2 - 0.3 * float(w.norm())]))
    x = 0.5 + 0.1 * (torch.rand(20, 60, generator=rng) - 0.5)
    logits = net(x).detach()
    result = Boundary(queries=3000).run(net, x, torch.zeros(20, dtype=torch.int64))
    ratio = result.distance / ((logits[:, 0] - logits[:, 1]) / w.norm())
    assert bool(result.success.all()) and float(ratio.min()) >= 1 - 1e-4 and float(ratio.median()) < 1.05


def test_every_sample_adapts_its_own_steps(trained: Any) -> None:
    net, x, y = trained
    x, y = x[:40], y[:40]
    near = Boundary(queries=500).run(net, x, y).distance
    for first in (1e-3, 0.5):  # far from what fits
        other = Boundary(queries=500, spherical_step=first, source_step=first).run(net, x, y).distance
        assert float(other.median()) < 1.1 * float(near.median())


@pytest.mark.parametrize(
    "options", [{"spherical_step": 0.0}, {"source_step": 2.0}, {"adaptation": 1.0}, {"norm": "linf"}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        Boundary(**options)


def plain_boundary(net: Any, x: Tensor, y: Tensor, queries: int) -> Tensor:
    """Brendel's walk with steps of fixed length, sideways and inward in one; returns the distances."""
    rng = torch.Generator().manual_seed(0)
    point = torch.rand(x.shape, generator=rng)
    for _ in range(200):
        stuck = net(point).argmax(1) == y
        point = torch.where(stuck[:, None, None], torch.rand(x.shape, generator=rng), point)
    for _ in range(queries):
        tried = sideways(point - x, torch.randn(x.shape, generator=rng), torch.full((len(x),), 0.1)) * 0.99
        tried = (x + tried).clamp(0, 1)
        point = torch.where((net(tried).argmax(1) != y)[:, None, None], tried, point)
    distance = (point - x).flatten(1).norm(dim=1)
    return torch.where(net(point).argmax(1) == y, torch.inf, distance)


def test_it_comes_nearer_than_a_plain_walk(trained: Any) -> None:
    net, x, y = trained
    x, y = x[:60], y[:60]
    ours = Boundary(queries=500).run(net, x, y)
    assert bool(ours.success.all()) and float(ours.distance.median()) < float(plain_boundary(net, x, y, 500).median())


@pytest.mark.slow
@pytest.mark.parametrize("library", ["foolbox", "art"])
def test_it_comes_nearer_than_other_libraries_with_no_more_queries(library: str, trained: Any) -> None:
    net, x, y = trained
    right = net(x).argmax(1) == y
    x, y = x[right][:20], y[right][:20]
    asked = 0

    class Counting(nn.Module):  # with NumPy 2 ART's points become float64
        def forward(self, batch: Tensor) -> Tensor:
            nonlocal asked
            asked += len(batch)
            return net(batch.float())  # type: ignore[no-any-return]

    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        pytest.importorskip(library)
        if library == "foolbox":
            foolbox = pytest.importorskip("foolbox")
            model = foolbox.PyTorchModel(Counting().eval(), (0, 1), device="cpu")
            x_adv = foolbox.attacks.BoundaryAttack(steps=500).run(model, x, foolbox.criteria.Misclassification(y))
        else:
            np.random.seed(0)
            from art.attacks.evasion import BoundaryAttack
            from art.estimators.classification import PyTorchClassifier

            classifier = PyTorchClassifier(Counting(), nn.CrossEntropyLoss(), (1, 24), 3, clip_values=(0.0, 1.0))
            theirs = BoundaryAttack(classifier, targeted=False, max_iter=15, verbose=False)
            x_adv = torch.from_numpy(theirs.generate(x.numpy(), y=y.numpy()))
    distance = (x_adv - x).flatten(1).norm(dim=1)
    distance[net(x_adv).argmax(1) == y] = torch.inf
    ours = Boundary(queries=asked // len(x)).run(net, x, y)
    assert bool(ours.success.all()) and float(ours.distance.median()) <= 1.15 * float(
        distance.median()
    )  # a tenth is chance on 20 beats

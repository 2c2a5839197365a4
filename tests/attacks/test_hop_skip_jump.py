"""HopSkipJump: its estimate of the gradient, where it ends, and how it stands beside others'."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import HopSkipJump
from salus.attacks.ball import ball
from salus.attacks.objective import DecisionObjective
from salus.attacks.search import Search
from salus.errors import OptionError


def halfspace(width: int, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear model of two classes, samples of the first, their labels, and the normal of its boundary."""
    rng = torch.Generator().manual_seed(seed)
    w = torch.randn(width, generator=rng)
    net = nn.Linear(width, 2)
    with torch.no_grad():
        net.weight.copy_(torch.stack([torch.zeros(width), w]))
        net.bias.copy_(torch.tensor([0.0, -float(w.sum()) / 2 - 0.3 * float(w.norm())]))
    x = 0.5 + 0.1 * (torch.rand(20, width, generator=rng) - 0.5)
    assert not bool(net(x).argmax(1).any())
    return net, x, torch.zeros(20, dtype=torch.int64), w


@pytest.mark.parametrize("width", [2, 60])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_ends_at_the_nearest_point_of_a_plane(width: int, norm: Any) -> None:
    net, x, y, w = halfspace(width)
    logits = net(x).detach()
    least = (logits[:, 0] - logits[:, 1]) / (w.norm() if norm == "l2" else w.abs().sum())
    result = HopSkipJump(norm=norm, queries=2000).run(net, x, y)
    assert bool(result.success.all())
    ratio = result.distance / least
    assert float(ratio.min()) >= 1 - 1e-4 and float(ratio.median()) < (1.05 if norm == "l2" else 1.2)


@pytest.mark.parametrize("probes", [60, 100, 1000])
@pytest.mark.parametrize("directions", ["basis", "chen-2020"])
def test_the_estimate_points_along_the_normal(directions: Any, probes: int) -> None:
    net, x, y, w = halfspace(60)
    logits = net(x).detach()
    point = x + ((logits[:, 0] - logits[:, 1]) / w.square().sum())[:, None] * w * 1.0001  # just beyond the plane
    search = Search(DecisionObjective(net), ball("l2", x, math.inf, (0.0, 1.0)), y, torch.arange(20), closest=True)
    many = torch.full((20,), probes)
    attack = HopSkipJump(directions=directions)
    direction = attack.estimate(search, torch.arange(20), point, many, 0)
    assert bool((search.queries == probes).all())
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(20))
    cosine = (direction @ (w / w.norm())).mean()
    # Signs of n Gaussian probes of d values: 1 / sqrt(1 + (pi / 2) (d / n)).
    expected = 1 / math.sqrt(1 + math.pi / 2 * 60 / probes)
    if directions == "basis":  # a whole basis keeps the signs of all coordinates: sqrt(2 / pi)
        assert float(cosine) > (math.sqrt(2 / math.pi) - 0.03 if probes == 60 else expected - 0.02)
    else:
        assert float(cosine) == pytest.approx(expected, abs=0.05)
    few = attack.estimate(search, torch.arange(20), point, many.index_fill(0, torch.tensor([3]), 10), 0)
    assert torch.equal(few[[0, 1, 2]], direction[[0, 1, 2]]) and not torch.equal(few[3], direction[3])


def test_values_that_may_not_change_are_not_probed() -> None:
    net, x, y, _ = halfspace(60)
    mask = torch.arange(60) < 40
    region = ball("l2", x, math.inf, (0.0, 1.0), mask)
    search = Search(DecisionObjective(net), region, y, torch.arange(20), closest=True)
    point = region.project(x + 0.1)
    direction = HopSkipJump().estimate(search, torch.arange(20), point, torch.full((20,), 50), 1)
    assert not bool(direction[:, 40:].any()) and bool(direction[:, :40].any(1).all())


@pytest.mark.parametrize(
    "options",
    [{"initial_evaluations": 0}, {"initial_evaluations": 20, "max_evaluations": 10}, {"probe": 0.0}, {"probe": 1.0}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        HopSkipJump(**options)


def plain_hop_skip_jump(net: Any, x: Tensor, y: int, queries: int, rng: torch.Generator) -> float:
    """The published algorithm for one sample in L2, with the authors' settings; returns the distance it ends at."""
    asked = 0

    def fooled(points: Tensor) -> Tensor:
        nonlocal asked
        asked += len(points)
        return net(points.reshape(-1, *x.shape)).argmax(1) != y  # type: ignore[no-any-return]

    d = x.numel()
    point = torch.rand(x.shape, generator=rng)
    while not bool(fooled(point[None])):
        point = torch.rand(x.shape, generator=rng)
        if asked > queries / 2:
            return math.inf

    def bisected(point: Tensor) -> Tensor:
        low, high = 0.0, 1.0
        while high - low > d**-1.5:
            middle = (low + high) / 2
            low, high = (low, middle) if bool(fooled((x + middle * (point - x))[None])) else (middle, high)
        return x + high * (point - x)

    point, t = bisected(point), 0
    while asked < queries:
        t += 1
        distance = (point - x).norm()
        count = min(int(100 * math.sqrt(t)), queries - asked)
        noise = torch.randn(count, *x.shape, generator=rng)
        noise = noise / noise.flatten(1).norm(dim=1).reshape(-1, *[1] * x.ndim) * distance / d
        signs = fooled((point + noise).clamp(0, 1)).float() * 2 - 1
        gradient = ((signs - signs.mean()).reshape(-1, *[1] * x.ndim) * noise).sum(0)
        if gradient.norm() == 0:
            continue
        stride = distance / math.sqrt(t)
        while asked < queries and not bool(fooled((point + stride * gradient / gradient.norm()).clamp(0, 1)[None])):
            stride = stride / 2
        if asked < queries:
            point = bisected((point + stride * gradient / gradient.norm()).clamp(0, 1))
    return float((point - x).norm())


@pytest.mark.slow
def test_it_comes_nearer_than_the_plain_algorithm(trained: Any) -> None:
    net, x, y = trained
    right = net(x).argmax(1) == y
    x, y = x[right][:30], y[right][:30]
    rng = torch.Generator().manual_seed(0)
    plain = torch.tensor(
        [plain_hop_skip_jump(net, *sample, queries=1000, rng=rng) for sample in zip(x, y.tolist(), strict=True)]
    )
    ours = HopSkipJump(queries=1000).run(net, x, y)
    assert bool(ours.success.all()) and float(ours.distance.median()) <= 1.01 * float(plain.median())


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_comes_nearer_than_foolbox_with_no_more_queries(norm: Any, trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox")
    net, x, y = trained
    right = net(x).argmax(1) == y
    x, y = x[right][:30], y[right][:30]
    asked = 0

    class Counting(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            nonlocal asked
            asked += len(batch)
            return net(batch)  # type: ignore[no-any-return]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = foolbox.PyTorchModel(Counting().eval(), (0, 1), device="cpu")
        theirs = foolbox.attacks.HopSkipJumpAttack(steps=6, constraint=norm)
        x_adv = theirs.run(model, x, foolbox.criteria.Misclassification(y))
    change = (x_adv - x).flatten(1)
    distance = change.norm(dim=1) if norm == "l2" else change.abs().amax(1)
    ours = HopSkipJump(norm=norm, queries=asked // len(x)).run(net, x, y)
    assert bool(ours.success.all()) and float(ours.distance.median()) <= 1.01 * float(distance.median())


@pytest.mark.slow
def test_it_comes_nearer_than_art_with_no_more_queries(trained: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("art")
        from art.attacks.evasion import HopSkipJump as Theirs
        from art.estimators.classification import PyTorchClassifier
    net, x, y = trained
    right = net(x).argmax(1) == y
    x, y = x[right][:20], y[right][:20]
    asked = 0

    class Single(nn.Module):  # with NumPy 2 its points become float64
        def forward(self, batch: Tensor) -> Tensor:
            nonlocal asked
            asked += len(batch)
            return net(batch.float())  # type: ignore[no-any-return]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = PyTorchClassifier(Single(), nn.CrossEntropyLoss(), (1, 24), 3, clip_values=(0.0, 1.0))
        theirs = Theirs(classifier, max_iter=5, verbose=False)
        x_adv = torch.from_numpy(theirs.generate(x.numpy(), y=y.numpy()))
    distance = (x_adv - x).flatten(1).norm(dim=1)
    distance[net(x_adv).argmax(1) == y] = torch.inf
    ours = HopSkipJump(queries=asked // len(x)).run(net, x, y)
    assert bool(ours.success.all()) and float(ours.distance.median()) <= 1.01 * float(distance.median())

"""Inside means inside: projections, steps and draws of the balls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from salus.attacks.ball import ball

NORMS: tuple[Any, ...] = ("linf", "l2", "l1")


@given(
    norm=st.sampled_from(NORMS),
    eps=st.floats(0, 3) | st.sampled_from([1e-30, 1e-12, 1e-8, 2 / 255]),
    bounds=st.sampled_from([(0.0, 1.0), (-2.3, 5.1), (0.1, 0.3), (-1e4, 1e4)]),
    reach=st.sampled_from([1e-7, 1.0, 1e6, 1e30]),
    seed=st.integers(0, 10**6),
)
def test_projection_lands_inside_and_is_the_identity_there(
    norm: Any, eps: float, bounds: tuple[float, float], reach: float, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = (bounds[0] + (bounds[1] - bounds[0]) * torch.rand(5, 3, 4, generator=rng)).clamp(*bounds)
    region = ball(norm, x, eps, bounds)
    point = region.project(x + reach * torch.randn(5, 3, 4, generator=rng))
    change = np.asarray(point, dtype=np.float64) - np.asarray(x, dtype=np.float64)
    if norm == "linf":
        assert np.abs(change).max() <= eps
    elif norm == "l1":
        for row in np.abs(change).reshape(5, -1):
            assert row.sum() <= eps and row[::-1].cumsum()[-1] <= eps
    else:
        for row in change.reshape(5, -1):  # however the squares are summed up
            assert np.sqrt((row**2).sum()) <= eps and np.sqrt((row[::-1] ** 2).cumsum()[-1]) <= eps
    assert bool((point >= region.low).all()) and bool((point <= region.high).all())
    assert float(region.distance(point).max()) <= eps
    assert torch.equal(region.project(point), point)
    assert torch.equal(region.project(x), x)


@pytest.mark.parametrize("norm", NORMS)
def test_values_stay_within_bounds_that_float32_cannot_hold(norm: Any) -> None:
    for low, high in ((0.1, 0.3), (-0.3, -0.1), (0.7, 1.1)):
        x = torch.full((3, 4), (low + high) / 2)
        for sign in (-1, 1):
            point = ball(norm, x, 0.5, (low, high)).project(x + sign * 10).double()
            assert float(point.min()) >= low and float(point.max()) <= high


@pytest.mark.parametrize("norm", NORMS)
def test_the_projection_reaches_the_rim(norm: Any) -> None:
    x = torch.full((4, 50), 0.5)
    for eps in (1e-3, 0.01, 0.1):
        point = ball(norm, x, eps, (0.0, 1.0)).project(x + torch.linspace(0.2, 0.4, 50))
        distance = ball(norm, x, eps, (0.0, 1.0)).distance(point)
        assert float(distance.min()) > eps * (1 - 1e-3)


def test_steps_are_of_unit_length_whatever_the_size_of_the_gradient() -> None:
    region = ball("l2", torch.rand(4, 3, 5), 1.0, (0.0, 1.0))
    gradient = torch.randn(4, 3, 5)
    for size in (1e-30, 1.0, 1e30):
        step = region.steepest(gradient * size)
        torch.testing.assert_close(step.flatten(1).norm(dim=1), torch.ones(4))
        torch.testing.assert_close(step, region.steepest(gradient), rtol=1e-4, atol=1e-6)
    assert bool((region.steepest(torch.zeros(4, 3, 5)) == 0).all())
    assert torch.equal(ball("linf", torch.rand(4, 3, 5), 1.0, (0.0, 1.0)).steepest(gradient), gradient.sign())


def test_random_points_are_uniform_in_the_ball() -> None:
    x, samples = torch.zeros(4000, 3), torch.arange(4000)
    cube = ball("linf", x, 0.5, (-1.0, 1.0)).random(1, samples, 0)
    assert all(stats.kstest(cube[:, k] + 0.5, "uniform").pvalue > 1e-3 for k in range(3))
    inside = ball("l2", x, 0.5, (-1.0, 1.0)).random(1, samples, 0)
    radius = inside.norm(dim=1) / 0.5
    assert stats.kstest(radius**3, "uniform").pvalue > 1e-3  # the volume within a radius
    cosine = inside[:, 2] / inside.norm(dim=1)
    assert stats.kstest((cosine + 1) / 2, "uniform").pvalue > 1e-3  # Archimedes: uniform in height
    assert float(inside.norm(dim=1).max()) <= 0.5
    sparse = ball("l1", x, 0.5, (-1.0, 1.0)).random(1, samples, 0)
    size = sparse.abs().sum(1) / 0.5
    assert stats.kstest(size**3, "uniform").pvalue > 1e-3
    assert stats.kstest(sparse[:, 0].abs() / 0.5 / size, stats.beta(1, 2).cdf).pvalue > 1e-3  # uniform in the simplex
    assert abs(float((sparse > 0).float().mean()) - 0.5) < 0.02 and float(size.max()) <= 1


@settings(max_examples=25)
@given(
    eps=st.floats(1e-3, 4),
    reach=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 10**6),
)
def test_the_projection_in_l1_is_the_nearest_point_of_ball_and_bounds_together(
    eps: float, reach: float, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 2, 6, generator=rng, dtype=torch.float64)
    region = ball("l1", x, eps, (0.0, 1.0), mask=torch.arange(6) > 0)
    point = x + reach * torch.randn(4, 2, 6, generator=rng, dtype=torch.float64)
    change, low, high = (part - x for part in (point, region.low, region.high))
    below, above = torch.zeros(4, 1, 1, dtype=torch.float64), change.abs().amax((1, 2), keepdim=True)

    def shrunk(t: Tensor) -> Tensor:
        return (change.sign() * (change.abs() - t).clamp_min(0)).clamp(low, high)

    for _ in range(45):  # of min |z - change|^2 with |z|_1 <= eps the multiplier t
        t = (below + above) / 2
        far = shrunk(t).abs().sum((1, 2), keepdim=True) > eps
        below, above = torch.where(far, t, below), torch.where(far, above, t)
    torch.testing.assert_close(region.project(point) - x, shrunk(above), rtol=0, atol=1e-9)


@given(
    shape=st.sampled_from([(7,), (2, 6), (3, 4, 5)]),
    eps=st.integers(0, 25),
    bounds=st.sampled_from([(0.0, 1.0), (-2.3, 5.1)]),
    seed=st.integers(0, 10**6),
)
def test_a_ball_in_l0_holds_so_many_places_changed_most(
    shape: tuple[int, ...], eps: int, bounds: tuple[float, float], seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = (bounds[0] + (bounds[1] - bounds[0]) * torch.rand(5, *shape, generator=rng)).clamp(*bounds)
    region = ball("l0", x, eps, bounds)
    count = shape[0] if len(shape) == 1 else int(np.prod(shape[1:]))
    wished = (x + torch.randn(x.shape, generator=rng)).clamp(*bounds)
    for point in (region.project(wished), region.random(seed, torch.arange(5), 0)):
        changed = (point != x).reshape(5, -1, count).any(1)
        assert torch.equal(region.distance(point), changed.sum(1).double())
        assert int(changed.sum(1).max()) <= eps
        assert torch.equal(region.project(point), point)
        assert bool((point >= region.low).all()) and bool((point <= region.high).all())
    size = (wished - x).abs().reshape(5, -1, count).amax(1)
    kept = (region.project(wished) != x).reshape(5, -1, count).any(1)
    assert int(kept.sum(1).min()) == min(eps, count)
    if 0 < eps < count:
        assert bool((size.where(kept, torch.inf).amin(1) >= size.where(~kept, -torch.inf).amax(1)).all())
    step = region.steepest(wished - x)
    assert bool(((step != 0).reshape(5, -1, count).any(1).sum(1) == 1).all())


def test_masked_values_and_integer_features_keep_to_their_places() -> None:
    x = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    mask = torch.tensor([True, False, True, True])
    steps = torch.tensor([0.1, 0.1, 0.0, 0.3], dtype=torch.float64)
    for norm in NORMS:
        region = ball(norm, x, 0.28, (0.0, 1.0), mask, steps)
        landed = region.land(region.project(x + torch.tensor([[0.28, 1.0, 0.01, 1.0]])))
        assert float(landed[0, 1]) == 0.5 and float(landed[0, 3]) == 0.5  # one unit of 0.3 is beyond the rim
        assert float(region.distance(landed).max()) <= 0.28
    linf = ball("linf", x, 0.28, (0.0, 1.0), mask, steps)
    assert float(linf.land(linf.project(x + 1))[0, 0]) == pytest.approx(0.7)
    assert float(linf.land(linf.project(x - 0.16))[0, 0]) == pytest.approx(0.3)  # rounded, not cut


def test_a_selection_of_a_ball_is_the_ball_of_the_selection() -> None:
    x = torch.rand(6, 4)
    stay = torch.tensor([True, False, True, True, False, False])
    for norm in NORMS:
        some, alone = ball(norm, x, 0.1, (0.0, 1.0)).select(stay), ball(norm, x[stay], 0.1, (0.0, 1.0))
        point = x[stay] + 0.3
        assert torch.equal(some.project(point), alone.project(point))
        assert torch.equal(some.distance(point), alone.distance(point))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.3, 2.0])
def test_a_quick_projection_is_the_exact_one_up_to_rounding(norm: Any, eps: float) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(20, 3, 7, generator=rng)
    point = x + torch.randn(20, 3, 7, generator=rng) * torch.rand(20, 1, 1, generator=rng)
    region = ball(norm, x, eps, (0.0, 1.0), mask=torch.arange(7) > 1)
    torch.testing.assert_close(region.near(point), region.project(point), rtol=0, atol=1e-6)

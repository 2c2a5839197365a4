"""Projection onto a generator's range, where the range is a plane and the nearest point is known."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.errors import BundleError, CalibrationError, OptionError
from salus.generative import projection
from salus.generative.generator import SampleGenerator
from salus.generative.projection import LATE, OntoRange, descend
from salus.models.wgan import WGANGenerator

LATENT, SIZE = 3, 20


class Plane(nn.Module):
    """G(z) = middle + z A with orthonormal rows: the nearest point and its latent follow by projection."""

    shape, latent = (SIZE,), LATENT

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(SIZE, LATENT, generator=rng)).Q.T)  # [latent, size]

    def forward(self, z: Tensor) -> Tensor:
        return 0.5 + z @ self.basis

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents ``[N, latent]`` and squared distances ``[N]``, in closed form."""
        z = (x - 0.5) @ self.basis.T
        return z.detach(), (x - self(z)).square().sum(1).detach()


def plane() -> SampleGenerator:
    return SampleGenerator(Plane(), width=1)  # type: ignore[arg-type]


def inputs(n: int = 7) -> Tensor:
    return torch.rand(n, SIZE, generator=torch.Generator().manual_seed(1))


#: Small enough for the descents below to settle: ones that bounce multiply a rounding error by thousands.
STEADY: dict[str, Any] = {"learning_rate": 1.0}


def crumpled() -> SampleGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = WGANGenerator((1, 24), latent=5, width=4)
        for weight in module.parameters():
            weight.data *= 2  # so that descents from different starts end in different places
    return SampleGenerator(module, width=4)


def test_the_descent_finds_the_true_latent_and_the_true_distance() -> None:
    x = inputs()
    projected = OntoRange(generator=plane(), restarts=2, iterations=100).project(x)
    z, distance = Plane().nearest(x)
    assert torch.allclose(projected.z, z, atol=1e-4)
    assert torch.allclose(projected.distances, distance[:, None].expand(-1, 2), rtol=1e-5)
    assert torch.equal(projected.x, plane()(projected.z))


def test_the_gradient_of_the_nearest_sample_is_what_of_it_lies_along_the_range() -> None:
    x, slope = inputs().requires_grad_(), torch.randn(7, SIZE, generator=torch.Generator().manual_seed(3))
    onto = OntoRange(generator=plane(), restarts=2, iterations=150)
    (gradient,) = torch.autograd.grad(onto.nearest(x), x, slope)
    basis = Plane().basis.detach()
    assert torch.allclose(gradient, slope @ basis.T @ basis, atol=1e-4)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 2.0)])
def test_the_gradient_of_the_nearest_sample_is_that_of_its_own_descent(bounds: tuple[float, float]) -> None:
    generator = SampleGenerator(crumpled().module.requires_grad_(False), width=4, bounds=bounds)
    low, high = bounds
    unit = torch.rand(6, 1, 24, generator=torch.Generator().manual_seed(0))
    slope = torch.randn(6, 1, 24, generator=torch.Generator().manual_seed(1))
    onto = OntoRange(generator=generator, restarts=3, iterations=15, **STEADY)
    x = (low + (high - low) * unit).requires_grad_()
    nearest = onto.nearest(x)
    (gradient,) = torch.autograd.grad(nearest, x, slope)
    (again,) = torch.autograd.grad(onto.nearest(x), x, slope)
    assert torch.equal(gradient, again)
    # The same steps, left to autograd as a whole.
    found = onto.project(x.detach())
    assert torch.equal(nearest, found.x)
    z = onto._starts(x.device)[found.distances.argmin(1)].requires_grad_()
    velocity = torch.zeros_like(z)
    for step in range(15):
        loss = (generator.module(z) - (x - low) / (high - low)).square().sum() / 24
        velocity = 0.7 * velocity + torch.autograd.grad(loss, z, create_graph=True)[0]
        z = z - (1.0 if step < 12 else 0.1) * velocity
    (whole,) = torch.autograd.grad(low + (high - low) * generator.module(z), x, slope)
    assert torch.allclose(gradient, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
    assert len(found.distances.argmin(1).unique()) > 1, "or it would be no test of restarts"


def test_a_descent_that_diverged_has_no_finite_gradient_for_attacks_to_count() -> None:
    x = inputs(3).requires_grad_()
    onto = OntoRange(generator=plane(), restarts=1, iterations=300, learning_rate=1e4)
    (gradient,) = torch.autograd.grad(onto.nearest(x).sum(), x)
    assert not bool(gradient.isfinite().any())


def test_what_lies_in_the_range_is_found_at_distance_0() -> None:
    z = torch.randn(6, LATENT, generator=torch.Generator().manual_seed(2))
    projected = OntoRange(generator=plane(), restarts=1, iterations=150).project(plane()(z))
    assert torch.allclose(projected.z, z, atol=1e-4)
    assert float(projected.distances.max()) < 1e-8


@pytest.mark.parametrize("late", [0.1, 1.0])
def test_the_steps_are_momentums_of_7_tenths_with_a_tenth_of_the_rate_in_the_last_fifth(late: float) -> None:
    x, module = inputs(1), Plane()
    start = torch.zeros(1, LATENT)
    z, _ = (
        descend(module.requires_grad_(False), x, start, iterations=5, learning_rate=2.0)
        if late == LATE
        else descend(module.requires_grad_(False), x, start, iterations=5, learning_rate=2.0, late=late)
    )
    goal, _ = module.nearest(x)
    by_hand, velocity = start.clone(), torch.zeros_like(start)
    for rate in (2.0, 2.0, 2.0, 2.0, 2.0 * late):
        velocity = 0.7 * velocity + 2 / SIZE * (by_hand - goal)  # the gradient of the mean square
        by_hand = by_hand - rate * velocity
    assert torch.allclose(z[0], by_hand, atol=1e-6)


def test_fewer_restarts_are_the_first_of_more_and_more_come_nearer() -> None:
    x = 0.5 + 0.4 * torch.sin(torch.arange(24) * torch.rand(8, 1, 1, generator=torch.Generator().manual_seed(0)))
    many = OntoRange(generator=crumpled(), restarts=10, iterations=30, **STEADY).project(x)
    nearest = [many.distances[:, :r].amin(1) for r in range(1, 11)]
    for r in (1, 2, 5):
        few = OntoRange(generator=crumpled(), restarts=r, iterations=30, **STEADY).project(x)
        assert torch.allclose(few.distances, many.distances[:, :r], rtol=1e-4)
        assert torch.allclose((few.x - x).square().flatten(1).sum(1), nearest[r - 1], rtol=1e-4)
    assert all(bool((more <= less).all()) for less, more in pairwise(nearest))
    assert bool((nearest[9] < nearest[0] - 0.1).any()), "or it would be no test of restarts"


@pytest.mark.parametrize("rows", [1, 7, 20, 512])
def test_a_projection_depends_on_its_input_alone(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(9, 1, 24, generator=torch.Generator().manual_seed(0))
    onto = OntoRange(generator=crumpled(), restarts=4, iterations=15, **STEADY)
    together = onto.project(x)
    monkeypatch.setitem(projection.ROWS, "cpu", rows)
    for order in (torch.arange(9), torch.arange(8, -1, -1), torch.tensor([5])):
        one = onto.project(x[order])
        assert torch.allclose(one.distances, together.distances[order], rtol=1e-4)
        assert torch.allclose(one.x, together.x[order], atol=1e-4)


def test_bounds_change_the_units_and_nothing_else() -> None:
    x = torch.rand(5, 1, 24, generator=torch.Generator().manual_seed(0))
    unit = OntoRange(generator=crumpled(), restarts=3, iterations=20, **STEADY)
    stretched = SampleGenerator(crumpled().module, width=4, bounds=(-2.0, 2.0))
    wide = OntoRange(generator=stretched, restarts=3, iterations=20, **STEADY)
    one, other = unit.project(x), wide.project(4 * x - 2)
    assert torch.allclose(other.x, 4 * one.x - 2, atol=1e-3)
    assert torch.allclose(other.distances, 16 * one.distances, rtol=1e-3)


def test_mixed_precision_comes_about_as_near() -> None:
    x = torch.rand(5, 1, 24, generator=torch.Generator().manual_seed(0))
    exact, mixed = (
        OntoRange(generator=crumpled(), restarts=5, iterations=50, precision=precision, **STEADY).project(x)
        for precision in ("float32", "bfloat16")
    )
    assert mixed.x.dtype == mixed.distances.dtype == torch.float32
    assert torch.allclose(mixed.distances.amin(1), exact.distances.amin(1), rtol=0.05)


def test_nothing_is_left_behind() -> None:
    generator, x = crumpled(), torch.rand(3, 1, 24, requires_grad=True)
    before, state = {name: value.clone() for name, value in generator.tensors().items()}, torch.get_rng_state()
    projected = OntoRange(generator=generator, restarts=2, iterations=5).project(x)
    assert not projected.x.requires_grad and not projected.z.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in generator.tensors().items())
    assert all(weight.grad is None for weight in generator.parameters()) and x.grad is None
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "options",
    [
        {"restarts": 0}, {"iterations": 0.5}, {"epochs": True}, {"width": 0}, {"seed": -1}, {"learning_rate": 0},
        {"learning_rate": math.inf}, {"learning_rate": "fast"}, {"precision": "half"}, {"generator": True},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"Defense-GAN: {next(iter(options))} must be"):
        OntoRange(**options)  # type: ignore[arg-type]


def test_a_generator_that_is_not_there_is_told_when_the_defence_is_made(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no generator in"):
        OntoRange(generator=str(tmp_path))
    with pytest.raises(CalibrationError, match="no generator yet: call fit"):
        OntoRange().project(inputs())


def test_a_descent_that_diverged_is_nobodys_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(2, 3, LATENT, generator=torch.Generator().manual_seed(0))
    z[0, 0], z[1, :2] = torch.nan, torch.nan
    distances = torch.tensor([[torch.nan, 2.0, 1.0], [torch.nan, torch.nan, 3.0]])
    monkeypatch.setattr(projection, "descend", lambda *args, **options: (z, distances))
    found = OntoRange(generator=plane(), restarts=3, iterations=1).project(inputs(2))
    torch.testing.assert_close(found.z, z[:, 2])
    assert bool(found.x.isfinite().all())

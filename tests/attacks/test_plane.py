"""The smallest step over a plane inside a box is feasible, smallest, and finite whatever the numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.plane import cross

NORMS: tuple[NormName, ...] = ("linf", "l2", "l1")


def bisected(slope: Tensor, gap: Tensor, low: Tensor, high: Tensor, norm: NormName) -> Tensor:
    """The same step by halving t in float64, without any thought."""
    way = slope.sign() if norm == "linf" else slope
    least, most = torch.zeros_like(gap), torch.full_like(gap, 1e6)
    for _ in range(200):
        t = (least + most) / 2
        enough = -(slope * (-t[:, None] * way).clamp(low, high)).sum(1) >= gap
        least, most = torch.where(enough, least, t), torch.where(enough, t, most)
    return (-most[:, None] * way).clamp(low, high)


@given(st.integers(0, 10**6), st.sampled_from(NORMS), st.floats(0.01, 0.99))
def test_it_is_the_smallest_step_that_crosses(seed: int, norm: NormName, share: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    slope = torch.randn(5, 9, generator=rng, dtype=torch.float64)
    slope[:, 0] = 0
    low, high = -torch.rand(5, 9, generator=rng).double(), torch.rand(5, 9, generator=rng).double()
    low[:, 1] = 0  # stands on its bound
    farthest = -(slope * torch.where(slope > 0, low, high)).sum(1)
    gap = share * farthest

    step, t = cross(slope, gap, low, high, norm)

    assert bool((step >= low).all()) and bool((step <= high).all()) and bool((t > 0).all())
    torch.testing.assert_close(-(slope * step).sum(1), gap, rtol=2e-5, atol=0)
    if norm == "l1":
        shortest = [
            linprog(
                [1.0] * 18,
                [torch.cat([slope[i], -slope[i]]).tolist()],
                [-float(gap[i])],
                bounds=[(0, float(room)) for room in (*high[i], *-low[i])],
            ).fun
            for i in range(5)
        ]
        torch.testing.assert_close(step.abs().sum(1), torch.tensor(shortest, dtype=torch.float64), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(t, step.abs().sum(1))
        return
    expected = bisected(slope, gap, low, high, norm)
    order = torch.inf if norm == "linf" else 2
    torch.testing.assert_close(step.norm(order, dim=1), expected.norm(order, dim=1), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_out_of_reach_it_goes_to_the_farthest_corner_and_beyond_the_plane_it_stays(norm: NormName) -> None:
    slope = torch.tensor([[1.0, -2.0, 0.0], [1.0, -2.0, 0.0]])
    low, high = torch.full((2, 3), -0.5), torch.full((2, 3), 0.25)
    step, t = cross(slope, torch.tensor([10.0, -1.0]), low, high, norm)
    assert torch.equal(step, torch.tensor([[-0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]))
    assert bool(t[1] == 0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_size_of_slope_or_gap_makes_a_nan(norm: NormName, dtype: torch.dtype) -> None:
    sizes = torch.tensor([0.0, 1e-38, 1e-20, 1.0, 1e20, 1e30], dtype=dtype)
    slope, gap = (part.flatten() for part in torch.meshgrid(sizes, sizes, indexing="ij"))
    slope = slope[:, None] * torch.tensor([1.0, -0.5, 0.0], dtype=dtype)
    step, t = cross(slope, gap, torch.full_like(slope, -1), torch.full_like(slope, 1), norm)
    assert bool(step.isfinite().all()) and not bool(t.isnan().any())


@pytest.mark.parametrize("norm", NORMS)
def test_a_row_does_not_depend_on_its_neighbours(norm: NormName) -> None:
    rng = torch.Generator().manual_seed(0)
    slope, gap = torch.randn(20, 30, generator=rng), torch.rand(20, generator=rng) * 3
    low, high = -torch.rand(20, 30, generator=rng), torch.rand(20, 30, generator=rng)
    together = cross(slope, gap, low, high, norm)[0]
    for row in range(20):
        alone = cross(slope[row : row + 1], gap[row : row + 1], low[row : row + 1], high[row : row + 1], norm)[0]
        assert torch.equal(alone[0], together[row])

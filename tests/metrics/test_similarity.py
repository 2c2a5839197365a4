"""The four similarities between signals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from salus.errors import DataError
from salus.metrics import cross_correlation, mse, nrmse, similarities, ssim

A = [0.5, 0.89, 0.99, 0.71, 0.28, 0.01, 0.11, 0.51, 0.9, 0.98, 0.71, 0.27]
B = [0.6, 0.83, 0.98, 0.8, 0.18, 0.06, 0.15, 0.42, 0.99, 0.96, 0.65, 0.37]

shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(7, 40))


def signals(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_all_four_are_those_of_scikit_image_and_numpy() -> None:
    # scikit-image 0.26.0: structural_similarity(A, B, data_range=1), normalized_root_mse(A, B); numpy.corrcoef.
    found = similarities(torch.tensor([A], dtype=torch.float64), torch.tensor([B], dtype=torch.float64))
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {
            "mse": 0.005508333333333334,
            "ssim": 0.9801154886114127,
            "cross_correlation": 0.9749529626526349,
            "nrmse": 0.11248186780180137,
        },
        rel=1e-12,
    )


def test_the_range_of_the_values_sets_what_counts_as_small() -> None:
    a, b = torch.tensor([A], dtype=torch.float64), torch.tensor([B], dtype=torch.float64)
    assert ssim(a, b, data_range=2.0).item() == pytest.approx(0.9802923462505485, rel=1e-12)
    assert ssim(5 * a, 5 * b, data_range=5.0).item() == pytest.approx(ssim(a, b).item())


def test_one_window_is_the_formula_by_hand() -> None:
    spike = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]])
    nothing = torch.zeros(1, 7)
    # Means 1/7 and 0, sample variances 1/7 and 0, covariance 0.
    by_hand = 1e-4 / (1 / 49 + 1e-4) * 9e-4 / (1 / 7 + 9e-4)
    assert ssim(spike, nothing).item() == pytest.approx(by_hand)
    assert mse(spike, nothing).item() == pytest.approx(1 / 7)
    assert nrmse(spike, nothing).item() == 1


@given(shapes, st.integers(0, 999))
def test_a_signal_is_wholly_like_itself(shape: tuple[int, int, int], seed: int) -> None:
    x = signals(shape, seed)
    found = similarities(x, x)
    assert all(value.shape == (shape[0],) for value in found.values())
    assert found["mse"].eq(0).all() and found["nrmse"].eq(0).all()
    torch.testing.assert_close(found["ssim"], torch.ones(shape[0], dtype=torch.float64))
    torch.testing.assert_close(found["cross_correlation"], torch.ones(shape[0], dtype=torch.float64))


@given(shapes, st.integers(0, 999))
def test_order_matters_to_the_normalised_error_alone(shape: tuple[int, int, int], seed: int) -> None:
    a, b = signals(shape, seed), signals(shape, seed + 1000)
    one, two = similarities(a, b), similarities(b, a)
    for name in ("mse", "ssim", "cross_correlation"):
        torch.testing.assert_close(one[name], two[name])
    ratio = a.double().flatten(1).norm(dim=1) / b.double().flatten(1).norm(dim=1)
    torch.testing.assert_close(two["nrmse"], one["nrmse"] * ratio)
    assert one["ssim"].abs().le(1 + 1e-12).all() and one["cross_correlation"].abs().le(1).all()


@given(st.integers(2, 5), st.integers(0, 999))
def test_neighbours_in_the_batch_change_nothing(n: int, seed: int) -> None:
    a, b = signals((n, 1, 30), seed), signals((n, 1, 30), seed + 1000)
    together, flat = similarities(a, b), similarities(a[:, 0], b[:, 0])
    for name, value in similarities(a[-1:], b[-1:]).items():
        torch.testing.assert_close(together[name][-1:], value)
        torch.testing.assert_close(together[name], flat[name])


@given(st.floats(1e-3, 1e3), st.floats(-5, 5), st.integers(0, 999))
def test_the_correlation_sees_no_scale_and_no_level(scale: float, level: float, seed: int) -> None:
    a = signals((2, 1, 30), seed).double()
    torch.testing.assert_close(cross_correlation(a, a * scale + level), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(cross_correlation(a, level - a * scale), -torch.ones(2, dtype=torch.float64))


def test_the_squared_normalised_error_is_the_error_over_the_mean_square() -> None:
    a, b = signals((4, 2, 20), 1), signals((4, 2, 20), 2)
    torch.testing.assert_close(nrmse(a, b).square() * a.double().square().mean((1, 2)), mse(a, b))


def test_what_is_undefined_is_not_a_number() -> None:
    flat, wave = torch.full((1, 12), 0.3), torch.tensor([A])
    assert math.isnan(cross_correlation(flat, wave)) and math.isnan(cross_correlation(wave, flat))
    assert math.isnan(nrmse(torch.zeros(1, 12), wave)) and nrmse(flat, wave).isfinite()
    assert ssim(flat, flat).item() == pytest.approx(1)


def test_signals_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match="of one shape"):
        mse(torch.zeros(2, 10), torch.zeros(2, 11))
    with pytest.raises(DataError, match="of one shape"):
        nrmse(torch.zeros(10), torch.zeros(10))
    with pytest.raises(DataError, match="at least 7 samples"):
        ssim(torch.zeros(2, 6), torch.zeros(2, 6))
    with pytest.raises(DataError, match="above 0"):
        ssim(torch.zeros(2, 9), torch.zeros(2, 9), data_range=0)

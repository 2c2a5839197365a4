"""Directions of probes: orthonormal, of low frequencies where asked, and a sample's own."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from salus.attacks.probes import SLOW_RUNS, bands, orthogonal

SHAPES = [(1,), (7,), (1, 12), (2, 9), (1, 5, 4), (3, 6, 4)]


@given(
    shape=st.sampled_from(SHAPES),
    share=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(-3, 2**40),
    basis=st.integers(0, 3),
)
def test_each_run_of_directions_is_an_orthonormal_basis(
    shape: tuple[int, ...], share: float, seed: int, basis: int
) -> None:
    first = basis * math.prod(bands(shape, share))
    size = math.prod(bands(shape, share if basis < SLOW_RUNS else 1.0))
    directions = orthogonal(seed, shape, share, first, torch.tensor([0, 7]), 0, size).flatten(2)
    products = directions @ directions.transpose(1, 2)
    torch.testing.assert_close(products, torch.eye(size).expand(2, -1, -1), atol=1e-5, rtol=0)


def test_a_direction_depends_on_seed_sample_and_number_alone() -> None:
    samples = torch.tensor([4, 9, 2])
    whole = orthogonal(3, (2, 9), 1.0, 0, samples, 0, 40)  # two bases and a part
    assert torch.equal(orthogonal(3, (2, 9), 1.0, 10, samples[1:2], 5, 20), whole[1:2, 15:35])
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(whole[:, :18], whole[:, 18:36])
    assert not torch.equal(orthogonal(4, (2, 9), 1.0, 0, samples, 0, 40), whole)


def test_low_frequencies_are_smooth_and_tables_have_none() -> None:
    slow = orthogonal(0, (1, 60), 0.1, 0, torch.arange(4), 0, 6)
    fast = orthogonal(0, (1, 60), 1.0, 0, torch.arange(4), 0, 6)
    assert float(slow.diff(dim=3).square().sum()) < 0.1 * float(fast.diff(dim=3).square().sum())
    assert bands((60,), 0.1) == (60,) and bands((3, 10, 7), 0.5) == (3, 5, 4)

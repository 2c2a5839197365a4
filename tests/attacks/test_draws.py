"""Random numbers that depend on the seed, the sample, the stream and the place, and on nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from salus.attacks.draws import normal, uniform


def test_uniform_numbers_are_uniform_and_normal_ones_normal() -> None:
    samples = torch.arange(2000)
    for seed in (0, 1, -1, 2**63 - 1, 123456789):
        flat = uniform(seed, samples, (50,), 0).flatten()
        assert float(flat.min()) >= 0 and float(flat.max()) < 1
        assert stats.kstest(flat, "uniform").pvalue > 1e-4
        assert stats.kstest(normal(seed, samples, (50,), 0).flatten(), "norm").pvalue > 1e-4
        assert bool(normal(seed, samples, (50,), 0).isfinite().all())


def test_low_bits_are_even_too() -> None:
    bits = (uniform(0, torch.arange(2000), (50,), 0) * 2**24).to(torch.int64).flatten()
    for place in range(24):
        assert abs(float(((bits >> place) & 1).float().mean()) - 0.5) < 0.008


@pytest.mark.parametrize("draw", [uniform, normal])
def test_draws_of_other_samples_streams_seeds_and_places_are_independent(draw) -> None:  # type: ignore[no-untyped-def]
    samples = torch.arange(20000)
    columns = {
        "this": draw(0, samples, (3,), 0)[:, 0],
        "next place": draw(0, samples, (3,), 0)[:, 1],
        "next sample": draw(0, samples + 1, (3,), 0)[:, 0],
        "next stream": draw(0, samples, (3,), 1)[:, 0],
        "next seed": draw(1, samples, (3,), 0)[:, 0],
        "both": draw(1, samples, (3,), 1)[:, 0],
    }
    for (_, one), (_, two) in itertools.combinations(columns.items(), 2):
        assert not torch.equal(one, two)
        assert stats.pearsonr(one, two).pvalue > 1e-4
        assert stats.pearsonr(one**2, two**2).pvalue > 1e-4
        counts = np.histogram2d(stats.rankdata(one), stats.rankdata(two), bins=8)[0]
        assert stats.chi2_contingency(counts).pvalue > 1e-4


def test_no_two_of_many_draws_collide_more_than_chance() -> None:
    rows = [uniform(seed, torch.arange(300), (4,), stream) for seed in range(5) for stream in range(5)]
    assert len(torch.cat(rows).unique(dim=0)) == 300 * 25


def test_a_draw_depends_on_its_sample_alone() -> None:
    samples = torch.arange(100)
    for draw in (uniform, normal):
        whole = draw(7, samples, (2, 5), 3)
        assert torch.equal(draw(7, samples[40:60], (2, 5), 3), whole[40:60])
        assert torch.equal(draw(7, torch.tensor([99, 3]), (2, 5), 3), whole[[99, 3]])
        assert whole.shape == (100, 2, 5) and whole.dtype == torch.float32


def test_draws_are_the_same_on_every_machine_and_in_every_version() -> None:
    got = uniform(0, torch.tensor([0, 4711]), (2,), 1)
    assert torch.equal(uniform(2**64, torch.tensor([0, 4711]), (2,), 1), got)  # seeds count modulo 2^64
    expected = [[reference(0, sample, place, 1) for place in (1, 2)] for sample in (0, 4711)]
    assert got.tolist() == expected


def reference(seed: int, sample: int, place: int, stream: int) -> float:
    """The same in Python's whole numbers, SplitMix64 as Steele et al. print it."""
    golden, full = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & full
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & full
        return z ^ (z >> 31)

    key = mix((mix((seed + golden) & full) + 2 * stream + 1) & full)
    row = mix((key + mix((sample * golden + 1) & full)) & full)
    return (mix((row + place * golden) & full) >> 40) * 2.0**-24

"""Randomized smoothing: what it answers, and that it draws anew without touching anybody's random state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.models.smoothed import Smoothed
from salus.training import GaussianNoise, RandomGains


class Step(nn.Module):
    """Sure of class 1 where the first value is above 0.5."""

    def forward(self, x: Tensor) -> Tensor:
        up = 20 * (x[:, :1] - 0.5).sign()
        return torch.cat([-up, up], 1)


def test_it_answers_with_the_share_of_noisy_copies_beyond_the_boundary() -> None:
    smoothed = Smoothed(Step(), std=0.1, draws=20000)
    share = smoothed(torch.tensor([[0.5 + 0.1]]))[0, 1].exp()  # one standard deviation inside
    assert abs(float(share) - 0.8413) < 0.01


def test_each_call_draws_anew_and_the_seed_decides() -> None:
    x = torch.full((3, 1), 0.52)
    before = torch.get_rng_state()
    one, two = Smoothed(Step(), 0.1, 50, seed=1), Smoothed(Step(), 0.1, 50, seed=1)
    first = one(x)
    assert torch.equal(first, two(x))
    assert not torch.equal(first, one(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_noise_has_its_size_and_comes_after_gains() -> None:
    x = torch.full((400, 3, 28), 0.5)
    noisy = GaussianNoise(std=0.05).augment(x) - x
    assert abs(float(noisy.std()) - 0.05) < 0.002
    both = GaussianNoise(std=0.05, first=RandomGains())
    assert abs(float((both.augment(x) - x).std()) - 0.05) < 0.002  # flat waves stay flat under gains
    assert "RandomGains" in both.describe()

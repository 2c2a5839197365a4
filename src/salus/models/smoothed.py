"""Randomized smoothing: a classifier that answers with what a network says of noisy copies of its input."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Smoothed(nn.Module):
    """The mean probability over copies of each sample under normal noise (Cohen et al., 2019; Salman et al., 2019).

    Noise is drawn anew at every call, from a generator of its own, so that an attacker who climbs through it climbs in
    expectation (EOT). Cohen et al. count votes, for the sake of a certificate in L2; the mean of the probabilities has
    gradients, and answers the same wherever votes are not close.

    Args:
        network: maps samples ``[N, ...]`` to logits ``[N, K]``; trained under such noise.
        std: standard deviation of the noise, in the units of x.
        draws: copies of each sample.
        seed: of the noise.
    """

    def __init__(self, network: nn.Module, std: float, draws: int, seed: int = 0) -> None:
        super().__init__()
        self.network, self.std, self.draws = network, std, draws
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        """Give logarithms of the probabilities ``[N, K]``."""
        noise = torch.randn(self.draws, *x.shape, generator=self.generator, dtype=x.dtype).to(x.device)
        logits: Tensor = self.network((x + self.std * noise).flatten(0, 1))
        likely = logits.log_softmax(1).unflatten(0, (self.draws, len(x)))  # [draws, N, K]
        mean: Tensor = likely.logsumexp(0) - math.log(self.draws)
        return mean

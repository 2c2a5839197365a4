"""What a reconstruction differs from its input by: in values, or in what a classifier makes of both."""

from __future__ import annotations

import math

from torch import Tensor


def reconstruction_error(x: Tensor, reconstruction: Tensor, norm: int = 1) -> Tensor:
    """Return the mean of the absolute differences of each sample to the power ``norm``, 1 or 2, ``[N]``.

    For each value what MultiMagNet's Eq. 1 is for all together; p = 1 in MultiMagNet, 1 or 2 in MagNet.
    """
    difference = (x - reconstruction).flatten(1)
    return (difference.abs() if norm == 1 else difference.square()).mean(1)


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the logarithm of the softmax of logits ``[..., K]`` over a temperature, in float64 (Eq. 7)."""
    # Confident softmaxes differ by less than float32 carries.
    return logits.double().div(temperature).log_softmax(-1)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence in nats of log-probabilities ``[..., K]``, float32 ``[...]`` (Eq. 6)."""
    middle = p.logaddexp(q) - math.log(2)
    both = p.exp() * (p - middle) + q.exp() * (q - middle)
    return both.sum(-1).div(2).clamp_min(0).float()

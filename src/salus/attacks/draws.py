"""Random numbers that depend on (seed, sample index) alone, drawn for a whole batch at once, on its device.

``torch.Generator`` cannot jump to the draws of sample 4711, so the numbers a sample gets would depend on the
batch size and on which neighbours are still in the batch. These come from a counter instead: SplitMix64
(Steele et al., 2014) applied to the seed, the sample's index and the element's position.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def uniform(seed: int, samples: Tensor, shape: tuple[int, ...], stream: int) -> Tensor:
    """Draw float32 numbers in [0, 1), ``[N, *shape]``, for the samples with these indices ``[N]``.

    ``stream`` separates draws of the same sample: one number for each restart, step or purpose.
    """
    bits = _bits(seed, samples, math.prod(shape), stream)  # [N, D]
    # 24 bits are what a float32 in [0, 1) can carry evenly spaced.
    return _shift_(bits, 40).to(torch.float32).mul_(2.0**-24).reshape(len(samples), *shape)


def normal(seed: int, samples: Tensor, shape: tuple[int, ...], stream: int) -> Tensor:
    """Draw standard normal float32 numbers, ``[N, *shape]``, by Box and Muller's transform."""
    bits = _bits(seed, samples, math.prod(shape), stream)
    angle = (bits & 0xFFFFFF).to(torch.float32).mul_(2 * math.pi * 2.0**-24)
    radius = _shift_(bits, 40).to(torch.float32).add_(1).mul_(2.0**-24)  # (0, 1]: its logarithm is finite
    return radius.log_().mul_(-2).sqrt_().mul_(angle.cos_()).reshape(len(samples), *shape)


def _bits(seed: int, samples: Tensor, width: int, stream: int) -> Tensor:
    key = _mixed(_mixed(seed + _GOLDEN) + 2 * stream + 1)
    rows = _mix_(_mix_(samples.to(torch.int64) * _GOLDEN + 1).add_(_signed(key)))  # [N]
    columns = torch.arange(1, width + 1, dtype=torch.int64, device=samples.device) * _GOLDEN  # [D]
    return _mix_(rows[:, None] + columns[None, :])


def _mix_(z: Tensor) -> Tensor:
    # In place: these numbers are most of what an attack by queries computes besides the model.
    z.bitwise_xor_(_shift_(z.clone(), 30)).mul_(_signed(_FIRST))
    z.bitwise_xor_(_shift_(z.clone(), 27)).mul_(_signed(_SECOND))
    return z.bitwise_xor_(_shift_(z.clone(), 31))


def _mixed(z: int) -> int:
    """Do the same for one number."""
    z %= 2**64
    z = (z ^ (z >> 30)) * _FIRST % 2**64
    z = (z ^ (z >> 27)) * _SECOND % 2**64
    return z ^ (z >> 31)


def _shift_(z: Tensor, places: int) -> Tensor:
    # torch shifts in the sign bit, SplitMix zeros.
    return z.bitwise_right_shift_(places).bitwise_and_((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63

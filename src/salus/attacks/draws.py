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


def uniform(seed: int, samples: Tensor, shape: tuple[int, ...], stream: int) -> Tensor:
    """Draw float32 numbers in [0, 1), ``[N, *shape]``, for the samples with these indices ``[N]``.

    ``stream`` separates draws of the same sample: one number for each restart, step or purpose.
    """
    bits = _bits(seed, samples, math.prod(shape), stream)  # [N, D]
    # 24 bits are what a float32 in [0, 1) can carry evenly spaced.
    return (_shift(bits, 40).to(torch.float32) * 2.0**-24).reshape(len(samples), *shape)


def normal(seed: int, samples: Tensor, shape: tuple[int, ...], stream: int) -> Tensor:
    """Draw standard normal float32 numbers, ``[N, *shape]``, by Box and Muller's transform."""
    bits = _bits(seed, samples, math.prod(shape), stream)
    radius = (_shift(bits, 40).to(torch.float32) + 1) * 2.0**-24  # (0, 1]: its logarithm is finite
    angle = (bits & 0xFFFFFF).to(torch.float32) * (2 * math.pi * 2.0**-24)
    return ((-2 * radius.log()).sqrt() * angle.cos()).reshape(len(samples), *shape)


def _bits(seed: int, samples: Tensor, width: int, stream: int) -> Tensor:
    samples = samples.to(torch.int64)
    key = torch.tensor([_signed(seed)], dtype=torch.int64, device=samples.device)
    key = _mix(_mix(key + _GOLDEN) + _signed(stream) * 2 + 1)
    rows = _mix(key + _mix(samples * _GOLDEN + 1))  # [N]
    columns = torch.arange(1, width + 1, dtype=torch.int64, device=samples.device) * _GOLDEN  # [D]
    return _mix(rows[:, None] + columns[None, :])


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    z = (z ^ _shift(z, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return z ^ _shift(z, 31)


def _shift(z: Tensor, places: int) -> Tensor:
    # torch shifts in the sign bit, SplitMix zeros.
    return (z >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63

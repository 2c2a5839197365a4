"""Inputs as frequencies, and bands of these: what recording noise fills, each band on its own, and searches do not."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

#: Where bands end, as shares of the highest frequency: for a beat of 280 samples 10, 24, 48, 90, 150 and 280.
SHARES = (0.035, 0.085, 0.17, 0.32, 0.535, 1.0)


def spectrum(x: Tensor) -> Tensor:
    """Return the orthonormal cosine transform of inputs, from low to high, float32 ``[N, D]``.

    Lengths and distances stay what they are. The values of a table have no order, so that they stay as they are.
    """
    values = x.detach().cpu().double()
    for axis in range(2, x.ndim):
        values = torch.tensordot(values.movedim(axis, -1), _cosines(x.shape[axis]).T, 1).movedim(-1, axis)
    return values.flatten(1)[:, _order(tuple(x.shape[1:]))].float()


def unspectrum(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the inputs ``[N, *shape]`` that have these spectra ``[N, D]``, float32."""
    whole = torch.empty(values.shape, dtype=torch.float64)
    whole[:, _order(shape)] = values.double()
    whole = whole.reshape(-1, *shape)
    for axis in range(2, whole.ndim):
        whole = torch.tensordot(whole.movedim(axis, -1), _cosines(whole.shape[axis]), 1).movedim(-1, axis)
    return whole.float()


def bands(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the bands of inputs of a shape, as slices of their spectrum; those without a value are left out."""
    frequencies = _frequencies(shape).sort().values
    ends = [int(torch.searchsorted(frequencies, share, right=False)) for share in SHARES[:-1]] + [len(frequencies)]
    return tuple(slice(first, end) for first, end in zip([0, *ends[:-1]], ends, strict=True) if end > first)


def _frequencies(shape: tuple[int, ...]) -> Tensor:
    """Return the frequency of each value, as a share of the highest; of several axes the highest counts."""
    found = torch.zeros(shape, dtype=torch.float64)
    for axis, length in enumerate(shape[1:], 1):
        own = torch.arange(length, dtype=torch.float64) / length
        found = torch.maximum(found, own.reshape(-1, *[1] * (len(shape) - 1 - axis)))
    return found.flatten()


@lru_cache
def _order(shape: tuple[int, ...]) -> Tensor:
    return _frequencies(shape).argsort(stable=True)


@lru_cache
def _cosines(length: int) -> Tensor:
    """Return the orthonormal basis of the discrete cosine transform (type II), float64 ``[L, L]``, a row a wave."""
    time = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    waves = torch.cos(math.pi * torch.arange(length, dtype=torch.float64)[:, None] * time) * math.sqrt(2 / length)
    waves[0] /= math.sqrt(2)
    return waves

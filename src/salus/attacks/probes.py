"""Directions in which attacks that see no gradients probe a model: random bases of all values or of slow changes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws

Frequencies = Annotated[
    float | None,
    Field(gt=0, le=1, description="share of each axis's frequencies in a probe, from the lowest; none for what suits"),
]

#: The share that suits images.
_IMAGES = 0.5
#: After so many bases of slow changes comes one of all: a change in fine detail is found too, only later.
SLOW_RUNS = 3


def bands(shape: tuple[int, ...], frequencies: float) -> tuple[int, ...]:
    """Return how many frequencies along each axis are probed: all channels, the lowest of space or time.

    The features of a table have no order, so that all of them are probed.
    """
    channels, *space = shape
    return (channels, *(max(math.ceil(frequencies * length), 1) for length in space))


def frequencies_of(x: Tensor, share: float | None) -> float:
    """Return the share that is asked for, or the one that suits samples like x."""
    return share if share is not None else _IMAGES if x.ndim > 3 else 1.0


def orthogonal(
    seed: int, shape: tuple[int, ...], frequencies: float, offset: int, samples: Tensor, first: int, count: int
) -> Tensor:
    """Return the directions from number ``offset + first`` on of each sample, float32 ``[N, count, *shape]``.

    Each run of as many directions as there are dimensions is an orthonormal basis, and the next run is another one:
    within a run no answer repeats what an earlier one has told. A basis is that of the cosine transform with the signs
    of its values drawn for each sample, a cheap random rotation; with fewer ``frequencies`` three runs span the slow
    changes, whose coefficients they mix, and the fourth all.

    Args:
        seed: decides the signs, together with the samples' indices.
        shape: of one sample, ``(C, L)``, ``(C, H, W)`` or ``(F,)``.
        frequencies: share of the frequencies of each axis of time or space, from the lowest up.
        offset: how many directions the samples have had in the steps before.
        samples: indices of the samples ``[N]``.
        first: how many they have had in this step.
        count: how many they get.
    """
    slow, every = bands(shape, frequencies), bands(shape, 1.0)
    size = math.prod(slow)
    period = SLOW_RUNS * size + math.prod(every)
    parts, first = [], offset + first
    while count > 0:
        cycle, place = divmod(first, period)
        run = min(place // size, SLOW_RUNS)
        sizes, place = (slow if run < SLOW_RUNS else every), place - run * size
        part = min(count, math.prod(sizes) - place)
        signs = draws.uniform(seed, samples, sizes, (SLOW_RUNS + 1) * cycle + run).sub_(0.5).sign_()  # [N, *sizes]
        directions = _rows(sizes, place, part).to(signs.device) * signs[:, None]  # [N, part, *sizes]
        parts.append(_in_space(directions, shape))
        first, count = first + part, count - part
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _in_space(directions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Turn coefficients of the lowest frequencies ``[N, part, *sizes]`` into values ``[N, part, *shape]``."""
    for axis, length in enumerate(shape):
        band = directions.shape[axis + 2]
        if band < length:
            # In float64, whose last digits a product of matrices may round by the batch's size: float32 hides them.
            waves = _cosines(length, torch.arange(band)).to(directions.device)
            turned = torch.tensordot(directions.double().movedim(axis + 2, -1), waves, 1)
            directions = turned.movedim(-1, axis + 2).float()
    return directions


@lru_cache(64)
def _rows(sizes: tuple[int, ...], first: int, count: int) -> Tensor:
    """Return so many rows of the Kronecker product of the axes' cosine transforms, ``[count, *sizes]``."""
    place = _order(math.prod(sizes))[first : first + count]
    rows = torch.ones(count, *sizes)
    for axis, size in reversed(list(enumerate(sizes))):
        waves = _cosines(size, place % size).float()  # [count, size]
        rows = rows * waves.reshape(count, *[1] * axis, size, *[1] * (len(sizes) - 1 - axis))
        place = place // size
    return rows


@lru_cache
def _order(size: int) -> Tensor:
    """Shuffle so many rows: neighbours of one frequency tell much the same of a change that is short."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(size))


def _cosines(length: int, rows: Tensor) -> Tensor:
    """Return rows of the orthonormal basis of the discrete cosine transform (type II), float64 ``[rows, L]``."""
    time = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    waves = torch.cos(math.pi * rows.double()[:, None] * time) * math.sqrt(2 / length)
    return torch.where(rows[:, None] == 0, waves / math.sqrt(2), waves)

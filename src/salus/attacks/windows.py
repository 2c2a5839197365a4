"""Windows in samples: stretches of time, squares of pixels or groups of features, and a profile inside them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from salus.attacks.ball import by_place, in_shape


class Window(NamedTuple):
    """A window in each sample.

    Attributes:
        places: those inside, in the order of the window's own values, int64 ``[A, W]``.
        edge: its length along each axis.
    """

    places: Tensor
    edge: int

    def at(self, x: Tensor) -> Tensor:
        """Return the places in each channel of samples, ``[A, C, W]``."""
        return self.places[:, None].expand(-1, by_place(x).shape[1], -1)

    def mask(self, x: Tensor) -> Tensor:
        """Tell which values of samples lie inside, bool ``[A, 1, ...]``, of tables ``[A, F]``."""
        nowhere = torch.zeros(len(x), by_place(x).shape[2], dtype=torch.bool, device=x.device)
        return in_shape(nowhere.scatter_(1, self.places, value=True), x)


def window(x: Tensor, share: float, place: Tensor, order: Tensor, least: int = 1) -> Window:
    """Lay a window with this share of the values (and an edge of at least ``least``) into each sample ``[A, ...]``.

    Args:
        x: samples.
        share: of the values.
        place: in [0, 1), along each axis of space or time ``[A, axes]``; a table has one.
        order: the features of a table, a row of them for each sample ``[A, F]``; unused elsewhere.
        least: the shortest edge.
    """
    if x.ndim == 2:
        size = max(round(share * x.shape[1]), 1)
        first = (place * x.shape[1]).to(torch.int64)
        return Window(order.gather(1, (first + torch.arange(size, device=x.device)) % x.shape[1]), size)
    lengths = x.shape[2:]
    edge = min(max(round((share * math.prod(lengths)) ** (1 / len(lengths))), least), *lengths)
    inside = torch.arange(edge, device=x.device)
    first = (place * (torch.tensor(lengths, device=x.device) - edge + 1)).to(torch.int64)  # [A, axes]
    places = first[:, :1] + inside
    for axis, length in enumerate(lengths[1:], 1):
        places = (places[:, :, None] * length + (first[:, axis, None] + inside)[:, None]).flatten(1)
    return Window(places, edge)


@lru_cache
def profile(edge: int, axes: int) -> Tensor:
    """Return two bumps side by side along the first axis, one up and one down, of length 1, ``[edge, ...]``.

    Andriushchenko et al., 2020, Eq. 2.
    """
    if axes == 0:
        return torch.ones(())
    halves = []
    for thick, sign in ((edge // 2, 1.0), (edge - edge // 2, -1.0)):
        sides = (thick, *[edge] * (axes - 1))
        tail = torch.arange(1, max(sides) // 2 + 2).double().pow(-2).flip(0).cumsum(0).flip(0)
        away = [
            (torch.arange(side) - side // 2).abs().reshape(-1, *[1] * (axes - 1 - k)) for k, side in enumerate(sides)
        ]
        ring = torch.zeros(sides, dtype=torch.int64)
        for distance in away:
            ring = ring.maximum(distance)
        bump = tail[ring]
        halves.append(sign * bump / bump.norm().clamp_min(1e-12))
    pair = torch.cat(halves)
    unit: Tensor = pair / pair.norm()
    return unit.float()

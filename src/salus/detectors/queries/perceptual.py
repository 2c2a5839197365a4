"""A perceptual hash of each input, and how few bits two of them differ in (after PIHA)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.detectors.queries.base import Monitor
from salus.detectors.queries.memory import Past
from salus.options import checked

_ROWS = 256


class Perceptual(Monitor):
    """Compares perceptual hashes: bits that say which of two neighbouring blocks is higher.

    PIHA (Choi et al., 2023) smooths an image, cuts it into blocks and hashes local binary patterns of each; two inputs
    of which less than a share of the bits differ are one attack's. Here that is done along every axis of the input, so
    that it reads signals too: the input is smoothed, averaged over blocks, and each block compared with those up to
    ``around`` places on.

    Args:
        smooth: width of the Gaussian that smooths, in values.
        block: values of a block along each axis; the authors take 7.
        around: how far on the blocks lie that each is compared with.
    """

    name: ClassVar[str] = "perceptual"
    title: ClassVar[str] = "Perceptual hash"
    tests: ClassVar[tuple[str, ...]] = ("few other bits",)

    @checked
    def __init__(
        self,
        *,
        smooth: Annotated[float, Field(gt=0, description="width of the Gaussian that smooths, in values")] = 1.0,
        block: Annotated[int, Field(ge=1, description="values of a block along each axis")] = 7,
        around: Annotated[int, Field(ge=1, description="how far on the blocks lie that each is compared with")] = 8,
    ) -> None:
        super().__init__()
        self.smooth, self.block, self.around = smooth, block, around

    def trace(self, x: Tensor) -> Tensor:
        """Keep the bits, as -1 and 1 in float32 ``[N, W]``."""
        values = x.detach().cpu().double()
        if values.ndim == 2:  # a table's features have no order: each is compared with those that follow
            return self._bits(values, 1)
        for axis in range(2, values.ndim):
            values = self._blocks(values, axis)
        return torch.cat([self._bits(values, axis) for axis in range(2, values.ndim)], 1)

    def evidence(self, traces: Tensor, answers: Tensor, past: Past) -> Tensor:
        """Return one over the share of bits that differ from the earlier input that is most alike, ``[N, 1]``.

        One bit more is counted, so that equal hashes have a share too.
        """
        known = torch.cat([past.traces, traces]) if len(past) else traces
        bits, others = traces.shape[1], []
        for first in range(0, len(traces), _ROWS):
            rows = torch.arange(first, min(first + _ROWS, len(traces)))
            place = len(past) + rows
            differing = (bits - traces[rows] @ known[: int(place[-1]) + 1].T) / 2
            later = torch.arange(differing.shape[1]) >= place[:, None]
            others.append(differing.masked_fill(later, bits - 1).amin(1))
        return (bits / (torch.cat(others).double() + 1))[:, None]

    def _blocks(self, values: Tensor, axis: int) -> Tensor:
        """Smooth along an axis and average over blocks."""
        moved = values.movedim(axis, -1)
        reach = math.ceil(3 * self.smooth)
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weights = torch.softmax(-offsets.square() / (2 * self.smooth**2), 0)
        padded = torch.nn.functional.pad(moved.flatten(0, -2)[:, None], (reach, reach), mode="replicate")
        smooth = torch.nn.functional.conv1d(padded, weights[None, None])[:, 0]
        block = min(self.block, smooth.shape[1])
        whole = smooth.shape[1] - smooth.shape[1] % block
        means = smooth[:, :whole].unflatten(1, (-1, block)).mean(2)
        blocks: Tensor = means.unflatten(0, moved.shape[:-1])
        return blocks.movedim(-1, axis)

    def _bits(self, values: Tensor, axis: int) -> Tensor:
        length = values.shape[axis]
        bits = [
            values.narrow(axis, step, length - step) > values.narrow(axis, 0, length - step)
            for step in range(1, min(self.around, length - 1) + 1)
        ]
        if not bits:  # one value alone compares with nothing
            return torch.ones(len(values), 1)
        return torch.cat([each.flatten(1) for each in bits], 1).float() * 2 - 1

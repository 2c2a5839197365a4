"""The cosine between one change of the query and the next (after GWAD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.detectors.queries.base import Monitor, Stream
from salus.detectors.queries.memory import Past
from salus.options import checked

#: Parts of the range of cosines that are counted.
_BINS = 40


class Updates(Monitor):
    """Watches how each query's change follows on the one before.

    Queries that have nothing to do with one another turn back half way: the cosine of two changes in a row lies about
    -0.5. Searches go on in one direction, or to and fro about one point. GWAD (Park et al., 2025) gives the histogram
    of these cosines to a network that knows attacks; here its distance from honest callers' is the evidence, so that
    nothing of attacks is learnt.

    Args:
        span: queries whose cosines make a histogram.
    """

    name: ClassVar[str] = "updates"
    title: ClassVar[str] = "Cosines of updates"
    tests: ClassVar[tuple[str, ...]] = ("cosines",)

    @checked
    def __init__(
        self, *, span: Annotated[int, Field(ge=8, description="queries whose cosines make a histogram")] = 64
    ) -> None:
        super().__init__()
        self.span = span

    def trace(self, x: Tensor) -> Tensor:
        """Keep the inputs, float32 ``[N, D]``."""
        return x.detach().cpu().float().flatten(1)

    def learn(self, streams: Sequence[Stream]) -> None:
        """Learn the histogram of honest callers, each counting the same."""
        histograms = []
        for stream in streams:
            bins = _bins(self.trace(stream.x))
            histograms.append(torch.bincount(bins, minlength=_BINS).double() / max(len(bins), 1))
        self.learnt_ = {"histogram": torch.stack(histograms).mean(0)}

    def evidence(self, traces: Tensor, answers: Tensor, past: Past) -> Tensor:
        """Return the distance of the last cosines' histogram from the honest one (total variation), ``[N, 1]``.

        While there are fewer than ``span`` of them the missing ones count as honest.
        """
        before = past.traces[-(self.span + 1) :] if len(past) else traces[:0]
        bins = _bins(torch.cat([before, traces]))  # two fewer than queries
        counts = torch.nn.functional.one_hot(bins, _BINS).double().cumsum(0)
        counts = torch.cat([torch.zeros(1, _BINS, dtype=torch.float64), counts])
        ends = (torch.arange(len(traces)) + len(before) - 1).clamp_min(0)
        starts = (ends - self.span).clamp_min(0)
        own = counts[ends] - counts[starts]
        missing = self.span - own.sum(1, keepdim=True)
        share = (own + missing * self.learnt_["histogram"]) / self.span
        return (share - self.learnt_["histogram"]).abs().sum(1, keepdim=True) / 2


def _bins(x: Tensor) -> Tensor:
    """Say into which part of the range each cosine of two changes in a row falls, ``[N - 2]``."""
    if len(x) < 3:
        return torch.zeros(0, dtype=torch.int64)
    change = x[1:] - x[:-1]
    cosine = torch.nn.functional.cosine_similarity(change[1:], change[:-1], dim=1)
    return ((cosine + 1) / 2 * _BINS).long().clamp(0, _BINS - 1)

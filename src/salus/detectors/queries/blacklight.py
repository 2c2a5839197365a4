"""Blacklight's fingerprints: quantised values, salted hashes of every stretch, and how many two inputs share."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from salus.detectors.queries.base import Monitor
from salus.detectors.queries.memory import Past
from salus.options import checked

#: An odd number that mixes bits well (SplitMix64, Steele et al., 2014).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
#: Queries that are matched at once.
_ROWS = 64


class Blacklight(Monitor):
    """Counts how many of an input's salted hashes an earlier input shares (Li et al., 2022).

    Values are rounded to a step, every stretch of so many values is hashed with the secret salt, and the ``kept``
    largest hashes are the fingerprint. The authors hash with SHA-256; here each stretch is mixed into 64 bits with a
    secret of the salt, which takes a thousandth of the time and says as little to those who never see a hash.

    Args:
        step: to which values are rounded; the authors take 50/255 of the range for images.
        stretch: values that are hashed together; the authors take 20 for small images.
        kept: hashes of a fingerprint; the authors keep 50, and raise the alarm at 25 shared ones.
    """

    name: ClassVar[str] = "blacklight"
    title: ClassVar[str] = "Blacklight"
    tests: ClassVar[tuple[str, ...]] = ("few other hashes",)

    @checked
    def __init__(
        self,
        *,
        step: Annotated[float, Field(gt=0, description="to which values are rounded")] = 50 / 255,
        stretch: Annotated[int, Field(ge=1, description="values that are hashed together")] = 20,
        kept: Annotated[int, Field(ge=1, description="hashes of a fingerprint")] = 50,
    ) -> None:
        super().__init__()
        self.step, self.stretch, self.kept = step, stretch, kept

    def trace(self, x: Tensor) -> Tensor:
        """Keep the fingerprint, int64 ``[N, kept]``."""
        levels = (x.detach().cpu().flatten(1).double() / self.step).round().long().numpy()
        windows = np.lib.stride_tricks.sliding_window_view(levels, min(self.stretch, levels.shape[1]), axis=1)
        with np.errstate(over="ignore"):
            code = np.full(windows.shape[:2], self._secret, np.uint64)
            for place in range(windows.shape[2]):
                code = _mixed(code ^ windows[:, :, place].astype(np.uint64))
        largest = np.sort(code, axis=1)[:, -self.kept :].astype(np.int64)
        missing = self.kept - largest.shape[1]
        return torch.from_numpy(np.pad(largest, ((0, 0), (max(missing, 0), 0))))

    def evidence(self, traces: Tensor, answers: Tensor, past: Past) -> Tensor:
        """Return one over the share of hashes that the earlier input lacks which shares most, ``[N, 1]``.

        One hash more is counted, so that equal fingerprints have a share too: the authors' 25 of 50 give 1.9.
        """
        known = torch.cat([past.traces, traces]) if len(past) else traces
        counts = []
        for first in range(0, len(traces), _ROWS):
            rows = torch.arange(first, min(first + _ROWS, len(traces)))
            place = len(past) + rows
            shared = _shared(traces[rows].numpy(), known[: int(place[-1]) + 1].numpy())
            later = torch.arange(shared.shape[1]) >= place[:, None]
            counts.append(torch.from_numpy(shared).masked_fill(later, 0).amax(1))
        return (self.kept / (self.kept - torch.cat(counts).double() + 1))[:, None]

    @property
    def _secret(self) -> np.uint64:
        return np.uint64(int.from_bytes(self.memory.salt()[:8], "big"))


def _mixed(code: NDArray[np.uint64]) -> NDArray[np.uint64]:
    code = (code ^ (code >> np.uint64(30))) * _FIRST
    code = (code ^ (code >> np.uint64(27))) * _SECOND
    return code ^ (code >> np.uint64(31))


def _shared(own: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for every pair how many hashes of the one the other has too, ``[n, m]``."""
    from scipy.sparse import csr_matrix

    codes, inverse = np.unique(own, return_inverse=True)
    place = np.searchsorted(codes, known).clip(max=len(codes) - 1)
    hit = codes[place] == known

    def table(columns: NDArray[np.int64], mask: NDArray[np.bool_]) -> csr_matrix:
        rows = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape)[mask]
        ones = np.ones(len(rows), np.int64)
        found = csr_matrix((ones, (rows, columns[mask])), shape=(len(columns), len(codes)))
        found.data.clip(max=1, out=found.data)  # a hash that one input has twice counts once
        return found

    inverse = inverse.reshape(own.shape)
    pairs = table(inverse, np.ones(own.shape, bool)) @ table(place, hit).T
    return np.asarray(pairs.todense(), np.int64)

"""How many samples go through a network side by side, so that large images do not fill the memory."""

from __future__ import annotations

from torch import Tensor

#: Values of one batch: a network keeps some 50 to 100 floats for each, 1 to 2 GB in main memory.
MOST_VALUES = {"cpu": 2**22, "cuda": 2**26}


def rows_at_once(x: Tensor, most: int) -> int:
    """Say how many samples of x ``[N, ...]`` make a batch: ``most``, or fewer where each has many values."""
    values = MOST_VALUES.get(x.device.type, MOST_VALUES["cpu"])
    return max(1, min(most, values // max(x.shape[1:].numel(), 1)))

"""How many samples go through a network side by side, and how many are held, so that images do not fill the memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

#: Values of one batch: a network keeps some 50 to 100 floats for each, 1 to 2 GB in main memory.
MOST_VALUES = {"cpu": 2**22, "cuda": 2**26}

#: Bytes of a GPU that each value of a batch may take, so that small GPUs get smaller batches.
_BYTES_A_VALUE = 512

#: The share of a GPU's memory that this process has.
_gpu_share = 1.0

#: Batches of the largest size that may be held together.
_HELD = 4

#: Batches of large samples after which freed memory is given back.
_GIVE_BACK = 8


def rows_at_once(x: Tensor, most: int) -> int:
    """Say how many samples of x ``[N, ...]`` make a batch: ``most``, or fewer where each has many values."""
    values = MOST_VALUES.get(x.device.type, MOST_VALUES["cpu"])
    if x.is_cuda:
        values = min(values, values_of_gpu(torch.cuda.get_device_properties(x.device).total_memory, _gpu_share))
    return max(1, min(most, values // max(x.shape[1:].numel(), 1)))


def values_of_gpu(memory: int, share: float) -> int:
    """Say how many values a batch may have on a GPU of so many bytes, of which this process has a share."""
    return max(1, int(memory * share) // _BYTES_A_VALUE)


def share_gpu(share: float) -> None:
    """Keep this process to a share of each GPU's memory, and its batches to what goes in there."""
    global _gpu_share
    _gpu_share = min(share, 1.0)
    for device in range(torch.cuda.device_count()):
        torch.cuda.set_per_process_memory_fraction(_gpu_share, device)


def in_batches(x: Tensor, most: int) -> Iterator[Tensor]:
    """Split x ``[N, ...]`` into batches of :func:`rows_at_once`, for what keeps little of each."""
    size = rows_at_once(x, most)
    for place, part in enumerate(x.split(size), 1):
        yield part
        if size < most and place % _GIVE_BACK == 0:
            give_back()


def rows_held(x: Tensor, batch_size: int) -> int:
    """Say how many samples of x ``[N, ...]`` are held as floats together: whole batches, which so stay the same."""
    size, most = rows_at_once(x, batch_size), _HELD * rows_at_once(x, max(len(x), 1))
    return max(size, most - most % size)


def filled_up(x: Tensor) -> Tensor:
    """Repeat first rows of x ``[N, ...]`` until their number is a round one: of those up to N there are 8 an octave.

    For networks that meet another number each time: on CPUs every convolution is compiled anew for each number of rows
    (oneDNN), which takes longer than to run it.
    """
    missing = -len(x) % 2 ** max(0, len(x).bit_length() - 4)
    return torch.cat([x, x[:missing]]) if missing else x


def give_back() -> None:
    """Return freed memory to the system, where the C library would keep it.

    glibc keeps what lies between blocks that are still used. Where small results live on and large tensors come and go,
    that soon is more than is used.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)

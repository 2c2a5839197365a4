"""Other libraries draw from the global random state, warn and log a lot; nothing of it is to be noticed outside."""

from __future__ import annotations

import hashlib
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Let the seed decide all that Python, NumPy and PyTorch draw inside the block, and put their states back.

    ART makes a ``np.random.RandomState()`` of its own here and there, which takes its seed from the machine;
    inside the block it takes it from ours.
    """

    class Seeded(np.random.RandomState):
        def __init__(self, own: int | None = None) -> None:
            super().__init__(seed if own is None else own)

    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, numpy = random.getstate(), np.random.get_state()
    # Foolbox logs by ``logging.info``, which gives the root logger a handler where there is none.
    silence, handlers = logging.root.manager.disable, logging.root.handlers[:]
    fresh = np.random.RandomState
    with warnings.catch_warnings(), torch.random.fork_rng(devices=cuda):
        warnings.simplefilter("ignore")
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        logging.disable(logging.CRITICAL)
        np.random.RandomState = Seeded  # type: ignore[assignment, misc]
        try:
            yield
        finally:
            np.random.RandomState = fresh  # type: ignore[misc]
            logging.disable(silence)
            logging.root.handlers[:] = handlers
            random.setstate(python)
            np.random.set_state(numpy)


def seed_of(seed: int, sample: int) -> int:
    """Mix the attack's seed and a sample's index into a seed of 32 bits, which is what NumPy takes."""
    return int.from_bytes(hashlib.sha256(f"{seed} {sample}".encode()).digest()[:4], "big")

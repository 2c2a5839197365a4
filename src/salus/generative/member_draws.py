"""Which members of a repository judge or reform an input: drawn at random, at the moment the input comes."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.draws import uniform

Draws = Annotated[
    Literal["sample"] | Annotated[int, Field(ge=1)],
    Field(description="a draw for each sample, or for so many in turn"),
]
DrawSeed = Annotated[
    Annotated[int, Field(ge=0)] | None,
    Field(description="makes draws repeatable, and foreseeable; for tests and reproductions"),
]


class MemberDraws:
    """Draws so many different members of a repository, all choices equally likely.

    Without a seed every draw comes from the operating system's entropy, which nobody can predict or repeat. With
    one, a sample's draw depends on the seed and the sample's own values alone, whatever else is in the batch.

    Args:
        seed: a number for tests and reproductions; None in production.
        draws: ``sample`` for a draw of its own for each sample, or one for so many samples in turn (MultiMagNet's
            experiments: 100), counted from when this was made.
        stream: separates the draws of a detector, 0, and a reformer, 1, that share a seed.
    """

    def __init__(self, seed: DrawSeed, draws: Draws = "sample", *, stream: int = 0) -> None:
        self.seed = seed
        self.draws = draws
        self.stream = stream
        self._seen = 0
        self._secret = _secret() if seed is None else seed

    def __call__(self, x: Tensor, members: int, n: int, twins: int = 0) -> Tensor:
        """Draw n of so many members for each of the samples x ``[N, ...]``; returns int64 ``[N, n]``.

        Args:
            x: the samples.
            members: how many there are.
            n: how many to draw.
            twins: how many others of the same kind and seed draw for these samples before it; their draws tell nothing
                of its own.
        """
        rows = torch.arange(len(x), device=x.device)
        if self.draws != "sample":
            seed, keys = self._secret, (self._seen + rows) // self.draws
            self._seen += len(x)
        elif self.seed is None:
            seed, keys = _secret(), rows
        else:
            seed, keys = self.seed, _hash(x)
        return uniform(seed, keys, (members,), self.stream + 2 * twins).topk(n, dim=1).indices


def _secret() -> int:
    return secrets.randbits(63)


def _hash(x: Tensor) -> Tensor:
    """Return 64 bits of each sample's values, int64 ``[N]``; two samples agree by chance alone."""
    bits = x.detach().to(torch.float32).flatten(1).contiguous().view(torch.int32).to(torch.int64)  # [N, D]
    rng = torch.Generator().manual_seed(0)
    odd = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=rng) * 2 + 1
    return (bits * odd.to(x.device)).sum(1)

"""A module that ends in softmax, made to give logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.conduct.logits import as_logits_of


class LogOfProbabilities(nn.Module):
    """Takes the logarithm of the probabilities that a module returns.

    Args:
        module: maps a batch to probabilities ``[N, K]``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities ``[N, K]``, clamped where a probability rounded to 0."""
        p = as_logits_of(self.module(x), len(x))  # in float32: half precision ends at 6e-8
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()

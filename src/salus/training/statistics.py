"""Batch normalisation's statistics, taken anew for the weights as they are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def refresh_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give every batch normalisation the mean statistics of batches, for the weights as they are now.

    What it gathers on the way is a mean over the weights of the last ten steps or so. While weights still change fast
    that belongs to none of them, and a network that learns steadily looks as if its accuracy jumped ("precise
    batch normalisation"; Wu and Johnson, 2021, section 3). Layers that a network holds in eval mode keep theirs. The
    network ends in eval mode.

    Args:
        network: a module; the batches pass it once, without dropout.
        batches: of its inputs, all about as large.
    """
    network.train()
    layers = [
        part
        for part in network.modules()
        if isinstance(part, _BatchNorm) and part.training and part.track_running_stats
    ]
    network.eval()
    if not layers:
        return
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.train()
        layer.momentum, layer.num_batches_tracked = None, torch.tensor(0)
    for batch in batches:
        network(batch)
    for layer, (momentum, batches_tracked) in zip(layers, before, strict=True):
        layer.eval()
        layer.momentum, layer.num_batches_tracked = momentum, batches_tracked

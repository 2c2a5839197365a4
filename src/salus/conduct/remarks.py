"""How a model behaves beside its answers: what a reader of a report should know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from salus.conduct.modules import buffers_kept, evaluating, hidden_modules

#: Rows that are answered again, and how many of them in the company of one other.
_ROWS, _PAIRED = 64, 16

#: How much further than draws move them answers move with the other rows of the batch, to be told from draws.
_APART = 3.0


@dataclass(frozen=True)
class Conduct:
    """How a model behaves.

    Attributes:
        drawn: it answers the same input differently each time.
        mixed: its answer for one input depends on the others of its batch.
        remarks: these and whatever else is odd, a sentence each.
    """

    drawn: bool
    mixed: bool
    remarks: tuple[str, ...]


def conduct(module: nn.Module, predict: Callable[[Tensor, int], Tensor], x: Tensor) -> Conduct:
    """Try a model out and say what is odd about it.

    Args:
        module: the model.
        predict: computes logits of inputs in batches of some size.
        x: inputs ``[N, ...]``.
    """
    apart = max(1, len(x) // _ROWS)
    few = x[: apart * _ROWS : apart]
    first, again = predict(few, len(few)), predict(few, len(few))
    home = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), few.device)
    with evaluating(module) as modules, buffers_kept(modules) as written, torch.no_grad():
        module(few.clone().to(home))
    even = min(_PAIRED, len(few) // 2 * 2)  # a BatchNorm in training mode refuses a single row
    pairs = predict(few[:even], 2)
    remarks = []
    drawn = not _alike(first, again)
    if drawn:
        remarks.append("The model answers the same input differently each time; it draws at random inside.")
    moved = (pairs - first[:even]).abs().mean()
    mixed = not _alike(pairs, first[:even]) and bool(moved > _APART * (again - first).abs().mean())
    if mixed:
        remarks.append(
            "The model's answer for one input depends on the other inputs of its batch (normalised over the batch, as "
            "by a BatchNorm in training mode, or a softmax over dimension 0); every figure here depends on how the "
            "samples were batched."
        )
    if written:
        remarks.append(
            f"The model writes to its buffers whenever it answers ({', '.join(sorted(set(written))[:3])}), as a "
            "BatchNorm in training mode does; Salus puts them back."
        )
    if hidden := hidden_modules(module):
        place, part = next(iter(hidden.items()))
        remarks.append(
            f"The model keeps {len(hidden)} {'layer' if len(hidden) == 1 else 'layers'} that it does not register, the "
            f"first a {type(part).__name__} at {place}: Salus holds them in eval mode, but their weights are not saved "
            "with the model; use torch.nn.ModuleList, ModuleDict or an attribute."
        )
    return Conduct(drawn, mixed, tuple(remarks))


def _alike(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4)

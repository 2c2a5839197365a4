"""The nearest earlier query, in the preprocessor's space or in a hidden layer (after Chen et al., 2019)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.batches import in_batches
from salus.detectors.queries.base import Monitor
from salus.detectors.queries.memory import Past
from salus.detectors.queries.neighbours import nearest_earlier
from salus.errors import CalibrationError
from salus.options import checked

#: Distances below this are as good as none.
_LEAST = 1e-6


class Nearest(Monitor):
    """Raises the alarm as soon as a query lies nearer to an earlier one than honest queries come.

    Chen, Carlini and Wagner (2019) average the distances to the k nearest queries under a learnt encoder; here k is 1
    unless asked otherwise by ``layer``, which measures in one of the classifier's own layers.

    Args:
        layer: a layer of the classifier whose states are compared; none for the inputs themselves.
    """

    name: ClassVar[str] = "nearest"
    title: ClassVar[str] = "Nearest query"
    tests: ClassVar[tuple[str, ...]] = ("nearness",)

    @checked
    def __init__(
        self,
        *,
        layer: Annotated[
            str | None, Field(description="layer of the classifier that is compared; none for the inputs themselves")
        ] = None,
    ) -> None:
        super().__init__()
        self.layer = layer

    def trace(self, x: Tensor) -> Tensor:
        """Keep the inputs, or the layer's states, float32 ``[N, D]``."""
        if self.layer is None:
            return x.detach().cpu().float().flatten(1)
        if self.classifier_ is None:
            raise CalibrationError(f"{self.title} reads layer {self.layer!r}: give fit() the classifier.")
        device = self.classifier_.device
        with torch.no_grad():
            states = [self.classifier_.states(part.to(device), (self.layer,)) for part in in_batches(x, 512)]
        return torch.cat([each.hidden[self.layer].cpu().float() for each in states])

    def evidence(self, traces: Tensor, answers: Tensor, past: Past) -> Tensor:
        """Return one over the distance to the nearest earlier query, ``[N, 1]``."""
        near, _ = nearest_earlier(traces, past.traces, (slice(None),))
        return 1 / near[:, -1:].double().clamp_min(_LEAST)

"""Local intrinsic dimensionality of the hidden states around an input (Ma et al., ICLR 2018)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.detectors.hidden import Layers, Seed
from salus.detectors.neighbours import Kept, ReferenceDetector
from salus.options import checked


class LID(ReferenceDetector):
    """Rejects an input around which the clean hidden states fill more dimensions than around clean inputs.

    The score of a layer is the maximum-likelihood estimate ``-(1/k sum_i log(r_i / r_k))^-1`` over the distances r_i to
    the k nearest kept states (Eq. 4), whatever the class. Ma et al. take the neighbours out of a batch and train
    a logistic regression of all layers on attacked samples; here the kept states are fixed, so that no input depends
    on another, and the layers' standardised scores are added up, so that no attack need be known.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions; ``NAME/flat`` keeps them).
        neighbours: k, from 2 up; the paper has 10 to 30.
        max_samples: samples kept of each class, drawn at random.
        seed: of the draws.
    """

    name: ClassVar[str] = "lid"
    title: ClassVar[str] = "LID"
    _needs: ClassVar[str] = "Give more."

    @checked
    def __init__(
        self,
        *,
        layers: Layers = ("penultimate",),
        neighbours: Annotated[int, Field(ge=2, description="nearest states that the estimate is made of")] = 20,
        max_samples: Kept = 500,
        seed: Seed = 0,
    ) -> None:
        self.neighbours = neighbours
        super().__init__(layers, max_samples, seed)

    @property
    def least(self) -> int:
        """So many of each class that k others are left when there are two classes."""
        return self.neighbours // 2 + 1

    def reference_scores(self, layer: str, squared: tuple[Tensor, ...]) -> Tensor:
        """Return the estimated dimensionality, ``[N, 1]``."""
        near = torch.cat(squared, dim=1).topk(self.neighbours, largest=False).values  # [N, k], rising
        logs = near.clamp_min(torch.finfo(torch.float32).tiny).log() / 2
        mean = (logs[:, -1:] - logs).mean(1, keepdim=True)  # of log(r_k / r_i)
        return 1 / mean.clamp_min(1e-6)

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return (
            f"Local intrinsic dimensionality among {self.neighbours} neighbours, of at most {self.max_samples} kept "
            f"of each class, on {', '.join(self.layers)}; {self.rule}"
        )

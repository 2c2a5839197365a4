"""What every purifier shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from salus.classifier import Classifier

P = TypeVar("P", bound="Purifier")

#: The data tell these, not the user; without a line of help they are not listed.
Bounds = tuple[float, float]


class Purifier(ABC):
    """Maps inputs to cleaner inputs of the same shape, before the classifier sees them.

    Attributes:
        trainings: where ``fit`` keeps networks that it trains, so that a stopped one goes on and equal ones train once.
    """

    name: ClassVar[str]
    #: What it is among the mitigations of MITRE ATLAS.
    mitigations: ClassVar[tuple[str, ...]] = ("AML.M0010",)
    trainings: Path | None = None

    @property
    def differentiable(self) -> bool:
        """Whether ``purify`` has a gradient; attackers else take the surrogate's, and also go without gradients."""
        return False

    @property
    def random(self) -> bool:
        """Whether what an input is cleaned to is drawn."""
        return False

    def fit(self: P, classifier: Classifier, x: Tensor, y: Tensor) -> P:
        """Learn what clean training samples x ``[N, ...]`` with labels y ``[N]`` look like; nothing by default."""
        return self

    @abstractmethod
    def purify(self, x: Tensor) -> Tensor:
        """Clean x ``[N, ...]``; each sample on its own."""

    def surrogate(self, x: Tensor) -> Tensor:
        """Stand in for ``purify`` where gradients are needed (BPDA, Athalye et al., 2018); x by default."""
        return x

    def outcomes(self, x: Tensor) -> list[Tensor]:
        """Return what x may be cleaned to, each as likely as the others: one thing, unless the purifier draws.

        Where gradients are needed they are the surrogate's, the values those of ``purify`` (BPDA).
        """
        if self.differentiable or not (torch.is_grad_enabled() and x.requires_grad):
            return [self.purify(x)]
        stand_in = self.surrogate(x)
        return [stand_in + (self.purify(x.detach()) - stand_in).detach()]

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the purifier beside its tensors, as plain values for JSON."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the learnt tensors by name; none by default."""
        return {}

    @classmethod
    def restore(
        cls: type[P],
        classifier: Classifier,
        settings: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> P:
        """Rebuild a purifier from its settings and tensors."""
        return cls(**settings)

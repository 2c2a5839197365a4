"""What every purifier shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor


class Purifier(ABC):
    """Maps inputs to cleaner inputs of the same shape, before the classifier sees them."""

    name: ClassVar[str]

    @abstractmethod
    def purify(self, x: Tensor) -> Tensor:
        """Clean x ``[N, ...]``; each sample on its own."""

    def surrogate(self, x: Tensor) -> Tensor:
        """Stand in for ``purify`` where gradients are needed (BPDA, Athalye et al., 2018); x by default."""
        return x

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the purifier, as plain values for JSON."""

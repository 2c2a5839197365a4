"""Min-max scaling to (0, 1), fitted on training data; what lies outside afterwards is clipped and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MinMax:
    """Where zero lies and how long one is: per feature of a table, over all values otherwise."""

    low: NDArray[np.float64]
    span: NDArray[np.float64]

    @classmethod
    def fit(cls, x: NDArray[Any]) -> MinMax:
        """Learn the range of training samples; a feature that never varies keeps its own unit."""
        axis = 0 if x.ndim == 2 else None
        low = np.asarray(x.min(axis), dtype=np.float64)
        span = np.asarray(x.max(axis), dtype=np.float64) - low
        return cls(low, np.where(span > 0, span, 1.0))

    def __call__(self, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scale; return the values inside (0, 1), and which of them had to be clipped."""
        scaled = (x.astype(np.float64) - self.low) / self.span
        outside = (scaled < 0) | (scaled > 1)
        return scaled.clip(0, 1).astype(np.float32), outside

    def scale(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Do the same to a tensor, whose gradients stay; in float64, as it is done to arrays."""
        low, span = self.tensors(values.device)
        scaled = (values.double() - low) / span
        outside = (scaled < 0) | (scaled > 1)
        return scaled.clamp(0, 1).float(), outside

    def inverse(self, x: Tensor) -> Tensor:
        """Turn scaled values back into their own units."""
        low, span = self.tensors(x.device)
        return (x.double() * span + low).float()

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return ``low`` and ``span`` as tensors."""
        return torch.as_tensor(self.low, device=device), torch.as_tensor(self.span, device=device)

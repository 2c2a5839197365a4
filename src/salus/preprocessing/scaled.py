"""What preprocessors share that may scale values to the range of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from salus.preprocessing.base import Preprocessor
from salus.preprocessing.scaling import MinMax


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledPreprocessor(Preprocessor):
    """A preprocessor with a scaling.

    Attributes:
        scaling: min-max scaling to (0, 1); None where values stay in their own units.
    """

    arrays: ClassVar[frozenset[str]] = frozenset({"scaling"})

    scaling: MinMax | None = None

    def inverse(self, x: Tensor) -> Tensor:
        """Turn x ``[N, ...]`` back into its own units."""
        return x if self.scaling is None else self.scaling.inverse(x)

    @property
    def raw_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest value of each feature in its own unit, as training had them, shaped like one x."""
        low, high = (torch.full((1, *self.shape), bound) for bound in self.bounds)
        return self.inverse(low)[0], self.inverse(high)[0]

    def tensors(self) -> dict[str, Tensor]:
        """Return the scaling."""
        if self.scaling is None:
            return {}
        low, span = self.scaling.tensors()
        return {"low": low, "span": span}


def restored_scaling(tensors: Mapping[str, Tensor]) -> MinMax | None:
    """Make a scaling again; None where there was none."""
    return MinMax(tensors["low"].numpy(), tensors["span"].numpy()) if "low" in tensors else None

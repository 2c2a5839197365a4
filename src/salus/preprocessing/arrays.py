"""Arrays of numbers that somebody else prepared, or that are only scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from salus.errors import DataError
from salus.preprocessing.base import Prepared, Preprocessor, common, inside, numbered, tensor_of
from salus.preprocessing.scaling import MinMax


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayPreprocessor(Preprocessor):
    """How arrays ``[N, ...]`` become x: as they are, or scaled.

    Attributes:
        features: names of a table's features, in their order; () where they have none.
        scaling: min-max scaling to (0, 1); None where values are taken as they are.
    """

    kind: ClassVar[str] = "array"
    takes: ClassVar[str] = "an .npz file of arrays"
    arrays: ClassVar[frozenset[str]] = frozenset({"scaling"})

    features: tuple[str, ...] = ()
    scaling: MinMax | None = None

    def transform(self, raw: Any) -> Prepared:
        """Prepare an array of the right shape.

        Raises:
            DataError: it has another shape.
        """
        values = tensor_of(raw, "Arrays")
        if self.shape and tuple(values.shape[1:]) != self.shape:
            raise DataError(
                f"The array has the shape {list(values.shape)}; the model takes [N, {', '.join(map(str, self.shape))}]."
            )
        clipped = 0
        if self.scaling is not None:
            x, outside = self.scaling.scale(values)
            clipped = int(outside.sum())
        else:
            x = values.float()
        x, names, refused = inside(x, numbered(len(x), "sample"), self.bounds)
        return Prepared(x, tuple(names), refused=tuple(refused), clipped=clipped)

    def reads(self, thing: Path) -> bool:
        """Tell that it is none: arrays are read by whoever reads prepared ones."""
        return False

    def stream(self, thing: Path, label: str | None = None) -> Iterator[Prepared]:
        """Refuse: how a raw thing becomes an array, nobody said.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"The model was trained on arrays; how {thing} becomes one is not known. Bring an .npz file with x as it "
            "was in training."
        )
        yield

    def inverse(self, x: Tensor) -> Tensor:
        """Turn x back into its own units."""
        return x if self.scaling is None else self.scaling.inverse(x)

    @property
    def raw_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest value in its own unit, as training had it."""
        low, high = (torch.full((1, *self.shape), bound) for bound in self.bounds)
        return self.inverse(low)[0], self.inverse(high)[0]

    def describe(self) -> str:
        """Say in a line how arrays are prepared."""
        return "arrays as they are" if self.scaling is None else "arrays, min-max scaling fitted on training"

    def tensors(self) -> dict[str, Tensor]:
        """Return the scaling."""
        if self.scaling is None:
            return {}
        low, span = self.scaling.tensors()
        return {"low": low, "span": span}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ArrayPreprocessor:
        """Make it again."""
        scaling = MinMax(tensors["low"].numpy(), tensors["span"].numpy()) if "low" in tensors else None
        shared = common(settings)
        if scaling is not None:
            np.broadcast_shapes(scaling.low.shape, scaling.span.shape, shared["shape"])
        return cls(features=tuple(map(str, settings["features"])), scaling=scaling, **shared)

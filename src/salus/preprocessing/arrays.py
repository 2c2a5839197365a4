"""Arrays of numbers that somebody else prepared, or that are only scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from salus.errors import DataError
from salus.preprocessing.base import Prepared, common, inside, numbered, tensor_of
from salus.preprocessing.scaled import ScaledPreprocessor, restored_scaling


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayPreprocessor(ScaledPreprocessor):
    """How arrays ``[N, ...]`` become x: as they are, or scaled.

    Attributes:
        features: names of a table's features, in their order; () where they have none.
    """

    kind: ClassVar[str] = "array"
    takes: ClassVar[str] = "an .npz file of arrays"

    features: tuple[str, ...] = ()

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

    def describe(self) -> str:
        """Say in a line how arrays are prepared."""
        return "arrays as they are" if self.scaling is None else "arrays, min-max scaling fitted on training"

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ArrayPreprocessor:
        """Make it again."""
        scaling = restored_scaling(tensors)
        shared = common(settings)
        if scaling is not None:
            np.broadcast_shapes(scaling.low.shape, scaling.span.shape, shared["shape"])
        return cls(features=tuple(map(str, settings["features"])), scaling=scaling, **shared)

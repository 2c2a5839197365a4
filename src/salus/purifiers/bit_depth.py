"""Bit-depth reduction, the simplest purifier (feature squeezing; Xu et al., NDSS 2018)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from salus.options import checked
from salus.purifiers.base import Bounds, Purifier

Bits = Annotated[int, Field(ge=1, le=16, description="bits that a value keeps")]


class BitDepth(Purifier):
    """Rounds values to ``2 ** bits`` levels between the bounds.

    Args:
        bits: that a value keeps.
        bounds: lowest and highest value of x.
    """

    name: ClassVar[str] = "bit-depth"
    title: ClassVar[str] = "Bit depth"

    @checked
    def __init__(self, *, bits: Bits = 5, bounds: Bounds = (0.0, 1.0)) -> None:
        self.bits = bits
        self.bounds = bounds

    def purify(self, x: Tensor) -> Tensor:
        """Round to the nearest level."""
        low, high = self.bounds
        levels = 2**self.bits - 1
        rounded: Tensor = ((x - low) / (high - low) * levels).round() / levels * (high - low) + low
        return rounded

    def settings(self) -> dict[str, Any]:
        """Return bits and bounds."""
        return {"bits": self.bits, "bounds": list(self.bounds)}

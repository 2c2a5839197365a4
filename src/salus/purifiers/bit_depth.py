"""Bit-depth reduction, the simplest purifier (feature squeezing; Xu et al., NDSS 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from salus.errors import OptionError
from salus.purifiers.base import Purifier


class BitDepth(Purifier):
    """Rounds values to ``2 ** bits`` levels between the bounds.

    Args:
        bits: 1 to 16.
        bounds: lowest and highest value of x.
    """

    name: ClassVar[str] = "bit-depth"

    def __init__(self, *, bits: int = 5, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
        if not (isinstance(bits, int) and 1 <= bits <= 16):
            raise OptionError(f"Bit depth: bits must be a whole number from 1 to 16, not {bits!r}.")
        self.bits = bits
        self.bounds = (float(bounds[0]), float(bounds[1]))

    def purify(self, x: Tensor) -> Tensor:
        """Round to the nearest level."""
        low, high = self.bounds
        levels = 2**self.bits - 1
        rounded: Tensor = ((x - low) / (high - low) * levels).round() / levels * (high - low) + low
        return rounded

    def settings(self) -> dict[str, Any]:
        """Return bits and bounds."""
        return {"bits": self.bits, "bounds": list(self.bounds)}

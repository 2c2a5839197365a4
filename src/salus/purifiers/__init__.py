"""Purifiers: each maps an input to a cleaner input."""

from salus.purifiers.base import Purifier
from salus.purifiers.bit_depth import BitDepth

PURIFIERS: dict[str, type[BitDepth]] = {BitDepth.name: BitDepth}

__all__ = ["PURIFIERS", "BitDepth", "Purifier"]

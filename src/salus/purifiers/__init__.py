"""Purifiers: each maps an input to a cleaner input."""

from salus.purifiers.base import Purifier
from salus.purifiers.bit_depth import BitDepth
from salus.purifiers.registry import PURIFIERS, build_purifier

__all__ = ["PURIFIERS", "BitDepth", "Purifier", "build_purifier"]

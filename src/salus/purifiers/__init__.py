"""Purifiers: each maps an input to a cleaner input."""

from salus.purifiers.alternate_generator import AlternateGenerator
from salus.purifiers.base import Purifier
from salus.purifiers.bit_depth import BitDepth
from salus.purifiers.defense_gan import DefenseGANPurifier
from salus.purifiers.low_level import LowLevel
from salus.purifiers.multimagnet import MultiMagNetReformer
from salus.purifiers.reformer import Reformer
from salus.purifiers.registry import PURIFIERS, build_purifier

__all__ = [
    "PURIFIERS",
    "AlternateGenerator",
    "BitDepth",
    "DefenseGANPurifier",
    "LowLevel",
    "MultiMagNetReformer",
    "Purifier",
    "Reformer",
    "build_purifier",
]

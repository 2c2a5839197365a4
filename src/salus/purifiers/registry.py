"""Purifiers by the name that the command line and plans use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salus.errors import OptionError
from salus.purifiers.alternate_generator import AlternateGenerator
from salus.purifiers.base import Purifier
from salus.purifiers.bit_depth import BitDepth
from salus.purifiers.defense_gan import DefenseGANPurifier
from salus.purifiers.low_level import LowLevel
from salus.purifiers.multimagnet import MultiMagNetReformer
from salus.purifiers.reformer import Reformer
from salus.registry import Registry

PURIFIERS: Registry[type[Purifier]] = Registry(
    "defence",
    "salus.purifiers",
    {
        cls.name: cls
        for cls in (BitDepth, LowLevel, Reformer, MultiMagNetReformer, DefenseGANPurifier, AlternateGenerator)
    },
    Purifier,
)


def build_purifier(
    name: str, options: Mapping[str, Any], *, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> Purifier:
    """Make the purifier of this name with these options; bounds and seed are for those that take them.

    Raises:
        OptionError: the purifier or an option is unknown, or a value makes no sense.
    """
    if "bounds" in options:
        raise OptionError(f"Defence {name!r} has the bounds of the data; leave bounds out.")
    purifier: Purifier = PURIFIERS.build(name, options, bounds=bounds, seed=seed)
    return purifier

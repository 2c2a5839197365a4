"""Purifiers by the name that the command line and plans use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from salus.errors import OptionError, nearest
from salus.purifiers.base import Purifier
from salus.purifiers.bit_depth import BitDepth
from salus.purifiers.defense_gan import DefenseGANPurifier
from salus.purifiers.low_level import LowLevel
from salus.purifiers.multimagnet import MultiMagNetReformer
from salus.purifiers.reformer import Reformer

PURIFIERS: dict[str, type[Purifier]] = {
    cls.name: cls for cls in (BitDepth, LowLevel, Reformer, MultiMagNetReformer, DefenseGANPurifier)
}


def build_purifier(
    name: str, options: Mapping[str, Any], *, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> Purifier:
    """Make the purifier of this name with these options; bounds and seed are for those that take them.

    Raises:
        OptionError: the purifier or an option is unknown, or a value makes no sense.
    """
    if name not in PURIFIERS:
        raise OptionError(f"Unknown defence {name!r}; {nearest(name, PURIFIERS)}")
    cls = PURIFIERS[name]
    known = list(inspect.signature(cls).parameters)
    told = {key: value for key, value in {"bounds": bounds, "seed": seed}.items() if key in known}
    for key in options:
        if key.replace("-", "_") not in known or key == "bounds":
            raise OptionError(
                f"Defence {name!r} has no option {key!r}; {nearest(key, sorted(set(known) - {'bounds'}))}"
            )
    return cls(**{**told, **{key.replace("-", "_"): value for key, value in options.items()}})

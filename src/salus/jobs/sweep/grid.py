"""The settings of a sweep: every combination of the values that options of a method take."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from salus.errors import OptionError, nearest
from salus.hardening import METHODS
from salus.hardening.base import Method
from salus.options import parse_value
from salus.storage import digest

#: Letters of a folder's name, beyond which it is cut and ends in a hash.
_LONGEST = 80


@dataclass(frozen=True, eq=False)
class Setting:
    """One combination.

    Attributes:
        method: its name.
        options: all that were given.
        varied: those of them that the grid varies, as a user wrote them.
    """

    method: str
    options: Mapping[str, Any]
    varied: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name it in words, for tables: ``eps 0.01, steps 5``."""
        return ", ".join(f"{key} {value}" for key, value in self.varied.items()) or self.method

    @property
    def folder(self) -> str:
        """Name it in a folder's name: ``eps-0.01-steps-5``."""
        words = "-".join(f"{key}-{value}" for key, value in self.varied.items()) or self.method
        safe = re.sub(r"[^\w.+-]", "-", words)
        return safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}-{digest(words)[:8]}"

    @property
    def spec(self) -> str:
        """Write it as the command line takes it: ``madry:eps=0.01,steps=5``."""
        words = ",".join(f"{key}={_spelled(value)}" for key, value in self.options.items())
        return f"{self.method}:{words}" if words else self.method

    def build(self, seed: int) -> Method:
        """Make the method.

        Args:
            seed: of what it draws at random, where the options name none.

        Raises:
            OptionError: an option is unknown, or a value makes no sense.
        """
        method: Method = METHODS.build(self.method, self.options, seed=seed)
        return method


def settings_of(spec: str, grid: Sequence[str]) -> list[Setting]:
    """List every combination, the last option of the grid varying fastest.

    Args:
        spec: the method and the options that all share, ``madry:steps=5``.
        grid: ``NAME=value,value`` each.

    Raises:
        OptionError: an option is unknown, given twice, or has a value twice.
    """
    method, options = METHODS.split(spec)
    fixed = {_spelt(key): value for key, value in options.items()}
    axes: dict[str, tuple[str, ...]] = {}
    for word in grid:
        key, values = _axis(word)
        if key in axes or key in fixed:
            other = "by another --grid" if key in axes else f"in {spec!r}"
            raise OptionError(f"--grid {word!r}: {key} is given {other} already; name each option once.")
        known = [option.name for option in METHODS.options(method)]
        if key not in known:
            raise OptionError(f"--grid {word!r}: hardening {method!r} has no option {key!r}; {nearest(key, known)}")
        if key == "seed":
            raise OptionError(f"--grid {word!r}: seeds are named by --seeds, such as --seeds 0,1,2.")
        axes[key] = values
    combinations = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    settings = [Setting(method, {**fixed, **varied}, varied) for varied in combinations]
    if len({setting.folder for setting in settings}) < len(settings):
        raise OptionError("Two settings of the grid differ in signs alone that no folder's name can hold.")
    return settings


def _spelled(value: Any) -> str:
    """Write a value as a user would."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _axis(word: str) -> tuple[str, tuple[str, ...]]:
    """Read ``NAME=value,value``; values stay as they were written, ``2/255``."""
    key, equals, rest = word.partition("=")
    texts = [text.strip() for text in rest.split(",")]
    if not equals or not key.strip() or not all(texts):
        raise OptionError(f"--grid {word!r}: write an option and its values, such as eps=0.01,0.02.")
    values = tuple(parse_value(text) for text in texts)
    twice = next((text for place, text in enumerate(texts) if values[place] in values[:place]), None)
    if twice is not None:
        raise OptionError(f"--grid {word!r} has {twice} twice.")
    return _spelt(key.strip()), tuple(texts)


def _spelt(key: str) -> str:
    return key.replace("-", "_")

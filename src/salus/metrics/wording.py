"""Measured numbers in words, the same in reports and in studies: percents, intervals, differences."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeGuard

#: What stands where a number is undefined, or where there is none.
NOTHING = "–"


def present(value: Any) -> TypeGuard[float]:
    """Whether there is a number to print."""
    return value is not None and isfinite(value)


def percentage(share: float | None, decimals: int = 1) -> str:
    """Write a share with its sign, ``12.3%``."""
    return f"{percent(share, decimals)}%" if present(share) else NOTHING


def percent(share: float | None, decimals: int = 1) -> str:
    """Write a share in percent where the sign stands elsewhere, as in the head of a table: ``12.3``."""
    return f"{100 * share:.{decimals}f}" if present(share) else NOTHING


def interval(low: float | None, high: float | None) -> str:
    """Write a 95% interval of a share in percent, ``10.1–14.5``; nothing where there is none."""
    return f"{percent(low)}–{percent(high)}" if present(low) and present(high) else ""


def estimate(share: float | None, low: float | None, high: float | None) -> str:
    """Write a share in percent with its 95% interval, ``12.3 (10.1–14.5)``."""
    ends = interval(low, high)
    return f"{percent(share)} ({ends})" if present(share) and ends else percent(share)


def rate(record: Mapping[str, Any], name: str) -> str:
    """Write a rate of a flat record, which has ``name``, ``name_low`` and ``name_high``."""
    return estimate(record.get(name), record.get(f"{name}_low"), record.get(f"{name}_high"))


def in_sentence(record: Mapping[str, Any], name: str) -> str:
    """Write a rate of a flat record as sentences have it, ``12.3% (10.1 to 14.5)``."""
    return f"{percentage(record[name])} ({percent(record[f'{name}_low'])} to {percent(record[f'{name}_high'])})"


def number(value: float | None, form: str = ".3g") -> str:
    """Write a plain number."""
    return format(value, form) if present(value) else NOTHING


def signed(points: float, decimals: int = 1) -> str:
    """Write a difference in points with its sign, a true minus, and no sign for nothing."""
    shown = f"{points:+.{decimals}f}"
    return shown.replace("-", "−") if float(shown) else shown[1:]

"""Numbers as they are stored: with as many digits as any page prints, and no more."""

from __future__ import annotations

from typing import Any


def rounded(value: Any, digits: int = 6) -> Any:
    """Round every fraction in plain values to so many significant digits, so that no share moves past a goal."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(part, digits) for key, part in value.items()}
    return [rounded(part, digits) for part in value] if isinstance(value, (list, tuple)) else value

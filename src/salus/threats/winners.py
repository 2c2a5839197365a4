"""Which variant of an adaptive attack wins: read from what each came to alone, as records of audits keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salus.threats.adaptive import CONTROL, UNION
from salus.threats.worst import OBLIVIOUS

#: More than so many that win alike are counted, not named.
_NAMED = 3


def winners(alone: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Name the variants that no other wins more than; none where none wins anything.

    Args:
        alone: what each variant came to alone by its name, with its ``attack_success_rate``.
    """
    rates = {
        name: figures["attack_success_rate"] or 0.0 for name, figures in alone.items() if name not in (OBLIVIOUS, UNION)
    }
    most = max(rates.values(), default=0.0)
    return tuple(name for name, rate in rates.items() if rate == most) if most > 0 else ()


def who_wins(alone: Mapping[str, Mapping[str, Any]]) -> str:
    """Say who wins most alone: that the control suffices where nobody wins more, and ties as ties."""
    names = winners(alone)
    if not names:
        return "nobody"
    if CONTROL in names:
        return "the control suffices"
    if len(names) > _NAMED:
        return f"{len(names)} variants alike"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} alike"

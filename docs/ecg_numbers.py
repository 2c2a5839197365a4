"""How docs/ecg.md writes its numbers."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]

#: The classes, and what they hold.
CLASSES = {
    "N": "normal, bundle-branch-block and atrial or nodal escape beats",
    "S": "supraventricular ectopic and escape beats, such as atrial premature beats",
    "V": "ventricular ectopic and escape beats",
    "F": "fusions of a ventricular and a normal beat",
}
#: Height of a normal beat in mV and the usual interval in ms, to say what eps is.
HEIGHT, INTERVAL = 1.5, 800


def share(value: float | None, digits: int = 1) -> str:
    """Write a share in percent."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def ends(low: float, high: float) -> str:
    """Write an interval in percent."""
    return f"({100 * low:.1f}–{100 * high:.1f})"


def between(part: Record, key: str = "accuracy") -> str:
    """Write a share in percent with its interval."""
    if part[key] is None:
        return "–"
    return f"{100 * part[key]:.1f} {ends(part[f'{key}_low'], part[f'{key}_high'])}"


def arrow(clean: float | None, under: float | None) -> str:
    """Write a share in percent, clean and under attack."""
    if clean is None and under is None:
        return "–"
    return " → ".join("–" if value is None else f"{100 * value:.1f}" for value in (clean, under))

"""Salus audits, hardens and guards medical classifiers against adversarial inputs.

``import salus`` is quick: the names below are loaded when they are first used, and the rooms
(:mod:`salus.attacks`, :mod:`salus.detectors`, ...) are imported by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salus.classifier import Classifier
    from salus.client.client import AsyncClient, Client
    from salus.guard import Guard
    from salus.verdict import Verdict

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Classifier", "Client", "Guard", "Verdict", "__version__"]

_HOMES = {
    "AsyncClient": "salus.client.client",
    "Classifier": "salus.classifier",
    "Client": "salus.client.client",
    "Guard": "salus.guard",
    "Verdict": "salus.verdict",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'salus' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Show the lazy names beside the loaded ones."""
    return sorted({*globals(), *__all__})

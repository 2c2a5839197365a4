"""How much of a study's effort is spent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What is spent at ``smoke``, ``small`` or ``full``; the fields are each study's own.

    A study has a dictionary ``SCALES`` of all three, by their names.
    """

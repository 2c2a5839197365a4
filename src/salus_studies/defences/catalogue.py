"""What docs/defences.md says of each defence, from catalogue.json; a test asks that none is forgotten."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class DefenceEntry:
    """What a defence is.

    Attributes:
        name: that ``--defence`` or ``salus harden`` takes.
        kind: detector, purifier or hardening.
        what: it does.
        needs: to be fitted or run.
        paper: where it is from.
    """

    name: str
    kind: str
    what: str
    needs: str
    paper: str


@cache
def catalogue() -> tuple[DefenceEntry, ...]:
    """Read all defences in the order of the page."""
    path = Path(__file__).with_name("catalogue.json")
    return tuple(DefenceEntry(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))

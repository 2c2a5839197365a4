"""Records of cells, looked up and named; what is said of them stands elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from salus.attacks import ATTACKS
from salus.threats import ThreatModel, threat_named

Record = dict[str, Any]


def threat_of(record: Record) -> type[ThreatModel]:
    """Return the threat model of an attacked cell."""
    return threat_named(record["threat_model"])


def first(records: Sequence[Record], **wanted: Any) -> Record | None:
    """Return the first cell with such fields that did not fail; see :func:`matching`."""
    return next(iter(matching(records, **wanted)), None)


def matching(records: Sequence[Record], **wanted: Any) -> list[Record]:
    """Return the cells with such fields that did not fail; of attackers whom a monitor watches if it is named."""
    monitor = wanted.pop("monitor", None)
    own = [r for r in records if r["error"] is None and r.get("monitor") == monitor]
    return [r for r in own if all(r[key] == value for key, value in wanted.items())]


def values(row: Record, fields: Sequence[str]) -> str:
    """Return what a cell has in some fields, as a key."""
    return json.dumps([row[field] for field in fields], sort_keys=True, default=str)


def grouped(records: Sequence[Record], fields: Sequence[str]) -> dict[str, list[Record]]:
    """Group cells that have some fields in common; see :func:`values`."""
    groups: dict[str, list[Record]] = {}
    for row in records:
        groups.setdefault(values(row, fields), []).append(row)
    return groups


def attack_name(record: Record) -> str:
    """Name an attack, with its steps."""
    steps = record["attack_options"].get("steps")
    name = ATTACKS[record["attack"]].__name__ if record["attack"] in ATTACKS else record["attack"]
    return f"{name}{f'-{steps}' if steps else ''}"


def attack_words(record: Record) -> str:
    """Name an attack, with its radius or how far it went."""
    if record["eps"] is None:
        return f"{attack_name(record)} with a median change of {record['distance_median']:.3g} ({record['norm']})"
    return f"{attack_name(record)} at eps = {record['eps']:g} ({record['norm']})"

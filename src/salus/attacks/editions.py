"""The ids that regulators know, each with its name, in the one edition that Salus cites.

NIST AI 100-2 e2025 numbers attacks (``NISTAML.022``); MITRE ATLAS techniques (``AML.T0015``) and mitigations
(``AML.M0015``). Both lists are whole, as files beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NIST, ATLAS = "nist_ai_100_2e2025", "atlas_2026_09"


@dataclass(frozen=True)
class Edition:
    """One edition of a list of ids.

    Attributes:
        title: whose list it is, with the edition.
        source: where it was read.
        names: id -> name.
    """

    title: str
    source: str
    names: dict[str, str]


@cache
def edition(name: str) -> Edition:
    """Read the edition in the file of this name."""
    facts = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    names = {
        key: word for part in ("attacks", "techniques", "mitigations") for key, word in facts.get(part, {}).items()
    }
    return Edition(f"{facts['title']} {facts['edition']}", facts["source"], names)


def split_ids(ids: str) -> tuple[str, ...]:
    """Split ids that are joined by commas."""
    return tuple(part.strip() for part in ids.split(",") if part.strip())


def cited(ids: Iterable[str]) -> list[dict[str, Any]]:
    """Give the names of ids, by edition, as plain values for JSON.

    What is in neither edition, which other packages' defences may say of themselves, stands last, without a name.
    """
    wanted = dict.fromkeys(ids)
    parts: list[dict[str, Any]] = []
    for name in (NIST, ATLAS):
        each = edition(name)
        names = {key: word for key, word in each.names.items() if key in wanted}
        parts.append({"title": each.title, "source": each.source, "names": names})
    known = {key for part in parts for key in part["names"]}
    parts.append({"title": "in neither", "source": "", "names": {key: "" for key in wanted if key not in known}})
    return [part for part in parts if part["names"]]


def in_words(ids: Iterable[str]) -> str:
    """Write ids with their names, by edition, in one line."""
    return "; ".join(
        f"{part['title']}: {', '.join(f'{key} {name}'.strip() for key, name in part['names'].items())}"
        for part in cited(ids)
    )

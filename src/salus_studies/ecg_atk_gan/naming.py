"""What columns, networks and attacks of ECG-ATK-GAN are called on the page, and the order they stand in."""

from __future__ import annotations

from collections.abc import Iterable

from salus_studies.ecg_atk_gan.published import ARCHITECTURES, ATTACKS, PAPERS, SIX
from salus_studies.frame.markdown import Record

#: Columns of the papers' tables: their key in stored results, and the paper's name of the attack.
COLUMNS: dict[str, str | None] = {"none": None, **{name.lower(): name for name in PAPERS[SIX].attacked}}

#: Short names of what the tables compare.
NAMES = {key: cited.split(",")[0] for key, cited in ARCHITECTURES.items()}

#: How a split is named in a sentence.
SPLITS = {"beats": "by beats", "patients": "by patients"}


def column_name(column: str) -> str:
    """Name a column as the papers do."""
    return COLUMNS.get(column, column.upper()) or "no attack"


def network_name(record: Record) -> str:
    """Name the architecture of a record."""
    name = str(record["architecture"])
    return NAMES.get(name, name)


def trained_name(column: str) -> str:
    """Name what a network was trained on."""
    return "clean beats" if column == "none" else f"clean and {column_name(column)}"


def attack_name(record: Record) -> str:
    """Name an attack of an honest record: the papers' name where they have one, with its steps."""
    name = record.get("attack")
    if name is None:
        return "no attack"
    known = {attack.salus: attack.name for attack in ATTACKS.values()}
    steps = (record.get("attack_options") or {}).get("steps")
    return f"{known.get(name, name)}{'' if steps is None else f'-{steps}'}"


def place(order: Iterable[str], name: str) -> int:
    """Say which place a name has in an order; what is not in it comes last."""
    names = list(order)
    return names.index(name) if name in names else len(names)

"""What columns, networks and attacks of ECG-ATK-GAN are called on the page, and the order they stand in."""

from __future__ import annotations

from collections.abc import Iterable

from salus_studies.ecg_atk_gan.published import ARCHITECTURES, ATTACKS, FOUR, PAPERS, SIX, PaperName
from salus_studies.frame.markdown import Record

#: Columns of the papers' tables: their key in stored results, and the paper's name of the attack.
COLUMNS: dict[str, str | None] = {"none": None, **{name.lower(): name for name in PAPERS[SIX].attacked}}

#: Short names of what the tables compare.
NAMES = {key: cited.split(",")[0] for key, cited in ARCHITECTURES.items()}

#: Networks whose layers the papers leave open, so that nothing of ours is comparable with their rows.
NOT_COMPARABLE = ("shaker",)

#: Presets of the proposed model, and the paper of each.
PRESETS: dict[PaperName, str] = {FOUR: "four-attack preset", SIX: "six-attack preset"}

#: How attacks of honest rows are ordered: the papers', then what they do not have.
_HONEST_ORDER = (None, *(attack.salus for attack in ATTACKS.values()), "auto-attack")

#: How a split is named in a sentence.
SPLITS = {"beats": "by beats", "patients": "by patients"}


def column_name(column: str) -> str:
    """Name a column as the papers do."""
    return COLUMNS.get(column, column.upper()) or "no attack"


def marked_name(architecture: str) -> str:
    """Name an architecture; marked where nothing of ours is comparable with it."""
    return NAMES[architecture] + (" †" if architecture in NOT_COMPARABLE else "")


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


def honest_place(record: Record) -> tuple[int, int, int, str]:
    """Say where an honest record stands: by architecture, what it was trained on, attack and attacker."""
    attack = record.get("attack")
    order = _HONEST_ORDER.index(attack) if attack in _HONEST_ORDER else len(_HONEST_ORDER)
    of = place(ARCHITECTURES, record["architecture"]), place(COLUMNS, record["trained_on"])
    return (*of, order, {"oblivious": "1", "adaptive": "2"}.get(str(record.get("threat_model")), "0"))

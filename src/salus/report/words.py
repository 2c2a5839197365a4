"""Numbers, attacks and threat models in the words of the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from salus.attacks import ATTACKS
from salus.metrics import wording
from salus.metrics.wording import NOTHING

#: As everywhere in Salus; here shares carry their sign.
percent, interval = wording.percentage, wording.interval

BARE = "bare classifier"

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


def number(value: float | None) -> str:
    """Write a count or a cost to read, not to compute with."""
    if value is None:
        return NOTHING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def epsilon(value: float | None, kind: str) -> str:
    """Write an attack's radius; of images in their own 255ths where it is a whole number of them."""
    if value is None:
        return NOTHING
    steps = value * 255
    if kind == "image" and round(steps) >= 1 and abs(steps - round(steps)) < 1e-4 and steps < 64:
        return f"{round(steps)}/255"
    return f"{value:.4g}"


def norm(name: str | None) -> str:
    """Name a norm as the field writes it."""
    return NOTHING if name is None else _NORMS.get(name, name)


def attack(name: str | None) -> str:
    """Name an attack as the field writes it."""
    if name is None:
        return "none (clean)"
    cls = ATTACKS.get(name)
    return name if cls is None else cls.label or cls.__name__


def guard(name: str) -> str:
    """Name what was judged."""
    return BARE if name == "none" else name


def options(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Give an attack's options, without what its own columns or the whole run say."""
    hidden = {"eps", "norm", "bounds", "mask", "units", "ranges", "seed", "batch_size"}
    given = cell.get("attack_options") or {}
    return {
        key: value
        for key, value in given.items()
        if key not in hidden and value is not None and not (key == "targeted" and value is False)
    }


def option_text(given: Mapping[str, Any]) -> str:
    """Write options as the command line takes them."""
    return ", ".join(
        f"{key}={format(value, '.4g') if isinstance(value, float) else value}" for key, value in given.items()
    )


def title(cell: Mapping[str, Any], kind: str) -> str:
    """Name one cell in a sentence: attack, radius, threat model."""
    if cell["attack"] is None:
        return "clean inputs"
    words = attack(cell["attack"])
    if cell["eps"] is not None:
        words += f" at eps = {epsilon(cell['eps'], kind)} ({norm(cell['norm'])})"
    return f"{words}, {attacker(cell)}" if cell["threat_model"] else words


def attacker(cell: Mapping[str, Any]) -> str:
    """Name what the attacker knows, and who watches."""
    watched = f", watched by {cell['monitor']}" if cell.get("monitor") else ""
    return f"{cell['threat_model'] or NOTHING}{watched}"


def line_names(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name attacks for a figure: the name, the options that differ between its likes, the threat model."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for cell in cells:
        for key, value in options(cell).items():
            values[cell["attack"]][key].add(repr(value))
    names = []
    for cell in cells:
        telling = {k: v for k, v in options(cell).items() if len(values[cell["attack"]][k]) > 1}
        words = [attack(cell["attack"]), option_text(telling).replace(", ", " ")]
        threat = cell["threat_model"]
        names.append(" ".join(filter(None, words)) + (f", {threat}" if threat else ""))
    return names

"""The thesis's figures by one name, whether it prints them or stored results hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from salus_studies.frame.markdown import Record, done, find
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.cells import COPY, KNOWS, MODELS

#: A figure's name -> its place in what ``thesis_figures`` returns, outside the health maps and inside.
_OVERALL = {
    "accuracy": "accuracy",
    "recall": "macro_recall",
    "specificity": "macro_specificity",
    "fooling": "error_rate",
}
_HEALTH = {"health_accuracy": "accuracy", "health_sensitivity": "sensitivity", "npv": "npv", "fnr": "fnr"}

#: Looks a figure up: ``(network, attack, defence, figure)`` -> percent, None where there is none.
Lookup = Callable[[str, str, str, str], "float | None"]

#: How networks are called that stand in a published one's place.
ARCHITECTURES = {
    "efficientnet-lite0": "EfficientNet-Lite0",
    "efficientnet-lite1": "EfficientNet-Lite1",
    "efficientnet-lite2": "EfficientNet-Lite2",
    "inception-v3": "Inception V3",
    "resnet50": "ResNet 50",
}


def title(results: Record, network: str) -> str:
    """Call the network that stands in a published one's place by its own name, and whose place it is."""
    published_name = published.NETWORKS[network]
    settings = ((results.get("meta") or {}).get("settings") or {}).get("networks", {}).get(network, {})
    own = ARCHITECTURES.get(settings.get("architecture", network), settings.get("architecture", ""))
    return published_name if own == published_name else f"{own} for {published_name}"


def main_network(results: Record) -> str:
    """Name the network on which all is done that the thesis did not do."""
    settings = (results.get("meta") or {}).get("settings") or {}
    name: str = settings.get("main") or (settings.get("hardened") or {}).get("network") or "resnet50"
    return name


def as_published(results: Record) -> bool:
    """Whether the networks are those of the thesis, from ImageNet's weights."""
    settings = ((results.get("meta") or {}).get("settings") or {}).get("networks") or {}
    return bool(settings) and all(
        each.get("architecture") == name and "pretrained" in each.get("options", {}) for name, each in settings.items()
    )


def printed(network: str, attack: str, defence: str, figure: str) -> float | None:
    """Look up what the thesis prints, in percent."""
    value: float | None = getattr(published.experiment(attack, defence).figures[network], figure)
    return value


def ours(results: Record, health_map: str = "thesis") -> Lookup:
    """Look up what was measured as the thesis measures it: the attacker has a copy of the plain classifier."""

    def look(network: str, attack: str, defence: str, figure: str) -> float | None:
        share = value(cell(results, network, attack, defence), figure, health_map)
        return None if share is None else 100 * share

    return look


def cell(
    results: Record,
    network: str,
    attack: str,
    defence: str,
    *,
    attacker: str | None = None,
    trained_on: str | None = None,
) -> Record | None:
    """Find a cell.

    Args:
        results: stored results.
        network: a key of ``NETWORKS``.
        attack: as in :class:`salus_studies.skin_lesion.cells.Case`.
        defence: as there.
        attacker: who attacks; as in the thesis when not given.
        trained_on: the attack that a retrained model learnt from; this attack itself when not given.
    """
    alone = {defence: model for model, defence in MODELS.items() if model != "retrained-clean"}
    if attack == "none":
        attacker = None
    elif attacker is None:
        attacker = KNOWS if defence == "none" or defence in alone else COPY
    model = {"control": "retrained-clean", **alone}.get(defence, "plain")
    if defence in ("retraining", "both"):
        model = f"retrained-{trained_on or attack}"
    return find(results.get("cells"), network=network, attack=attack, defence=defence, attacker=attacker, model=model)


def value(record: Record | None, figure: str, health_map: str = "thesis") -> float | None:
    """Read a figure of a record, as a fraction."""
    interval = spelled(record, figure, health_map)
    return None if interval is None else interval[0]


def spelled(
    record: Record | None, figure: str, health_map: str = "thesis"
) -> tuple[float | None, float | None, float | None] | None:
    """Read a figure and its interval; None where nothing was measured."""
    if record is None or not done(record):
        return None
    place: Mapping[str, Any] = record["figures"]
    name = _OVERALL.get(figure, figure)
    if figure in _HEALTH:
        place, name = place["health"][health_map] or {}, _HEALTH[figure]
    return place.get(name), place.get(f"{name}_low"), place.get(f"{name}_high")


def confusion(record: Record) -> list[list[int]]:
    """Return the answers to each true class, ``[K][K]``."""
    matrix: list[list[int]] = record["figures"]["confusion"]["matrix"]
    return matrix


def commonest(counts: list[int], most: int) -> float:
    """Give the share of all answers that the commonest few classes take."""
    return sum(sorted(counts, reverse=True)[:most]) / max(sum(counts), 1)


def answered(record: Record) -> list[int]:
    """Count the answers of each class."""
    return [sum(column) for column in zip(*confusion(record), strict=True)]

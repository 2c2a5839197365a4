"""What the page reads of the stored results of the two networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from salus_studies.frame.markdown import Record

#: The two ways of splitting, and how the page calls them.
SPLITS = {"beats": "by beats", "patients": "by patients"}
#: The classes, and what they hold.
CLASSES = {
    "N": "normal, bundle-branch-block and atrial or nodal escape beats",
    "S": "supraventricular ectopic and escape beats, such as atrial premature beats",
    "V": "ventricular ectopic and escape beats",
    "F": "fusions of a ventricular and a normal beat",
}
#: The classes that folds of DS1 can tell of: nearly all of its F are one person's.
TOLD = ("N", "S", "V")
#: Height of a normal beat in mV and the usual interval in ms, to say what eps is.
HEIGHT, INTERVAL = 1.5, 800


def measured_splits(results: Record) -> dict[str, Record]:
    """List what is stored of each split, in the order of the page."""
    return {split: results[split] for split in SPLITS if split in results}


def count_test(result: Record) -> int:
    """Count the test beats."""
    return int(sum(result["test"].values()))


def attacked(result: Record | None, name: str) -> Record | None:
    """Find what was counted under an attack."""
    part: Record | None = None if result is None else result.get("attacked", {}).get(name)
    return part


def sensitivities(part: Record | None) -> dict[str, float]:
    """List the classes' sensitivities, where they are defined."""
    rows = () if part is None else part["per_class"]
    return {row["class"]: row["sensitivity"] for row in rows if row["sensitivity"] is not None}


def under_auto_attack(result: Record | None) -> dict[str, tuple[float, int]]:
    """Pool AutoAttack's two parts: sensitivity of each class, and on how many of its beats."""
    pooled: dict[str, tuple[float, int]] = {}
    for name in ("autoattack", "autoattack-rest"):
        for row in (attacked(result, name) or {"per_class": ()})["per_class"]:
            if row["sensitivity"] is None:
                continue
            share, n = pooled.get(row["class"], (0.0, 0))
            total = n + row["n"]
            pooled[row["class"]] = ((share * n + row["sensitivity"] * row["n"]) / total, total)
    return pooled


def lowest_sensitivities(result: Record) -> dict[str, float]:
    """List sensitivities under PGD, or AutoAttack where it left less and attacked every beat of the class."""
    lowest = sensitivities(attacked(result, "pgd"))
    for name, (share, n) in under_auto_attack(result).items():
        if n == result["test"][name] and name in lowest:
            lowest[name] = min(lowest[name], share)
    return lowest


def curve(result: Record) -> list[dict[str, Any]]:
    """List accuracy over eps, from 0 upwards."""
    return sorted(_points(result), key=lambda point: float(point["eps"]))


def _points(result: Record) -> Iterator[dict[str, Any]]:
    yield {"eps": 0.0, **_point(result["clean"])}
    for name, part in result.get("attacked", {}).items():
        if name.startswith("curve-"):
            yield {"eps": float(name.removeprefix("curve-")), **_point(part)}
    strong = attacked(result, "pgd")
    if strong is not None:
        yield {"eps": result["eps"], **_point(strong)}


def _point(part: Record) -> dict[str, Any]:
    return {key: part[key] for key in ("n", "accuracy", "accuracy_low", "accuracy_high", "macro_f1")}


def curves(results: Record) -> dict[str, list[dict[str, Any]]]:
    """List each split's curve; nothing where none has a point between no attack and the attack in full."""
    lines = {split: curve(result) for split, result in measured_splits(results).items()}
    return lines if any(len(line) > 2 for line in lines.values()) else {}


def channels(result: Record) -> tuple[str, ...]:
    """List what a model reads."""
    names: tuple[str, ...] = tuple(result["hardening"]["data"].get("options", {}).get("inputs", ("beat",)))
    return names


def trained_eps(result: Record) -> float | None:
    """Find the eps that training attacked with."""
    attack = ((result["hardening"]["model"]["training"].get("recipe") or {}).get("attack")) or {}
    eps: float | None = attack.get("eps")
    return eps


def trained_share(result: Record) -> float:
    """Compute the share of all beats that training has."""
    counts = result["hardening"]["data"]["counts"]
    return float(sum(counts["train"].values()) / sum(sum(part.values()) for part in counts.values()))


def mean_f1(setting: Record, word: str) -> float:
    """Mean F1 of a setting, ``clean`` or ``robust``: over all classes, on folds over those that these can tell of."""
    by_class = setting.get(f"{word}_f1")
    return float(setting[f"{word}_macro_f1"]) if by_class is None else sum(by_class[name] for name in TOLD) / len(TOLD)

"""What the page reads of the stored results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salus_studies.frame.markdown import Record, done, find
from salus_studies.skin_lesion.sentences import ABOVE, TIMES

#: The defences in the order of the page: key -> words, model, purifier.
DEFENCES = {
    "none": ("no defence", "plain", None),
    "low-level": ("WebP + flip", "plain", "low-level"),
    "retraining": ("adversarial retraining", "retrained-fgsm", None),
    "control": ("as much training on clean pictures", "retrained-clean", None),
    "both": ("retraining, WebP + flip", "retrained-fgsm", "low-level"),
    "distilled": ("defensive distillation", "distilled", None),
    "regularised": ("input gradients priced", "regularised", None),
    "alternate": ("another picture made from scratch", "plain", "alternate"),
    "hardened": ("hardened", "hardened", None),
}
ATTACKERS = {
    "none": "no attack",
    "any": "attacker who knows the defence and wants any wrong answer",
    "harm": "attacker who knows it and wants malignant lesions missed",
}

_ATTACKS = {"none": "none", "any": "pgd", "harm": "pgd-harm"}

#: By which map a lesion is malignant.
MALIGNANT = "medical"

#: Defences behind which gradients are only guessed.
GUESSED = ("low-level", "both", "alternate")

#: What a network that always answers the commonest class has of macro recall, and so has chance: one of seven.
FLOOR = 1 / 7


def network(results: Record) -> str:
    """Name the network that the page is about: the one that was also hardened."""
    name: str = results["meta"]["settings"]["hardened"]["network"]
    return name


def under(results: Record, defence: str, attacker: str) -> Record | None:
    """Find the measured cell of a defence under an attacker; None where there is none.

    Args:
        results: what is stored.
        defence: a key of ``DEFENCES``.
        attacker: a key of ``ATTACKERS``.
    """
    _, model, purifier = DEFENCES[defence]
    look = {"model": model, "purifier": purifier, "attacker": None if attacker == "none" else "knows"}
    record = find(results["cells"], network=network(results), attack=_ATTACKS[attacker], **look)
    return record if done(record) else None


def bare(results: Record, attack: str) -> Record | None:
    """Find the plain network under an attack, or as it is."""
    attacker = None if attack == "none" else "knows"
    look = {"network": network(results), "model": "plain", "purifier": None, "attack": attack, "attacker": attacker}
    record = find(results["cells"], **look)
    return record if done(record) else None


def health(record: Record) -> Record:
    """Return the figures of malignant or not."""
    figures: Record = record["figures"]["health"][MALIGNANT]
    return figures


def recall(record: Record | None) -> float | None:
    """Return the mean of the classes' recalls; None where it was not stored."""
    value: float | None = None if record is None else record["figures"].get("macro_recall")
    return value


def missed(results: Record, defence: str, attacker: str) -> Record | None:
    """Count the malignant lesions that a defence misses under an attacker; None where nothing was measured."""
    record = under(results, defence, attacker)
    return None if record is None else health(record)


def verdict(results: Record, defence: str) -> str:
    """Judge a defence by recall and by patients: ``holds``, ``unclear``, ``a little``, ``no`` or ``not judged``.

    It holds where, under an attacker who knows it and wants any wrong answer, the mean of the classes' recalls stays at
    least ``ABOVE`` over what no look at the picture scores, and one who wants malignant lesions missed no more than
    ``TIMES`` as many gets. It helps a little where one of the two is so, and its recall is above that of no defence
    by more than both intervals. Where attackers have to guess, what holds is ``unclear``.
    """
    clean, attacked, wanted = (under(results, defence, attacker) for attacker in ATTACKERS)
    bare_recall = under(results, "none", "any")
    kept = recall(attacked)
    if clean is None or attacked is None or wanted is None or bare_recall is None or kept is None:
        return "not judged"
    most, least = health(wanted).get("fnr"), health(clean).get("fnr")
    if most is None or least is None:  # no malignant lesion among those attacked
        return "not judged"
    keeps, spares = kept >= FLOOR + ABOVE, bool(most <= TIMES * least)
    if keeps and spares:
        return "unclear" if defence in GUESSED else "holds"
    better = attacked["figures"]["macro_recall_low"] > bare_recall["figures"]["macro_recall_high"]
    return "a little" if (keeps or spares) and better else "no"


def thresholds(results: Record) -> dict[str, Sequence[Record]]:
    """List the rows of each model's table of thresholds, where it was measured."""
    return {record["model"]: record["rows"] for record in results.get("thresholds") or () if done(record)}


def poisonings(results: Record) -> list[Record]:
    """List what was trained on wrong labels and on cleaned ones: ``share``, ``labels``, and a few figures."""
    rows = [row for row in results.get("poisoning") or () if row["network"] == network(results) and done(row)]
    return [_one_form(row) for row in rows if row.get("weighting", "none") == "none"]


def _one_form(row: Record) -> dict[str, Any]:
    """Bring rows of whole networks, as they were stored once, to the form of those of last layers."""
    if "figures" not in row:
        return dict(row)
    cleaned = row["model"] == "cleaned"
    return {
        "share": row["share"],
        "labels": row["model"],
        "way": "network",
        "accuracy": row["figures"]["accuracy"],
        "fnr": health(row)["fnr"],
        **({"found": row.get("recall"), "precision": row.get("precision")} if cleaned else {}),
    }

"""What the page reads of the stored results."""

from __future__ import annotations

from collections.abc import Sequence

from salus_studies.frame.markdown import Record, done, find
from salus_studies.skin_lesion.measured import cell
from salus_studies.skin_lesion.sentences import KEPT

#: The defences in the order of the page: key -> words. The attack of each is the strongest that its attacker ran.
DEFENCES = {
    "none": "no defence",
    "low-level": "WebP + flip",
    "retraining": "adversarial retraining",
    "both": "retraining, WebP + flip",
    "hardened": "hardened from the start",
}
ATTACKERS = {
    "none": "no attack",
    "copy": "attacker who has a copy from before the defence",
    "knows": "attacker who knows the defence",
}

#: By which map a lesion is malignant.
MALIGNANT = "medical"

#: The share of its own accuracy from which on a defence helps a little.
LITTLE = 0.25

#: Defences behind which gradients are only guessed.
THROUGH_WEBP = ("low-level", "both")


def network(results: Record) -> str:
    """Name the network that the page is about: the one that was also hardened."""
    name: str = results["meta"]["settings"]["hardened"]["network"]
    return name


def under(results: Record, defence: str, attacker: str) -> Record | None:
    """Find the measured cell of a defence under an attacker: FGSM with a copy, PGD with knowledge, or no attack."""
    name = network(results)
    trained_on = "fgsm" if defence in ("retraining", "both") else None
    if attacker == "none":
        record = cell(results, name, "none", defence, trained_on=trained_on)
    elif attacker == "copy":
        record = None if defence in ("none", "hardened") else cell(results, name, "fgsm", defence)
    else:
        record = cell(results, name, "pgd", defence, attacker="knows", trained_on=trained_on)
    return record if done(record) else None


def bare(results: Record, attack: str) -> Record | None:
    """Find the plain network under an attack, or as it is."""
    record = find(results["cells"], network=network(results), model="plain", purifier=None, attack=attack)
    return record if done(record) else None


def health(record: Record) -> Record:
    """Return the figures of malignant or not."""
    figures: Record = record["figures"]["health"][MALIGNANT]
    return figures


def missed(results: Record, defence: str, attacker: str) -> Record | None:
    """Count the malignant lesions that a defence misses under an attacker; None where nothing was measured."""
    record = under(results, defence, attacker)
    return None if record is None else health(record)


def verdict(results: Record, defence: str) -> str:
    """Judge a defence by the attacker who knows it: ``holds``, ``unclear``, ``a little``, ``no`` or ``not run``.

    It holds where the accuracy under attack is at least ``KEPT`` of the clean one; it helps a little where it is at
    least ``LITTLE`` of it, and above that of no defence by more than both intervals. Behind WebP gradients are
    modelled, so that PGD which fails there shows nothing: ``unclear``.
    """
    clean, attacked = under(results, defence, "none"), under(results, defence, "knows")
    undefended = under(results, "none", "knows")
    if clean is None or attacked is None or undefended is None:
        return "not run"
    kept = attacked["figures"]["accuracy"] / clean["figures"]["accuracy"]
    if kept >= KEPT:
        return "unclear" if defence in THROUGH_WEBP else "holds"
    better = attacked["figures"]["accuracy_low"] > undefended["figures"]["accuracy_high"]
    return "a little" if kept >= LITTLE and better else "no"


def thresholds(results: Record) -> dict[str, Sequence[Record]]:
    """List the rows of each model's table of thresholds, where it was measured."""
    return {record["model"]: record["rows"] for record in results.get("thresholds") or () if done(record)}


def poisonings(results: Record) -> list[Record]:
    """List the measured trainings on wrong labels, and on labels that were cleaned."""
    rows = results.get("poisoning") or ()
    return [row for row in rows if row["network"] == network(results) and done(row)]

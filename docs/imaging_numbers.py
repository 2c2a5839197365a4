"""What docs/imaging.md reads from stored results, and how it writes it."""

from __future__ import annotations

from typing import Any

from salus.metrics.wording import estimate
from salus_studies.frame.markdown import done, find
from salus_studies.skin_lesion.measured import cell

Record = dict[str, Any]

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


def network(stored: Record) -> str:
    """Name the network that the page is about: the one that was also hardened."""
    name: str = stored["meta"]["settings"]["hardened"]["network"]
    return name


def judged(stored: Record, defence: str, attacker: str) -> Record | None:
    """Find the measured cell of a defence under an attacker: FGSM with a copy, PGD with knowledge, or no attack."""
    name = network(stored)
    if attacker == "none":
        trained_on = "fgsm" if defence in ("retraining", "both") else None
        found = cell(stored, name, "none", defence, trained_on=trained_on)
    elif attacker == "copy":
        found = None if defence in ("none", "hardened") else cell(stored, name, "fgsm", defence)
    else:
        trained_on = "fgsm" if defence in ("retraining", "both") else None
        found = cell(stored, name, "pgd", defence, attacker="knows", trained_on=trained_on)
    return dict(found) if found is not None and done(found) else None


def missed(stored: Record, defence: str, attacker: str) -> Record | None:
    """Count the malignant lesions that a defence misses under an attacker; None where nothing was measured."""
    found = judged(stored, defence, attacker)
    return None if found is None else health(found)


def health(record: Record) -> Record:
    """Return the figures of malignant or not."""
    found: Record = record["figures"]["health"][MALIGNANT]
    return found


def of_hundred(found: Record | None, name: str = "fnr") -> str:
    """Write a rate in percent with its interval."""
    return "not run" if found is None else estimate(found[name], found.get(f"{name}_low"), found.get(f"{name}_high"))


def alarms(found: Record | None) -> str:
    """Write the share of harmless lesions that were called malignant."""
    return "not run" if found is None else f"{100 * found['alarmed'] / max(found['healthy'], 1):.1f}"


def attack(stored: Record, name: str) -> Record | None:
    """Find the plain network under an attack, or as it is."""
    found = find(stored["cells"], network=network(stored), model="plain", purifier=None, attack=name)
    return dict(found) if found is not None and done(found) else None

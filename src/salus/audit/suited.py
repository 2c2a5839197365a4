"""Which attacks go with a model that shows no gradients."""

from __future__ import annotations

from salus.attacks import Attack
from salus.threats import ThreatModel


def needs_gradients_here(attack: Attack, threat: type[ThreatModel]) -> bool:
    """Tell whether an attacker would differentiate the audited model itself, and not one of their own."""
    return attack.knowledge == "gradients" and threat.trains is None and threat.attacks

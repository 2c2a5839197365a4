"""Where an attack stands in NIST AI 100-2 and in MITRE ATLAS."""

from __future__ import annotations

from typing import Literal, NamedTuple

#: What an attack asks of its victim.
Knowledge = Literal["gradients", "logits", "answers", "training data", "nothing"]

_EVADE, _POISON = "AML.T0015", "AML.T0020"
_WHITE_BOX, _BLACK_BOX, _TRANSFER = "AML.T0043.000", "AML.T0043.001", "AML.T0043.002"


class Taxonomy(NamedTuple):
    """Names that a regulator knows.

    Attributes:
        nist: class of NIST AI 100-2.
        atlas: technique ids of MITRE ATLAS, joined by commas.
    """

    nist: str
    atlas: str


def taxonomy(knowledge: Knowledge, threat_model: str | None = None) -> Taxonomy:
    """Place an attack that asks for this, by an attacker who knows that.

    Args:
        knowledge: what the attack asks of its victim.
        threat_model: what the attacker knows; None for what the attack itself needs.
    """
    if knowledge == "nothing":
        return Taxonomy("", "")
    if knowledge == "training data":
        return Taxonomy("poisoning", _POISON)
    if threat_model == "gray-box":
        nist, technique = "evasion, gray-box: the weights are unknown", _TRANSFER
    elif threat_model == "transfer":
        nist, technique = "evasion, black-box, transfer", _TRANSFER
    elif threat_model == "decision-only" or knowledge != "gradients":
        nist, technique = "evasion, black-box, query", _BLACK_BOX
    elif threat_model == "oblivious":
        nist, technique = "evasion, gray-box: the defence is unknown", _WHITE_BOX
    elif threat_model == "adaptive":
        nist, technique = "evasion, white-box, adaptive", _WHITE_BOX
    else:
        nist, technique = "evasion, white-box", _WHITE_BOX
    return Taxonomy(nist, f"{_EVADE}, {technique}")

"""Where an attack stands in NIST AI 100-2 and in MITRE ATLAS."""

from __future__ import annotations

from typing import Literal, NamedTuple

#: What an attack asks of its victim.
Knowledge = Literal["gradients", "logits", "answers", "training data", "nothing"]

_EVADE, _POISON = "AML.T0015", "AML.T0020"
WHITE_BOX, BLACK_BOX, TRANSFER = "AML.T0043.000", "AML.T0043.001", "AML.T0043.002"


class Taxonomy(NamedTuple):
    """Names that a regulator knows.

    Attributes:
        nist: class of NIST AI 100-2.
        atlas: technique ids of MITRE ATLAS, joined by commas.
    """

    nist: str
    atlas: str


def taxonomy(knowledge: Knowledge) -> Taxonomy:
    """Place an attack by what it asks of its victim, whoever runs it."""
    if knowledge == "gradients":
        return evasion(knowledge, "white-box", WHITE_BOX)
    return evasion(knowledge, "black-box, query", BLACK_BOX)


def evasion(knowledge: Knowledge, kind: str, technique: str) -> Taxonomy:
    """Place an evasion of this kind; what asks nothing is no attack, and what asks for training data is a poisoning."""
    if knowledge == "nothing":
        return Taxonomy("", "")
    if knowledge == "training data":
        return Taxonomy("poisoning", _POISON)
    return Taxonomy(f"evasion, {kind}", f"{_EVADE}, {technique}")

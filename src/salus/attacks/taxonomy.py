"""Where an attack stands in NIST AI 100-2 and in MITRE ATLAS."""

from __future__ import annotations

from typing import Literal, NamedTuple

from salus.attacks.editions import split_ids

#: What an attack asks of its victim.
Knowledge = Literal["gradients", "logits", "answers", "training data", "nothing"]

_EVADE, _POISON = "AML.T0015", "AML.T0020"
WHITE_BOX, BLACK_BOX, TRANSFER = "AML.T0043.000", "AML.T0043.001", "AML.T0043.002"
_TRIGGER, _REPLICATE = "AML.T0043.004", "AML.T0005.001"
_EVASION, _BLIND_EVASION, _EXTRACTION = "NISTAML.022", "NISTAML.025", "NISTAML.031"


class Taxonomy(NamedTuple):
    """Names that a regulator knows.

    Attributes:
        nist: class of NIST AI 100-2.
        atlas: technique ids of MITRE ATLAS, joined by commas.
        nist_id: attack ids of NIST AI 100-2, joined by commas.
    """

    nist: str
    atlas: str
    nist_id: str

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids."""
        return split_ids(self.nist_id) + split_ids(self.atlas)


#: Samples or labels that make the whole classifier worse (sec. 2.3.1), and those that plant a trigger (2.3.3).
POISONING = Taxonomy("poisoning", _POISON, "NISTAML.013")
BACKDOOR = Taxonomy("poisoning, backdoor", f"{_POISON}, {_TRIGGER}", "NISTAML.023")


def taxonomy(knowledge: Knowledge) -> Taxonomy:
    """Place an attack by what it asks of its victim, whoever runs it."""
    if knowledge == "gradients":
        return evasion(knowledge, "white-box", WHITE_BOX)
    return evasion(knowledge, "black-box, query", BLACK_BOX)


def evasion(knowledge: Knowledge, kind: str, technique: str) -> Taxonomy:
    """Place an evasion of this kind; what asks nothing is no attack, and what asks for training data is a poisoning."""
    if knowledge == "nothing":
        return Taxonomy("", "", "")
    if knowledge == "training data":
        return POISONING
    number = _BLIND_EVASION if kind.startswith("black-box") else _EVASION
    return Taxonomy(f"evasion, {kind}", f"{_EVADE}, {technique}", number)


def extracting(place: Taxonomy) -> Taxonomy:
    """Add that the attacker first rebuilds the victim from its answers."""
    if not place.nist_id:
        return place
    return Taxonomy(place.nist, f"{_REPLICATE}, {place.atlas}", f"{place.nist_id}, {_EXTRACTION}")

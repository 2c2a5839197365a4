"""Ids of NIST AI 100-2 and MITRE ATLAS: every one that Salus writes exists in the edition that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import salus
from salus.attacks import ATTACKS
from salus.attacks.editions import ATLAS, NIST, cited, edition, in_words, split_ids
from salus.attacks.poisoning import POISONS
from salus.attacks.taxonomy import Knowledge, extracting, taxonomy
from salus.detectors import DETECTORS
from salus.hardening import METHODS
from salus.hardening.label_cleaning import CLEANINGS
from salus.purifiers import PURIFIERS
from salus.threats import FIXED, THREAT_MODELS

KNOWN = {**edition(NIST).names, **edition(ATLAS).names}
ID = re.compile(r"NISTAML\.\d+|AML\.[TM]\d{4}(?:\.\d{3})?")


def test_the_editions_are_whole_and_named() -> None:
    nist, atlas = edition(NIST), edition(ATLAS)
    assert nist.title == "NIST AI 100-2 e2025" and len(nist.names) == 30
    assert atlas.title == "MITRE ATLAS 2026.09"
    techniques = [key for key in atlas.names if key.startswith("AML.T")]
    subtechniques = [key for key in techniques if key.count(".") == 2]
    # The release's own counts: 120 techniques, 88 sub-techniques, 40 mitigations.
    assert (len(techniques) - len(subtechniques), len(subtechniques)) == (120, 88)
    assert sum(key.startswith("AML.M") for key in atlas.names) == 40
    assert all(key.rpartition(".")[0] in atlas.names for key in subtechniques)


def test_every_id_that_stands_in_the_source_exists_in_its_edition() -> None:
    found: dict[str, str] = {}
    for path in Path(salus.__file__).parent.rglob("*"):
        if path.suffix in (".py", ".j2"):
            found |= dict.fromkeys(ID.findall(path.read_text(encoding="utf-8")), path.name)
    assert {"NISTAML.022", "AML.T0015", "AML.M0015"} <= found.keys()
    assert {key: place for key, place in found.items() if key not in KNOWN} == {}


def test_every_attack_under_every_attacker_is_placed_in_both_lists() -> None:
    for knowledge in get_args(Knowledge):
        for threat in ({**THREAT_MODELS, **FIXED}).values():
            place = threat.taxonomy(knowledge)
            assert set(place.ids) <= KNOWN.keys()
            if threat.attacks and knowledge != "nothing":
                assert split_ids(place.nist_id) and split_ids(place.atlas), (threat.name, knowledge)
    assert all(taxonomy(cls.knowledge).ids for cls in ATTACKS.own.values())


@pytest.mark.parametrize(
    ("threat", "knowledge", "number"),
    [
        ("white-box", "gradients", "NISTAML.022"),
        ("adaptive", "gradients", "NISTAML.022"),
        ("gray-box", "gradients", "NISTAML.022"),
        ("white-box", "logits", "NISTAML.025"),
        ("transfer", "gradients", "NISTAML.025"),
        ("decision-only", "answers", "NISTAML.025"),
        ("backdoor", "training data", "NISTAML.023"),
    ],
)
def test_what_an_attacker_sees_decides_the_number(threat: str, knowledge: Knowledge, number: str) -> None:
    assert {**THREAT_MODELS, **FIXED}[threat].taxonomy(knowledge).nist_id == number


def test_a_substitute_learnt_from_answers_is_an_extraction_as_well() -> None:
    place = extracting(THREAT_MODELS["transfer"].taxonomy("gradients"))
    assert split_ids(place.nist_id) == ("NISTAML.025", "NISTAML.031")
    assert KNOWN["NISTAML.031"] == "Model Extraction" and "AML.T0005.001" in place.ids


def test_every_poisoning_has_its_number() -> None:
    numbers = {name: POISONS[name].place.nist_id for name in POISONS.own}
    assert numbers == {"label-flips": "NISTAML.013", "backdoor": "NISTAML.023", "availability": "NISTAML.013"}
    assert [KNOWN[key] for key in ("NISTAML.013", "NISTAML.023")] == ["Data Poisoning", "Backdoor Poisoning"]


def test_every_defence_is_a_mitigation() -> None:
    for registry, word in (
        (DETECTORS, "Adversarial Input Detection"),
        (PURIFIERS, "Input Restoration"),
        (METHODS, "Model Hardening"),
        (CLEANINGS, "Sanitize Training Data"),
    ):
        for name in registry.own:
            assert word in KNOWN[registry[name].mitigations[0]], name
            assert set(registry[name].mitigations) <= KNOWN.keys()


def test_an_id_of_another_package_that_no_edition_has_is_kept_without_a_name() -> None:
    parts = cited(["AML.M0015", "AML.M9999"])
    assert [part["names"] for part in parts] == [
        {"AML.M0015": "Predictive AI Adversarial Input Detection"},
        {"AML.M9999": ""},
    ]
    assert in_words(["AML.M9999"]) == "in neither: AML.M9999"

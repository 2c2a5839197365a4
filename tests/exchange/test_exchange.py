"""Verdicts for hospitals' own systems: valid by the standards' rules, and nothing in them that nobody said."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from salus.cli import main
from salus.data import load
from salus.exchange import Finding, Origin, dicom_sr, fhir_bundle, fhir_observation, findings_of
from salus.guard import Guard
from salus.preprocessing import Refusal
from salus.verdict import Judgement

NOW = datetime(2026, 1, 2, 8, 30, tzinfo=timezone.utc)
ORIGIN = Origin("heartbeats", "ab" * 32, "Salus 0.1.0")
ACCEPTED = Finding("a 1.250 s", "accepted", "N", {"N": 0.75, "V": 0.25}, {"one": 0.5}, {"one": 3.0})
REJECTED = Finding("b", "rejected", None, {}, {"one": float("inf"), "two": float("nan")}, {"one": 3.0}, ("one",))
FAILED = Finding("c", "not judged", reason="is cut short")
ALL = (ACCEPTED, REJECTED, FAILED)

words = st.text(st.characters(min_codepoint=32, blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20).map(
    lambda word: word.strip() or "x"
)
numbers = st.floats(allow_nan=True, allow_infinity=True)
findings = st.one_of(
    st.builds(
        lambda name, shares, scores: Finding(
            name, "accepted", max(shares, key=lambda key: shares[key]), shares, scores, dict.fromkeys(scores, 1.0)
        ),
        words,
        st.dictionaries(words, st.floats(0, 1), min_size=1, max_size=3),
        st.dictionaries(words, numbers, max_size=2),
    ),
    st.builds(lambda name, reason: Finding(name, "not judged", reason=reason), words, words),
    st.builds(lambda name, scores: Finding(name, "rejected", None, {}, scores, {}, tuple(scores)), words,
              st.dictionaries(words, numbers, min_size=1, max_size=2)),
)  # fmt: skip


def test_an_observation_says_what_the_guard_said_and_that_nobody_reviewed_it() -> None:
    seen = [fhir_observation(each, ORIGIN, issued=NOW) for each in ALL]
    assert [each["status"] for each in seen] == ["preliminary", "preliminary", "cancelled"]
    assert seen[0]["valueCodeableConcept"] == {"text": "N"}
    assert [each["dataAbsentReason"]["coding"][0]["code"] for each in seen[1:]] == ["unknown", "error"]
    assert "rejected the input as suspicious (one)" in seen[1]["note"][0]["text"]
    assert "is cut short" in seen[2]["note"][0]["text"]
    probabilities = {each["code"]["text"]: each["valueQuantity"]["value"] for each in seen[0]["component"][:2]}
    assert probabilities == {"probability of N": 0.75, "probability of V": 0.25}
    assert [each["dataAbsentReason"]["coding"][0]["code"] for each in seen[1]["component"]] == [
        "positive-infinity",
        "not-a-number",
    ]
    assert seen[0]["device"]["display"].startswith("Salus 0.1.0, guard heartbeats, bundle abab")


def test_nothing_personal_is_in_it_unless_it_was_given() -> None:
    for finding in ALL:
        observation = fhir_observation(finding, ORIGIN, issued=NOW)
        personal = {"subject", "performer", "encounter", "effectiveDateTime", "specimen", "basedOn", "category"}
        assert not personal & set(observation)
        assert "what is not given here was left out" in observation["note"][1]["text"]
    assert fhir_observation(ACCEPTED, ORIGIN, issued=NOW, subject="Patient/17")["subject"] == {
        "reference": "Patient/17"
    }


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        fhir_observation(ACCEPTED, ORIGIN, issued=datetime(2026, 1, 2))


def test_a_bundle_is_valid_fhir() -> None:
    bundles = pytest.importorskip("fhir.resources.R4B.bundle")
    for content in (ALL, ()):
        bundle = fhir_bundle(content, ORIGIN, issued=NOW, subject="Patient/17", request="r1")
        read = bundles.Bundle.model_validate_json(json.dumps(bundle, allow_nan=False))
        again = json.loads(read.model_dump_json())
        assert len(again.get("entry", [])) == len(content)
    assert [entry["resource"]["identifier"][0]["value"] for entry in fhir_bundle(ALL, ORIGIN, issued=NOW, request="r")[
        "entry"
    ]] == ["r#0", "r#1", "r#2"]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(findings, max_size=3))
def test_any_findings_keep_to_the_rules_of_fhir(found: list[Finding]) -> None:
    bundle = fhir_bundle(found, ORIGIN, issued=NOW)
    json.dumps(bundle, allow_nan=False)  # decimals alone
    entries = bundle.get("entry", [])
    assert len({entry["fullUrl"] for entry in entries}) == len(entries) == len(found)
    for entry in entries:
        _check_observation(entry["resource"])


def _check_observation(observation: dict[str, Any]) -> None:
    """Check the invariants of R4's Observation: obs-3, obs-6, obs-7, ele-1 and the sizes of required elements."""
    assert observation["status"] in ("preliminary", "cancelled") and observation["code"]["text"]
    for each in (observation, *observation.get("component", [])):
        values = [key for key in each if key.startswith("value")]
        assert len(values) + ("dataAbsentReason" in each) == 1
        for limits in each.get("referenceRange", []):
            assert {"low", "high", "text"} & set(limits)
    empty = [value for value in _leaves(observation) if value in ("", [], {}, None)]
    assert not empty


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict) and value:
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, list) and value:
        return [leaf for each in value for leaf in _leaves(each)]
    return [value]


def _items(report: Any) -> list[Any]:
    return [item for item in report.ContentSequence if item.ValueType == "CONTAINER"]


def test_a_report_says_it_in_dicom_and_leaves_the_patient_empty() -> None:
    pydicom = pytest.importorskip("pydicom")
    report = pydicom.dcmread(BytesIO(dicom_sr(ALL, ORIGIN, issued=NOW)))
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"):
        assert str(report[keyword].value or "") == ""
    items = _items(report)
    said = [[child.TextValue for child in item.ContentSequence if child.ValueType == "TEXT"] for item in items]
    assert said[0] == ["a 1.250 s", "accepted", "N"]
    assert said[2][1] == "not judged"
    numbers_of = [child for child in items[0].ContentSequence if child.ValueType == "NUM"]
    assert [float(each.MeasuredValueSequence[0].NumericValue) for each in numbers_of] == [0.75, 0.25, 0.5]
    absent = [child for child in items[1].ContentSequence if child.ValueType == "NUM"]
    assert [each.NumericValueQualifierCodeSequence[0].CodeMeaning for each in absent] == [
        "Positive Infinity",
        "Not a number",
    ]


def test_a_report_is_of_the_patient_and_study_of_the_file_that_was_judged() -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))
    judged = pydicom.dcmread(path)
    report = pydicom.dcmread(BytesIO(dicom_sr(ALL, ORIGIN, issued=NOW, source=path.read_bytes())))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
        assert str(report[keyword].value) == str(judged[keyword].value)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == judged.SOPInstanceUID
    assert report.SeriesInstanceUID != judged.SeriesInstanceUID


@settings(max_examples=20, deadline=None)
@given(st.lists(findings, min_size=1, max_size=3))
def test_any_findings_can_be_reported_in_dicom(found: list[Finding]) -> None:
    pydicom = pytest.importorskip("pydicom")
    report = pydicom.dcmread(BytesIO(dicom_sr(found, ORIGIN, issued=NOW)))
    assert [item.ContentSequence[0].TextValue.strip() for item in _items(report)] == [each.name for each in found]


def test_findings_are_those_of_the_verdict(table_bundle: Path) -> None:
    guard = Guard.load(table_bundle)
    x = load("breast-cancer").test.x[:8].clone()
    x[1::2] = torch.rand(x[1::2].shape, generator=torch.Generator().manual_seed(0))
    verdict = guard(x)
    names = tuple(f"p{row}" for row in range(8))
    judgement = Judgement(verdict, names, (), (Refusal("p8", "is empty"),), (), 0)
    found = list(findings_of(judgement, guard.classifier.classes))
    assert [each.outcome for each in found[:-1]] == [
        "accepted" if accepted else "rejected" for accepted in verdict.accepted.tolist()
    ]
    assert {"accepted", "rejected", "not judged"} == {each.outcome for each in found}
    for row, each in enumerate(found[:-1]):
        wanted = guard.classifier.classes[int(verdict.labels[row])] if verdict.accepted[row] else None
        assert each.label == wanted
        assert each.rejected_by == tuple(key for key, flags in verdict.rejected_by.items() if flags[row])


def test_the_command_writes_both(table_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    import numpy as np

    np.savez(tmp_path / "x.npz", x=load("breast-cancer").test.x[:4].numpy(), prepared=np.array(True))
    words_of = ["guard", "apply", table_bundle, tmp_path / "x.npz", "--out", tmp_path / "a.csv"]
    more = ["--fhir", tmp_path / "a.json", "--subject", "Patient/17", "--dicom-sr", tmp_path / "reports"]
    ran = CliRunner().invoke(main, [str(word) for word in (*words_of, *more)])
    assert ran.exit_code == 0, ran.output
    bundle = json.loads((tmp_path / "a.json").read_text())
    assert len(bundle["entry"]) == 4
    assert {entry["resource"]["subject"]["reference"] for entry in bundle["entry"]} == {"Patient/17"}
    assert len(list((tmp_path / "reports").iterdir())) == 4
    again = CliRunner().invoke(main, [str(word) for word in (*words_of, *more)])
    assert again.exit_code == 2 and "is there already and holds something" in again.output

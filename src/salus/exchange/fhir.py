"""A verdict as FHIR R4 observations (https://hl7.org/fhir/R4/observation.html), as plain values for JSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from salus.exchange.finding import LEFT_OUT, Finding, Origin, absence_of

#: Of FHIR in JSON.
MEDIA_TYPE = "application/fhir+json"

_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_UNITS = "http://unitsofmeasure.org"

#: The space that the names of a bundle's entries are made in.
_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, "salus:fhir")


def fhir_observation(
    finding: Finding, origin: Origin, *, issued: datetime, subject: str | None = None, identifier: str | None = None
) -> dict[str, Any]:
    """Write what a guard said of one input as an Observation.

    Its status is ``preliminary``, as no person has reviewed it; that of an input that could not be judged is
    ``cancelled``. A rejected input has no value, and says why.

    Args:
        finding: what was said.
        origin: by whom.
        issued: when, with a time zone.
        subject: a reference to the patient, ``Patient/17``; left out where nobody gives one.
        identifier: names it, such as the request and its row.

    Returns:
        The resource as plain values for JSON.

    Raises:
        ValueError: the time has no zone.
    """
    if issued.tzinfo is None:
        raise ValueError("The time of issue needs a time zone, as FHIR's instants have one.")
    judged = finding.outcome != "not judged"
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "preliminary" if judged else "cancelled",
        "code": {"text": f"class given by the guard {origin.guard}"},
        "issued": issued.isoformat(timespec="milliseconds"),
        "device": {"display": origin.words},
        "derivedFrom": [{"display": finding.name}],
        "note": [{"text": finding.said}, {"text": LEFT_OUT}],
    }
    if identifier is not None:
        resource["identifier"] = [{"value": identifier}]
    if subject is not None:
        resource["subject"] = {"reference": subject}
    if finding.label is not None:
        resource["valueCodeableConcept"] = {"text": finding.label}
    else:
        reason = "unknown" if judged else "error"
        resource["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": reason}], "text": finding.said}
    components = [_probability(label, value) for label, value in finding.probabilities.items()]
    components += [_suspicion(finding, detector, value) for detector, value in finding.suspicions.items()]
    if components:
        resource["component"] = components
    return resource


def fhir_bundle(
    findings: Iterable[Finding],
    origin: Origin,
    *,
    issued: datetime,
    subject: str | None = None,
    request: str | None = None,
) -> dict[str, Any]:
    """Write verdicts as a Bundle (a collection) of Observations; see :func:`fhir_observation`.

    Args:
        findings: what was said, input by input.
        origin: by whom.
        issued: when, with a time zone.
        subject: a reference to the patient that all are of; left out where nobody gives one.
        request: names the request; each observation is then identified by it and its row, ``REQUEST#0``.

    Returns:
        The resource as plain values for JSON. The same findings get the same names.
    """
    entries = []
    for row, finding in enumerate(findings):
        identifier = None if request is None else f"{request}#{row}"
        resource = fhir_observation(finding, origin, issued=issued, subject=subject, identifier=identifier)
        content = json.dumps([row, resource], sort_keys=True)
        entries.append({"fullUrl": f"urn:uuid:{uuid.uuid5(_NAMES, content)}", "resource": resource})
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": issued.isoformat(timespec="milliseconds"),
    }
    return {**bundle, "entry": entries} if entries else bundle


def _probability(label: str, value: float) -> dict[str, Any]:
    return {"code": {"text": f"probability of {label}"}, **_quantity(value)}


def _suspicion(finding: Finding, detector: str, value: float) -> dict[str, Any]:
    rejects = detector in finding.rejected_by
    component: dict[str, Any] = {
        "code": {"text": f"suspicion of the detector {detector}"},
        **_quantity(value),
        "interpretation": [
            {
                "coding": [{"system": _INTERPRETATION, "code": "H" if rejects else "N"}],
                "text": "rejects" if rejects else "does not reject",
            }
        ],
    }
    threshold = finding.thresholds.get(detector)
    if threshold is not None and absence_of(threshold) is None:
        component["referenceRange"] = [{"high": {"value": threshold}, "text": "it rejects above this"}]
    return component


def _quantity(value: float) -> dict[str, Any]:
    """Write a number without a unit; FHIR's decimals know neither NaN nor infinity."""
    absent = absence_of(value)
    if absent is not None:
        return {"dataAbsentReason": {"coding": [{"system": _ABSENT, "code": absent}]}}
    return {"valueQuantity": {"value": value, "unit": "1", "system": _UNITS, "code": "1"}}

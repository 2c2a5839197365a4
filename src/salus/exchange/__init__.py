"""Verdicts in the forms that hospitals keep: FHIR observations, DICOM structured reports."""

from salus.exchange.dicom_sr import dicom_sr
from salus.exchange.fhir import MEDIA_TYPE, fhir_bundle, fhir_observation
from salus.exchange.finding import Finding, Origin, findings_of

__all__ = ["MEDIA_TYPE", "Finding", "Origin", "dicom_sr", "fhir_bundle", "fhir_observation", "findings_of"]

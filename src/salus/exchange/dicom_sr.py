"""A verdict as a DICOM structured report: Enhanced SR Storage (PS3.3, A.35.2), written by pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from salus.errors import DataError
from salus.exchange.finding import LEFT_OUT, Finding, Origin, absence_of
from salus.preprocessing.dicom_files import quietly, read_dataset

if TYPE_CHECKING:
    from pydicom import Dataset

_ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"

#: Concepts: (code, scheme, meaning). A local scheme begins with 99, as the standard wants it.
_REPORT = ("verdicts", "99SALUS", "Verdicts of a guard")
_INPUT = ("input", "99SALUS", "Verdict on an input")
_NAME = ("name", "99SALUS", "Name of the input")
_OUTCOME = ("outcome", "99SALUS", "Outcome")
_CLASS = ("class", "99SALUS", "Class")
_REASON = ("reason", "99SALUS", "Reason")
_PROBABILITY = ("probability", "99SALUS", "Probability")
_SUSPICION = ("suspicion", "99SALUS", "Suspicion of a detector")
_THRESHOLD = ("threshold", "99SALUS", "Suspicion above which it rejects")
_BY = ("guard", "99SALUS", "Guard that judged")
_LIMITS = ("limits", "99SALUS", "What is not known")
_OF = ("of", "99SALUS", "Of the class or the detector")
_NO_UNIT = ("1", "UCUM", "no units")

#: Why a number is missing: of DICOM, CID 42.
_ABSENT = {
    "not-a-number": ("114000", "DCM", "Not a number"),
    "positive-infinity": ("114002", "DCM", "Positive Infinity"),
    "negative-infinity": ("114001", "DCM", "Negative Infinity"),
}

#: What a report takes over from the file that was judged: of whom it is, and of which study.
_KNOWN = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    "StudyDescription",
)  # fmt: skip

#: Those of these that must be there, if empty.
_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber",
)  # fmt: skip


def dicom_sr(findings: Sequence[Finding], origin: Origin, *, issued: datetime, source: bytes | None = None) -> bytes:
    """Write what a guard said of inputs as one structured report, unverified and preliminary.

    Of whom the inputs are, and of which study, stands in it where the file that was judged is a DICOM file that says
    so; otherwise these elements are empty, and nothing is made up but the report's own unique numbers.

    Args:
        findings: what was said of one thing: of an image, or of the beats of a recording.
        origin: by whom.
        issued: when.
        source: the DICOM file that was judged, where it is one.

    Returns:
        The content of the file.

    Raises:
        DataError: pydicom is not installed, or the source is no DICOM file.
    """
    try:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid
    except ModuleNotFoundError as error:
        raise DataError("DICOM reports need pydicom, which is not installed: pip install 'salus[formats]'.") from error
    report, meta = Dataset(), FileMetaDataset()
    judged = _source(source)
    for keyword in _EMPTY:
        setattr(report, keyword, "")
    for keyword in _KNOWN if judged is not None else ():
        if judged is not None and keyword in judged:
            report[keyword] = judged[keyword]
    if not str(report.get("StudyInstanceUID", "")):
        report.StudyInstanceUID = generate_uid()
    report.SpecificCharacterSet = "ISO_IR 192"
    report.SOPClassUID, report.SOPInstanceUID = _ENHANCED_SR, generate_uid()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = report.SOPClassUID, report.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.Modality, report.SeriesInstanceUID, report.SeriesNumber = "SR", generate_uid(), 1
    report.ReferencedPerformedProcedureStepSequence, report.PerformedProcedureCodeSequence = [], []
    report.Manufacturer, report.SoftwareVersions = "", origin.software[:64]
    report.InstanceNumber, report.CompletionFlag, report.VerificationFlag = 1, "COMPLETE", "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    report.ContentDate, report.ContentTime = issued.strftime("%Y%m%d"), issued.strftime("%H%M%S")
    if issued.utcoffset() is not None:
        report.TimezoneOffsetFromUTC = issued.strftime("%z")
    if judged is not None:
        report.CurrentRequestedProcedureEvidenceSequence = [_evidence(judged)]
    report.ValueType, report.ContinuityOfContent = "CONTAINER", "SEPARATE"
    report.ConceptNameCodeSequence = [_code(*_REPORT)]
    report.ContentSequence = [
        _text(_BY, origin.words),
        *(_container(finding) for finding in findings),
        _text(_LIMITS, LEFT_OUT),
    ]
    report.file_meta = meta
    content = BytesIO()
    with quietly():
        report.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _source(source: bytes | None) -> Dataset | None:
    if source is None:
        return None
    try:
        dataset = read_dataset(source, pixels=False)
        with quietly():
            dataset.decode()  # its names are written anew, in UTF-8
        return dataset
    except ValueError as error:
        raise DataError(f"The file that was judged {error}.") from error


def _evidence(judged: Dataset) -> Any:
    """Refer to the file that was judged."""
    from pydicom.dataset import Dataset

    study, series, instance = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = judged.get("SOPClassUID", "")
    instance.ReferencedSOPInstanceUID = judged.get("SOPInstanceUID", "")
    series.SeriesInstanceUID, series.ReferencedSOPSequence = judged.get("SeriesInstanceUID", ""), [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = judged.get("StudyInstanceUID", ""), [series]
    return study


def _container(finding: Finding) -> Any:
    items = [_text(_NAME, finding.name), _text(_OUTCOME, finding.outcome)]
    if finding.label is not None:
        items.append(_text(_CLASS, finding.label))
    else:
        items.append(_text(_REASON, finding.said))
    for label, value in finding.probabilities.items():
        items.append(_number(_PROBABILITY, value, _text(_OF, label, "HAS CONCEPT MOD")))
    for detector, value in finding.suspicions.items():
        number = _number(_SUSPICION, value, _text(_OF, detector, "HAS CONCEPT MOD"))
        threshold = finding.thresholds.get(detector)
        if threshold is not None:
            number.ContentSequence.append(_number(_THRESHOLD, threshold, relation="HAS PROPERTIES"))
        items.append(number)
    container = _item("CONTAINER", _INPUT)
    container.ContinuityOfContent, container.ContentSequence = "SEPARATE", items
    return container


def _item(kind: str, concept: tuple[str, str, str], relation: str = "CONTAINS") -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = relation, kind, [_code(*concept)]
    return item


def _text(concept: tuple[str, str, str], value: str, relation: str = "CONTAINS") -> Any:
    item = _item("TEXT", concept, relation)
    item.TextValue = value
    return item


def _number(concept: tuple[str, str, str], value: float, *inside: Any, relation: str = "CONTAINS") -> Any:
    """Write a number; of one that is none, why."""
    from pydicom.dataset import Dataset

    item = _item("NUM", concept, relation)
    absent = absence_of(value)
    if absent is None:
        measured = Dataset()
        measured.NumericValue, measured.FloatingPointValue = f"{value:.9g}"[:16], value
        measured.MeasurementUnitsCodeSequence = [_code(*_NO_UNIT)]
        item.MeasuredValueSequence = [measured]
    else:
        item.MeasuredValueSequence, item.NumericValueQualifierCodeSequence = [], [_code(*_ABSENT[absent])]
    if inside:
        item.ContentSequence = list(inside)
    return item


def _code(value: str, scheme: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code

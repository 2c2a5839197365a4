"""The MIT-BIH Supraventricular Arrhythmia Database (Greenwald, 1990): heartbeats in four AAMI classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from salus.data.annotated_set import AnnotatedSet, Owners, load_annotated_set
from salus.data.base import Splits
from salus.data.options import LoadOptions
from salus.data.published import SVDB
from salus.preprocessing.wfdb_files import read_lines

#: As its headers call them; which of them is MLII, if any, nobody says.
LEADS = ("ECG1",)


def load_svdb(options: LoadOptions) -> Splits:
    """Load heartbeats ``[N, C, 280]`` of lead ECG1, resampled from 128 Hz, with the record of each as its patient.

    Raises:
        DataError: the database is nowhere, or a file of it is missing or not the published one.
    """
    return load_annotated_set(SUPRAVENTRICULAR, options)


def _owners(folder: Path, records: Sequence[str]) -> Owners:
    """Count each record as one patient: headers have no comments, and the database has no list of patients."""
    note = "the database does not say who is who: each record counts as one patient"
    return Owners({record: record for record in records}, notes=(note,))


def _remarks(folder: Path, records: Sequence[str]) -> list[str]:
    """Say what the headers leave open: what the leads are, and of some records the millivolts."""
    remarks = ["the headers call the leads ECG1 and ECG2: which of them corresponds to MLII is not stated"]
    silent = [record for record in records if _without_gain(folder / f"{record}.hea")]
    if silent:
        remarks.append(
            f"{len(silent)} records have no gain in their headers, so that millivolts of them stand on the 200 units "
            f"that WFDB assumes (beats are scaled by their own range, and do not change): {', '.join(silent)}"
        )
    return remarks


def _without_gain(header: Path) -> bool:
    """Whether a header gives the gain 0 for a lead, which is WFDB's word for not calibrated."""
    lines = [line.split() for line in read_lines(header) if line.strip() and not line.startswith("#")]
    return any(len(words) < 3 or words[2].split("(")[0].split("/")[0] in ("0", "0.0") for words in lines[1:])


SUPRAVENTRICULAR = AnnotatedSet(
    published=SVDB,
    source="MIT-BIH Supraventricular Arrhythmia Database, PhysioNet",
    records=78,
    record=r"8\d\d",
    leads=LEADS,
    owners=_owners,
    remarks=_remarks,
)

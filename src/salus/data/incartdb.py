"""The St Petersburg INCART 12-lead Arrhythmia Database: heartbeats in four AAMI classes, of 32 patients."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from salus.data.annotated_set import AnnotatedSet, Owners, load_annotated_set
from salus.data.base import Splits
from salus.data.options import LoadOptions
from salus.data.published import INCARTDB
from salus.errors import DataError
from salus.preprocessing.wfdb_files import read_comments, read_lines

LEADS = ("II",)

#: Says under each patient's number which records are theirs, as the headers' comments do.
PATIENTS = "files-patients-diagnoses.txt"


def load_incartdb(options: LoadOptions) -> Splits:
    """Load heartbeats ``[N, C, 280]`` of lead II, resampled from 257 Hz, with the patient of each.

    Raises:
        DataError: the database is nowhere, a file of it is missing or not the published one, or its headers and its
            list of patients disagree.
    """
    return load_annotated_set(INCART, options)


def _owners(folder: Path, records: Sequence[str]) -> Owners:
    """Read whose each record is: from its header, or else from the list of patients; both must say the same."""
    listed = _listed(folder / PATIENTS)
    patients: dict[str, str] = {}
    by_list: list[str] = []
    unknown: list[str] = []
    for record in records:
        header, other = _in_header(folder / record), listed.get(record)
        if header is not None and other is not None and header != other:
            raise DataError(
                f"Record {folder / record} is of patient {header} by its header and of patient {other} by {PATIENTS}; "
                "run: salus data fetch incartdb."
            )
        if header is None:
            (unknown if other is None else by_list).append(record)
        patients[record] = header or other or record
    several = sum(count > 1 for count in Counter(patients.values()).values())
    notes = []
    if len(by_list) + len(unknown) < len(records):
        notes.append(f"patients by the headers' comments; {several} of them have several records, which stay together")
    if by_list:
        notes.append(f"patients by {PATIENTS}, for want of a comment: {', '.join(by_list)}")
    return Owners(patients, tuple(unknown), tuple(notes))


def _in_header(record: Path) -> str | None:
    """Find the comment ``patient 1``."""
    comments = (
        re.fullmatch(r"patient\s+(\d+)", " ".join(each.split()), re.IGNORECASE) for each in read_comments(record)
    )
    found = next((match for match in comments if match), None)
    return None if found is None else str(int(found[1]))


def _listed(path: Path) -> dict[str, str]:
    """Read the list: under a line ``patient 1`` those that name records; all others are diagnoses."""
    if not path.is_file():
        return {}
    owner: dict[str, str] = {}
    patient: str | None = None
    for line in read_lines(path):
        if head := re.match(r"\s*patient\s+(\d+)", line, re.IGNORECASE):
            patient = str(int(head[1]))
        elif patient is not None and re.fullmatch(r"\s*I\d\d([\s,;]+I\d\d)*[\s,;]*", line):
            for record in re.findall(r"I\d\d", line):
                if owner.setdefault(record, patient) != patient:
                    raise DataError(
                        f"File {path} gives record {record} to the patients {owner[record]} and {patient}; "
                        "run: salus data fetch incartdb."
                    )
    return owner


INCART = AnnotatedSet(
    published=INCARTDB,
    source="St Petersburg INCART 12-lead Arrhythmia Database, PhysioNet",
    records=75,
    record=r"I\d\d",
    leads=LEADS,
    owners=_owners,
    others=(PATIENTS,),
)

"""Verdicts handed over to a hospital's own systems: a file of FHIR observations, a folder of DICOM reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from salus.atomic import write_bytes, write_json
from salus.errors import StoreError
from salus.exchange import Finding, Origin, dicom_sr, fhir_bundle, findings_of
from salus.guard import Guard
from salus.preprocessing.dicom_files import is_dicom_file
from salus.verdict import Judgement


def refuse_taken(folder: Path) -> None:
    """Refuse a folder for reports that holds something.

    Raises:
        StoreError: it does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is there already and holds something; name a new folder for the reports.")


class HandOver:
    """Gathers what a guard says of a thing, and writes it down at the end.

    Args:
        thing: the file or folder that is judged.
        subject: a reference to the patient that all of it is of, for FHIR; left out where nobody gives one.
    """

    def __init__(self, thing: Path, subject: str | None = None) -> None:
        self._thing, self._subject = thing, subject
        self._findings: list[Finding] = []
        self._origin = Origin("")

    def hear(self, guard: Guard, judgement: Judgement) -> None:
        """Take in what a guard said."""
        self._origin = Origin(guard.name, guard.fingerprint(), f"Salus {version('salus')}")
        self._findings += findings_of(judgement, guard.classifier.classes)

    def write_fhir(self, path: Path) -> None:
        """Write one bundle of observations.

        Raises:
            StoreError: it cannot be written.
        """
        issued = datetime.now(timezone.utc)
        write_json(path, fhir_bundle(self._findings, self._origin, issued=issued, subject=self._subject))

    def write_reports(self, folder: Path) -> int:
        """Write one report for each file that was judged; tell how many.

        Raises:
            StoreError: there is something in the folder already, or it cannot be written.
            DataError: pydicom is not installed.
        """
        refuse_taken(folder)
        issued, count = datetime.now(timezone.utc).astimezone(), 0
        for source, findings in self._by_file():
            content = source.read_bytes() if source is not None and is_dicom_file(source) else None
            report = dicom_sr(findings, self._origin, issued=issued, source=content)
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / f"{count:06}.dcm", report)
            count += 1
        return count

    def _by_file(self) -> Iterator[tuple[Path | None, list[Finding]]]:
        """Put together what was said of one file: of an image, or of the beats of a recording."""
        groups: dict[str, list[Finding]] = {}
        for finding in self._findings:
            groups.setdefault(self._file_of(finding.name), []).append(finding)
        for name, findings in groups.items():
            path = self._thing if self._thing.is_file() else self._thing / name
            yield (path if path.is_file() else None), findings

    def _file_of(self, name: str) -> str:
        """Name the file of an input: beats are called after it and their time, ``a.dcm 1.250 s``."""
        for word in (name, name.rsplit(" ", 2)[0]):
            if (self._thing / word if self._thing.is_dir() else self._thing.with_name(word)).is_file():
                return word
        return name

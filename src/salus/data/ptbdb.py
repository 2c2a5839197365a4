"""The PTB Diagnostic ECG Database (Bousseljot et al., 1995): heartbeats of healthy people and of infarctions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from salus.data.annotated import Drops, as_drops
from salus.data.assemble import RawData, assemble
from salus.data.balance import smote
from salus.data.base import Provenance, Splits
from salus.data.labels import encode_groups
from salus.data.mitdb import BEAT_SHARES
from salus.data.options import LoadOptions
from salus.data.places import places
from salus.data.prepared import Prepared, prepared
from salus.data.published import PTBDB, refuse_escape, trust_note
from salus.data.split import Indices, Parts, describe_shares, grouped, stratified
from salus.errors import DataError
from salus.preprocessing import RecordingPreprocessor
from salus.preprocessing.beats import WINDOW, cut
from salus.preprocessing.qrs import find_r_peaks
from salus.preprocessing.recordings import DETECTED
from salus.preprocessing.wfdb_files import SAMPLE_RATE, by_name, read_comments, read_lead
from salus.progress import progress

SPLITS = ("beats", "patients")
LEAD = "ii"
RECORDS = 549  # as published

#: Class -> how the header puts the reason for admission.
REASONS = {"healthy": "healthy control", "myocardial infarction": "myocardial infarction"}
CLASSES = tuple(REASONS)
DISEASE = ("myocardial infarction",)

PATIENT_SHARES = {"train": 0.60, "validation": 0.10, "calibration": 0.10, "test": 0.20}

OTHER_DIAGNOSIS = "the record's reason for admission is neither class"

#: Changes whenever the arrays below are made otherwise.
FORMAT = 2


@dataclass(frozen=True)
class Header:
    """What the header of a record says.

    Attributes:
        diagnosis: the reason for admission; "none given" where there is none.
        label: the class that this means; None when it is neither.
        patient: the number of the patient, or the record's name where nothing tells the patient.
        told_by: where the patient comes from: ``folder``, ``header`` or ``record name``.
    """

    diagnosis: str
    label: str | None
    patient: str
    told_by: str


@dataclass(frozen=True, eq=False)
class Record:
    """A record and its beats.

    Attributes:
        header: what its header says.
        x: lead II around each R peak, min-max scaled per beat, float32 ``[B, 280]``.
        peaks: the R peak of each of these beats, in samples at 360 Hz from the record's start, int64 ``[B]``.
        span: where the lowest and the highest value of each beat lie between those of lead II of the whole record,
            from 0 to 1, float32 ``[B, 2]``.
        dropped: reason -> beats that were found and not kept.
        rate: the record's own sampling rate.
    """

    header: Header
    x: NDArray[np.float32]
    peaks: NDArray[np.int64]
    span: NDArray[np.float32]
    dropped: Counter[str]
    rate: float


@dataclass(frozen=True, eq=False)
class AllBeats:
    """The beats of both classes in a database, not dealt to parts.

    Attributes:
        x: lead II around each R peak, min-max scaled per beat, float32 ``[N, 280]``.
        y: their classes, places among :data:`CLASSES`, int64 ``[N]``.
        patient: the number of each beat's patient, int64 ``[N]``.
        span: see :class:`Record`, float32 ``[N, 2]``: ``low + (high - low) * x`` is the beat scaled by its record.
        provenance: where they come from; its ``split`` is empty.
    """

    x: NDArray[np.float32]
    y: Indices
    patient: Indices
    span: NDArray[np.float32]
    provenance: Provenance


def read_record(path: str | Path) -> Record:
    """Read the beats of one record (its path, with or without a suffix), whatever its diagnosis.

    Raises:
        DataError: a file is missing or broken, or there is no lead II.

    Example:
        >>> record = read_record("ptbdb/patient001/s0010_re")  # doctest: +SKIP
        >>> record.header.label, record.x.shape  # doctest: +SKIP
        ('myocardial infarction', (52, 280))
    """
    path = Path(path)
    path = path.with_suffix("") if path.suffix in (".hea", ".dat") else path
    header = read_header(path)
    lead = read_lead(path, by_name(LEAD))
    peaks = find_r_peaks(lead.signal)
    beats = cut(torch.from_numpy(lead.signal), peaks)
    dropped = Counter(fault for fault in beats.faults if fault)
    kept = peaks[beats.rows]
    return Record(header, beats.x[:, 0].numpy(), kept, _span(lead.signal, kept), dropped, lead.rate)


def _span(signal: NDArray[np.float64], peaks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Place beats between the lowest and the highest value of their record, ``[B, 2]``."""
    if not len(peaks):
        return np.empty((0, 2), dtype=np.float32)
    low, high = np.nanmin(signal), np.nanmax(signal)
    windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[peaks - WINDOW // 2]  # [B, 280]
    ends = np.stack([windows.min(1), windows.max(1)], axis=1)
    return np.asarray((ends - low) / (high - low), dtype=np.float32)


def read_header(path: Path) -> Header:
    """Read a record's diagnosis and patient.

    Raises:
        DataError: the header is missing or broken.
    """
    comments = [" ".join(comment.split()) for comment in read_comments(path)]
    reasons = (re.fullmatch(r"reason for admission:\s*(.+)", comment, re.IGNORECASE) for comment in comments)
    diagnosis = next((match[1] for match in reasons if match), "none given")
    label = next((name for name, reason in REASONS.items() if diagnosis.lower() == reason), None)
    if folder := re.fullmatch(r"patient(\d+)", path.absolute().parent.name):
        return Header(diagnosis, label, str(int(folder[1])), "folder")
    ids = (re.fullmatch(r"patient(?: id| number| no\.?)?:?\s*(\d+)", comment, re.IGNORECASE) for comment in comments)
    if comment := next((match for match in ids if match), None):
        return Header(diagnosis, label, str(int(comment[1])), "header")
    return Header(diagnosis, label, path.name, "record name")


def load_ptbdb(options: LoadOptions) -> Splits:
    """Load heartbeats ``[N, 1, 280]`` of lead II, scaled per beat, with the patient of each.

    The papers train on 8,000 and test on 2,000 beats a class; ``smote=8000`` brings training to that, and the
    test part stays as it is.

    Raises:
        DataError: the database is nowhere, lacks a class, or a file of it is missing or broken.
    """
    split = options.choose_split(SPLITS)
    beats = all_beats(options.data_dir)
    parts, words, notes = _deal(split, beats.y, beats.patient, options.seed)
    raw = RawData(
        x=beats.x[:, None],  # [N, 1, 280]
        y=beats.y,
        classes=CLASSES,
        groups=beats.patient,
        positive=DISEASE,
        sample_rate=float(SAMPLE_RATE),
        preprocessor=options.made_by(RecordingPreprocessor) or RecordingPreprocessor(leads=(LEAD,), peaks=DETECTED),
        known_classes=options.known_classes,
        provenance=replace(beats.provenance, split=words, notes=(*beats.provenance.notes, *notes)),
    )
    splits = assemble(raw, parts)
    if options.smote is not None:
        splits = replace(splits, train=smote(splits.train, options.smote, seed=options.seed))
    return splits


def all_beats(data_dir: Path | None = None) -> AllBeats:
    """Read the beats of both classes, whoever they are to be dealt to.

    Args:
        data_dir: where the database is looked for first.

    Raises:
        DataError: the database is nowhere, lacks a class, or a file of it is missing or broken.
    """
    folder = _find(data_dir)
    names, listed = _records(folder)
    files = [f"{name}.{suffix}" for name in names for suffix in ("hea", "dat")]
    checksum, verified = PTBDB.verify(folder, files)
    key = {"source": checksum, "records": names, "window": WINDOW, "format": FORMAT, "wfdb": version("wfdb")}
    arrays, facts = prepared("ptbdb", key, lambda: _cut_all(folder, names))
    patients = {name: patient for name, patient, _ in facts["records"]}
    return AllBeats(
        x=arrays["x"].numpy(),
        y=arrays["y"].numpy(),
        patient=encode_groups([patients[names[row]] for row in arrays["record"].tolist()], name="ptbdb"),
        span=arrays["span"].numpy(),
        provenance=Provenance(
            name="ptbdb",
            source="PTB Diagnostic ECG Database, PhysioNet",
            version=PTBDB.version if verified else "",
            licence="ODC-By 1.0",
            checksum=checksum,
            dropped=as_drops(Counter({(what, why): count for what, why, count in facts["dropped"]})),
            notes=(
                _reading_note(facts["rates"]),
                *_record_notes(facts["records"], facts["beatless"]),
                *([] if listed else [f"there is no {PTBDB.landmark} file: the records that lie there were read"]),
                trust_note(PTBDB, folder, verified=verified, records=len(names), of=RECORDS),
            ),
        ),
    )


def _find(data_dir: Path | None) -> Path:
    """The first folder called ptbdb that holds records."""
    folders = places(data_dir)
    for place in folders:
        folder = place / "ptbdb"
        if (folder / PTBDB.landmark).is_file() or any(folder.glob("*.hea")) or any(folder.glob("patient*/*.hea")):
            return folder
    raise DataError(
        f"Data 'ptbdb' is not on this machine (looked in {', '.join(map(str, folders))}); run: salus data fetch ptbdb."
    )


def _records(folder: Path) -> tuple[list[str], bool]:
    """Name the records: those that RECORDS lists, or where it is missing, those that lie flat in the folder."""
    landmark = folder / PTBDB.landmark
    if not landmark.is_file():
        flat = sorted(path.stem for path in folder.glob("*.hea"))
        if not flat:
            raise DataError(
                f"Folder {folder} holds patients but no file {landmark.name}, as when fetching broke off; "
                "run: salus data fetch ptbdb."
            )
        return flat, False
    where = f"The file {landmark}"
    names = landmark.read_text(encoding="utf-8", errors="replace").split()
    for name in names:
        if not re.fullmatch(r"(patient\d+/)?\w+", refuse_escape(name, where=where)):
            raise DataError(f"{where} names {name!r}, which is no record of ptbdb; run: salus data fetch ptbdb.")
    if not names:
        raise DataError(f"{where} names no records; run: salus data fetch ptbdb.")
    return sorted(set(names)), True


def _cut_all(folder: Path, names: Sequence[str]) -> Prepared:
    """Read the records of both classes; the page that comes with the arrays tells patients, drops and rates."""
    headers = {name: read_header(folder / name) for name in names}
    present = {header.label for header in headers.values()}
    if lacking := [label for label in CLASSES if label not in present]:
        count = f"{len(names)} record{'s' * (len(names) > 1)}"
        raise DataError(
            f"Data 'ptbdb' in {folder} hold {count}, but none of class {' or '.join(map(repr, lacking))}; to have the "
            "whole database, run: salus data fetch ptbdb."
        )
    dropped: Drops = Counter()
    xs, ys, rows, spans = [], [], [], []
    rates, beatless = set(), []
    with progress("Reading ptbdb", len(names)) as advance:
        for row, (name, header) in enumerate(headers.items()):
            if header.label is None:
                dropped[f"records ({header.diagnosis[:60]})", OTHER_DIAGNOSIS] += 1
            else:
                record = read_record(folder / name)
                xs.append(record.x)
                ys.append(np.full(len(record.x), CLASSES.index(header.label)))
                rows.append(np.full(len(record.x), row))
                spans.append(record.span)
                rates.add(record.rate)
                if not len(record.x):
                    beatless.append(name)
                dropped.update({(header.label, why): count for why, count in record.dropped.items()})
            advance()
    arrays = {
        "x": torch.from_numpy(np.concatenate(xs)),
        "y": torch.from_numpy(np.concatenate(ys).astype(np.int64)),
        "record": torch.from_numpy(np.concatenate(rows).astype(np.int64)),
        "span": torch.from_numpy(np.concatenate(spans)),
    }
    return arrays, {
        "records": [[name, header.patient, header.told_by] for name, header in headers.items() if header.label],
        "dropped": [[what, why, count] for (what, why), count in sorted(dropped.items())],
        "rates": sorted(rates),
        "beatless": beatless,
    }


def _deal(split: str, y: Indices, patient: Indices, seed: int) -> tuple[Parts, str, list[str]]:
    """Deal all beats; returns parts, the split in words, and notes."""
    if split == "beats":
        parts = stratified(y, CLASSES, BEAT_SHARES, seed=seed, name="ptbdb")
        words = f"beats, stratified by class, seed {seed}: {describe_shares(BEAT_SHARES)}"
        return parts, words, ["beats of one patient stand in training and in test (split 'patients' does better)"]
    parts = grouped(y, patient, CLASSES, PATIENT_SHARES, seed=seed, name="ptbdb")
    return parts, f"patients, seed {seed}: {describe_shares(PATIENT_SHARES)} of them", []


def _reading_note(rates: Sequence[float]) -> str:
    others = " and ".join(f"{rate:g}" for rate in rates if rate != SAMPLE_RATE)
    resampled = f", resampled from {others} to 360 Hz" if others else ""
    return (
        f"lead II, chosen by name{resampled}; R peaks found by the detector XQRS of wfdb, no one annotated them; "
        "280 samples around each, scaled per beat"
    )


def _record_notes(records: Sequence[Sequence[str]], beatless: Sequence[str]) -> list[str]:
    """Say which patients are told by the header or not at all, and which records gave no beat."""
    notes = []
    if by_header := [name for name, _, told_by in records if told_by == "header"]:
        notes.append(f"patients named by the header, for want of a patient folder: {', '.join(by_header)}")
    if by_name := [name for name, _, told_by in records if told_by == "record name"]:
        notes.append(
            f"neither folder nor header tells the patient, so that each record counts as one: {', '.join(by_name)}"
        )
    if beatless:
        notes.append(f"records in which no beat was found or kept: {', '.join(beatless)}")
    return notes

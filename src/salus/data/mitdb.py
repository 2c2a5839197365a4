"""The MIT-BIH Arrhythmia Database (Moody & Mark, 2001): heartbeats in four AAMI classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salus.data.annotated import Drops, annotated_beats, as_drops, drops_of
from salus.data.assemble import RawData, assemble
from salus.data.balance import smote
from salus.data.base import Provenance, Splits
from salus.data.options import LoadOptions
from salus.data.places import find_set, places
from salus.data.prepared import Prepared, prepared
from salus.data.published import MITDB, refuse_escape
from salus.data.split import Indices, Parts, describe_shares, grouped, stratified
from salus.errors import DataError
from salus.preprocessing import RecordingPreprocessor, beats
from salus.preprocessing.wfdb_files import SAMPLE_RATE, by_name, read_lead
from salus.progress import progress

SPLITS = ("beats", "patients", "all-patients", "ds1-ds2")

#: Records of patients with a pacemaker, which AAMI EC57 leaves out.
PACED = (102, 104, 107, 217)

#: The division of de Chazal et al. (2004), without the paced records.
DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)

#: Records of one and the same patient: record -> the record that gives the patient's number.
SAME_PATIENT = {202: 201}

#: The papers' 20% for testing; the rest as 70, 5 and 5% of the whole.
BEAT_SHARES = {"train": 0.70, "validation": 0.05, "calibration": 0.05, "test": 0.20}
PATIENT_SHARES = {"train": 0.70, "validation": 0.15, "calibration": 0.15}

#: With split ``all-patients``, of the beats of DS1: every patient teaches.
ALL_SHARES = {"train": 0.90, "validation": 0.05, "calibration": 0.05}

#: By their names, wherever they stand; V5 where there is no MLII.
LEADS = ("MLII", "V5")

#: Changes whenever the arrays below are made otherwise.
FORMAT = 3


def load_mitdb(options: LoadOptions) -> Splits:
    """Load heartbeats ``[N, 1, 280]`` of lead MLII, scaled per beat, with the patient of each.

    Raises:
        DataError: the database is nowhere, or a file of it is missing or not the published one.
    """
    split = options.choose_split(SPLITS)
    folder = find_set("mitdb", MITDB.landmarks, options.data_dir)
    if folder is None:
        where = ", ".join(str(place) for place in places(options.data_dir))
        raise DataError(f"Data 'mitdb' is not on this machine (looked in {where}); run: salus data fetch mitdb.")
    records = _records(folder)
    files = [f"{number}.{suffix}" for number in records for suffix in ("hea", "dat", "atr")]
    checksum, verified = MITDB.verify(folder, files)
    key = {"source": checksum, "records": records, "window": beats.WINDOW, "format": FORMAT}
    given = options.made_by(RecordingPreprocessor)
    inputs = options.inputs if given is None else given.inputs
    if inputs != ("beat",):
        key["inputs"] = inputs
    arrays, facts = prepared("mitdb", key, lambda: _cut_all(folder, records, inputs))
    y, record = arrays["y"].numpy(), arrays["record"].numpy()
    parts, words, notes = _deal(split, y, record, options.seed)
    left_out = {number: reason for number, reason in _left_out(split).items() if number in records}
    from_v5 = [int(number) for number, lead in facts["leads"].items() if lead != "MLII"]
    if options.without_mlii == "drop":
        for number in from_v5:
            left_out.setdefault(number, "record has no lead MLII, left out by option")
    parts = {part: rows[~np.isin(record[rows], list(left_out))] for part, rows in parts.items()}
    patient = np.array([SAME_PATIENT.get(int(number), int(number)) for number in record])
    raw = RawData(
        x=arrays["x"].numpy(),  # [N, C, 280]
        y=y,
        classes=beats.CLASSES,
        groups=patient,
        positive=beats.DISEASE,
        sample_rate=float(SAMPLE_RATE),
        preprocessor=given or RecordingPreprocessor(leads=LEADS, inputs=inputs),
        known_classes=options.known_classes,
        provenance=Provenance(
            name="mitdb",
            source="MIT-BIH Arrhythmia Database, PhysioNet",
            version=MITDB.version if verified else "",
            licence="ODC-By 1.0",
            checksum=checksum,
            split=words,
            dropped=as_drops(_dropped(facts["dropped"], y, record, left_out)),
            notes=(
                *_lead_notes(sorted(set(from_v5) - set(left_out))),
                *beats.input_notes(inputs),
                *([] if verified else [_unverified(records)]),
                *notes,
            ),
        ),
    )
    splits = assemble(raw, parts)
    if options.smote is not None:
        splits = replace(splits, train=smote(splits.train, options.smote, seed=options.seed))
    return splits


def _records(folder: Path) -> list[int]:
    where = f"The file {folder / MITDB.landmark}"
    names = (folder / MITDB.landmark).read_text(encoding="utf-8", errors="replace").split()
    for name in names:
        if not refuse_escape(name, where=where).isdecimal():
            raise DataError(f"{where} names {name!r}, which is no record of mitdb; run: salus data fetch mitdb.")
    if not names:
        raise DataError(f"{where} names no records; run: salus data fetch mitdb.")
    return sorted({int(name) for name in names})


def _unverified(records: Sequence[int]) -> str:
    return f"not verified against the published sums of mitdb {MITDB.version} ({len(records)} of 48 records)"


def _cut_all(folder: Path, records: Sequence[int], inputs: Sequence[str]) -> Prepared:
    """Read every record; the page that comes with the arrays tells leads and drops per record."""
    xs, numbers = [], []
    ys: list[int] = []
    leads: dict[str, str] = {}
    dropped: list[list[Any]] = []
    with progress("Reading mitdb", len(records)) as advance:
        for number in records:
            lead = read_lead(folder / str(number), by_name(*LEADS))
            cut, labels, _ = annotated_beats(folder / str(number), lead, inputs)
            xs.append(cut.x)
            ys += [beats.CLASSES.index(labels[row]) for row in cut.rows]
            numbers.append(np.full(len(cut.rows), number))
            leads[str(number)] = lead.name
            dropped += [[number, what, why, count] for (what, why), count in sorted(drops_of(cut, labels).items())]
            advance()
    arrays = {
        "x": torch.cat(xs),
        "y": torch.tensor(ys),
        "record": torch.from_numpy(np.concatenate(numbers).astype(np.int64)),
    }
    return arrays, {"leads": leads, "dropped": dropped}


def _deal(split: str, y: Indices, record: Indices, seed: int) -> tuple[Parts, str, list[str]]:
    """Deal all beats, whatever the other options; returns parts, the split in words, and notes."""
    if split == "beats":
        parts = stratified(y, beats.CLASSES, BEAT_SHARES, seed=seed, name="mitdb")
        words = f"beats, stratified by class, seed {seed}: {describe_shares(BEAT_SHARES)}"
        note = "beats of one patient stand in training and in test (split 'patients' does better)"
        return parts, words, [note]
    rows, test = np.flatnonzero(np.isin(record, DS1)), np.flatnonzero(np.isin(record, DS2))
    if not len(rows) or not len(test):
        raise DataError(
            f"Data 'mitdb': split {split!r} needs records of both DS1 and DS2; run: salus data fetch mitdb."
        )
    if split == "all-patients":
        dealt = stratified(y[rows], beats.CLASSES, ALL_SHARES, seed=seed, name="mitdb")
        words = (
            "patients (de Chazal et al., 2004): test is DS2 without record 202; the beats of DS1, stratified by class, "
            f"seed {seed}: {describe_shares(ALL_SHARES)}"
        )
        note = (
            "validation and calibration hold other beats of the training patients: choose nothing by them that is to "
            "hold for other people"
        )
        return {**{part: rows[members] for part, members in dealt.items()}, "test": test}, words, [note]
    dealt = grouped(y[rows], record[rows], beats.CLASSES, PATIENT_SHARES, seed=seed, name="mitdb")
    parts = {part: rows[members] for part, members in dealt.items()}
    parts["test"] = test
    words = (
        f"patients (de Chazal et al., 2004): test is DS2, DS1 dealt by patient, seed {seed}: "
        f"{describe_shares(PATIENT_SHARES)} of its patients"
    )
    if split == "patients":
        return parts, words + "; without record 202", []
    warning = "WARNING: records 201 (DS1) and 202 (DS2) come from one patient, who is on both sides of this split"
    return parts, f"ds1-ds2 as published, {words}", [warning]


def _left_out(split: str) -> dict[int, str]:
    """Whole records that a split leaves out, and why."""
    if split == "beats":
        return {}
    out = dict.fromkeys(PACED, "record of a patient with a pacemaker, which this split leaves out")
    if split in ("patients", "all-patients"):
        out[202] = "record 202 is of the patient of 201, who is on the training side"
    return out


def _lead_notes(from_v5: Sequence[int]) -> list[str]:
    """Say which lead was read."""
    notes = ["lead MLII, chosen by name; 280 samples at 360 Hz around each annotated R peak, scaled per beat"]
    if from_v5:
        notes.append(f"records without MLII, read from V5: {', '.join(map(str, from_v5))}")
    return notes


def _dropped(
    per_record: Sequence[Sequence[Any]], y: Indices, record: NDArray[np.int64], left_out: dict[int, str]
) -> Drops:
    """Count what is not there, each beat once: by its own fault first, then with its record."""
    dropped: Drops = Counter()
    for _, what, why, count in per_record:
        dropped[what, why] += count
    for number, why in left_out.items():
        for label in y[record == number]:
            dropped[beats.CLASSES[label], why] += 1
    return dropped

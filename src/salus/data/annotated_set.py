"""Loading a published database of annotated recordings: which records, which lead, whose they are, and their beats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from salus.data.annotated import Drops, annotated_beats, as_drops, drops_of
from salus.data.assemble import RawData, assemble
from salus.data.balance import smote
from salus.data.base import Provenance, Splits
from salus.data.labels import encode_groups
from salus.data.mitdb import BEAT_SHARES
from salus.data.options import LoadOptions
from salus.data.places import find_set, places
from salus.data.prepared import Prepared, prepared
from salus.data.ptbdb import PATIENT_SHARES
from salus.data.published import PublishedSet, refuse_escape, trust_note
from salus.data.split import Indices, Parts, describe_shares, grouped, stratified
from salus.errors import DataError
from salus.preprocessing import RecordingPreprocessor, beats
from salus.preprocessing.wfdb_files import SAMPLE_RATE, by_name, read_lead
from salus.progress import progress

SPLITS = ("patients", "beats")

#: Changes whenever the arrays below are made otherwise.
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Owners:
    """Whose the records of a database are.

    Attributes:
        patients: record -> what the database calls the patient, or the record's own name where it does not say.
        unknown: records of which it does not say, so that nobody can be kept on one side of a split.
        notes: what a reader has to know of it.
    """

    patients: Mapping[str, str]
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedSet:
    """A database of annotated recordings, as its makers publish it.

    Attributes:
        published: its files and their home.
        source: its title, and who publishes it.
        records: how many there are.
        record: regular expression of their names.
        leads: to be read by default, the first that a record has.
        owners: tells whose the records are, given the folder and their names.
        others: further files that the loader reads, where they are there.
        remarks: what a reader has to know of its recordings, given the folder and the names of the records.
    """

    published: PublishedSet
    source: str
    records: int
    record: str
    leads: tuple[str, ...]
    owners: Callable[[Path, Sequence[str]], Owners]
    others: tuple[str, ...] = ()
    remarks: Callable[[Path, Sequence[str]], list[str]] | None = None

    @property
    def name(self) -> str:
        """By which users know it."""
        return self.published.name


def load_annotated_set(described: AnnotatedSet, options: LoadOptions) -> Splits:
    """Load heartbeats ``[N, C, 280]`` of one lead at 360 Hz, scaled per beat, with the patient of each.

    Raises:
        DataError: the database is nowhere, a file of it is missing or not the published one, a record lacks the lead,
            or the patients are asked for and not known.
    """
    name, published = described.name, described.published
    split = options.choose_split(SPLITS)
    folder = find_set(name, published.landmarks, options.data_dir)
    if folder is None:
        where = ", ".join(map(str, places(options.data_dir)))
        raise DataError(f"Data {name!r} is not on this machine (looked in {where}); run: salus data fetch {name}.")
    records = _records(described, folder)
    files = [f"{record}.{suffix}" for record in records for suffix in ("hea", "dat", "atr")]
    files += [other for other in described.others if (folder / other).is_file()]
    checksum, verified = published.verify(folder, files)
    owners = described.owners(folder, records)
    if owners.unknown and split == "patients":
        raise DataError(
            f"Data {name!r} in {folder} does not tell of which patient these records are: {', '.join(owners.unknown)}; "
            f"run: salus data fetch {name}, or deal beats of everybody to all sides (--split beats)."
        )
    given = options.made_by(RecordingPreprocessor)
    inputs = options.inputs if given is None else given.inputs
    leads = (options.lead or described.leads) if given is None else given.leads
    key = {
        "source": checksum,
        "records": records,
        "leads": leads,
        "inputs": inputs,
        "window": beats.WINDOW,
        "format": FORMAT,
    }
    arrays, facts = prepared(name, key, lambda: _cut_all(described, folder, records, leads, inputs))
    y, record = arrays["y"].numpy(), arrays["record"].numpy()
    if not len(y):
        raise DataError(f"Data {name!r} in {folder} hold no beats of the classes {', '.join(beats.CLASSES)}.")
    words = [owners.patients[each] for each in records]
    patient = encode_groups(words, name=name)[record]
    parts, dealt, notes = _deal(name, split, y, patient, options.seed)
    raw = RawData(
        x=arrays["x"].numpy(),  # [N, C, 280]
        y=y,
        classes=beats.CLASSES,
        groups=patient,
        positive=beats.DISEASE,
        sample_rate=float(SAMPLE_RATE),
        preprocessor=given or RecordingPreprocessor(leads=leads, inputs=inputs),
        known_classes=options.known_classes,
        provenance=Provenance(
            name=name,
            source=described.source,
            version=published.version if verified else "",
            licence="ODC-By 1.0",
            checksum=checksum,
            split=dealt,
            dropped=as_drops(Counter({(what, why): count for what, why, count in facts["dropped"]})),
            notes=(
                _reading_note(facts["leads"], facts["rates"]),
                *beats.input_notes(inputs),
                *_read_notes(facts["dead"], facts["beatless"]),
                *([] if described.remarks is None else described.remarks(folder, records)),
                f"{len(records)} of {described.records} records, {len(set(words))} patients",
                *owners.notes,
                *_unknown_note(owners.unknown),
                trust_note(published, folder, verified=verified, records=len(records), of=described.records),
                *notes,
            ),
        ),
    )
    splits = assemble(raw, parts)
    if options.smote is not None:
        splits = replace(splits, train=smote(splits.train, options.smote, seed=options.seed))
    return splits


def _records(described: AnnotatedSet, folder: Path) -> list[str]:
    """Name the records that RECORDS lists."""
    name, landmark = described.name, folder / described.published.landmark
    where = f"The file {landmark}"
    records = landmark.read_text(encoding="utf-8", errors="replace").split()
    for record in records:
        if not re.fullmatch(described.record, refuse_escape(record, where=where)):
            raise DataError(f"{where} names {record!r}, which is no record of {name}; run: salus data fetch {name}.")
    if not records:
        raise DataError(f"{where} names no records; run: salus data fetch {name}.")
    return sorted(set(records))


def _cut_all(
    described: AnnotatedSet, folder: Path, records: Sequence[str], leads: Sequence[str], inputs: Sequence[str]
) -> Prepared:
    """Read every record; the page that comes with the arrays tells leads, rates and drops."""
    xs: list[torch.Tensor] = []
    ys: list[int] = []
    rows: list[Indices] = []
    read: dict[str, list[str]] = {}
    rates: set[float] = set()
    dead: list[list[str]] = []
    beatless: list[str] = []
    dropped: Drops = Counter()
    with progress(f"Reading {described.name}", len(records)) as advance:
        for row, record in enumerate(records):
            lead = read_lead(folder / record, by_name(*leads))
            cut, labels, _ = annotated_beats(folder / record, lead, inputs)
            xs.append(cut.x)
            ys += [beats.CLASSES.index(labels[each]) for each in cut.rows]
            rows.append(np.full(len(cut.rows), row, dtype=np.int64))
            read.setdefault(lead.name, []).append(record)
            rates.add(lead.rate)
            dead += [[record, each, lead.name] for each in lead.dead]
            if not len(cut.rows):
                beatless.append(record)
            dropped.update(drops_of(cut, labels))
            advance()
    arrays = {
        "x": torch.cat(xs),
        "y": torch.tensor(ys, dtype=torch.int64),
        "record": torch.from_numpy(np.concatenate(rows)),
    }
    facts: dict[str, Any] = {
        "leads": read,
        "rates": sorted(rates),
        "dead": dead,
        "beatless": beatless,
        "dropped": [[what, why, count] for (what, why), count in sorted(dropped.items())],
    }
    return arrays, facts


def _deal(name: str, split: str, y: Indices, patient: Indices, seed: int) -> tuple[Parts, str, list[str]]:
    """Deal all beats; returns parts, the split in words, and notes."""
    if split == "beats":
        parts = stratified(y, beats.CLASSES, BEAT_SHARES, seed=seed, name=name)
        words = f"beats, stratified by class, seed {seed}: {describe_shares(BEAT_SHARES)}"
        return parts, words, ["beats of one patient stand in training and in test (split 'patients' does better)"]
    parts = grouped(y, patient, beats.CLASSES, PATIENT_SHARES, seed=seed, name=name)
    return parts, f"patients, seed {seed}: {describe_shares(PATIENT_SHARES)} of them", []


def _reading_note(leads: Mapping[str, Sequence[str]], rates: Sequence[float]) -> str:
    """Say which lead was read, and at which rate."""
    others = " and ".join(f"{rate:g}" for rate in rates if rate != SAMPLE_RATE)
    resampled = f", resampled from {others} to {SAMPLE_RATE} Hz" if others else ""
    usual = max(leads, key=lambda lead: len(leads[lead]))
    aside = [f"{lead} of {', '.join(records)}" for lead, records in leads.items() if lead != usual]
    besides = f" ({'; '.join(aside)})" if aside else ""
    return (
        f"lead {usual}, chosen by name{besides}{resampled}; {beats.WINDOW} samples at {SAMPLE_RATE} Hz around each "
        "annotated R peak, scaled per beat"
    )


def _read_notes(dead: Sequence[Sequence[str]], beatless: Sequence[str]) -> list[str]:
    notes = [
        f"record {record}: lead {lead} is dead (gaps or one value), {instead} was read"
        for record, lead, instead in dead
    ]
    if beatless:
        notes.append(f"records that gave no beat: {', '.join(beatless)}")
    return notes


def _unknown_note(unknown: Sequence[str]) -> list[str]:
    if not unknown:
        return []
    return [f"nothing tells the patient of these records, so that each counts as one: {', '.join(unknown)}"]

"""One's own folder of records with annotated beats (of WFDB), prepared as the MIT-BIH records are."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salus.data.annotated import Drops, annotated_beats, as_drops, drops_of
from salus.data.assemble import RawData, assemble
from salus.data.base import Provenance, Splits
from salus.data.groups import Groups, group_names
from salus.data.options import LoadOptions
from salus.data.published import file_sha256
from salus.data.split import ALL, SHARES, Indices, Parts, all_test, describe_shares, grouped, stratified
from salus.errors import DataError
from salus.preprocessing import RecordingPreprocessor, beats
from salus.preprocessing.ecg_files import ecg_beside, read_ecg
from salus.preprocessing.recordings import beat_name, ecg_files_below, records_below, visible
from salus.preprocessing.wfdb_files import SAMPLE_RATE, Lead, by_name, lead_names, read_lead, record_path
from salus.progress import progress

SPLITS = ("patients", "beats", ALL)

#: How patients were found where nobody says who is who.
ONE_EACH = "record"
BY_FOLDER = "the folders above the records (--group-by '(.*)' makes each record one patient)"

#: What a folder of one patient is called: patient001, p10000032, sub-01.
_PATIENT = re.compile(r"(patient|pat|subject|subj|sub|p)[\s_-]?\d+", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class _FolderRecord:
    """A record below the folder, by its name inside it, and its beats.

    Attributes:
        name: of the record.
        x: its beats ``[B, C, 280]``.
        y: their classes, places among ``beats.CLASSES`` ``[B]``.
        names: of the beats.
        dropped: (class, reason) -> beats that were not kept.
        lead: that was read.
    """

    name: str
    x: NDArray[np.float32]
    y: Indices
    names: tuple[str, ...]
    dropped: Drops
    lead: str


def load_wfdb_folder(options: LoadOptions) -> Splits:
    """Load beats ``[N, C, 280]`` of every annotated record below a folder, with the patient of each.

    Who is who says ``group_by``; else records in one folder below it (``patient001/rec_1``) are of one patient, and
    records that lie side by side are of as many.

    Raises:
        DataError: there is no record, none has annotations or beats, or a file is broken.
    """
    place = Path(options.name)
    folder = place if place.is_dir() else place.parent
    name = record_path(place.resolve()).name
    split = options.choose_split(SPLITS)
    given = options.made_by(RecordingPreprocessor)
    inputs = options.inputs if given is None else given.inputs
    leads = options.lead if given is None else given.leads
    records, order, notes = _read_all(folder, *_records(place), inputs, leads)
    notes += beats.input_notes(inputs)
    x = np.concatenate([record.x for record in records])
    all_y = np.concatenate([record.y for record in records])
    dropped: Drops = sum((record.dropped for record in records), Counter())
    if not len(x):
        raise DataError(f"Folder {folder}: its records have no beats of the classes {', '.join(beats.CLASSES)}.")
    present = np.unique(all_y)
    classes = tuple(beats.CLASSES[index] for index in present)
    y = np.searchsorted(present, all_y)
    names = [record.name for record in records for _ in record.y]
    who = record_groups([record.name for record in records], options.group_by, name=folder.name)
    patient = dict(zip((record.name for record in records), who.ids.tolist(), strict=True))
    groups = np.array([patient[each] for each in names], dtype=np.int64)
    if not all(word.isdecimal() for word in who.words):
        numbers = dict(zip(who.words, who.ids.tolist(), strict=True))
        notes.append("patients: " + ", ".join(f"{number} is {word}" for word, number in numbers.items()))
    if who.rule != ONE_EACH:
        notes.append(who.note)
    words = f"{split}, seed {options.seed}: {describe_shares(SHARES)}; {_in_words(who)}"
    if split == ALL:
        parts, words = all_test(len(y)), f"all beats are test samples; {_in_words(who)}"
    elif split == "patients":
        parts = _dealt(y, groups, classes, who, options.seed, folder.name)
    else:
        parts = stratified(y, classes, SHARES, seed=options.seed, name=folder.name)
        notes.append("beats of one patient stand in training and in test (split 'patients' does better)")
    raw = RawData(
        x=x,  # [N, C, 280]
        y=y,
        classes=classes,
        groups=groups,
        positive=options.positive or tuple(name for name in beats.DISEASE if name in classes),
        sample_rate=float(SAMPLE_RATE),
        names=tuple(name for record in records for name in record.names),
        preprocessor=given or RecordingPreprocessor(leads=order, inputs=inputs),
        vocabulary=beats.CLASSES,
        known_classes=options.known_classes,
        provenance=Provenance(
            name=name,
            source=f"WFDB records in {name}",
            checksum=_checksum(folder, [record.name for record in records]),
            split=words,
            dropped=as_drops(dropped),
            notes=tuple(notes),
        ),
    )
    return assemble(raw, parts)


def record_groups(records: Sequence[str], rule: str | None, *, name: str) -> Groups:
    """Tell of which patient each record is: by a rule, or by the folders that the records lie in.

    A folder that is called as patients are (``p10000032``, ``sub-01``) is one, wherever it lies; else it is the first
    folder in which not all records lie.

    Args:
        records: their names, with the folders above them (``patient001/rec_1``).
        rule: see :func:`salus.data.groups.group_names`; None: the folders.
        name: of the data, for messages.
    """
    if rule is not None:
        return group_names(rule, records, name=name)
    folders = [record.split("/")[:-1] for record in records]
    shared = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))))
    words = [
        next((folder for folder in reversed(above) if _PATIENT.fullmatch(folder)), None)
        or (above[shared] if len(above) > shared else record)
        for record, above in zip(records, folders, strict=True)
    ]
    if len(set(words)) == len(records):
        return Groups.of(records, ONE_EACH, name=name)
    return Groups.of(words, BY_FOLDER, name=name)


def _dealt(y: Indices, groups: Indices, classes: tuple[str, ...], who: Groups, seed: int, name: str) -> Parts:
    try:
        return grouped(y, groups, classes, SHARES, seed=seed, name=name)
    except DataError as error:
        if who.rule != BY_FOLDER:
            raise
        raise DataError(
            f"{error} Here a folder of records counts as one patient; --group-by '(.*)' makes each record one."
        ) from error


def _in_words(who: Groups) -> str:
    if who.rule == ONE_EACH:
        return "one record, one patient"
    return "records in one folder are of one patient" if who.rule == BY_FOLDER else f"patients by {who.rule}"


def _records(place: Path) -> tuple[list[Path], list[Path]]:
    """List the records that have a header, and those that have annotations: below a folder, or the one of this path."""
    if place.is_dir():
        others = [path.with_suffix("") for path in ecg_files_below(place)]
        return sorted({*records_below(place), *others}), [path.with_suffix("") for path in visible(place, "*.atr")]
    record = record_path(place)
    return [record], [record] if record.with_name(f"{record.name}.atr").is_file() else []


def _read_all(
    folder: Path, headers: Sequence[Path], annotated: Sequence[Path], inputs: Sequence[str], leads: Sequence[str]
) -> tuple[list[_FolderRecord], tuple[str, ...], list[str]]:
    """Read the records that have annotations.

    Args:
        folder: in which they lie.
        headers: the records that have a header.
        annotated: the records that have annotations.
        inputs: channels of each beat.
        leads: those to read, the first that a record has; () for MLII, or else the first.

    Returns:
        The records; the order in which leads are to be looked for, so that the same are read of the same records; and
        which records have no annotations, and which lead was read.
    """
    paths = sorted(annotated)
    bare = sorted(set(headers) - set(annotated))
    if not paths and bare:
        raise DataError(
            f"Folder {folder}: record {bare[0].name} has no annotations (the file {bare[0].name}.atr is "
            "missing), nor has any other; beats cannot be found without them."
        )
    if not paths:
        raise DataError(
            f"Folder {folder} holds no WFDB records (NAME.hea, NAME.dat and NAME.atr), and no other files of ECGs with "
            "annotations (NAME.edf and NAME.atr)."
        )
    notes = [f"record {record.name} has no annotations (.atr) and was passed over" for record in bare]
    known = tuple(leads) or _usual_leads(paths)
    order = by_name(*known, then_others=not leads)
    records = []
    with progress(f"Reading {folder.name}", len(paths)) as advance:
        for path in paths:
            name = path.relative_to(folder).as_posix()
            lead = read_lead(path, order)
            records.append(_beats_of(path, name, lead, inputs))
            if (beside := ecg_beside(path)) is not None:
                notes += [f"record {name}: {note}" for note in read_ecg(beside).notes]
            notes += [
                f"record {name}: lead {dead} is dead (gaps or one value), {lead.name} was read" for dead in lead.dead
            ]
            if not leads and not lead.dead and not by_name("MLII")([lead.name]):
                which = "its first" if lead_names(path)[0] == lead.name else "as of other records"
                notes.append(f"record {name} has no lead MLII; {which}, {lead.name}, was read")
            if lead.rate != SAMPLE_RATE:
                notes.append(f"record {name} was resampled from {lead.rate:g} to {SAMPLE_RATE} Hz")
            advance()
    read = list(dict.fromkeys(record.lead for record in records))
    return records, tuple(by_name(*known, then_others=True)(read)), notes


def _usual_leads(records: Sequence[Path]) -> tuple[str, ...]:
    """MLII, and of records that have none the first lead, the most frequent first: each is read where there is one."""
    firsts = Counter(by_name("MLII", then_others=True)(lead_names(record) or ["MLII"])[0] for record in records)
    return tuple(dict.fromkeys(("MLII", *(name for name, _ in firsts.most_common()))))


def _beats_of(path: Path, name: str, lead: Lead, inputs: Sequence[str]) -> _FolderRecord:
    cut, labels, samples = annotated_beats(path, lead, inputs)
    kept = [labels[row] for row in cut.rows]
    return _FolderRecord(
        name=name,
        x=cut.x.numpy(),
        y=np.array([beats.CLASSES.index(label) for label in kept], dtype=np.int64),
        names=tuple(beat_name(name, int(samples[row])) for row in cut.rows),
        dropped=drops_of(cut, labels),
        lead=lead.name,
    )


def _checksum(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 over the headers and annotations of all records, and their signals where they bear the name."""
    digest = hashlib.sha256()
    for name in names:
        beside = ecg_beside(folder / name)
        files = [folder / f"{name}.{suffix}" for suffix in ("hea", "dat", "atr")]
        for path in (*files, *([] if beside is None else [beside])):
            if path.is_file():
                digest.update(f"{file_sha256(path)}  {name}{path.suffix}\n".encode())
    return digest.hexdigest()

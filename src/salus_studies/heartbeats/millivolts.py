"""Attacks on the two-lead signal of whole test records, in millivolts, through everything that prepares a beat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from salus.classifier import Classifier
from salus.data import Dataset
from salus.data.mitdb import DS2, LEADS, PACED, SAME_PATIENT
from salus.data.places import find_set
from salus.data.published import MITDB
from salus.errors import DataError
from salus.metrics import macro_f1, per_class, proportion
from salus.preprocessing import RawRecording, RecordingPreprocessor
from salus.preprocessing.beats import fault_of, label_of
from salus.preprocessing.second_lead import besides, needs_second
from salus.preprocessing.wfdb_files import by_name, lead_names, read_annotations, read_lead
from salus.threats.recordings import RecordingAttack, noise
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps

#: The attacks, by the name under which they are stored: eps is in mV.
ATTACKS: dict[str, RecordingAttack] = {
    "pgd-15": RecordingAttack(eps=0.015, steps=12),
    "pgd-30": RecordingAttack(eps=0.030, steps=12),
    "pgd-60": RecordingAttack(eps=0.060, steps=12),
    "smooth-15": RecordingAttack(eps=0.015, steps=12, shape="smooth"),
    "jitter": RecordingAttack(eps=0.0, steps=1, jitter=5),
    "jitter-15": RecordingAttack(eps=0.015, steps=12, jitter=5),
}
#: The test records: 202 is of the patient of 201, who teaches.
RECORDS = tuple(record for record in DS2 if record not in PACED and record not in SAME_PATIENT)


def attack_all(classifier: Classifier, test: Dataset, steps: Steps, place: dict[str, Any]) -> list[dict[str, Any]]:
    """Attack every test record under every attack, and count the beats of all records together."""
    shared, print_ = steps.share(classifier), classifier.fingerprint()
    todo = [
        Step(
            name=f"millivolts-{name}-{record}",
            kind=f"millivolts-{name}",
            key=[name, repr(attack), record, print_],
            function=attacked_record,
            arguments=(shared, attack, record, place),
        )
        for name, attack in ATTACKS.items()
        for record in RECORDS
    ]
    done = [step for step in steps.do_all(todo) if step["status"] == "done"]
    rows = []
    for name, attack in ATTACKS.items():
        of_attack = [step for step in done if step["attack"] == name]
        if len(of_attack) < len(RECORDS):
            continue
        settings = {"attack": name, "microvolts": 1000 * attack.eps, "steps": attack.steps, "jitter": attack.jitter}
        rows.append({**settings, "shape": attack.shape, **_count(of_attack, "attacked", test.classes)})
        if attack.eps or attack.jitter:
            rows.append({**settings, "attack": f"{name}, blind", **_count(of_attack, "blind", test.classes)})
    return rows


def attacked_record(
    classifier: Classifier, attack: RecordingAttack, record: int, place: dict[str, Any]
) -> dict[str, Any]:
    """Attack one record, and disturb it as far at random."""
    recording, y = read_recording(record, classifier, place)
    result = attack(classifier, recording, y)
    asked = (y >= 0) & (result.clean >= 0)
    counts: dict[str, Any] = {
        "attack": next(name for name, each in ATTACKS.items() if each == attack),
        "record": record,
        "y": y[asked].tolist(),
        "clean": result.clean[asked].tolist(),
        "attacked": result.answers[asked].tolist(),
    }
    if attack.eps or attack.jitter:
        blind = noise(recording, result, attack.seed)
        counts["blind"] = RecordingAttack(eps=0.0)(classifier, blind, y).answers[asked].tolist()
        size = torch.stack(list(result.change.values()))
        counts["rms"] = float(size.square().mean().sqrt())
    return counts


def read_recording(record: int, classifier: Classifier, place: dict[str, Any]) -> tuple[RawRecording, torch.Tensor]:
    """Read a record as the classifier's preprocessor takes it; returns the class of each beat too, -1 where none is."""
    folder = find_set("mitdb", MITDB.landmarks, place.get("data_dir"))
    preprocessor = classifier.preprocessor
    if folder is None or not isinstance(preprocessor, RecordingPreprocessor):
        raise DataError("Data 'mitdb' is not on this machine, or the classifier takes no recordings.")
    return recording_of(folder / str(record), preprocessor.inputs)


def recording_of(path: Path, inputs: tuple[str, ...]) -> tuple[RawRecording, torch.Tensor]:
    """Read a record's leads and beats."""
    first = read_lead(path, by_name(*LEADS))
    leads = {first.name: first.signal}
    if needs_second(inputs):
        second = besides(first.name)(lead_names(path))[0]
        leads[second] = read_lead(path, by_name(second)).signal
    marks = read_annotations(path, first.rate)
    if marks is None:
        raise DataError(f"Record {path} has no annotations.")
    rows = [row for row, symbol in enumerate(marks.symbols) if fault_of(symbol) is not None]
    names = [label_of(marks.symbols[row]) if not fault_of(marks.symbols[row]) else None for row in rows]
    y = torch.tensor(["NSVF".index(name) if name else -1 for name in names], dtype=torch.int64)
    peaks = np.asarray(marks.samples)[rows].clip(0, len(first.signal) - 1).tolist()
    return RawRecording(leads, first.rate, path.name, peaks), y


def _count(steps: list[dict[str, Any]], answers: str, classes: tuple[str, ...]) -> dict[str, Any]:
    y, clean, given = (torch.cat([torch.tensor(step[key]) for step in steps]) for key in ("y", "clean", answers))
    groups = torch.cat([torch.full((len(step["y"]),), step["record"]) for step in steps])
    final = torch.where(clean == y, given, clean)
    return {
        "n": len(y),
        **proportion(final == y, groups=groups).named("accuracy"),
        "macro_f1": macro_f1(y, final),
        "per_class": list(_few(per_class(y, final, classes, groups))),
    }


def _few(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {name: row[name] for name in ("class", "n", "sensitivity", "positive_predictivity")}

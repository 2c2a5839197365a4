"""Attacks on the two-lead signal of whole test records, in millivolts, through everything that prepares a beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from salus.attacks import APGD
from salus.classifier import Classifier
from salus.data import Dataset
from salus.data.mitdb import DS1, DS2, LEADS, PACED, SAME_PATIENT
from salus.data.places import find_set
from salus.data.published import MITDB
from salus.errors import DataError, OptionError
from salus.metrics import macro_f1, per_class, proportion
from salus.preprocessing import RawRecording, RecordingPreprocessor
from salus.preprocessing.beats import fault_of, label_of
from salus.preprocessing.second_lead import besides, needs_second
from salus.preprocessing.wfdb_files import by_name, lead_names, read_annotations, read_lead
from salus.progress import progress
from salus.threats.recording_search import RecordingSearch
from salus.threats.recording_square import RecordingSquare
from salus.threats.recording_universal import RecordingUAP, UniversalVoltage
from salus.threats.recordings import RecordingAttack, noise
from salus.threats.voltage import AttackedRecording
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps

#: An attack on a recording, whose beats' classes are given.
Perturb = Callable[[Classifier, RawRecording, torch.Tensor], AttackedRecording]

#: Steps of a climb, whatever climbs.
_STEPS = 12


def _apgd(loss: Literal["ce", "dlr"], eps: float) -> RecordingSearch:
    return RecordingSearch(attack=APGD(eps=eps, steps=_STEPS, early_stop=False), loss=loss)


#: The attacks, by the name under which they are stored: eps is in mV.
ATTACKS: dict[str, RecordingAttack | RecordingSearch | RecordingSquare | RecordingUAP] = {
    "pgd-15": RecordingAttack(eps=0.015, steps=_STEPS),
    "pgd-30": RecordingAttack(eps=0.030, steps=_STEPS),
    "pgd-60": RecordingAttack(eps=0.060, steps=_STEPS),
    "smooth-15": RecordingAttack(eps=0.015, steps=_STEPS, shape="smooth"),
    "jitter": RecordingAttack(eps=0.0, steps=1, jitter=5),
    "jitter-15": RecordingAttack(eps=0.015, steps=_STEPS, jitter=5),
    **{f"apgd-ce-{1000 * eps:.0f}": _apgd("ce", eps) for eps in (0.015, 0.030, 0.060)},
    **{f"apgd-dlr-{1000 * eps:.0f}": _apgd("dlr", eps) for eps in (0.015, 0.030, 0.060)},
    **{f"square-{1000 * eps:.0f}": RecordingSquare(eps=eps, queries=60) for eps in (0.015, 0.030, 0.060)},
    **{f"uap-{1000 * eps:.0f}": RecordingUAP(eps=eps, epochs=2) for eps in (0.015, 0.030, 0.060)},
    "uap-beats-60": RecordingUAP(eps=0.060, locked="beats", epochs=2),
}
#: The test records: 202 is of the patient of 201, who teaches.
RECORDS = tuple(record for record in DS2 if record not in PACED and record not in SAME_PATIENT)


def attack_all(
    classifier: Classifier, test: Dataset, steps: Steps, place: dict[str, Any], names: Sequence[str] = tuple(ATTACKS)
) -> list[dict[str, Any]]:
    """Attack every test record under some attacks, and count the beats of all records together."""
    shared, print_ = steps.share(classifier), classifier.fingerprint()
    perturbs = {name: ATTACKS[name] for name in names} | _fitted(names, shared, print_, steps, place)
    todo = [
        Step(
            name=f"millivolts-{name}-{record}",
            kind=f"millivolts-{name}",
            key=[name, repr(ATTACKS[name]), record, print_],
            function=attacked_record,
            arguments=(shared, name, perturb, record, place),
        )
        for name, perturb in perturbs.items()
        if not isinstance(perturb, RecordingUAP)  # which the time did not let be fitted
        for record in RECORDS
    ]
    done = [step for step in steps.do_all(todo) if step["status"] == "done"]
    return [row for name in names for row in rows(name, [step for step in done if step["attack"] == name], test)]


def rows(name: str, counts: list[dict[str, Any]], test: Dataset) -> Iterator[dict[str, Any]]:
    """Count the beats of all records under an attack, and under a blind change as large; nothing where one is left."""
    attack = ATTACKS[name]
    if len(counts) < len(RECORDS):
        return
    settings = {"attack": name, "microvolts": 1000 * attack.eps, "steps": _steps_of(attack)}
    yield {**settings, **_count(counts, "attacked", test.classes)}
    if "blind" in counts[0]:
        yield {**settings, "attack": f"{name}, blind", **_count(counts, "blind", test.classes)}


def _steps_of(attack: RecordingAttack | RecordingSearch | RecordingSquare | RecordingUAP) -> int:
    """How often the attacker asks about a recording on the way, or all those that a waveform is fitted on."""
    if isinstance(attack, RecordingUAP):
        return attack.epochs * len(DS1)
    if isinstance(attack, RecordingSquare):
        return attack.queries
    return _STEPS if isinstance(attack, RecordingSearch) else attack.steps if attack.eps else 0


def _fitted(
    names: Sequence[str], shared: Any, print_: str, steps: Steps, place: dict[str, Any]
) -> dict[str, UniversalVoltage]:
    """Fit what is universal on the records of DS1."""
    todo = [
        Step(
            name=f"millivolts-fit-{name}",
            kind="millivolts-fit",
            key=[name, repr(ATTACKS[name]), print_],
            function=fit_universal,
            arguments=(shared, name, place),
        )
        for name in names
        if isinstance(ATTACKS[name], RecordingUAP)
    ]
    done = [step for step in steps.do_all(todo) if step["status"] == "done"]
    return {step["attack"]: UniversalVoltage.from_json(step["fitted"]) for step in done}


def fit_universal(classifier: Classifier, name: str, place: dict[str, Any]) -> dict[str, Any]:
    """Fit a waveform on every record of DS1."""
    attack = ATTACKS[name]
    if not isinstance(attack, RecordingUAP):
        raise OptionError(f"Attack {name!r} is fitted on nothing.")
    readers = [partial(read_recording, record, classifier, place) for record in DS1]
    with progress(f"Fitting {name}", attack.epochs * len(readers)) as advance:
        return {"attack": name, "fitted": attack.fit(classifier, readers, advance).to_json()}


def attacked_record(
    classifier: Classifier, name: str, attack: Perturb, record: int, place: dict[str, Any]
) -> dict[str, Any]:
    """Attack one record, and disturb it as far at random."""
    recording, y = read_recording(record, classifier, place)
    result = attack(classifier, recording, y)
    asked = (y >= 0) & (result.clean >= 0)
    blind = noise(recording, result)
    size = torch.stack(list(result.change.values()))
    return {
        "attack": name,
        "record": record,
        "y": y[asked].tolist(),
        "clean": result.clean[asked].tolist(),
        "attacked": result.answers[asked].tolist(),
        "blind": RecordingAttack(eps=0.0)(classifier, blind, y).answers[asked].tolist(),
        "rms": float(size.square().mean().sqrt()),
    }


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

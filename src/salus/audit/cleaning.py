"""Wrong labels in the training part of a plan: found, written down and, for an audit, dropped or mended."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from salus.atomic import write_text
from salus.audit.subject import Subject
from salus.data import Dataset, Splits
from salus.hardening.label_cleaning import LabelCleaning, LabelFinds, without
from salus.hardening.label_judgement import judge
from salus.metrics import Rate
from salus.metrics.wording import in_sentence
from salus.progress import console, spaced

#: In the folder of an audit or of a label search: the list of all labels, and what the finished folds answered.
LIST, FOLDS = "labels.csv", "folds"


def cleaned(subject: Subject, folder: Path) -> tuple[Splits, dict[str, Any] | None]:
    """Clean the labels of the training part as the plan asks, or go on with a cleaning that was stopped.

    Returns:
        The data to train on, and what is to be said of it; None where the plan asks for no cleaning.
    """
    if subject.cleaning is None:
        return subject.splits, None
    finds, facts = find_wrong(subject, subject.cleaning, folder)
    before = subject.splits.train
    train = without(before, finds, subject.cleaning.action)
    gone = [label for label, count in train.counts.items() if before.counts[label] and not count]
    return replace(subject.splits, train=train), {**facts, "classes_gone": gone}


def find_wrong(subject: Subject, cleaning: LabelCleaning, folder: Path) -> tuple[LabelFinds, dict[str, Any]]:
    """Find wrong labels by a method, with the subject's network and training, and list all in ``labels.csv``.

    Returns:
        The finds, and facts for JSON; recall and precision are None where no label is known to be flipped.

    Raises:
        OptionError: the model is not trained here.
    """
    network, splits = subject.network, subject.splits
    finds = cleaning.find(
        splits.train,
        splits.validation,
        network.name,
        subject.training,
        model_options=network.options,
        folder=folder / FOLDS,
        device=subject.plan.device,
        log=spaced(console.print),
    )
    write_text(folder / LIST, _csv(splits.train, finds))
    known, unknown = judge(finds, splits.train), Rate(None, None, None, 0)
    return finds, {
        "method": cleaning.name,
        "options": cleaning.settings(),
        "samples": len(splits.train),
        "found": int(finds.flags.sum()),
        "not_judged": int(finds.quality.isnan().sum()),
        "flipped": None if known is None else known.flipped,
        **(unknown if known is None else known.recall).named("recall"),
        **(unknown if known is None else known.precision).named("precision"),
    }


def in_words(facts: Mapping[str, Any], done: str = "") -> str:
    """Say what was found, and ``done`` about it, and how that agrees with what is known to be flipped."""
    text = f"{facts['found']:,} of {facts['samples']:,} training labels look wrong to {facts['method']}{done}."
    if facts["flipped"] is not None:
        text += f" Of the {facts['flipped']:,} that were flipped on purpose it found {in_sentence(facts, 'recall')}"
        text += f"; {in_sentence(facts, 'precision')} of its finds were flipped." if facts["found"] else "."
    if facts["not_judged"]:
        text += f" {facts['not_judged']:,} could not be judged: all samples of their class are in one fold."
    return text


def _csv(data: Dataset, finds: LabelFinds) -> str:
    """List all labels, the least fitting first and those that could not be judged last."""
    columns: dict[str, list[Any]] = {"index": list(range(len(data)))}
    if data.names:
        columns["sample"] = [*data.names, *[""] * (len(data) - len(data.names))]
    if data.groups is not None:
        columns["group"] = ["" if group < 0 else group for group in data.groups.tolist()]
    columns["given"] = [data.classes[label] for label in data.y.tolist()]
    columns["suggested"] = [data.classes[label] for label in finds.suggested.tolist()]
    columns["quality"] = ["" if value != value else f"{value:.6g}" for value in finds.quality.tolist()]
    columns["flagged"] = [str(flag).lower() for flag in finds.flags.tolist()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    rows = list(zip(*columns.values(), strict=True))
    writer.writerows(rows[row] for row in finds.quality.argsort(stable=True).tolist())
    return text.getvalue()

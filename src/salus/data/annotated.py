"""The annotated beats of a WFDB record, and a count of those that were not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from salus.data.base import Drop
from salus.data.split import Indices
from salus.errors import DataError
from salus.preprocessing.beats import Beats, cut_annotated
from salus.preprocessing.recordings import beat_samples
from salus.preprocessing.second_lead import read_second
from salus.preprocessing.wfdb_files import Lead, read_annotations

#: (class, reason) -> beats
Drops = Counter[tuple[str, str]]


def annotated_beats(record: Path, lead: Lead, inputs: Sequence[str]) -> tuple[Beats, list[str], Indices]:
    """Cut the annotated beats of a record.

    Returns:
        The beats, and of every annotated one its class (its symbol, where it has none) and its place, in samples at
        360 Hz.

    Raises:
        DataError: the record has no annotations, their file is broken, or a channel needs a second lead and there is
            none.
    """
    marks = read_annotations(record, lead.rate)
    if marks is None:
        raise DataError(f"Record {record} has no annotations: the file {record.name}.atr is missing.")
    second = read_second(record, lead.name, inputs)
    other = None if second is None else torch.from_numpy(second.signal)
    cut, labels = cut_annotated(torch.from_numpy(lead.signal), marks, inputs, other)
    return cut, labels, beat_samples(marks)


def drops_of(cut: Beats, labels: Sequence[str]) -> Drops:
    """Count beats that were not kept, by class and reason."""
    return Counter((label, fault) for label, fault in zip(labels, cut.faults, strict=True) if fault)


def as_drops(dropped: Drops) -> tuple[Drop, ...]:
    """Drops as a Dataset's provenance lists them, by class and reason."""
    return tuple(Drop(what, count, reason) for (what, reason), count in sorted(dropped.items()) if count)

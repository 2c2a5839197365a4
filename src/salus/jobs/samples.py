"""What an attack is put on: raw things or arrays, with the label of each, by the names of the model's classes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from salus.classifier import Classifier
from salus.data.labels import encode_against
from salus.data.split import Indices
from salus.errors import DataError
from salus.jobs.attack import Rows
from salus.preprocessing import Prepared, Refusal
from salus.preprocessing.base import joined
from salus.progress import progress
from salus.storage import RowReader

#: The columns of a table of labels.
COLUMNS = ("name", "label")


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Samples with labels.

    Attributes:
        x: ``[N, ...]``, on disk or in memory.
        y: places among the model's classes, int64 ``[N]``.
        names: what the source calls each ``[N]``; () where it has no names.
        refused: inputs that could not be prepared, and why.
        notes: what was assumed.
    """

    x: Rows
    y: Indices
    names: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


def read_samples(
    classifier: Classifier, inputs: Path, labels: Path | None = None, label: str | None = None
) -> LabelledSamples:
    """Read samples and their labels, which are matched with the model's classes by name.

    Args:
        classifier: the model.
        inputs: raw things, which are prepared as its training data were; an ``.npz`` file with ``x`` and ``y``; or an
            ``.npy`` file of x, which is read as it is needed.
        labels: an ``.npy`` file of labels, or a CSV file with the columns ``name`` and ``label``; None where the inputs
            bring them: a column of a table, the folders of images, the annotations of a recording.
        label: the column of a table that holds the label, where its name does not tell.

    Raises:
        BundleError: the inputs are raw, and nobody said how the model's are made.
        DataError: a file is missing or of another kind, a sample has no label, or a label is no class.
    """
    if inputs.suffix.lower() == ".npy":
        if labels is None:
            raise DataError(f"{inputs} holds samples alone: name their labels by --labels FILE.npy.")
        words = np.asarray(RowReader(labels)[:])
        return LabelledSamples(RowReader(inputs), encode_against(words, classifier.classes, name=str(labels)))
    with progress(f"Preparing {inputs.name}", None) as advance:
        batches = []
        for batch in classifier.read(inputs, label):
            batches.append(batch)
            advance(len(batch.names))
    prepared = joined(batches, classifier.shape)
    y = encode_against(_labels(prepared, inputs, labels), classifier.classes, name=str(labels or inputs))
    return LabelledSamples(prepared.x.numpy(), y, prepared.names, prepared.refused, prepared.notes)


def _labels(prepared: Prepared, inputs: Path, labels: Path | None) -> list[str]:
    """Give the label of each sample in words."""
    if labels is None:
        if not prepared.labels:
            raise DataError(
                f"{inputs} does not say which class each sample is; name a CSV file with the columns "
                f"{','.join(COLUMNS)} by --labels (or the column of a table by --label)."
            )
        return list(prepared.labels)
    if labels.suffix.lower() == ".npy":
        words = np.asarray(RowReader(labels)[:])
        if prepared.refused or len(words) != len(prepared.names):
            raise DataError(
                f"{labels} holds {len(words)} labels, {inputs} {len(prepared.names)} samples that could be prepared "
                f"and {len(prepared.refused)} others; name the labels by name, in a CSV file with {','.join(COLUMNS)}."
            )
        return [str(word) for word in words.tolist()]
    table = _table(labels)
    for name in prepared.names:
        if name not in table:
            raise DataError(f"{labels} has no label for {name!r}; every sample needs one.")
    return [table[name] for name in prepared.names]


def _table(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file of labels ({error}).") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise DataError(f"{path} must be a CSV file with the columns {','.join(COLUMNS)}.")
    lacking = next((number for number, row in enumerate(rows, 1) if None in (row["name"], row["label"])), None)
    if lacking is not None:
        raise DataError(f"{path}: row {lacking} has no label; every sample needs one.")
    return {row["name"]: row["label"] for row in rows}

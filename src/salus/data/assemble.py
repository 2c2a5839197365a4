"""From raw arrays and a deal of their rows to four Datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salus.data.base import Dataset, FeatureMarks, Provenance, Splits
from salus.data.classes import lacking_note, match_classes
from salus.data.ranges import FeatureRanges
from salus.data.split import Indices, Parts, gaps
from salus.errors import DataError, nearest
from salus.preprocessing import ArrayPreprocessor, Preprocessor, TablePreprocessor
from salus.preprocessing.scaling import MinMax

#: How far a whole number of a prepared sample may lie beside one, as a share of its range.
_ROUNDED = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class RawData:
    """Samples as their source has them, before they are dealt and scaled; fields as in ``Dataset``.

    Attributes:
        preprocessor: how they came to be as they are, before scaling; or a model's own, which scales them too.
        prepared: whether x went through the model's preprocessor already.
        known_classes: a model's classes, in the order of its logits; () where those of the data are to be learnt.
        ranges: of a table's features, in their own units.
    """

    x: NDArray[Any]
    y: Indices
    classes: tuple[str, ...]
    provenance: Provenance
    groups: Indices | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    positive: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    marks: FeatureMarks = field(default_factory=FeatureMarks)
    sample_rate: float | None = None
    names: tuple[str, ...] = ()
    preprocessor: Preprocessor | None = None
    vocabulary: tuple[str, ...] = ()
    prepared: bool = False
    known_classes: tuple[str, ...] = ()
    ranges: FeatureRanges | None = None
    labels: tuple[str, ...] = ()
    label: str | None = None


def assemble(raw: RawData, parts: Parts, *, scale: bool = False) -> Splits:
    """Scale if asked, check everything once, and hand out the parts.

    Raises:
        DataError: on NaN, values outside the bounds, marks that fit no feature.
    """
    name = raw.provenance.name
    raw = _with_ranges(raw)
    notes = [*raw.provenance.notes, *gaps(raw.y, raw.classes, parts)]
    if raw.marks and not raw.features:
        raise DataError(f"Data {name!r} have no feature names, so that none can be marked; add `features`.")
    refuse_nonfinite(raw.x, name)
    integer = _integer_features(raw)
    preprocessor = raw.preprocessor or ArrayPreprocessor(features=raw.features)
    learnt = not preprocessor.shape  # a model's knows what it makes, and nothing is learnt beside it
    scaler = None if raw.prepared else getattr(preprocessor, "scaling", None)
    if scale and learnt:
        if not len(parts["train"]):
            raise DataError(
                f"Data {name!r}: all samples are test samples (--split all), so that there are none for --scale to be "
                "fitted on; use a model that was saved with its scaling, or bring scaled data."
            )
        scaler = MinMax.fit(raw.x[parts["train"]])
    if scaler is not None:
        x, outside = scaler(raw.x)
        notes.append(clip_note(outside, parts, raw.features, "training" if learnt else "the model's training data"))
    else:
        with np.errstate(over="ignore"):
            x = np.asarray(raw.x, dtype=np.float32)
        refuse_nonfinite(x, name)  # a float64 may be too large for a float32
    if scaler is not None and learnt:
        preprocessor = _scaling(preprocessor, scaler)
    y, classes = raw.y, raw.classes
    if raw.known_classes:
        places = match_classes(classes, raw.known_classes, name=name)
        notes += lacking_note(classes, raw.known_classes, places)
        y, classes = places[y], raw.known_classes
    low, span = _origin(scaler, raw)
    ranges = None if raw.ranges is None else raw.ranges.scaled(low, span)
    steps = np.array(_steps(raw, integer)) / span if any(integer) else np.zeros(0)
    if ranges is not None and raw.prepared and (fault := ranges.fault(x)) is not None:
        raise DataError(f"Data {name!r}: {fault}, in the units of x; mend the row or the file of ranges.")
    data = Dataset(
        x=torch.from_numpy(np.ascontiguousarray(x)),
        y=torch.from_numpy(y.astype(np.int64)),
        classes=classes,
        provenance=replace(raw.provenance, notes=tuple(notes)),
        groups=None if raw.groups is None else torch.from_numpy(raw.groups.astype(np.int64)),
        bounds=raw.bounds,
        positive=raw.positive,
        features=raw.features,
        marks=raw.marks,
        steps=tuple(steps.tolist()),
        ranges=ranges,
        sample_rate=raw.sample_rate,
        names=raw.names,
        vocabulary=raw.vocabulary,
        labels=raw.labels,
        label=raw.label,
        preprocessor=preprocessor.of(classes=classes, bounds=raw.bounds, shape=x.shape[1:]),
    )
    return Splits(**{part: data.subset(torch.from_numpy(rows)) for part, rows in parts.items()})


def _with_ranges(raw: RawData) -> RawData:
    """Mark the features that a file of ranges says to be fixed or to go by steps, and check the samples against it.

    Raises:
        DataError: a sample lies outside, in its own unit.
    """
    ranges = raw.ranges
    if ranges is None:
        return raw
    if not raw.prepared and (fault := ranges.fault(raw.x)) is not None:
        raise DataError(f"Data {raw.provenance.name!r}: {fault}; mend the row or the file of ranges.")
    marks = FeatureMarks(
        tuple(dict.fromkeys((*raw.marks.immutable, *ranges.fixed))),
        tuple(dict.fromkeys((*raw.marks.integer, *ranges.stepped))),
        raw.marks.derived,
    )
    said = ranges.describe()
    notes = (*raw.provenance.notes, *([f"what features may become: {'; '.join(said)}"] if said else []))
    return replace(raw, marks=marks, provenance=replace(raw.provenance, notes=notes))


def _steps(raw: RawData, integer: Sequence[bool]) -> list[float]:
    """Give the step of each feature in its own unit: that of the file of ranges, or 1 of one marked integer."""
    said = (0.0,) * len(integer) if raw.ranges is None else raw.ranges.step
    return [(step or 1.0) if whole else 0.0 for step, whole in zip(said, integer, strict=True)]


def _origin(scaler: MinMax | None, raw: RawData) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Say where zero lies and how long one is in x, of samples that are prepared already too."""
    known = getattr(raw.preprocessor, "scaling", None) if raw.prepared else scaler
    count = len(raw.features)
    return (np.zeros(count), np.ones(count)) if known is None else (known.low, known.span)


def refuse_nonfinite(x: NDArray[Any], what: str) -> None:
    """Refuse NaN and infinity, naming the first sample that holds one."""
    bad = ~np.isfinite(x).reshape(len(x), -1).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"Data {what!r}: sample {row} holds NaN or infinity; fill it in or leave it out.")


def _scaling(preprocessor: Preprocessor, scaler: MinMax) -> Preprocessor:
    """Add what was learnt of the range to how samples are made."""
    if isinstance(preprocessor, (ArrayPreprocessor, TablePreprocessor)):
        return replace(preprocessor, scaling=scaler)
    raise TypeError(f"{type(preprocessor).__name__} has a scaling of its own")


def clip_note(outside: NDArray[np.bool_], parts: Parts, features: Sequence[str], of: str = "training") -> str:
    """Say how many values were clipped in each part, and of which features."""
    counts = {part: int(outside[rows].sum()) for part, rows in parts.items()}
    note = f"min-max scaling to (0, 1) fitted on {of}; values clipped afterwards: " + ", ".join(
        f"{count} in {part}" for part, count in counts.items()
    )
    if outside.ndim == 2 and outside.any():
        per_feature = outside.sum(0)
        names = features or [f"feature {index}" for index in range(len(per_feature))]
        listed = [f"{names[int(i)]} {per_feature[i]}" for i in np.flatnonzero(per_feature)]
        note += f" (by feature: {', '.join(listed)})"
    return note


def _integer_features(raw: RawData) -> list[bool]:
    """Which features are marked integer; their values must be whole numbers in their own unit."""
    integer = [feature in raw.marks.integer for feature in raw.features]
    for word in raw.marks.integer:
        if word not in raw.features:
            raise DataError(
                f"Data {raw.provenance.name!r} has no feature {word!r} to mark; {nearest(word, raw.features)}"
            )
        place = raw.features.index(word)
        if raw.ranges is not None and raw.ranges.step[place] not in (0.0, 1.0):
            continue  # it goes by other steps, from wherever a sample is
        column, slack = raw.x[:, place], 0.0
        if raw.prepared:  # back in its own unit, but for the rounding of floats
            low, span = (np.broadcast_to(value, len(raw.features))[place] for value in _origin(None, raw))
            column, slack = column * span + low, _ROUNDED * max(span, 1.0)
        fractional = np.abs(column - np.round(column)) > slack
        if fractional.any():
            row = int(fractional.argmax())
            raise DataError(
                f"Data {raw.provenance.name!r}: feature {word!r} is marked integer, but sample {row} holds "
                f"{column[row]:g}; give it in its own unit (with --scale) or leave the mark out."
            )
    return integer

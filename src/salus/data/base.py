"""What a data set is, once loaded: tensors, class names, patients, and where it all came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from salus.data.packed import Packed, take
from salus.data.ranges import FeatureRanges
from salus.errors import DataError, nearest
from salus.preprocessing import Preprocessor

Kind = Literal["table", "signal", "image", "volume"]

#: Samples that are looked at together where all are.
_PIECE = 256


@dataclass(frozen=True)
class Drop:
    """Samples that the source holds and the data set does not."""

    what: str
    count: int
    reason: str


@dataclass(frozen=True)
class Change:
    """What was done to samples after loading, such as a poisoning.

    Attributes:
        name: of the change.
        options: what it was told.
        indices: positions of the samples in the changed data.
        labels: the labels that they had before, or that new ones were given.
        what: the same in words.
    """

    name: str
    options: dict[str, Any]
    indices: tuple[int, ...]
    labels: tuple[int, ...]
    what: str


@dataclass(frozen=True)
class Provenance:
    """Where data came from and what was done to them."""

    name: str
    source: str
    version: str = ""
    licence: str = ""
    checksum: str = ""  # SHA-256 of the source
    split: str = ""  # how it was split, in words
    dropped: tuple[Drop, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class FeatureMarks:
    """Table features that an attacker cannot change freely, by name.

    Attributes:
        immutable: never changes (sex, a genotype).
        integer: takes whole numbers of its own unit (a count); see ``Dataset.steps``.
        derived: follows from others (BMI); held fixed, because its formula is not known here.
    """

    immutable: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.immutable or self.integer or self.derived)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with labels: tables, signals, images or volumes.

    Attributes:
        x: float32 samples inside ``bounds``: tables ``[N, F]``, signals ``[N, C, L]``, images ``[N, C, H, W]``, volumes
            ``[N, C, D, H, W]``; a ``Packed`` tensor where images are too many to be held as floats.
        y: int64 labels ``[N]``, indices into ``classes``.
        classes: class names.
        provenance: where the samples came from.
        groups: int64 ``[N]``, the patient (or lesion) of each sample; None when samples are independent.
        vocabulary: all classes that the source tells apart, in its order; () where it tells no more than it has.
        preprocessor: how raw things became x, fitted on the training part; None where that is not known.
        group_word: what one group is, for sentences: ``patient``, ``lesion``.
        bounds: lowest and highest value that x may have.
        positive: names of the classes that mean disease, for health metrics; empty when that makes no sense.
        features: names of a table's features.
        marks: table features that are immutable, integer or derived.
        steps: for a table with integer features, the size of one unit of each feature in x, 0 if continuous.
        ranges: of a table's features, what they may become and what that costs, in the units of x; None where nobody
            said.
        sample_rate: of signals, in Hz, after loading.
        names: what its source calls each sample, for people who look it up (``row 17``, ``NV/ISIC_0024306.jpg``); ()
            where it has no names. Samples that are put behind those named have none.

        labels: of data in which a sample may carry several labels at once, the names of all; () of others.
        label: the one of them that ``y`` tells, there or not; None where classes are sets of them.

    Raises:
        DataError: on anything that contradicts the above, naming the first offending sample.
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    provenance: Provenance
    groups: Tensor | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    positive: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    marks: FeatureMarks = field(default_factory=FeatureMarks)
    steps: tuple[float, ...] = ()
    sample_rate: float | None = None
    names: tuple[str, ...] = ()
    group_word: str = "patient"
    vocabulary: tuple[str, ...] = ()
    preprocessor: Preprocessor | None = None
    ranges: FeatureRanges | None = None
    labels: tuple[str, ...] = ()
    label: str | None = None

    def __post_init__(self) -> None:
        name = self.provenance.name
        low, high = self.bounds
        if not low < high:
            raise DataError(f"Data {name!r}: bounds {self.bounds} are empty; the first must be the lower.")
        if self.x.dtype != torch.float32 or self.y.dtype != torch.int64:
            raise DataError(f"Data {name!r}: x must be float32 and y int64, not {self.x.dtype} and {self.y.dtype}.")
        if self.x.ndim not in (2, 3, 4, 5):
            raise DataError(
                f"Data {name!r}: x has shape {list(self.x.shape)}; "
                "it must be [N, F] (table), [N, C, L] (signals), [N, C, H, W] (images) or [N, C, D, H, W] (volumes)."
            )
        if self.y.shape != self.x.shape[:1]:
            raise DataError(
                f"Data {name!r}: {len(self.x)} samples, but y has shape {list(self.y.shape)}; "
                "it must hold one label per sample."
            )
        if self.groups is not None and self.groups.shape != self.y.shape:
            raise DataError(f"Data {name!r}: groups must hold one {self.group_word} per sample, {len(self.y)} in all.")
        if len(self.names) > len(self.y):
            raise DataError(f"Data {name!r}: {len(self.names)} names for {len(self.y)} samples.")
        if len(self.classes) < 2:
            raise DataError(f"Data {name!r} has fewer than two classes: {list(self.classes)}.")
        if len(self.y) and (int(self.y.min()) < 0 or int(self.y.max()) >= len(self.classes)):
            row = int(((self.y < 0) | (self.y >= len(self.classes))).nonzero()[0])
            raise DataError(
                f"Data {name!r}: sample {row} has label {int(self.y[row])}, "
                f"but there are {len(self.classes)} classes (0 to {len(self.classes) - 1})."
            )
        self._check_values()
        if self.features and (self.x.ndim != 2 or len(self.features) != self.x.shape[1]):
            raise DataError(f"Data {name!r}: {len(self.features)} feature names do not fit x.")
        for word in (*self.marks.immutable, *self.marks.integer, *self.marks.derived):
            if word not in self.features:
                raise DataError(f"Data {name!r} has no feature {word!r} to mark; {nearest(word, self.features)}")
        if self.ranges is not None and self.ranges.features != self.features:
            raise DataError(f"Data {name!r}: the ranges are not those of its features, in their order.")
        for word in self.positive:
            if word not in self.classes:
                raise DataError(f"Data {name!r} has no class {word!r}; {nearest(word, self.classes)}")

    def _check_values(self) -> None:
        """Refuse NaN, infinity and values outside the bounds, piece by piece."""
        name, (low, high) = self.provenance.name, self.bounds
        if isinstance(self.x, Packed) and low <= 0 and high >= 1:
            return  # levels divided by that of white
        first = 0
        for part in self.x.split(_PIECE):
            flat = part.flatten(1)
            finite = flat.isfinite().all(1)
            if not bool(finite.all()):
                row = first + int((~finite).nonzero()[0])
                raise DataError(f"Data {name!r}: sample {row} holds NaN or infinity.")
            inside = ((flat >= low) & (flat <= high)).all(1)
            if not bool(inside.all()):
                row = int((~inside).nonzero()[0])
                lowest, highest = float(flat[row].min()), float(flat[row].max())
                raise DataError(
                    f"Data {name!r}: sample {first + row} has values from {lowest:g} to {highest:g}, outside the "
                    f"bounds ({low:g}, {high:g}); give the true bounds (--bounds LOW,HIGH) or scale the data (--scale)."
                )
            first += len(part)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def kind(self) -> Kind:
        """Table, signal, image or volume, by the number of dimensions."""
        kinds: dict[int, Kind] = {2: "table", 3: "signal", 4: "image", 5: "volume"}
        return kinds[self.x.ndim]

    @property
    def counts(self) -> dict[str, int]:
        """Samples per class."""
        numbers = torch.bincount(self.y, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, numbers, strict=True))

    @property
    def mask(self) -> Tensor | None:
        """Which features may change, bool ``[F]``, from the marks; None when all may."""
        fixed = {*self.marks.immutable, *self.marks.derived}
        if not fixed:
            return None
        return torch.tensor([name not in fixed for name in self.features])

    def subset(self, indices: Tensor, *, note: str = "") -> Dataset:
        """Take the samples at these positions, in this order."""
        provenance = self.provenance
        if note:
            provenance = replace(provenance, notes=(*provenance.notes, note))
        groups = None if self.groups is None else self.groups[indices]
        x = take(self.x, indices)
        names = self.names
        if names:
            rows = torch.arange(len(self))[indices.cpu()].tolist()
            names = tuple(names[row] if row < len(names) else "" for row in rows)
        return replace(self, x=x, y=self.y[indices], groups=groups, provenance=provenance, names=names)

    def fingerprint(self) -> str:
        """SHA-256 of the samples as held, labels, class names and bounds: equal exactly when the data are."""
        digest = hashlib.sha256(repr((tuple(self.x.shape), self.classes, self.bounds, self.steps, self.marks)).encode())
        if self.ranges is not None:
            digest.update(repr(self.ranges).encode())
        for part in self.x.split(_PIECE):
            values = part.bytes() if isinstance(part, Packed) else part
            digest.update(values.cpu().contiguous().numpy().tobytes())
        digest.update(self.y.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Splits:
    """One data set in four disjoint parts.

    ``train`` fits classifiers and detectors, ``validation`` stops training and chooses settings,
    ``calibration`` sets thresholds and is seen by nothing before, ``test`` is attacked and scored. Where every sample
    is a test sample, the others have none.

    Raises:
        DataError: another part has no samples.
    """

    train: Dataset
    validation: Dataset
    calibration: Dataset
    test: Dataset

    def __post_init__(self) -> None:
        empty = [part for part, dataset in self if not len(dataset)]
        if empty not in ([], ["train", "validation", "calibration"]):
            raise DataError(f"Data {self.name!r} have no samples in the part {empty[-1]}.")

    def need_training(self, learner: str) -> None:
        """Refuse what has to learn where every sample is a test sample.

        Raises:
            DataError: it is so.
        """
        if not len(self.train):
            raise DataError(
                f"All samples of {self.name!r} are test samples (--split all), so that there are none for {learner} to "
                "learn from."
            )

    def __iter__(self) -> Iterator[tuple[str, Dataset]]:
        yield from {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }.items()

    def remember_training(self) -> Splits:
        """Let the preprocessor that was fitted here say on which samples."""
        given = self.test.preprocessor
        if given is None or given.fitted_on or not len(self.train):
            return self
        fitted = replace(given, fitted_on=self.train.fingerprint())
        return Splits(**{part: replace(dataset, preprocessor=fitted) for part, dataset in self})

    @property
    def name(self) -> str:
        """The name of the data."""
        return self.test.provenance.name

    def describe(self) -> dict[str, Any]:
        """Counts per split and class, bounds, shape and provenance, as plain values for JSON."""
        data = self.test
        return {
            "name": self.name,
            "kind": data.kind,
            "shape": list(data.x.shape[1:]),
            "bounds": list(data.bounds),
            "sample_rate": data.sample_rate,
            "classes": list(data.classes),
            "positive": list(data.positive),
            "counts": {part: dataset.counts for part, dataset in self},
            "groups": {part: len(set(dataset.groups.tolist())) for part, dataset in self if dataset.groups is not None},
            "group_word": data.group_word,
            "provenance": {
                "source": data.provenance.source,
                "version": data.provenance.version,
                "licence": data.provenance.licence,
                "checksum": data.provenance.checksum,
                "split": data.provenance.split,
                "dropped": [vars(drop) for drop in data.provenance.dropped],
                "notes": list(data.provenance.notes),
            },
            "marks": {name: list(getattr(data.marks, name)) for name in ("immutable", "integer", "derived")},
            "ranges": data.ranges is not None,
            "preprocessor": None
            if data.preprocessor is None
            else {"text": data.preprocessor.describe(), "fingerprint": data.preprocessor.fingerprint()},
        }

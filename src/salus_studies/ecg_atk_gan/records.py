"""Beats as the papers scale and deal them: by the lowest and highest value of their record, and 80 to 20.

Neither paper says by what the amplitude is normalised. Their tables on the generator do: the root of MSE over NRMSE is
the root mean square of their beats, .456 to .463, which beats scaled by their record have and beats scaled by
themselves have not (see ``REMARKS["scaling"]``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salus.data import Dataset, Provenance, Splits
from salus.data.annotated import Drops, annotated_beats, as_drops, drops_of
from salus.data.mitdb import BEAT_SHARES, LEADS, SAME_PATIENT
from salus.data.places import find_set, places
from salus.data.published import MITDB
from salus.data.split import stratified
from salus.errors import DataError
from salus.preprocessing import beats
from salus.preprocessing.recordings import records_below
from salus.preprocessing.wfdb_files import SAMPLE_RATE, Order, by_name, read_lead
from salus.progress import progress

#: Parts of the cross-validation that a baseline's training is stopped by one of; see ``Material``.
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Published:
    """Beats scaled by their record.

    Attributes:
        train: 80% of the beats, ``[N, 1, 280]``.
        test: 20% of them; of MIT-BIH the same beats as those of the split ``beats``.
    """

    train: Dataset
    test: Dataset

    def describe(self) -> dict[str, Any]:
        """Counts, and how large beats are in units of their record, as plain values."""
        return {
            "scaling": "record",
            "counts": {"train": self.train.counts, "test": self.test.counts},
            **sizes(self.test.x),
            "notes": list(self.test.provenance.notes),
        }


@dataclass(frozen=True, eq=False)
class Material:
    """What one column's training is made of.

    Attributes:
        whole: what ECG-ATK-GAN deals to its folds.
        learn: what a baseline learns from.
        validation: what stops a baseline's training.
    """

    whole: Dataset
    learn: Dataset
    validation: Dataset

    @classmethod
    def of_splits(cls, splits: Splits) -> Material:
        """Take a split with a validation part of its own."""
        return cls(splits.train, splits.train, splits.validation)

    @classmethod
    def published(cls, data: Published, seed: int, scored: int | None = None) -> Material:
        """Hold out one of five folds, of every class its share, for baselines; ECG-ATK-GAN deals its own.

        Args:
            data: beats scaled by their record.
            seed: of the deal.
            scored: held-out beats that stop a baseline's training; None for all.
        """
        shares = {"train": 1 - 1 / FOLDS, "validation": 1 / FOLDS}
        name = data.train.provenance.name
        dealt = stratified(data.train.y.numpy(), data.train.classes, shares, seed=seed, name=name)
        parts = {part: data.train.subset(torch.from_numpy(rows)) for part, rows in dealt.items()}
        return cls(data.train, parts["train"], drawn(parts["validation"], scored, seed))


def sizes(x: Tensor) -> dict[str, float]:
    """Measure beats ``[N, C, L]``: their root mean square, their height, and the median of the latter."""
    height = (x.amax(2) - x.amin(2)).double()
    return {
        "rms": float(x.double().square().mean().sqrt()),
        "height": float(height.mean()),
        "height_median": float(height.median()),
    }


def load_by_record(name: str, seed: int, data_dir: Path | None = None) -> Published:
    """Cut the annotated beats of all records, and scale each by its record's lowest and highest value of that lead.

    Args:
        name: ``mitdb``, or a folder of WFDB records.
        seed: of the deal.
        data_dir: where downloaded sets are looked for first.

    Raises:
        DataError: there are no records, or a file is missing or broken.
    """
    paths, order = _records(name, data_dir)
    xs, ys, patients = [], list[int](), list[int]()
    dropped: Drops = Drops()
    leads: dict[str, list[str]] = {}
    with progress(f"Reading {name} by the record", len(paths)) as advance:
        for number, path in enumerate(paths):
            lead = read_lead(path, order)
            cut, labels, samples = annotated_beats(path, lead, ("beat",))
            dropped += drops_of(cut, labels)
            leads.setdefault(lead.name, []).append(path.name)
            signal = torch.from_numpy(lead.signal)
            xs.append(_scaled(signal, torch.from_numpy(samples[cut.rows])))
            ys += [beats.CLASSES.index(labels[row]) for row in cut.rows]
            patients += [_patient(path.name, number)] * len(cut.rows)
            advance()
    read = "; ".join(f"{lead} of {len(of)} records" for lead, of in leads.items())
    data = Dataset(
        torch.cat(xs),
        torch.tensor(ys),
        beats.CLASSES,
        Provenance(
            name=name if name == "mitdb" else Path(name).name,
            source="MIT-BIH Arrhythmia Database, PhysioNet" if name == "mitdb" else str(name),
            split=f"beats, stratified by class, seed {seed}: 80% train, 20% test",
            dropped=as_drops(dropped),
            notes=(
                f"{read}, by name; {beats.WINDOW} samples at {SAMPLE_RATE} Hz around each annotated R peak",
                "each record scaled to [0, 1] by the lowest and highest value of that lead, noise and all",
                "beats of one patient stand in training and in test, as in both papers",
            ),
        ),
        groups=torch.tensor(patients),
        positive=beats.DISEASE,
        sample_rate=float(SAMPLE_RATE),
    )
    # Dealt as the loader deals them, so that the test beats are its own; the rest is one part here.
    dealt = stratified(data.y.numpy(), data.classes, BEAT_SHARES, seed=seed, name=data.provenance.name)
    rest = np.sort(np.concatenate([rows for part, rows in dealt.items() if part != "test"]))
    return Published(data.subset(torch.from_numpy(rest)), data.subset(torch.from_numpy(dealt["test"])))


def _records(name: str, data_dir: Path | None) -> tuple[list[Path], Order]:
    """List the records, in order, and say which lead is read."""
    if name == "mitdb":
        folder = find_set("mitdb", MITDB.landmarks, data_dir)
        if folder is None:
            where = ", ".join(str(place) for place in places(data_dir))
            raise DataError(f"Data 'mitdb' is not on this machine (looked in {where}); run: salus data fetch mitdb.")
        names = sorted((folder / MITDB.landmark).read_text(encoding="utf-8").split(), key=int)
        return [folder / record for record in names], by_name(*LEADS)
    records = records_below(Path(name))
    if not records:
        raise DataError(f"Folder {name} holds no WFDB records (NAME.hea and NAME.dat).")
    return records, by_name(*LEADS, then_others=True)


def _patient(record: str, number: int) -> int:
    """Give the patient of a record: its number, that of the patient's other record, or its place."""
    return SAME_PATIENT.get(int(record), int(record)) if record.isdecimal() else number


def _scaled(signal: Tensor, peaks: Tensor) -> Tensor:
    """Cut windows around R peaks ``[B]`` of a lead ``[T]``, scaled by its lowest and highest value, ``[B, 1, 280]``."""
    finite = signal[signal.isfinite()]
    low, high = finite.min(), finite.max()
    windows = signal.unfold(0, beats.WINDOW, 1)[peaks - beats.WINDOW // 2]  # [B, 280]
    return ((windows - low) / (high - low)).clamp(0, 1).float()[:, None]


def drawn(test: Dataset, most: int | None, seed: int) -> Dataset:
    """Draw test beats at natural prevalence, keeping one of each class there is; all where ``most`` is None."""
    if most is None or most >= len(test):
        return test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    firsts = [int(order[(test.y[order] == label).nonzero()[0, 0]]) for label in test.y.unique().tolist()]
    rest = [row for row in order.tolist() if row not in firsts][: most - len(firsts)]
    return test.subset(torch.tensor(sorted(firsts + rest)))


def drawn_by_class(test: Dataset, most: int | None, whole: tuple[str, ...], seed: int) -> Dataset:
    """Draw so many test beats of each class at most, and all of the classes named; all where ``most`` is None.

    What is counted on them is weighted back to the prevalence of the whole, see ``honest.count``.
    """
    if most is None:
        return test
    rng, rows = torch.Generator().manual_seed(seed), []
    for index, label in enumerate(test.classes):
        members = (test.y == index).nonzero()[:, 0]
        kept = len(members) if label in whole else most
        rows.append(members[torch.randperm(len(members), generator=rng)[:kept]])
    note = f"at most {most} beats of each class were drawn, of {', '.join(whole) or 'none'} all"
    return test.subset(torch.cat(rows).sort().values, note=note)

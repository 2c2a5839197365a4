"""The half of the six-attack paper that is on PTB: Table 2, and its part of Table 3, for whoever has the database.

The order of steps is that of MIT-BIH. What differs is the material: two classes of 10,000 beats each, dealt 80 to 20,
so that nothing is balanced by made-up beats; and that only the six-attack paper has it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from salus.data import Dataset, Splits
from salus.data import load as load_data
from salus.data.ptbdb import CLASSES, DISEASE, AllBeats, all_beats
from salus.data.split import stratified
from salus.errors import OptionError
from salus.preprocessing.wfdb_files import SAMPLE_RATE
from salus.storage import find_device
from salus_studies.ecg_atk_gan.attacked import Released
from salus_studies.ecg_atk_gan.gathering import gathered
from salus_studies.ecg_atk_gan.protocol import GANOrder
from salus_studies.ecg_atk_gan.records import Published, sizes
from salus_studies.ecg_atk_gan.scales import SCALES, GANScale
from salus_studies.ecg_atk_gan.study import ECGATKGANOptions
from salus_studies.ecg_atk_gan.trainings import ARCHITECTURES
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results

#: How the beats of each class are dealt (section 3.1).
SHARES = {"train": 0.8, "test": 0.2}

#: The one on which ``honest`` keeps patients apart.
SPLIT = "patients"


@dataclass(frozen=True, kw_only=True)
class ReleasedForTwo(Released):
    """Makes attacked copies on an untrained network that has as many answers as PTB has classes."""

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build it with two answers, however many are asked for."""
        return super().network(shape, len(CLASSES))


@dataclass(frozen=True, kw_only=True)
class PTBScale(GANScale):
    """How much of the paper's effort is spent on PTB.

    Attributes:
        beats: of each class, training and test together; the paper's 10,000.
    """

    beats: int

    @classmethod
    def of(cls, scale: GANScale) -> PTBScale:
        """Take a scale of MIT-BIH: its beats of a class are those drawn here, and none is made up."""
        same = {field.name: getattr(scale, field.name) for field in fields(scale)}
        return cls(**{**same, "per_class": None, "honest_whole": ()}, beats=scale.per_class or 10_000)

    def released(self, column: str, seed: int) -> Released:
        """Give what makes the attacked copies of a column."""
        return ReleasedForTwo(column=column, iterations=self.iterations, tries=self.tries, seed=seed)


class PTBOrder(GANOrder):
    """The order of the steps on PTB, and what they left."""

    networks = ARCHITECTURES

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.scale = PTBScale.of(SCALES[self.options.scale])


def run_ptb(options: ECGATKGANOptions, folder: Folder) -> Results:
    """Train, attack and count what the six-attack paper did on PTB, and attack its networks between patients.

    Raises:
        DataError: the database is not here, lacks a class, or a record of it is broken or has no lead II.
        OptionError: patients are not to be kept apart.
        SalusError: the folder or the device cannot be used.
    """
    if "honest" in options.protocol and SPLIT not in options.split:
        raise OptionError("Protocol honest keeps the patients of ptbdb apart: leave --split out, or give patients.")
    find_device(options.device)
    scale, beats = PTBScale.of(SCALES[options.scale]), all_beats(options.data_dir)
    published = published_beats(beats, scale.beats, options.seed)
    loaded: dict[str, Splits] = {}
    if "honest" in options.protocol:
        splits = load_data("ptbdb", split=SPLIT, seed=options.seed, **options.place)
        loaded[SPLIT] = replace(splits, train=drawn_alike(splits.train, scale.beats, options.seed))
    identity = {"scale": options.scale, "seed": options.seed, "data": published.test.fingerprint()}
    steps = folder.claim(identity, {"data": options.data, "device": options.device}, options.time)
    order = PTBOrder(options, steps, published, loaded)
    order.announce()
    order.speed()
    if "as-published" in options.protocol:
        order.as_published()
    for split, data in loaded.items():
        order.honest(split, data)
    values = gathered(order)
    meta = values.pop("meta")
    meta["settings"] |= {"per_class": scale.beats, "test_beats": min(scale.test_beats or 10**9, len(published.test))}
    ptb = {
        **values,
        "scaling": {"record": sizes(by_record(beats)), "beat": sizes(torch.from_numpy(beats.x)[:, None])},
        "beats_of_each": {label: int((beats.y == index).sum()) for index, label in enumerate(CLASSES)},
        "patients_of_each": {
            label: len(set(beats.patient[beats.y == at].tolist())) for at, label in enumerate(CLASSES)
        },
    }
    return Results({"meta": meta, "ptb": ptb}, order.arrays(ptb))


def by_record(beats: AllBeats) -> Tensor:
    """Scale beats by the lowest and highest value of lead II of their record, ``[N, 1, 280]``."""
    low, high = torch.from_numpy(beats.span).T[:, :, None]  # [N, 1] each
    scaled: Tensor = (low + (high - low) * torch.from_numpy(beats.x)).clamp(0, 1)[:, None]
    return scaled


def published_beats(beats: AllBeats, most: int, seed: int) -> Published:
    """Draw beats scaled by their record, the same number of each class, and deal them 80 to 20.

    Args:
        beats: of the database.
        most: beats of each class.
        seed: of draw and deal.
    """
    provenance = replace(
        beats.provenance,
        split=f"beats, stratified by class, seed {seed}: 80% train, 20% test",
        notes=(
            *beats.provenance.notes,
            "as published, not per beat: each record scaled to [0, 1] by the lowest and highest value of its lead II, "
            "noise and all",
            "beats of one patient stand in training and in test, as in the paper",
        ),
    )
    data = drawn_alike(
        Dataset(
            by_record(beats),
            torch.from_numpy(beats.y),
            CLASSES,
            provenance,
            groups=torch.from_numpy(beats.patient),
            positive=DISEASE,
            sample_rate=float(SAMPLE_RATE),
        ),
        most,
        seed,
    )
    dealt = stratified(data.y.numpy(), CLASSES, SHARES, seed=seed, name="ptbdb")
    parts = {part: data.subset(torch.from_numpy(rows)) for part, rows in dealt.items()}
    return Published(parts["train"], parts["test"])


def drawn_alike(data: Dataset, most: int, seed: int) -> Dataset:
    """Draw the same number of samples of each class: ``most``, or as many as the smallest class has."""
    smallest = min(data.counts, key=lambda name: data.counts[name])
    each = min(most, data.counts[smallest])
    rng, rows = torch.Generator().manual_seed(seed), []
    for index in range(len(data.classes)):
        members = (data.y == index).nonzero()[:, 0]
        rows.append(members[torch.randperm(len(members), generator=rng)[:each]])
    short = f", for want of more of {smallest}" if each < most else ""
    return data.subset(torch.cat(rows).sort().values, note=f"{each} of {most} beats of each class were drawn{short}")

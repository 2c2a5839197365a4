"""Finding wrong labels in training data, such as a poisoning flipped, and dropping or mending them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.data.base import Change, Dataset, Drop
from salus.errors import DataError, OptionError
from salus.hardening.folds import OutOfFold, deal_folds, out_of_fold
from salus.options import check_fields
from salus.registry import Registry
from salus.training import Log, TrainingOptions

Action = Literal["drop", "relabel"]


@dataclass(frozen=True, eq=False)
class LabelFinds:
    """Which labels look wrong.

    Attributes:
        flags: bool ``[N]``.
        suggested: the most probable class of each sample out of fold, int64 ``[N]``.
        quality: probability of the given label out of fold, float64 ``[N]`` from 0 to 1; NaN where the label could not
            be judged because all samples of its class were in one fold. Those are never flagged.
        method: what found them.
    """

    flags: Tensor
    suggested: Tensor
    quality: Tensor
    method: str


@dataclass(frozen=True, kw_only=True)
class LabelCleaning(ABC):
    """A way of telling which labels are wrong from what classifiers say that never saw the sample.

    Attributes:
        folds: how many classifiers are trained, each without the samples that it is asked about.
        action: what becomes of a sample whose label looks wrong: ``drop`` it, or ``relabel`` it as the most probable
            class.
        seed: decides which sample is in which fold.

    Raises:
        OptionError: a value makes no sense.
    """

    name: ClassVar[str]
    #: What it is among the mitigations of MITRE ATLAS.
    mitigations: ClassVar[tuple[str, ...]] = ("AML.M0007",)

    folds: Annotated[int, Field(ge=2, description="classifiers that are trained, each without what it is asked")] = 5
    action: Annotated[Action, Field(description="what becomes of a sample whose label looks wrong")] = "drop"
    seed: Annotated[int, Field(ge=0, description="decides which sample is in which fold")] = 0

    def __post_init__(self) -> None:
        check_fields(self, f"Label cleaning {self.name!r}")

    @abstractmethod
    def flag(self, y: Tensor, probabilities: Tensor) -> Tensor:
        """Say which labels look wrong, bool ``[N]``.

        Args:
            y: the given labels ``[N]``.
            probabilities: of the classes ``[N, K]``, out of fold.
        """

    def check(self, data: Dataset) -> None:
        """Refuse what cannot be done, before anything is trained.

        Raises:
            DataError: the data have a single class, or are too few for the folds.
            OptionError: a library is missing.
        """
        present = [label for label, count in data.counts.items() if count]
        if len(present) < 2:
            raise DataError(
                f"Data {data.provenance.name!r}: all {len(data)} samples are of class {present[0]!r}; a wrong label "
                "is told by another class that fits better."
            )
        deal_folds(data, self.folds, self.seed)

    def find(
        self,
        data: Dataset,
        validation: Dataset,
        network: str,
        training: TrainingOptions | None = None,
        *,
        model_options: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        log: Log | None = None,
    ) -> LabelFinds:
        """Train a network once a fold and say which labels look wrong; see :func:`salus.hardening.out_of_fold`.

        Args:
            data: whose labels are judged.
            validation: other samples, which decide when each training stops.
            network: as in ``salus.models.MODELS``.
            training: how to train it.
            model_options: what the network takes.
            folder: where finished folds are stored, so that a stopped search goes on; None for nowhere.
            device: where to train.
            log: receives remarks, and one line an epoch.

        Raises:
            DataError: see :meth:`check`.
            ModelError: there is no such network, or it does not suit the data.
            OptionError: a library is missing.
        """
        self.check(data)
        answers = out_of_fold(
            network,
            data,
            validation,
            training,
            folds=self.folds,
            seed=self.seed,
            model_options=model_options,
            folder=folder,
            device=device,
            log=log,
        )
        return self.finds(data.y.cpu(), answers)

    def finds(self, y: Tensor, answers: OutOfFold) -> LabelFinds:
        """Say which labels ``[N]`` look wrong, given the answers of classifiers that never saw the samples."""
        seen, probabilities = answers.seen, answers.probabilities
        flags = torch.zeros_like(seen)
        if len(y[seen].unique()) > 1:
            flags[seen] = self.flag(y[seen], probabilities[seen])
        quality = probabilities.gather(1, y[:, None])[:, 0]  # [N]
        quality[~seen] = torch.nan
        return LabelFinds(flags, probabilities.argmax(1), quality, self.name)

    def settings(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ConfidentLearning(LabelCleaning):
    """Confident learning (Northcutt et al., 2021), by the library ``cleanlab``.

    It counts how often samples of each given class are confidently of another, which estimates how many labels of each
    pair of classes are wrong, and flags that many: few where few are wrong, if the network is good. One that is often
    wrong itself doubts many right labels.

    Attributes:
        filter_by: how the wrong ones are told, by cleanlab's names.
    """

    name: ClassVar[str] = "confident-learning"

    filter_by: Annotated[
        Literal[
            "prune_by_noise_rate",
            "prune_by_class",
            "both",
            "confident_learning",
            "predicted_neq_given",
            "low_normalized_margin",
            "low_self_confidence",
        ],
        Field(description="how the wrong ones are told, by cleanlab's names"),
    ] = "prune_by_noise_rate"

    def check(self, data: Dataset) -> None:
        """Refuse to begin without cleanlab."""
        _find_label_issues()
        super().check(data)

    def flag(self, y: Tensor, probabilities: Tensor) -> Tensor:
        """Ask cleanlab."""
        find_label_issues = _find_label_issues()
        with warnings.catch_warnings():  # of a class without samples, which has nothing to flag
            warnings.simplefilter("ignore", UserWarning)
            flags = find_label_issues(y.numpy(), probabilities.numpy(), filter_by=self.filter_by, n_jobs=1)
        return torch.from_numpy(flags)


@dataclass(frozen=True, kw_only=True)
class HighLoss(LabelCleaning):
    """Flag the samples of each class that fit it worst: the highest cross-entropy out of fold.

    It always flags its share, whether or not as many labels are wrong, but never all samples of a class.

    Attributes:
        share: of the samples of each given class.
    """

    name: ClassVar[str] = "high-loss"

    share: Annotated[float, Field(gt=0, lt=1, description="part of each class's samples that is flagged")]

    def flag(self, y: Tensor, probabilities: Tensor) -> Tensor:
        """Rank within each class."""
        fit = probabilities.gather(1, y[:, None])[:, 0]  # [N], falls as the loss rises
        flags = torch.zeros(len(y), dtype=torch.bool)
        for label in y.unique():
            members = (y == label).nonzero()[:, 0]
            count = min(round(self.share * len(members)), len(members) - 1)
            flags[members[fit[members].argsort(stable=True)[:count]]] = True
        return flags


def without(data: Dataset, finds: LabelFinds, action: Action = "drop") -> Dataset:
    """Return the data without the labels that look wrong; the given ones stay as they are.

    The provenance says how many samples were dropped, or which were relabelled and how they were labelled before.

    Args:
        data: what the finds were made in.
        finds: which labels look wrong.
        action: ``drop`` the samples, or ``relabel`` them as suggested.

    Raises:
        DataError: no sample is left, or the finds are of other data.
    """
    origin = data.provenance
    if finds.flags.shape != data.y.shape:
        raise DataError(f"Data {origin.name!r}: {len(data)} samples, but finds for {len(finds.flags)}.")
    if not bool(finds.flags.any()):
        return data
    if action == "relabel":
        rows = (finds.flags & (finds.suggested != data.y.cpu())).nonzero()[:, 0]
        y = data.y.clone()
        y[rows] = finds.suggested[rows].to(y.device)
        what = f"{len(rows)} labels replaced by the most probable ones ({finds.method})"
        change = Change("relabel", {"method": finds.method}, _plain(rows), _plain(data.y[rows]), what)
        return replace(data, y=y, provenance=replace(origin, changes=(*origin.changes, change)))
    if bool(finds.flags.all()):
        raise DataError(f"Data {origin.name!r}: every label looks wrong to {finds.method}, so that no sample is left.")
    clean = data.subset((~finds.flags).nonzero()[:, 0])
    drop = Drop("training samples", int(finds.flags.sum()), f"their labels look wrong to {finds.method}")
    changes = tuple(_at_new_positions(change, finds.flags) for change in origin.changes)
    return replace(clean, provenance=replace(origin, dropped=(*origin.dropped, drop), changes=changes))


CLEANINGS: Registry[type[LabelCleaning]] = Registry(
    "label cleaning", "salus.cleaning", {cls.name: cls for cls in (ConfidentLearning, HighLoss)}, LabelCleaning
)


def _at_new_positions(change: Change, dropped: Tensor) -> Change:
    """Say what a change did to the samples that are left, at the positions where they are now."""
    rows, labels = torch.tensor(change.indices, dtype=torch.int64), torch.tensor(change.labels, dtype=torch.int64)
    stay, place = ~dropped[rows], (~dropped).cumsum(0) - 1
    return replace(change, indices=_plain(place[rows[stay]]), labels=_plain(labels[stay]))


def _plain(values: Tensor) -> tuple[int, ...]:
    return tuple(values.tolist())


def _find_label_issues() -> Any:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise OptionError(
            "Label cleaning 'confident-learning' needs cleanlab: pip install 'salus[cleaning]'; 'high-loss' does "
            "without it."
        ) from error
    return find_label_issues

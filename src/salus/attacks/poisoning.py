"""Poisoning: changes of the training data that a classifier learns its mistakes from (MITRE ATLAS AML.T0020)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.base import Attack
from salus.attacks.search import Search
from salus.attacks.settings import LargestEps, Seed
from salus.attacks.taxonomy import BACKDOOR, POISONING, Knowledge, Taxonomy
from salus.data.base import Change, Dataset
from salus.errors import DataError, OptionError, nearest
from salus.options import check_fields
from salus.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Poison(ABC):
    """A change of a data set; the result says in its provenance what was changed.

    Attributes:
        share: of the samples that it may change, or for new samples of the whole set, above 0 and at most 1.
        seed: decides which.

    Raises:
        OptionError: an option has a value that makes no sense.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    knowledge: ClassVar[Knowledge] = "training data"
    #: Where it stands in NIST AI 100-2 and MITRE ATLAS.
    place: ClassVar[Taxonomy] = POISONING

    share: Annotated[float, Field(gt=0, le=1, description="share of the samples that are changed, or added")]
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self, self.title)

    @property
    def title(self) -> str:
        """The poisoning's name in sentences."""
        return f"Poison {self.name!r}"

    @abstractmethod
    def __call__(self, data: Dataset) -> Dataset:
        """Return the poisoned data; the given ones stay as they are.

        Raises:
            OptionError: the data have no such class.
            DataError: there is nothing to change.
        """

    def _draw(self, data: Dataset, among: Tensor, kind: str) -> Tensor:
        """Choose this share of the samples at these positions, at least one."""
        if len(among) == 0:
            raise DataError(f"{self.title}: data {data.provenance.name!r} have no sample {kind}.")
        count = max(1, round(self.share * len(among)))
        order = torch.randperm(len(among), generator=self._draws()).to(among.device)
        return among[order[:count]].sort().values

    def _draws(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _class(self, data: Dataset, word: str) -> int:
        if word not in data.classes:
            raise OptionError(
                f"{self.title}: data {data.provenance.name!r} have no class {word!r}; {nearest(word, data.classes)}"
            )
        return data.classes.index(word)

    def _with_change(self, data: Dataset, indices: Tensor, was: Tensor, summary: str) -> Dataset:
        """Write down what was changed."""
        change = Change(self.name, asdict(self), tuple(indices.tolist()), tuple(was.tolist()), summary)
        provenance = replace(data.provenance, changes=(*data.provenance.changes, change))
        return replace(data, provenance=provenance)


@dataclass(frozen=True, kw_only=True)
class LabelFlips(Poison):
    """Give samples a wrong label: a share of one class that of another, or of all at random.

    Attributes:
        source: class whose labels are flipped; None for all.
        target: class that they are given; None for any other, each as likely.
    """

    name: ClassVar[str] = "label-flips"
    paper: ClassVar[str] = "Biggio et al., 2012"

    source: Annotated[str | None, Field(description="class whose labels are flipped; none for all")] = None
    target: Annotated[str | None, Field(description="class that they are given; none for any other")] = None

    def __call__(self, data: Dataset) -> Dataset:
        """Flip labels."""
        if self.source is not None and self.source == self.target:
            raise OptionError(f"{self.title}: source and target are both {self.target!r}; they must differ.")
        may = torch.ones_like(data.y, dtype=torch.bool)
        if self.source is not None:
            may &= data.y == self._class(data, self.source)
        if self.target is not None:
            may &= data.y != self._class(data, self.target)
        rows = self._draw(data, may.nonzero()[:, 0], f"of class {self.source!r}" if self.source else "to flip")
        y, was = data.y.clone(), data.y[rows]
        if self.target is not None:
            y[rows] = data.classes.index(self.target)
        else:
            away = torch.randint(1, len(data.classes), rows.shape, generator=self._draws()).to(y.device)
            y[rows] = (was + away) % len(data.classes)
        return self._with_change(replace(data, y=y), rows, was, f"{len(rows)} labels flipped")


@dataclass(frozen=True, kw_only=True)
class Backdoor(Poison):
    """Stamp a trigger on samples and label them as the target, so that the trigger alone calls for it later.

    The trigger lifts a few values towards the upper bound: of an image a square in the lower right corner, of a
    signal a smooth bump near its end, of a table some features.

    Attributes:
        target: class that the trigger is to call for; samples of other classes are stamped.
        size: side of the square, length of the bump, or share of the features, as a share of the whole.
        strength: how far towards the upper bound, above 0 and at most 1.
    """

    name: ClassVar[str] = "backdoor"
    paper: ClassVar[str] = "Gu et al., 2017"
    place: ClassVar[Taxonomy] = BACKDOOR

    target: Annotated[str, Field(description="class that the trigger is to call for")]
    size: Annotated[float, Field(gt=0, le=1, description="size of the trigger, as a share of the whole")] = 0.1
    strength: Annotated[float, Field(gt=0, le=1, description="how far it lifts values towards the upper bound")] = 1.0

    def __call__(self, data: Dataset) -> Dataset:
        """Stamp and relabel."""
        target = self._class(data, self.target)
        rows = self._draw(data, (data.y != target).nonzero()[:, 0], f"of another class than {self.target!r}")
        x, y, was = data.x.clone(), data.y.clone(), data.y[rows]
        x[rows] = self.trigger(x[rows], data.bounds)
        y[rows] = target
        return self._with_change(replace(data, x=x, y=y), rows, was, f"{len(rows)} samples stamped as {self.target!r}")

    def trigger(self, x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
        """Stamp samples ``[N, ...]``; the result stays inside the bounds."""
        lift = self.strength * self._shape(x)
        high = x.new_tensor(bounds[1])
        return torch.maximum(x, torch.minimum(x + lift * (high - x), high))

    def _shape(self, x: Tensor) -> Tensor:
        """Return how much of the trigger each value of one sample takes, from 0 to 1."""
        shape = torch.zeros(x.shape[1:], dtype=x.dtype, device=x.device)
        if x.ndim == 4:
            height, width = (max(1, round(self.size * side)) for side in x.shape[-2:])
            shape[:, -height:, -width:] = 1
        elif x.ndim == 3:
            length = max(1, round(self.size * x.shape[-1]))
            bump = torch.hann_window(length + 2, periodic=False, dtype=x.dtype, device=x.device)[1:-1]
            end = max(length, round(0.95 * x.shape[-1]))
            shape[:, end - length : end] = bump / bump.max()
        else:
            count = max(1, math.ceil(self.size * x.shape[1]))
            shape[torch.randperm(x.shape[1], generator=self._draws())[:count].to(x.device)] = 1
        return shape


@dataclass(frozen=True, kw_only=True)
class Availability(Poison):
    """Add made-up samples that look like one class under the label of another (Mozaffari-Kermani et al., 2015).

    Their mean and covariance match the attacked class's, so that a filter of outliers within that class lets them
    through; the attacking label teaches the classifier to give that class away.

    Attributes:
        attacked: class whose statistics are matched.
        label: class that the new samples are given.
    """

    name: ClassVar[str] = "availability"
    paper: ClassVar[str] = "Mozaffari-Kermani et al., 2015"

    attacked: Annotated[str, Field(description="class whose statistics are matched")]
    label: Annotated[str, Field(description="class that the new samples are given")]

    def __call__(self, data: Dataset) -> Dataset:
        """Make up samples and append them."""
        attacked, label = self._class(data, self.attacked), self._class(data, self.label)
        if attacked == label:
            raise OptionError(f"{self.title}: attacked and label are both {self.label!r}; they must differ.")
        like = data.x[data.y == attacked]
        if len(like) < 2:
            raise DataError(f"{self.title}: class {self.attacked!r} has {len(like)} samples; it needs two.")
        count = max(1, round(self.share * len(data)))
        x = _alike(like, count, self._draws()).clamp(*data.bounds)
        if data.steps:  # features that take whole numbers
            steps = torch.tensor(data.steps, dtype=x.dtype, device=x.device)
            unit = torch.where(steps > 0, steps, 1)
            first = like[:1]  # whole units away from a real one
            x = torch.where(steps > 0, first + ((x - first) / unit).round() * unit, x).clamp(*data.bounds)
        y = torch.full((count,), label, dtype=data.y.dtype, device=data.y.device)
        groups = data.groups
        if groups is not None:  # nobody's patients
            groups = torch.cat([groups, int(groups.max()) + 1 + torch.arange(count, device=groups.device)])
        poisoned = replace(data, x=torch.cat([data.x, x]), y=torch.cat([data.y, y]), groups=groups)
        rows = torch.arange(len(data), len(data) + count)
        return self._with_change(poisoned, rows, y, f"{count} samples like {self.attacked!r} added as {self.label!r}")


@dataclass(frozen=True, kw_only=True)
class Trigger(Attack):
    """Stamp a backdoor's trigger on an input: what its owner does to a classifier that learnt it.

    Attributes:
        backdoor: the poisoning that the classifier was trained with.
    """

    name: ClassVar[str] = "trigger"
    paper: ClassVar[str] = Backdoor.paper
    knowledge: ClassVar[Knowledge] = "training data"
    threat_model: ClassVar[str | None] = "backdoor"
    adaptive: ClassVar[bool] = False

    eps: LargestEps = None
    backdoor: Annotated[Backdoor, Field(description="the poisoning that the classifier was trained with")]

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Stamp every sample."""
        search.settle(search.ball.project(self.backdoor.trigger(search.ball.x, self.bounds)))


#: Samples of a class that are enough to know its covariance by.
_MOST = 2000

#: Poisonings by name, other packages' too: ``POISONS.parse("label-flips:share=0.2,source=MEL,target=NV")``.
POISONS: Registry[type[Poison]] = Registry(
    "poison", "salus.poisons", {cls.name: cls for cls in (LabelFlips, Backdoor, Availability)}, Poison
)


def triggers(poisons: Sequence[Poison], **options: Any) -> list[Trigger]:
    """Make the attacks by which each backdoor among these is called."""
    return [Trigger(backdoor=poison, **options) for poison in poisons if isinstance(poison, Backdoor)]


def _alike(like: Tensor, count: int, draws: torch.Generator) -> Tensor:
    """Draw samples of the same mean and covariance, ``[count, ...]``, as mixtures of real deviations.

    A sum of deviations from the mean with independent standard normal weights has exactly the sample covariance,
    whatever the number of features.
    """
    like = like[torch.randperm(len(like), generator=draws)[:_MOST].to(like.device)]
    mean = like.mean(0)
    deviations = (like - mean).flatten(1)  # [M, D]
    weights = torch.randn(count, len(like), generator=draws).to(like) / math.sqrt(len(like))
    samples: Tensor = mean + (weights @ deviations).reshape(count, *like.shape[1:])
    return samples

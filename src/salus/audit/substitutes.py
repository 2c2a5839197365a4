"""How a transfer attacker comes by a classifier of their own."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import torch
from pydantic import Field
from torch import nn

from salus.atomic import write_json
from salus.audit.networks import train_once
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.errors import BundleError, OptionError, nearest
from salus.models.pretrained import architecture, initial_model
from salus.options import Option, build, options_of, split_spec
from salus.progress import console, spaced
from salus.storage import digest, slug
from salus.threats import StandIn
from salus.threats.substitute import JacobianAugmentation, attackers_share, train_on_split
from salus.training import TrainingOptions


@dataclass(frozen=True, eq=False)
class SubstituteRecipe:
    """What an attacker trains who wants a classifier like the audited one, and from what.

    Attributes:
        network: the network's name.
        sizes: its options.
        training: how to train it, with a seed of the attacker's own.
        victim: the audited classifier.
        splits: the audited model's data.
        seed: the audit's.
        device: where to train.
        folder: of the audit.
    """

    network: str
    sizes: Mapping[str, Any]
    training: TrainingOptions
    victim: Classifier
    splits: Splits
    seed: int
    device: str
    folder: Path

    def again(self) -> Classifier:
        """Train a classifier like the victim on the same data with another seed, or load it."""
        return train_once(
            self.network, self.sizes, self.splits, self.training, self.device, self.folder / "substitute", "substitute"
        )

    def module(self) -> nn.Module:
        """Build the network, untrained."""
        return initial_model(self.network, self.splits.test.x.shape[1:], len(self.victim.classes), self.sizes)


class SubstituteSource(ABC):
    """A way of coming by a classifier."""

    name: ClassVar[str]

    def deal(self, train: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
        """Deal training samples to the audited model and to the attacker, who has none of their own by default."""
        return train, None

    @abstractmethod
    def train(self, recipe: SubstituteRecipe, theirs: Dataset | None) -> StandIn:
        """Train the classifier, or load it; ``theirs`` are the samples that the attacker was dealt."""


@dataclass(frozen=True)
class SameData(SubstituteSource):
    """On the same data, with another seed."""

    name: ClassVar[str] = "data"

    def train(self, recipe: SubstituteRecipe, theirs: Dataset | None) -> StandIn:
        """Train it."""
        return StandIn(recipe.again(), recipe.splits.train, {"kind": self.name})


@dataclass(frozen=True)
class OwnShare(SubstituteSource):
    """On half of the samples, which the audited model never saw."""

    name: ClassVar[str] = "split"

    def deal(self, train: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
        """Deal each a half."""
        return attackers_share(train, seed=seed)

    def train(self, recipe: SubstituteRecipe, theirs: Dataset | None) -> StandIn:
        """Train it on the attacker's half."""
        samples = recipe.splits.train if theirs is None else theirs

        def fit(place: Path) -> tuple[Classifier, dict[str, Any]]:
            checkpoint, log = place / "training.checkpoint", spaced(console.print)
            classifier, _ = train_on_split(
                recipe.module, samples, recipe.training, checkpoint=checkpoint, device=recipe.device, log=log
            )
            return classifier, {"kind": self.name, "samples": len(samples)}

        return _kept(self.name, recipe, samples, fit)


@dataclass(frozen=True)
class FromAnswers(SubstituteSource):
    """On the audited model's answers alone.

    Attributes:
        seeds: from how many samples it starts (Papernot et al., 2017, had 150).
        engine: how it is questioned.
        spec: as it was written.
    """

    name: ClassVar[str] = "queries"

    seeds: Annotated[int, Field(ge=2, description="from how many samples it starts")] = 150
    engine: JacobianAugmentation = field(default_factory=JacobianAugmentation)
    spec: str = "queries"

    @classmethod
    def declared_options(cls) -> tuple[Option, ...]:
        """List the options of the questioning, and from how many samples it starts."""
        seeds = Option("seeds", get_type_hints(cls, include_extras=True)["seeds"], cls.seeds)
        return (*options_of(JacobianAugmentation), seeds)

    @classmethod
    def of(cls, options: Mapping[str, Any], what: str) -> FromAnswers:
        """Make it from options; see ``salus.options.build``."""
        engine = {key: value for key, value in options.items() if key != "seeds"}
        (seeds,) = (option for option in cls.declared_options() if option.name == "seeds")
        return cls(
            seeds=seeds.check(options.get("seeds", cls.seeds), what.capitalize()),
            engine=build(JacobianAugmentation, engine, what),
        )

    def train(self, recipe: SubstituteRecipe, theirs: Dataset | None) -> StandIn:
        """Question the victim about a few samples, whose labels it alone tells, and train."""
        validation, victim = recipe.splits.validation, recipe.victim
        order = torch.randperm(len(validation), generator=torch.Generator().manual_seed(recipe.seed))
        seeds = validation.subset(order[: self.seeds])
        answers = victim.answers(seeds.x)
        samples = replace(seeds.subset((answers >= 0).nonzero()[:, 0]), y=answers[answers >= 0])

        def fit(place: Path) -> tuple[Classifier, dict[str, Any]]:
            result = self.engine.fit(
                victim.answers,
                seeds.x,
                model=recipe.module,
                classes=victim.classes,
                bounds=victim.bounds,
                device=recipe.device,
                folder=place,
                log=spaced(console.print),
            )
            facts = {"kind": self.name, "seeds": len(seeds), "queries": result.queries}
            return result.classifier, {**facts, "agreement": result.agreement}

        return _kept(self.spec, recipe, samples, fit)


def parse_substitute(spec: str, seed: int) -> SubstituteSource:
    """Read ``data``, ``split``, or ``queries:rounds=6,step=0.1``.

    Raises:
        OptionError: it or one of its options is unknown, or makes no sense.
    """
    kinds = (SameData.name, OwnShare.name, FromAnswers.name)
    name, options = split_spec(spec, "substitute")
    if name not in kinds:
        raise OptionError(f"Unknown substitute {name!r}; {nearest(name, kinds)}")
    if options and name != FromAnswers.name:
        raise OptionError(f"Substitute {name!r} takes no options; 'queries:rounds=6,step=0.1' does.")
    if name == SameData.name:
        return SameData()
    if name == OwnShare.name:
        return OwnShare()
    return replace(build(FromAnswers, {"seed": seed, **options}, f"substitute {name!r}"), spec=spec)


def _kept(
    spec: str, recipe: SubstituteRecipe, samples: Dataset, fit: Callable[[Path], tuple[Classifier, dict[str, Any]]]
) -> StandIn:
    """Read the substitute that was kept, or train it and keep it."""
    place = recipe.folder / f"substitute-{slug(spec)}-{digest(spec)[:8]}"
    card = place / "substitute.json"
    if card.exists() and (place / "model.json").exists():
        try:
            return StandIn(Classifier.load(place), samples, json.loads(card.read_text(encoding="utf-8")))
        except (BundleError, ValueError) as error:
            console.print(f"The stored substitute cannot be used ({error}); it is trained again.")
    classifier, facts = fit(place)
    classifier.architecture = architecture(recipe.network, recipe.sizes)
    classifier.save(place)
    write_json(card, facts)
    for file in (place / "training.checkpoint", *place.glob("round-*")):
        file.unlink(missing_ok=True)
    return StandIn(classifier, samples, facts)

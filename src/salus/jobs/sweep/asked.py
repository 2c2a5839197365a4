"""A sweep as it was asked for: read, checked, and taken apart into trainings, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from salus.attacks import ATTACKS, UAP, Attack
from salus.audit.model import Network, parse_model
from salus.audit.plan import Plan
from salus.data import Dataset
from salus.errors import OptionError
from salus.hardening.folds import deal_folds
from salus.jobs.harden import Hardening, attack_facts
from salus.jobs.sweep.grid import Setting, settings_of
from salus.jobs.sweep.member import Parts, Training
from salus.jobs.sweep.options import SweepOptions
from salus.storage import digest

#: Steps of the judge where none is named.
STEPS = 40


@dataclass(frozen=True, eq=False)
class SweepMember:
    """One training: where it stands in the sweep, and what it is.

    Attributes:
        name: of its folder.
        asked: its setting and seed, read and checked.
        setting: place among the settings.
        seed: place among the seeds.
        training: what its task is told.
    """

    name: str
    asked: Hardening
    setting: int
    seed: int
    training: Training

    @property
    def fold(self) -> int | None:
        """The fold that is kept from it."""
        return self.training.fold


class Sweep:
    """What is compared on what, all of it known to make sense.

    Args:
        spec: the method and the options that all settings share.
        plan: data, model, training, seed and device.
        options: what is tried.
        attack: what makes attacked copies, for methods that train on them.

    Attributes:
        settings: every combination of the grid.
        seeds: of the trainings; None alone where nobody names one.
        parts: what trainings see of the data.
        judge: the attack that all are judged under.
        members: the trainings that are compared.

    Raises:
        SalusError: the method, a setting, the data or the model cannot be used.
    """

    def __init__(self, spec: str, plan: Plan, options: SweepOptions, attack: str | None = None) -> None:
        self.spec, self.plan, self.options = spec, plan, options
        self.settings: list[Setting] = settings_of(spec, options.grid)
        self.seeds: tuple[int | None, ...] = options.seeds or (None,)
        self._check_seeds()
        base = Hardening.of(self.settings[0].spec, plan, attack=attack, method=self._method(0, 0))
        self.asked = {
            (setting, seed): Hardening.of(
                self.settings[setting].spec,
                self._plan(seed),
                attack=attack,
                method=self._method(setting, seed),
                splits=base.splits,
            )
            for setting in range(len(self.settings))
            for seed in range(len(self.seeds))
        }
        self.splits = base.splits
        self.judge = self._judge()
        self.parts = self._parts()
        folds: tuple[int | None, ...] = (None,) if options.folds is None else tuple(range(options.folds))
        places = [(setting, seed, fold) for setting, seed in self.asked for fold in folds]
        self.members = [self.member(*place) for place in places]

    @property
    def base(self) -> Hardening:
        """The first setting, by the first seed."""
        return self.asked[0, 0]

    @cached_property
    def trains_network(self) -> bool:
        """Whether a network is trained from the start, be it the plain one on which copies are attacked."""
        return self.plan.model is None or isinstance(parse_model(self.plan.model, self.plan.weights), Network)

    @cached_property
    def judged(self) -> Dataset:
        """The samples that judge, fold after fold."""
        parts = self.parts
        if parts.fold is None:
            return parts.validation
        return parts.train.subset(torch.argsort(parts.fold, stable=True))

    def member(self, setting: int, seed: int, fold: int | None) -> SweepMember:
        """Say what one training is.

        Args:
            setting: place among the settings.
            seed: place among the seeds.
            fold: that is kept from it; None for a training on all training samples.
        """
        asked, place, named = self.asked[setting, seed], self.settings[setting], self.seeds[seed]
        words = [place.folder]
        if named is not None:
            words.append(f"seed-{named}")
        if self.options.folds is not None:
            words.append("whole" if fold is None else f"fold-{fold + 1}")
        identity = {
            "data": self.splits.name,
            "samples": self._samples,
            "model": self._models[asked.plan.model],
            "training": asked.plan.training,
            "seed": self.plan.seed,
            **asked.recipe,
            "fold": None if fold is None else [fold, self.options.folds],
            "judge": attack_facts(self.judge),
        }
        training = Training(
            spec=place.spec,
            method=asked.method,
            task=asked.task,
            plan=asked.plan,
            data=self._data,
            identity=identity,
            seed=named,
            fold=fold,
            judge=self.judge,
        )
        return SweepMember("-".join(words), asked, setting, seed, training)

    def identity(self) -> dict[str, Any]:
        """Return what makes a folder this sweep's own; values in the grid and seeds are no part of it."""
        varied = sorted(self.settings[0].varied)
        given = dict(self.base.plan.training)
        if self.options.seeds:
            given.pop("seed", None)
        models = list(self._models.values())
        return {
            **self.base.subject.identity(),
            "model": models[0] if len(models) == 1 else "one for each setting",
            "training": given,
            "method": self.base.method.name,
            "options": {
                "of all": {name: value for name, value in self.settings[0].options.items() if name not in varied},
                "varied": varied,
            },
            "attack": attack_facts(self.base.task.attack),
            "judge": attack_facts(self.judge),
            "folds": self.options.folds,
        }

    @cached_property
    def _samples(self) -> str:
        return digest([self.parts.train.fingerprint(), self.parts.validation.fingerprint()])

    @cached_property
    def _data(self) -> dict[str, Any]:
        return self.base.data

    @cached_property
    def _models(self) -> dict[str | None, Any]:
        """What tells apart the models that are trained, by what names them."""
        named = {asked.plan.model: asked for asked in self.asked.values()}
        return {model: asked.subject.identity()["model"] for model, asked in named.items()}

    def _method(self, setting: int, seed: int) -> Any:
        named = self.seeds[seed]
        return self.settings[setting].build(self.plan.seed if named is None else named)

    def _plan(self, seed: int) -> Plan:
        """Give the plan of a training; its data are dealt by the seed of the whole."""
        named = self.seeds[seed]
        if named is None or not self.trains_network:
            return self.plan
        return self.plan.model_copy(update={"training": {**self.plan.training, "seed": named}})

    def _check_seeds(self) -> None:
        """Refuse seeds that are named twice, or that would change nothing."""
        seeds = self.options.seeds
        if len(set(seeds)) < len(seeds):
            raise OptionError(f"--seeds {','.join(map(str, seeds))} names a seed twice.")
        if seeds and "seed" in self.plan.training:
            raise OptionError("--seeds names the seeds of training; leave out --training seed=.")
        if seeds and "seed" in self.settings[0].options:
            raise OptionError(f"--seeds names the seeds of training; leave out the seed in {self.spec!r}.")

    def _judge(self) -> Attack:
        """Make the attack that judges, the same for all."""
        spec = self.options.judge
        if spec is None:
            asked = list(self.asked.values())
            radii = [one.method.settings().get("eps") for one in asked]
            radii += [one.task.attack.eps for one in asked if one.task.attack is not None]
            known = [float(eps) for eps in radii if eps is not None]
            if not known:
                raise OptionError(
                    f"Nothing says at which eps settings of {self.base.method.name!r} are to be compared; name the "
                    f"attack, such as --judge pgd:eps=0.01,steps={STEPS}."
                )
            spec = f"pgd:eps={max(known)!r},steps={STEPS}"
        attacks = self.plan.model_copy(update={"attack": (spec,)}).attacks(self.splits.validation)
        if len(attacks) != 1 or attacks[0].eps is None:
            raise OptionError(f"--judge {spec!r} names no eps; write one, such as {ATTACKS.split(spec)[0]}:eps=0.01.")
        if isinstance(attacks[0], UAP):
            raise OptionError(
                f"--judge {spec!r} fits one change to all samples together; name an attack on each, such as pgd."
            )
        return attacks[0]

    def _parts(self) -> Parts:
        folds, train = self.options.folds, self.splits.train
        if folds is None:
            return Parts(train, self.splits.validation)
        if not self.trains_network:
            raise OptionError(
                f"--folds judges on samples that a training was kept from, but {self.plan.model!r} may have learnt "
                "from all of them; name a network by --model, or leave out --folds."
            )
        fold = deal_folds(train, folds, self.plan.seed)
        empty = next((number for number in range(folds) if not bool((fold == number).any())), None)
        if empty is not None:
            raise OptionError(
                f"Fold {empty + 1} of {folds} is left empty, because a few {train.group_word}s supply nearly all "
                "samples; ask for fewer folds."
            )
        return Parts(train, self.splits.validation, fold, folds)

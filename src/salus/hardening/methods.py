"""Hardening by the name that the command line uses: what each method takes, and what it leaves behind."""

from __future__ import annotations

import csv
import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus.atomic import write_bytes, write_tensors, write_text
from salus.attacks import Attack
from salus.classifier import Classifier
from salus.data.base import Splits
from salus.errors import DataError, OptionError, nearest
from salus.hardening.adversarial_training import AdversarialTraining, madry, single_step, trades
from salus.hardening.ecg_atk_gan import ECGATKGAN, train_ecg_atk_gan
from salus.hardening.gan_options import GANOptions, preset
from salus.hardening.rounds import Rounds, retrain
from salus.options import build
from salus.training import Log, TrainingOptions, fit_classifier

#: Holds, in the folder of a hardening, what lets it go on after a kill.
WORKING = "training"


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a method is told beside its own options.

    Attributes:
        network: the network to train, as in ``salus.models.MODELS``; not for methods that bring their own.
        sizes: its options.
        training: how to train it.
        attack: makes the attacked copies, for methods that train on them.
        victim: the plain classifier that the copies are computed on.
        limits: what every attack keeps to in these data, such as a mask.
        device: where to train.
    """

    network: str = ""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    attack: Attack | None = None
    victim: Classifier | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way of hardening, with its options as fields."""

    name: ClassVar[str]
    #: It takes a plain classifier, and an attack that makes copies of samples on it.
    copies: ClassVar[bool] = False
    #: The defence that its classifier brings along.
    defence: ClassVar[str | None] = None

    @abstractmethod
    def check(self, splits: Splits, task: Task) -> None:
        """Refuse data that the method cannot be used on, before anything is trained.

        Raises:
            SalusError: saying what does not go together.
        """

    @abstractmethod
    def train(self, splits: Splits, task: Task, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Train on these data; killed and started again, it ends with the weights it would have had.

        Args:
            splits: ``train`` is learnt from, ``validation`` decides when to stop.
            task: what to train.
            folder: where results go that are not the classifier; what serves to go on lies in its ``training``.
            log: receives remarks, and one line an epoch.

        Returns:
            The classifier, and facts for JSON: ``training``, the options it was trained with, and ``history``.
        """

    def settings(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return asdict(self)

    @property
    def victim(self) -> str | None:
        """The network of the plain classifier where none is named; None for what suits the data."""
        return None


@dataclass(frozen=True, kw_only=True)
class AdversarialTrainingMethod(Method):
    """Adversarial training of one of Salus's networks.

    Attributes:
        eps: radius of the attack, in the units of x.
        warmup: share of the training over which eps grows from 0.
    """

    eps: float
    warmup: float = 0.0

    @classmethod
    def of(cls, options: Mapping[str, Any], seed: int) -> AdversarialTrainingMethod:
        """Read the options of the command line; the seed is the training's.

        Raises:
            OptionError: an option is unknown or missing, or a value makes no sense.
        """
        return build(cls, options, f"hardening {cls.name!r}")

    @abstractmethod
    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Return what each step of the training lowers."""

    def check(self, splits: Splits, task: Task) -> None:
        """Refuse an attack that makes no sense in these data's bounds."""
        self._recipe(splits, task)

    def train(self, splits: Splits, task: Task, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Train the network on samples attacked as it then is."""
        recipe = self._recipe(splits, task)
        classifier, history = fit_classifier(
            task.network,
            splits.train,
            splits.validation,
            task.training,
            model_options=dict(task.sizes),
            recipe=recipe,
            checkpoint=folder / WORKING / "training.checkpoint",
            device=task.device,
            log=log,
        )
        best = history.epochs[history.best - 1]
        return classifier, {
            "training": {**asdict(task.training), "recipe": recipe.facts()},
            "history": {
                "epochs": len(history.epochs),
                "best": history.best,
                "seconds": round(sum(epoch.seconds for epoch in history.epochs), 1),
                "validation_under_attack": {
                    "loss": best.loss,
                    "accuracy": best.accuracy,
                    "macro_recall": best.macro_recall,
                },
                "remarks": history.remarks,
            },
        }

    def _recipe(self, splits: Splits, task: Task) -> AdversarialTraining:
        recipe = self.recipe(splits.train.bounds)
        return replace(recipe, attack=replace(recipe.attack, seed=task.training.seed, **task.limits))


@dataclass(frozen=True, kw_only=True)
class SingleStep(AdversarialTrainingMethod):
    """``single-step:eps=0.01``; ``clean_share`` is the weight of clean samples beside attacked ones."""

    name: ClassVar[str] = "single-step"

    clean_share: float = 0.0

    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Train against one step from a random start."""
        return single_step(self.eps, bounds, clean_share=self.clean_share, warmup=self.warmup)


@dataclass(frozen=True, kw_only=True)
class Madry(AdversarialTrainingMethod):
    """``madry:eps=0.01,steps=10``; ``clean_share`` is the weight of clean samples beside attacked ones."""

    name: ClassVar[str] = "madry"

    steps: int = 10
    clean_share: float = 0.0

    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Train against projected gradient descent."""
        return madry(self.eps, bounds, steps=self.steps, clean_share=self.clean_share, warmup=self.warmup)


@dataclass(frozen=True, kw_only=True)
class Trades(AdversarialTrainingMethod):
    """``trades:eps=0.01,beta=6``; ``beta`` weighs equal answers against right ones."""

    name: ClassVar[str] = "trades"

    steps: int = 10
    beta: float = 6.0

    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Train for equal answers to clean and attacked samples."""
        return trades(self.eps, bounds, steps=self.steps, beta=self.beta, warmup=self.warmup)


@dataclass(frozen=True, kw_only=True)
class GAN(Method):
    """``ecg-atk-gan:preset=six-attacks,epochs=100``; every field of GANOptions is an option.

    Attributes:
        options: how to train.
    """

    name: ClassVar[str] = "ecg-atk-gan"
    copies: ClassVar[bool] = True
    defence: ClassVar[str | None] = "attacked-head"

    options: GANOptions

    @classmethod
    def of(cls, raw: Mapping[str, Any], seed: int) -> GAN:
        """Read the options of the command line: a preset, and changes to it.

        Raises:
            OptionError: an option or the preset is unknown, or a value makes no sense.
        """
        options = {key.replace("-", "_"): value for key, value in raw.items()}
        start = asdict(preset(str(options.pop("preset", "six-attacks"))))
        names = [*(one.name for one in fields(GANOptions)), "preset"]
        for key, value in options.items():
            if key not in names:
                raise OptionError(f"Hardening {cls.name!r} has no option {key!r}; {nearest(key, names)}")
            if key == "widths" and type(value) is int:  # a single stage
                options[key] = (value,)
            if key in ("per_class", "folds_trained") and value == "none":
                options[key] = None
        return cls(options=build(GANOptions, {**start, "seed": seed, **options}, f"hardening {cls.name!r}"))

    def settings(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return asdict(self.options)

    @property
    def victim(self) -> str:
        """A network of the discriminator's shape, as in both papers."""
        return f"{self.name}:widths={'+'.join(map(str, self.options.widths))}"

    def check(self, splits: Splits, task: Task) -> None:
        """Refuse what are no heartbeats, or too few of a class."""
        data, counts = splits.train, splits.train.counts
        if data.kind != "signal":
            raise DataError(f"ECG-ATK-GAN is trained on signals; data {splits.name!r} are {data.kind}s.")
        fewest = min(counts, key=lambda name: counts[name])
        if counts[fewest] < self.options.folds:
            raise DataError(
                f"Data {splits.name!r}: class {fewest!r} has {counts[fewest]} training beats, too few for "
                f"{self.options.folds} folds; ask for fewer (folds=2)."
            )

    def train(self, splits: Splits, task: Task, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Train both networks; the generator, its losses and samples of its beats go into the folder."""
        if task.victim is None or task.attack is None:
            raise OptionError("ECG-ATK-GAN needs an attack, and a classifier on which to compute it.")
        copies = _Copies(task.attack, task.victim, folder / WORKING / "attacked", task.device, log)
        gan = train_ecg_atk_gan(
            splits.train, copies, self.options, folder=folder / WORKING, device=task.device, log=log
        )
        _write_gan(gan, splits, folder)
        epochs = gan.history.epochs
        return gan.classifier, {
            "training": self.settings(),
            "copies": copies.facts,
            "history": {
                "epochs": len(epochs),
                "fold": gan.history.fold,
                "scores": {epoch.fold: epoch.score for epoch in epochs},  # of each fold's last epoch
                "seconds": round(sum(epoch.seconds for epoch in epochs), 1),
                "remarks": gan.history.remarks,
            },
        }


@dataclass(frozen=True, kw_only=True)
class InRounds(Method):
    """``adversarial-retraining:rounds=5,epochs=5``; every field of Rounds is an option.

    Attributes:
        options: how often and how to retrain.
    """

    name: ClassVar[str] = "adversarial-retraining"
    copies: ClassVar[bool] = True

    options: Rounds

    @classmethod
    def of(cls, options: Mapping[str, Any], seed: int) -> InRounds:
        """Read the options of the command line.

        Raises:
            OptionError: an option is unknown, or a value makes no sense.
        """
        return cls(options=build(Rounds, {"seed": seed, **options}, f"hardening {cls.name!r}"))

    def settings(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return asdict(self.options)

    def check(self, splits: Splits, task: Task) -> None:
        """Any data will do."""

    def train(self, splits: Splits, task: Task, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Retrain the plain classifier on its samples and on attacked copies of them."""
        if task.victim is None or task.attack is None:
            raise OptionError("Adversarial retraining needs an attack, and a trained classifier.")
        place = folder / WORKING / "rounds"
        classifier, rounds = retrain(
            task.victim, splits, task.attack, self.options, folder=place, device=task.device, log=log
        )
        return classifier, {"training": self.settings(), "history": {"rounds": rounds}}


#: The methods by name; each reads its options, and takes the seed where they name none.
METHODS: dict[str, Callable[[Mapping[str, Any], int], Method]] = {
    **{cls.name: cls.of for cls in (SingleStep, Madry, Trades)},
    GAN.name: GAN.of,
    InRounds.name: InRounds.of,
}


def build_method(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Method:
    """Make the method of this name with these options.

    Raises:
        OptionError: the method or an option is unknown, or a value makes no sense.
    """
    if name not in METHODS:
        raise OptionError(f"Unknown hardening {name!r}; {nearest(name, METHODS)}")
    return METHODS[name](options, seed)


class _Copies:
    """Makes the attacked copies of beats once, and keeps them while the training runs.

    Attributes:
        facts: of each set of copies, how many there are and which share fools the classifier.
    """

    def __init__(self, attack: Attack, victim: Classifier, folder: Path, device: str, log: Log) -> None:
        self.attack, self.victim, self.folder, self.device, self.log = attack, victim.to(device), folder, device, log
        self.facts: list[dict[str, float]] = []
        self.origin = f"{attack!r} {victim.fingerprint()}"

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Attack beats ``[N, C, L]`` with labels ``[N]``."""
        digest = hashlib.sha256(self.origin.encode())
        for tensor in (x, y):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        path = self.folder / f"{digest.hexdigest()[:16]}.safetensors"
        x_adv = _read(path, x)
        if x_adv is None:
            self.log(f"attacking {len(x)} training beats by {self.attack.title}")
            x_adv = self.attack(self.victim, x.to(self.device), y.to(self.device)).cpu()
            write_tensors(path, {"x": x_adv})
        fooled = float((self.victim.predict(x_adv).argmax(1) != y).double().mean())
        self.log(f"{fooled:.1%} of {len(x)} attacked beats fool the plain classifier")
        self.facts.append({"beats": len(x), "fooled": fooled})
        return x_adv


def _read(path: Path, like: Tensor) -> Tensor | None:
    try:
        x_adv = load_safetensors(path.read_bytes())["x"]
    except (OSError, SafetensorError, KeyError):
        return None
    return x_adv if x_adv.shape == like.shape else None


def _write_gan(gan: ECGATKGAN, splits: Splits, folder: Path) -> None:
    """Write the generator, the losses of all folds, the kept fold's curves, and beats that it makes."""
    from salus.figures.training import losses_picture, samples_picture

    write_tensors(folder / "generator.safetensors", gan.generator.state_dict())
    rows = [asdict(epoch) for epoch in gan.history.epochs]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "losses.csv", text.getvalue())
    curve = [row for row in rows if row["fold"] == gan.history.fold]
    write_bytes(folder / "losses.png", losses_picture(curve))
    data = splits.validation
    first = torch.stack([(data.y == label).nonzero()[0, 0] for label in data.y.unique()])  # one beat a class
    beats = gan.synthesize(data.x[first], data.y[first])
    names = [data.classes[label] for label in data.y[first].tolist()]
    write_bytes(folder / "samples.png", samples_picture(data.x[first].numpy(), beats.numpy(), names))

"""ECG-ATK-GAN as a method of hardening: trained on beats and on copies attacked once, with pictures of its training."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus.atomic import write_bytes, write_tensors, write_text
from salus.attacks import Attack
from salus.classifier import Classifier
from salus.data.base import Splits
from salus.errors import DataError, OptionError
from salus.hardening.base import WORKING, HardeningTask, Method
from salus.hardening.ecg_atk_gan import ECGATKGAN, train_ecg_atk_gan
from salus.hardening.gan_options import GANOptions, preset
from salus.options import Option, build, options_of
from salus.training import Log

_PRESET = Option(
    "preset",
    Literal["six-attacks", "four-attacks"],
    "six-attacks",
    "a paper's settings, which the other options change",
)


@dataclass(frozen=True, kw_only=True)
class GAN(Method):
    """Trains a GAN whose discriminator classifies beats and tells attacked ones: ``ecg-atk-gan:preset=six-attacks``.

    Its options are ``preset``, a paper's settings, and the fields of :class:`salus.hardening.GANOptions`, which change
    them.

    Attributes:
        options: how to train.
    """

    name: ClassVar[str] = "ecg-atk-gan"
    copies: ClassVar[bool] = True
    defence: ClassVar[str | None] = "attacked-head"

    options: GANOptions

    @classmethod
    def declared_options(cls) -> tuple[Option, ...]:
        """List the preset and the fields of ``GANOptions``."""
        return (_PRESET, *options_of(GANOptions))

    @classmethod
    def of(cls, options: Mapping[str, Any], what: str) -> GAN:
        """Read the options of the command line: a preset, and changes to it.

        Args:
            options: values by name.
            what: whose they are, in an error message.

        Raises:
            OptionError: the preset is unknown, or a value makes no sense.
        """
        changes = dict(options)
        start = preset(str(changes.pop(_PRESET.name, _PRESET.default)))
        return cls(options=build(GANOptions, {**asdict(start), **changes}, what))

    def __post_init__(self) -> None:
        """Leave it to the options, which have checked themselves."""

    def settings(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return asdict(self.options)

    @property
    def victim(self) -> str:
        """A network of the discriminator's shape, as in both papers."""
        return f"{self.name}:widths={'+'.join(map(str, self.options.widths))}"

    def check(self, splits: Splits, task: HardeningTask) -> None:
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

    def train(self, splits: Splits, task: HardeningTask, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
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

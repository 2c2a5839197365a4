"""Training of ECG-ATK-GAN as both papers have it: a discriminator that classifies attacked beats, and its generator."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from salus import atomic
from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.data.balance import smote
from salus.data.base import Dataset
from salus.errors import DataError, ModelError
from salus.hardening.gan_beats import AttackCopies, AttackedBeats, Batch, deal_folds
from salus.hardening.gan_options import PRESETS, GANOptions
from salus.models.ecg_atk_gan import Discriminator, Generator, HeadLogits, smooth_noise
from salus.progress import Advance, progress
from salus.training import Log, seeded
from salus.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer, weights, weights_digest
from salus.training.precision import mixed


@dataclass(frozen=True)
class GANEpoch:
    """What one pass over the training beats came to: mean losses, before their weights, and the fold's score."""

    fold: int  # from 0
    epoch: int  # from 1
    real: float  # discriminator: (D(x) - 1)^2 + D(G)^2
    attacked: float
    classes: float
    fooling: float  # generator: (D(G) - 1)^2
    mse: float  # generator: squared distance from the clean beats
    score: float  # accuracy on the fold's held-out beats, clean and attacked
    seconds: float


@dataclass
class GANHistory:
    """All epochs of all folds, the fold that was kept, and what was said along the way."""

    epochs: list[GANEpoch] = field(default_factory=list)
    fold: int = 0
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ECGATKGAN:
    """A trained pair.

    Attributes:
        classifier: the discriminator, answering with its class head; its layer ``attacked`` is the head that tells
            attacked beats (see :class:`salus.detectors.AttackedHead`).
        generator: in eval mode.
        history: what training came to.
    """

    classifier: Classifier
    generator: Generator
    history: GANHistory

    def synthesize(self, x: Tensor, y: Tensor, *, seed: int = 0, batch_size: int = 512) -> Tensor:
        """Generate beats ``[N, C, L]`` like those given, of their classes ``[N]``."""
        low, high = self.classifier.bounds
        rng, parts = torch.Generator().manual_seed(seed), []
        with evaluating(self.generator), torch.no_grad():
            for beats, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
                z = smooth_noise(len(beats), beats.shape[2], rng).to(beats.device)
                parts.append(low + (high - low) * self.generator((beats - low) / (high - low), labels, z))
        return torch.cat(parts)


def train_ecg_atk_gan(
    train: Dataset,
    attacked: AttackCopies | None,
    options: GANOptions | None = None,
    *,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
    on_epoch: Callable[[GANEpoch], None] | None = None,
) -> ECGATKGAN:
    """Train on beats and their attacked copies, by cross-validation, and keep the model with the best score.

    Each fold holds out a part of the recorded beats, of every class its share; the rest is balanced by SMOTE, so
    that no synthetic beat stands near a held-out one. The score is the accuracy on held-out beats and their
    attacked copies, and of all epochs of all folds the best is kept. In each step the discriminator learns from
    recorded, then from generated beats, then the generator through the discriminator, whose weights are held
    (four-attack paper, section 2.3).

    Killed at any moment and started again with the same arguments, it ends with the weights it would have had.

    Args:
        train: training beats, unbalanced.
        attacked: makes their attacked copies, in the same order; None to train on clean beats alone.
        options: how to train; the six-attack paper's settings when not given.
        folder: where checkpoints are kept, and losses and sample beats drawn after every epoch.
        device: where to train.
        log: receives remarks, and one line an epoch.
        on_epoch: called after every epoch, once its checkpoint is written.

    Raises:
        DataError: the data are no signals, or a class has fewer beats than there are folds.
        ModelError: a loss became NaN.
    """
    options = options or PRESETS["six-attacks"]
    if train.kind != "signal":
        raise DataError(f"ECG-ATK-GAN is trained on signals; data {train.provenance.name!r} are {train.kind}s.")
    say = log or (lambda line: None)
    parts = deal_folds(train, options)
    history = GANHistory()
    with progress("ECG-ATK-GAN", len(parts) * options.epochs) as advance:

        def pairs() -> Iterator[_Pair]:
            for number, (learn, held_out) in enumerate(parts):
                fold = _Fold(number, train, learn, held_out, attacked, options, device)
                pair = fold.train(folder, advance, say, on_epoch)
                history.epochs += pair.epochs
                history.remarks += pair.remarks
                yield pair

        history.fold, pair = max(enumerate(pairs()), key=lambda numbered: numbered[1].score)  # of equals the first
    classifier = Classifier(
        pair.discriminator.cpu(),
        train.classes,
        shape=tuple(train.x.shape[1:]),
        bounds=train.bounds,
        name="ecg-atk-gan",
        architecture={"name": "ecg-atk-gan", "options": _of_discriminator(options)},
        preprocessor=train.preprocessor,
    )
    return ECGATKGAN(classifier, pair.generator.cpu().eval(), history)


def _of_discriminator(options: GANOptions) -> dict[str, list[int]]:
    """Options that the discriminator is built again by."""
    built = {"widths": list(options.widths)}
    return {**built, "dropout_after": list(options.dropout_after)} if options.dropout_after else built


def build_generator(options: GANOptions, classes: int, channels: int, length: int) -> Generator:
    """Build the generator of these settings, untrained."""
    return Generator(classes, channels, skip=options.skip, noise=options.noise, length=length)


def gan_step(train: Dataset, options: GANOptions) -> _Fold:
    """Build both networks on these beats as they are, so that single steps can be timed."""
    rows = torch.arange(len(train))
    return _Fold(0, train, rows, rows[:1], None, replace(options, per_class=None), "cpu")


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both networks after a fold."""

    discriminator: Discriminator
    generator: Generator
    epochs: list[GANEpoch]
    remarks: list[str]

    @property
    def score(self) -> float:
        """The best of its epochs."""
        return max(epoch.score for epoch in self.epochs)


class _Fold:
    """One training: both networks, their optimizer, and the beats they see."""

    def __init__(
        self,
        number: int,
        train: Dataset,
        learn: Tensor,
        held_out: Tensor,
        attacked: AttackCopies | None,
        options: GANOptions,
        device: torch.device | str,
    ) -> None:
        self.number, self.options, self.device, self.classes = number, options, device, train.classes
        low, high = train.bounds
        balanced = train.subset(learn)
        if options.per_class is not None:
            balanced = smote(balanced, options.per_class, seed=options.seed)
        self.learn = AttackedBeats.of(balanced, attacked, low, high)
        self.held_out = AttackedBeats.of(train.subset(held_out), attacked, low, high)
        channels, length = train.x.shape[1:]
        with seeded(options.seed, 1000 * number):
            self.discriminator = Discriminator(
                len(train.classes), channels, length, widths=options.widths, dropout_after=options.dropout_after
            ).to(device)
            self.generator = build_generator(options, len(train.classes), channels, length).to(device)
        self.optimizer = torch.optim.Adam(  # it passes over the network that has no gradients
            [*self.discriminator.parameters(), *self.generator.parameters()], options.learning_rate, options.betas
        )

    def train(
        self, folder: Path | None, advance: Advance, say: Log, on_epoch: Callable[[GANEpoch], None] | None
    ) -> _Pair:
        epochs: list[GANEpoch] = []
        remarks: list[str] = []
        best: dict[str, Tensor] = {}
        networks = nn.ModuleDict({"discriminator": self.discriminator, "generator": self.generator})
        store = None
        if folder is not None:
            store = Checkpoint(folder / f"fold-{self.number}.checkpoint", self._key(networks))
            snapshot = store.load()
            if isinstance(snapshot, str):
                remarks.append(snapshot)
            elif snapshot is not None:
                networks.load_state_dict(snapshot.parts["weights"])
                restore_optimizer(self.optimizer, snapshot.parts["optimizer"])
                best = snapshot.parts["best"]
                epochs = [GANEpoch(**epoch) for epoch in snapshot.facts]
                remarks.append(f"Fold {self.number} continues after epoch {len(epochs)}, from {store.path}.")
        for remark in remarks:
            say(remark)
        advance(len(epochs))
        for epoch in range(len(epochs) + 1, self.options.epochs + 1):
            began = time.monotonic()
            real, attacked, classes, fooling, mse = means = self._pass(epoch, advance)
            if not all(math.isfinite(value) for value in means):
                raise ModelError(
                    f"ECG-ATK-GAN failed in epoch {epoch} of fold {self.number}: a loss is not a number. "
                    f"Lower the learning rate ({self.options.learning_rate:g})."
                )
            score = self._score()
            result = GANEpoch(
                self.number, epoch, real, attacked, classes, fooling, mse, score, time.monotonic() - began
            )
            if not epochs or score >= max(one.score for one in epochs):  # of equals the one that learnt longer
                best = weights(networks)
            epochs.append(result)
            if store is not None and folder is not None:
                optimizer = optimizer_tensors(self.optimizer)
                parts = {"weights": weights(networks), "best": best, "optimizer": optimizer}
                store.save(parts, [asdict(one) for one in epochs])
                self._show(folder, epochs)
            advance(0, note=f"fold {self.number + 1}, held-out accuracy {score:.1%}")
            say(
                f"epoch {epoch}/{self.options.epochs} of fold {self.number}: real {result.real:.3f}, attacked "
                f"{result.attacked:.3f}, classes {result.classes:.3f}, mse {result.mse:.5f}, "
                f"held-out accuracy {score:.1%}, {result.seconds:.0f} s"
            )
            if on_epoch is not None:
                on_epoch(result)
        networks.load_state_dict(best)
        return _Pair(self.discriminator, self.generator, epochs, remarks)

    def _pass(self, epoch: int, advance: Advance) -> list[float]:
        """Learn once from every beat; return the mean losses."""
        total = torch.zeros(5, dtype=torch.float64)
        steps = -(-len(self.learn) // self.options.batch_size)
        self.discriminator.train()
        self.generator.train()
        with seeded(self.options.seed, 1000 * self.number + epoch, device=self.device):
            rng = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
            for done, rows in enumerate(torch.randperm(len(self.learn)).split(self.options.batch_size)):
                if len(rows) > 1:  # batch normalisation needs two
                    self._slow_down((epoch - 1 + done / steps) / self.options.epochs)
                    beats = self.learn.batch(rows, self.device)
                    z = smooth_noise(len(rows), beats.x.shape[2], rng).to(self.device)
                    total += len(rows) * self.step(beats, z)
                advance(1 / steps)
        return [float(value) for value in total / len(self.learn)]

    def _slow_down(self, done: float) -> None:
        """Set the learning rate for where in the training this step stands, from 0 to 1."""
        share = 1 - (1 - self.options.final_rate) * done
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * share

    def step(self, beats: Batch, z: Tensor) -> Tensor:
        """Take one step of each network; returns the losses of :class:`GANEpoch` in its order ``[5]``."""
        options = self.options
        with self.mixed():
            fake = self.generator(beats.x, beats.y, z).float()

        # The discriminator: recorded beats, then generated ones.
        lambda_atk, lambda_ary = options.of_discriminator
        self.optimizer.zero_grad()
        losses = []
        for inputs, target in ((beats.x, 1.0), (fake.detach(), 0.0)):
            with self.mixed(), _unrecorded(self.discriminator, when=inputs is not beats.x):
                heads = self.discriminator.judge(inputs)
            adversarial, attacked, classes = self._losses(heads, target, beats)
            (adversarial + lambda_atk * attacked + lambda_ary * classes).backward()
            losses.append(torch.stack([adversarial, attacked, classes]).detach().double().cpu())
        self.optimizer.step()

        # The generator, through the discriminator as it now is.
        self.optimizer.zero_grad()
        self.discriminator.requires_grad_(False)
        with self.mixed(), _unrecorded(self.discriminator):
            heads = self.discriminator.judge(fake)
        fooling, attacked, classes = self._losses(heads, 1.0, beats)
        mse = (fake - beats.clean).square().mean()  # Eq. 3
        loss = fooling + options.lambda_atk * attacked + options.lambda_ary * classes + options.lambda_mse * mse
        loss.backward()
        self.optimizer.step()
        self.discriminator.requires_grad_(True)
        (real, on_real, classes_real), (synthetic, on_fake, classes_fake) = losses
        generator = torch.stack([fooling, mse]).detach().double().cpu()
        return torch.stack([real + synthetic, (on_real + on_fake) / 2, (classes_real + classes_fake) / 2, *generator])

    def _losses(self, heads: HeadLogits, target: float, beats: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the least-squares adversarial loss, the attack loss and the class loss.

        Eq. 4's target for generated beats is -1, which a sigmoid cannot reach; the released code has 0, and so
        has this.
        """
        adversarial = (heads.real.float().sigmoid() - target).square().mean()
        logits = heads.attacked.float()
        if self.options.attack_loss == "mae":  # four-attack paper, Eq. 10
            attacked = (logits.softmax(1)[:, 1] - beats.attacked).abs().mean()
        else:  # six-attack paper, Eq. 1
            kappa = torch.tensor(self.options.head_kappa, device=logits.device)
            attacked = cross_entropy(logits, beats.attacked, weight=kappa)
        return adversarial, attacked, cross_entropy(heads.classes.float(), beats.y)

    def mixed(self) -> torch.autocast:
        """Compute in mixed precision inside the block, where that is asked for."""
        return mixed(self.options.precision, self.device)

    @torch.no_grad()
    def _score(self) -> float:
        """Accuracy on the held-out beats, clean and attacked."""
        labels = []
        with evaluating(self.discriminator), self.mixed():
            for rows in torch.arange(len(self.held_out)).split(1024):
                batch = self.held_out.batch(rows, self.device)
                labels.append(self.discriminator(batch.x).argmax(1).cpu())
        return float((torch.cat(labels) == self.held_out.y).double().mean())

    def _key(self, both: nn.Module) -> str:
        parts = (asdict(self.options), self.number, self.learn.fingerprint(), self.held_out.fingerprint())
        return hashlib.sha256((repr(parts) + weights_digest(both)).encode()).hexdigest()

    @torch.no_grad()
    def _show(self, folder: Path, epochs: Sequence[GANEpoch]) -> None:
        """Write the losses so far, draw them, and draw a beat of every class beside what the generator makes of it."""
        from salus.figures.training import losses_picture, samples_picture

        names = list(asdict(epochs[0]))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in epochs)
        atomic.write_text(folder / f"fold-{self.number}-losses.csv", text.getvalue())
        atomic.write_bytes(
            folder / f"fold-{self.number}-losses.png", losses_picture([asdict(epoch) for epoch in epochs])
        )
        firsts = [int((self.held_out.y == label).nonzero()[0, 0]) for label in range(len(self.classes))]
        batch = self.held_out.batch(torch.tensor(firsts), self.device)
        z = smooth_noise(len(firsts), batch.x.shape[2], torch.Generator().manual_seed(0)).to(self.device)
        with evaluating(self.generator):
            made = self.generator(batch.x, batch.y, z)
        picture = samples_picture(batch.x.cpu().numpy(), made.float().cpu().numpy(), self.classes)
        atomic.write_bytes(folder / f"fold-{self.number}-samples.png", picture)


@contextmanager
def _unrecorded(module: nn.Module, *, when: bool = True) -> Iterator[None]:
    """Let batch normalisation pass over this batch in its running averages.

    The classifier is used on recorded beats. Averages over generated ones too, which early in the training look
    nothing like them, would spoil its answers in eval mode. Neither paper says what theirs are taken over.
    """
    norms = [part for part in module.modules() if when and isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

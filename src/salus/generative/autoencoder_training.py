"""Training the autoencoders of a repository one after the other, so that a stopped run loses at most an epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.data.base import Dataset
from salus.errors import ModelError, OptionError, StoreError, nearest
from salus.generative.autoencoders import CARD, Member, Repository
from salus.generative.course import Course
from salus.models.autoencoders import AutoencoderSpec, build_autoencoder
from salus.models.released_autoencoders import FAMILIES, Family
from salus.options import check_fields
from salus.progress import Advance, progress
from salus.training import Mixed, seeded, seeded_module
from salus.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer, weights
from salus.training.precision import PrecisionOption

Log = Callable[[str], None]

#: Steps that training takes when no epochs are asked for, as whole epochs between these numbers of them.
STEPS, FEWEST, MOST = 4000, 5, 200
#: Steps over which the learning rate rises.
WARMUP = 100
#: An autoencoder has died whose reconstructions vary by less than this share of the samples' deviation. It is trained
#: again at a third of its rate, so often at most.
ALIVE, RETRIES = 0.02, 3


@dataclass(frozen=True, kw_only=True)
class RepositoryOptions:
    """Which autoencoders, and how to train them.

    Attributes:
        family: the ten that ``size`` and ``members`` choose from: Salus's own of the data's kind, or those of the code
            released with MultiMagNet for one of its two sets of images.
        size: how many of the ten of the data's kind, the first ones.
        members: their names instead; empty: ``size`` decides.
        epochs: passes over the training data; None: about 4,000 steps, at least 5 epochs and at most 200. With
            ``patience`` the most, 200 when not given.
        patience: go on until the error on held-out samples stops falling: after so many epochs that have not lowered
            it by half a percent the rate falls to a third, twice, and then training ends; the weights of the lowest
            error are kept. None: as many epochs as said, the last one's weights.
        batch_size: samples a step.
        learning_rate: Adam's at its highest; after 100 steps it falls to 0 along a cosine, or as ``patience`` says. A
            member that ends answering the same whatever it sees is trained again at a third, up to three times.
        precision: ``bfloat16`` computes in mixed precision while training.
        seed: decides initial weights, the order of samples and the noise. A member's weights do not depend on which
            others are trained.
    """

    family: Annotated[Family, Field(description="Salus's ten of the data's kind, or MultiMagNet's released ones")] = (
        "salus"
    )
    size: Annotated[int, Field(ge=1, le=10, description="how many of the ten for the kind of data, the first ones")] = (
        10
    )
    members: Annotated[tuple[str, ...], Field(description="their names instead")] = ()
    epochs: Annotated[
        Annotated[int, Field(ge=1)] | None, Field(description="passes over the data; about 4,000 steps when not given")
    ] = None
    patience: Annotated[
        Annotated[int, Field(ge=1)] | None, Field(description="epochs without a lower error that end it")
    ] = None
    batch_size: Annotated[int, Field(ge=1, description="samples a step")] = 128
    learning_rate: Annotated[float, Field(gt=0, description="Adam's at its highest")] = 1e-2
    precision: PrecisionOption = "float32"
    seed: Annotated[int, Field(ge=0, description="decides initial weights, order and noise")] = 0

    def __post_init__(self) -> None:
        check_fields(self, "Autoencoders")

    def specs(self, kind: str) -> tuple[AutoencoderSpec, ...]:
        """List the autoencoders for tables, signals or images.

        Raises:
            OptionError: there is none of a name.
        """
        by_name = {spec.name: spec for spec in self.ten(kind)}
        for name in self.members:
            if name not in by_name:
                raise OptionError(f"There is no autoencoder {name!r} for {kind}s; {nearest(name, by_name)}")
        return tuple(spec for spec in by_name.values() if spec.name in self.members) or self.ten(kind)[: self.size]

    def ten(self, kind: str) -> tuple[AutoencoderSpec, ...]:
        """List all ten of the family for tables, signals or images.

        Raises:
            OptionError: the family has none for them.
        """
        family = FAMILIES[self.family]
        if kind not in family and self.family == "salus":
            raise OptionError(f"There are no autoencoders for {kind}s: give tables, signals or images.")
        if kind not in family:
            raise OptionError(
                f"The autoencoders {self.family!r} are for {' and '.join(family)}s, not for {kind}s; leave family out."
            )
        return family[kind]

    def decisive(self) -> dict[str, Any]:
        """Return all of them as plain values; newer ones only where they are used, so that older keys stay."""
        fields = asdict(self)
        for name, unused in (("family", "salus"), ("patience", None)):
            if fields[name] == unused:
                del fields[name]
        return fields


def train_repository(
    train: Dataset,
    validation: Dataset,
    options: RepositoryOptions | None = None,
    *,
    folder: Path | str | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
) -> Repository:
    """Train autoencoders, each to remove its own noise from the samples, and tell how well they reconstruct others.

    Each is kept as its last epoch leaves it, or with ``patience`` as its best one did. With a folder, members are
    stored as they are finished, and the one in training after each epoch: killed at any moment and started again with
    the same arguments, it ends with exactly the weights it would have had. Global random state is neither read nor
    changed.

    Args:
        train: what they learn from; labels are not looked at.
        validation: samples of the same shape and bounds to measure the reconstruction error on.
        options: which, and how.
        folder: where the repository is stored; one that is there already is gone on with, or taken as it is.
        device: where to train; the members stay there.
        log: receives remarks, and one line for each member.

    Raises:
        DataError: a sample is not usable, as :class:`salus.data.Dataset` says.
        ModelError: the loss became NaN, or the two parts of the data do not belong together.
        OptionError: there is no such member.
        StoreError: the folder cannot be written, or holds autoencoders that were trained otherwise.
    """
    options = options or RepositoryOptions()
    specs = options.specs(train.kind)
    place = None if folder is None else Path(folder)
    run = _RepositoryTraining(train, validation, options, torch.device(device), place, log or (lambda line: None))
    members = {} if place is None else run.finished_members(place, specs)
    with progress("autoencoders", len(specs) * run.epochs, done=len(members) * run.epochs) as advance:
        for spec in specs:
            if spec.name in members:
                continue
            members[spec.name] = run.train(spec, advance)
            if place is not None:
                run.repository(members).save(place, wanted=len({spec.name for spec in specs} | set(members)))
                (place / f"{spec.name}.checkpoint").unlink(missing_ok=True)
    return run.repository({spec.name: members[spec.name] for spec in specs}).to(device)


class _RepositoryTraining:
    """One training: the data, the options and the folder."""

    def __init__(
        self,
        train: Dataset,
        validation: Dataset,
        options: RepositoryOptions,
        device: torch.device,
        folder: Path | None,
        say: Log,
    ) -> None:
        if train.x.shape[1:] != validation.x.shape[1:] or train.bounds != validation.bounds:
            raise ModelError(
                f"Training samples of shape {list(train.x.shape[1:])} in {train.bounds} and held-out ones of shape "
                f"{list(validation.x.shape[1:])} in {validation.bounds} do not belong together."
            )
        self.data, self.held_out, self.options = train, validation, options
        self.device, self.folder, self.say = device, folder, say
        self.shape = tuple(train.x.shape[1:])
        self.steps = -(-len(train) // options.batch_size)  # an epoch
        suits = MOST if options.patience else min(max(-(-STEPS // self.steps), FEWEST), MOST)
        self.epochs = options.epochs or suits
        self.prints = (train.fingerprint(), validation.fingerprint()) if folder is not None else ()

    def train(self, spec: AutoencoderSpec, advance: Advance) -> Member:
        """Train one member, or go on where a run before was stopped."""
        module, optimizer = self._begin(spec)
        course = Course(self.options.patience)
        checkpoint, snapshot, start, died = None, None, 0, 0
        if self.folder is not None:
            checkpoint = Checkpoint(self.folder / f"{spec.name}.checkpoint", self._key(spec))
            snapshot = checkpoint.load()
        if isinstance(snapshot, str):
            self.say(snapshot)
        elif snapshot is not None:
            start, died = int(snapshot.facts["epoch"]), int(snapshot.facts.get("died", 0))
            if start:
                module.load_state_dict(snapshot.parts["model"])
                restore_optimizer(optimizer, snapshot.parts["optimizer"])
                course.resume(snapshot.facts, snapshot.parts)
                self.say(f"{spec.name}: training continues after epoch {start}")
            advance(start)
        epoch = start
        while epoch < self.epochs and not course.over:
            epoch += 1
            rate = self._rate_after(died) * course.share
            loss = self._epoch(module, spec, optimizer, epoch, rate, advance)
            self._refuse_nan(loss, spec)
            if self.options.patience is not None:
                course.see(self._error(module), module)
            last = epoch == self.epochs or course.over
            if last and died < RETRIES and self._dead(module):
                died += 1
                self.say(
                    f"{spec.name}: answers the same whatever it sees, so it is trained again, at a rate of "
                    f"{self._rate_after(died):.2g}"
                )
                advance(-epoch)
                module, optimizer = self._begin(spec)
                epoch, course = 0, Course(self.options.patience)
            if checkpoint is not None:
                parts = {"model": weights(module), "optimizer": optimizer_tensors(optimizer), **course.parts()}
                checkpoint.save(parts, {"epoch": epoch, "died": died, **course.facts()})
        advance(self.epochs - epoch)
        if course.best is not None:
            module.load_state_dict(course.best)
        error = self._error(module)
        self._refuse_nan(error, spec)
        if died == RETRIES and self._dead(module):
            self.say(f"{spec.name}: still answers the same whatever it sees; lower the learning rate, or leave it out")
        after = f" after {epoch} epochs" if self.options.patience else ""
        self.say(f"{spec.name}: mean squared error {error:.2g} on {len(self.held_out)} held-out samples{after}")
        return Member(spec, module, error, self._key(spec), epoch)

    def _begin(self, spec: AutoencoderSpec) -> tuple[nn.Module, torch.optim.Adam]:
        module = seeded_module(lambda: build_autoencoder(self.shape, spec), self._seed(spec)).to(self.device)
        return module, torch.optim.Adam(module.parameters(), lr=self.options.learning_rate)

    def _epoch(
        self,
        module: nn.Module,
        spec: AutoencoderSpec,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        rate: float,
        advance: Advance,
    ) -> float:
        """Run one epoch and return the sum of its losses."""
        loss_of = nn.functional.mse_loss if spec.loss == "mse" else nn.functional.l1_loss
        model = Mixed(module.train(), self.options.precision)
        total = torch.zeros((), device=self.device)
        with seeded(self._seed(spec), epoch, device=self.device):
            for step, rows in enumerate(torch.randperm(len(self.data)).split(self.options.batch_size)):
                for group in optimizer.param_groups:
                    group["lr"] = rate * self._schedule((epoch - 1) * self.steps + step)
                x = self._scale(self.data.x[rows])
                noisy = (x + spec.noise * torch.randn_like(x)).clamp(0, 1) if spec.noise else x
                loss = loss_of(model(noisy), x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
                advance(1 / self.steps, note=spec.name)
        return float(total)

    def _rate_after(self, deaths: int) -> float:
        return self.options.learning_rate / 3.0**deaths

    def _schedule(self, step: int) -> float:
        """Rise in a line over the first steps, and fall along a cosine, unless the error decides when to fall."""
        total = self.epochs * self.steps
        risen = min(1.0, (step + 1) / min(WARMUP, total))
        return risen if self.options.patience else risen * (1 + math.cos(math.pi * step / total)) / 2

    def _refuse_nan(self, value: float, spec: AutoencoderSpec) -> None:
        if not math.isfinite(value):
            raise ModelError(
                f"Training autoencoder {spec.name!r} failed: its error is not a number. Lower the learning rate "
                f"({self.options.learning_rate:g}), or look at the data's scale."
            )

    @torch.no_grad()
    def _dead(self, module: nn.Module) -> bool:
        """Tell whether it answers the same whatever it sees: large steps saturated its last sigmoid, say."""
        x, module = self._scale(self.held_out.x[:512]), module.eval()
        spread, answers = (values.double().var(0, correction=0).mean().sqrt() for values in (x, module(x)))
        return bool(answers < ALIVE * spread)

    @torch.no_grad()
    def _error(self, module: nn.Module) -> float:
        module.eval()
        squares = [
            (module(part) - part).square().flatten(1).mean(1) for part in map(self._scale, self.held_out.x.split(512))
        ]
        return float(torch.cat(squares).mean())

    def _scale(self, x: Tensor) -> Tensor:
        low, high = self.data.bounds
        return (x.to(self.device) - low) / (high - low)

    def _seed(self, spec: AutoencoderSpec) -> int:
        """Give each of the ten its own draws, whichever others are trained."""
        ten = self.options.ten(self.data.kind)
        return self.options.seed * len(ten) + ten.index(spec)

    def _key(self, spec: AutoencoderSpec) -> str:
        """Hash all that decides a member's training."""
        fields = self.options.decisive().items()
        how = {name: value for name, value in fields if name not in ("size", "members", "epochs")}
        return hashlib.sha256(repr((spec.decisive(), how, self.epochs, *self.prints)).encode()).hexdigest()

    def finished_members(self, folder: Path, specs: tuple[AutoencoderSpec, ...]) -> dict[str, Member]:
        """Read the members that are finished.

        Raises:
            StoreError: the folder holds members that were trained otherwise.
        """
        if not (folder / CARD).exists():
            return {}
        members = Repository.load(folder, unfinished=True).members
        ten = self.options.ten(self.data.kind)
        keys = {spec.name: self._key(spec) for spec in (*specs, *(member.spec for member in members)) if spec in ten}
        for member in members:
            if member.key != keys.get(member.spec.name):
                raise StoreError(
                    f"{folder} holds autoencoders that were trained on other data or with other options; name "
                    "another folder, or give the options that they were trained with."
                )
        return {member.spec.name: member for member in members}

    def repository(self, members: Mapping[str, Member]) -> Repository:
        """Put members together, in the order of the ten."""
        order = [spec.name for spec in self.options.ten(self.data.kind)]
        ordered = sorted(members.values(), key=lambda member: order.index(member.spec.name))
        return Repository(ordered, shape=self.shape, bounds=self.data.bounds)

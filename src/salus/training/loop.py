"""The one training loop: AdamW, a one-cycle rate, early stopping, checkpoints that resume exactly."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salus.batches import rows_at_once
from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.data.base import Dataset
from salus.errors import ModelError
from salus.metrics.commonest import commonest
from salus.models.layers import last_layer
from salus.models.pretrained import architecture, initial_model, pretrained_digest
from salus.progress import progress
from salus.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer, weights, weights_digest
from salus.training.options import BALANCE, EPOCHS, PATIENCE, STATISTICS, TrainingOptions, TransferOptions
from salus.training.precision import Precision, mixed, settle
from salus.training.statistics import refresh_statistics

__all__ = [
    "Epoch",
    "History",
    "Log",
    "LossOf",
    "Mixed",
    "Recipe",
    "TrainingOptions",
    "TransferOptions",
    "evaluate",
    "fit_classifier",
    "seeded",
    "seeded_module",
    "train",
]

Log = Callable[[str], None]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data came to."""

    epoch: int  # from 1
    train_loss: float
    loss: float  # on validation data, as are those below
    accuracy: float
    macro_recall: float
    seconds: float


@dataclass
class History:
    """All epochs of a training, the one whose weights were kept, and what was said along the way."""

    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0  # an epoch, from 1
    resumed_from: int = 0
    remarks: list[str] = field(default_factory=list)


LossOf = Callable[[Tensor, Tensor], Tensor]  # logits [N, K], y [N] -> a number


class Recipe:
    """What one step lowers, and what validation looks at: here the loss on the samples as they are.

    Hardening puts its own in the place of this one.
    """

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Compute what this step lowers.

        Args:
            model: in training mode.
            x: samples ``[N, ...]``.
            y: their labels ``[N]``.
            loss_of: the loss of logits and labels.
            progress: how much of the training is done, from 0 to 1.
            step: number of the step since training began.
        """
        return loss_of(model(x), y)

    def validation_inputs(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return what the model is validated on, given clean samples ``[N, ...]``."""
        return x

    def statistics_inputs(self, x: Tensor) -> Tensor | None:
        """Return what batch normalisation takes its statistics from before validation, given clean samples.

        None where it keeps those of the steps.
        """
        return x

    def describe(self) -> str:
        """Say what decides the steps; trainings that differ in it are different trainings."""
        return "ordinary"


class _Loss(nn.Module):
    """Cross-entropy with class weights, on logits shifted by a share of the log prior."""

    def __init__(self, counts: Tensor, weight: Tensor | None, prior_shift: float) -> None:
        super().__init__()
        self.weight = weight
        self.shift = prior_shift * (counts / counts.sum()).clamp_min(1e-12).log() if prior_shift else None

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        shifted = logits if self.shift is None else logits + self.shift
        return nn.functional.cross_entropy(shifted, y, weight=self.weight)


class Mixed(nn.Module):
    """A module that computes in mixed precision and answers in float32."""

    def __init__(self, module: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.module, self.precision = module, precision

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, ...]``."""
        with mixed(self.precision, x.device):
            logits: Tensor = self.module(x)
        return logits if self.precision == "float32" else logits.float()


def train(
    module: nn.Module,
    train: Dataset,
    validation: Dataset,
    options: TrainingOptions | None = None,
    *,
    recipe: Recipe | None = None,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a module in place; it ends with the weights of the epoch whose validation loss was lowest.

    Killed at any moment and started again with the same arguments and checkpoint, it ends with exactly the
    weights it would have had. Global random state is neither read nor changed.

    Args:
        module: maps a batch to logits ``[N, K]``.
        train: what it learns from.
        validation: what decides when to stop.
        options: how to train.
        recipe: what each step lowers; ordinary training when not given.
        checkpoint: a file to write after every epoch, and to continue from.
        device: where to train; the module comes back to where it was.
        log: receives remarks, and one line an epoch.
        on_epoch: called after every epoch, once its checkpoint is written.

    Raises:
        ModelError: the loss became NaN, or the module does not suit the data.
    """
    options, say = options or TrainingOptions(), log or (lambda line: None)
    if options.precision == "auto":
        options = replace(options, precision=settle(options.precision, device))
        say(
            f"precision: {options.precision}, as this machine has {'' if options.precision == 'bfloat16' else 'no '}"
            "instructions for bfloat16"
        )
    phases = options.phases(options.epochs or EPOCHS[train.kind])
    places = [(phase, place) for phase in phases for place in range(phase.epochs)]  # of every epoch
    epochs, patience = len(places), options.patience or PATIENCE[train.kind]
    balance = options.balance or BALANCE[train.kind]
    steps = -(-len(train) // options.batch_size)  # an epoch
    home = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    module.to(device)

    recipe = recipe or Recipe()
    with evaluating(module), torch.no_grad():
        few = train.x[:2].to(device)
        _logits(module, few, len(train.classes))  # refuses a module that does not suit the data
        head = last_layer(module, few.clone()) if places[0][0].head_alone else ""
    optimizer = torch.optim.AdamW(module.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    counts = torch.bincount(train.y, minlength=len(train.classes)).float()
    weight = len(train) / (len(counts) * counts.clamp_min(1)) if balance == "weights" else None
    frequencies = torch.ones_like(counts) if balance == "sampling" else counts
    loss_of = _Loss(frequencies.to(device), None if weight is None else weight.to(device), options.prior_shift)
    model = Mixed(module, options.precision)
    looked_at = STATISTICS.get(train.kind, 0)  # for the statistics of batch normalisation

    constant = commonest(validation.y, validation.classes)
    history = History()
    best = weights(module)
    average = copy.deepcopy(module).requires_grad_(False) if options.averaging else None
    store = None
    if checkpoint is not None:
        store = Checkpoint(checkpoint, _key(module, train, validation, options, recipe))
        history, best = _resume(store, module, average, optimizer, best)
        for remark in history.remarks:
            say(remark)
    start = len(history.epochs)

    with progress("training", epochs, done=start) as advance:
        for epoch in range(start + 1, epochs + 1):
            if epoch - max(history.best, epochs - phases[-1].epochs) > patience and history.best:
                say(f"stopped: no lower validation loss for {patience} epochs")
                break
            began, total = time.monotonic(), 0.0
            module.train()
            phase, place = places[epoch - 1]
            learning = _head_alone(module, head) if phase.head_alone else nullcontext()
            with seeded(options.seed, epoch, device=device), learning:
                order = _order(train.y, counts, balance)  # [N]
                for step, rows in enumerate(order.split(options.batch_size)):
                    if len(rows) == 1 and len(order) > 1:
                        continue  # batch normalisation needs two
                    for group in optimizer.param_groups:
                        group["lr"] = phase.learning_rate * _one_cycle(place * steps + step, phase.epochs * steps)
                    x, y = train.x[rows].to(device), train.y[rows].to(device)
                    done = (epoch - 1) * steps + step
                    objective = recipe.step_loss(model, x, y, loss_of, done / (epochs * steps), done)
                    optimizer.zero_grad()
                    objective.backward()
                    optimizer.step()
                    if average is not None:
                        _average(average, module, min(options.averaging, (done + 1) / (done + 10)))
                    total += objective.item() * len(rows)
                    advance(1 / steps)
                    if not math.isfinite(total):
                        break
                network = module if average is None else average
                if looked_at and not phase.head_alone:
                    rows = order[:looked_at]
                    parts = rows.tensor_split(max(1, len(rows) // max(2, options.batch_size)))
                    shown = (recipe.statistics_inputs(train.x[part].to(device)) for part in parts)
                    refresh_statistics(Mixed(network, options.precision), (x for x in shown if x is not None))
            loss, accuracy, recall = evaluate(network, validation, loss_of, recipe=recipe, precision=options.precision)
            if not math.isfinite(total + loss):
                raise ModelError(
                    f"Training failed in epoch {epoch}: the loss is not a number. "
                    f"Lower the learning rate ({phase.learning_rate:g}), or look at the data's scale."
                )
            result = Epoch(epoch, total / len(train), loss, accuracy, recall, time.monotonic() - began)
            history.epochs.append(result)
            advance(0, note=f"accuracy {accuracy:.1%} ({constant})")
            lower = not history.best or result.loss < history.epochs[history.best - 1].loss
            if lower or options.keep == "last":
                history.best, best = epoch, weights(network)
            if store is not None:
                store.save(
                    {
                        "model": weights(module),
                        "best": best,
                        "average": {} if average is None else weights(average),
                        "optimizer": optimizer_tensors(optimizer),
                    },
                    asdict(history),
                )
            alone = ", the last layer alone" if phase.head_alone else ""
            say(
                f"epoch {epoch}/{epochs}{alone}: loss {result.train_loss:.4f}, validation loss {result.loss:.4f}, "
                f"accuracy {accuracy:.1%} ({constant}), macro recall {recall:.1%}, {result.seconds:.1f} s"
            )
            if on_epoch is not None:
                on_epoch(result)
    reason = "the last" if options.keep == "last" else "that of the lowest validation loss"
    say(f"kept: the weights of epoch {history.best}, {reason}")
    optimizer.zero_grad()
    module.load_state_dict(best)
    module.to(home).eval()
    return history


def fit_classifier(
    name: str,
    train_data: Dataset,
    validation: Dataset,
    options: TrainingOptions | None = None,
    *,
    model_options: dict[str, Any] | None = None,
    recipe: Recipe | None = None,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
) -> tuple[Classifier, History]:
    """Build one of Salus's networks for these data and train it.

    Args:
        name: a network, as in ``salus.models.MODELS``.
        train_data: what it learns from.
        validation: what decides when to stop.
        options: how to train.
        model_options: what the network takes, ``{"hidden": [64, 64]}``, and ``pretrained``, the weights that it
            begins with: see :func:`salus.models.pretrained.initial_model`.
        recipe: what each step lowers; ordinary training when not given.
        checkpoint: a file to write after every epoch, and to continue from.
        device: where to train.
        log: receives remarks, and one line an epoch.

    Raises:
        ModelError: there is no such network, or it does not suit the data.
    """
    options = options or TrainingOptions()
    shape, classes = tuple(train_data.x.shape[1:]), len(train_data.classes)
    module = seeded_module(lambda: initial_model(name, shape, classes, model_options), options.seed)
    origin = pretrained_digest(name, model_options)
    history = train(
        module, train_data, validation, options, recipe=recipe, checkpoint=checkpoint, device=device, log=log
    )
    classifier = Classifier(
        module,
        train_data.classes,
        shape=shape,
        bounds=train_data.bounds,
        name=name,
        architecture=architecture(name, model_options),
        notes=[] if origin is None else [f"Training began with pretrained weights, a file of SHA-256 {origin}."],
        preprocessor=train_data.preprocessor,
    )
    return classifier, history


def seeded_module(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module whose initial weights the seed decides; global random state stays as it is."""
    with seeded(seed, 0):
        return build()


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Let ``(seed, epoch)`` decide what PyTorch draws inside the block, and put its random state back."""
    state = int.from_bytes(hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:7], "big")
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.device(device)] if cuda else []):
        torch.default_generator.manual_seed(state)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(state)
        yield


def evaluate(
    module: nn.Module,
    dataset: Dataset,
    loss_of: nn.Module,
    batch_size: int = 1024,
    *,
    recipe: Recipe | None = None,
    precision: Precision = "float32",
) -> tuple[float, float, float]:
    """Compute loss, accuracy and macro recall on a data set, in eval mode."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    classes = len(dataset.classes)
    model, parts = Mixed(module, precision), []
    with evaluating(model):
        size = rows_at_once(dataset.x, batch_size)
        for x, y in zip(torch.split(dataset.x, size), torch.split(dataset.y, size), strict=True):
            inputs = x.to(device)
            if recipe is not None:
                inputs = recipe.validation_inputs(model, inputs, y.to(device))
            with torch.no_grad():
                parts.append(_logits(model, inputs, classes))
    logits, y = torch.cat(parts), dataset.y.to(device)
    hit = (logits.argmax(1) == y).double()
    counts = torch.bincount(y, minlength=classes)
    recalls = torch.bincount(y, weights=hit, minlength=classes)[counts > 0] / counts[counts > 0]
    return float(loss_of(logits, y)), float(hit.mean()), float(recalls.mean())


def _logits(module: nn.Module, x: Tensor, classes: int) -> Tensor:
    """Run the module and check that it suits the data."""
    try:
        logits: Tensor = module(x.clone())  # a module may work in place, and x be the caller's
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"The model does not accept samples of shape {list(x.shape[1:])}: {reason}.") from error
    if logits.shape != (len(x), classes):
        raise ModelError(
            f"The model returns {list(logits.shape)} for {len(x)} samples of {classes} classes; "
            f"it must return {[len(x), classes]}."
        )
    return logits


def _order(y: Tensor, counts: Tensor, balance: str) -> Tensor:
    """Draw the order of one epoch's samples."""
    if balance == "sampling":
        return torch.multinomial(1 / counts[y], len(y), replacement=True)
    return torch.randperm(len(y))


def _one_cycle(step: int, steps: int, warmup: float = 0.25) -> float:
    """Rise from 1/25 to 1 along a cosine, then fall to almost 0 along another (Smith and Topin, 2018)."""
    place = step / max(steps, 1)
    if place < warmup:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * place / warmup)) / 2
    return 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * (place - warmup) / (1 - warmup))) / 2


@contextmanager
def _head_alone(module: nn.Module, head: str) -> Iterator[None]:
    """Let the last layer learn and nothing else, not even statistics; afterwards all learns that did."""
    last = module.get_submodule(head)
    head_ids = {id(weight) for weight in last.parameters()}
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    module.eval()
    last.train()
    try:
        for weight in learning:
            weight.requires_grad_(id(weight) in head_ids)
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


@torch.no_grad()
def _average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move the average a step towards the module; statistics, which are averages already, are copied."""
    for mean, weight in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)
    for buffer, value in zip(average.buffers(), module.buffers(), strict=True):
        buffer.copy_(value)


def _key(module: nn.Module, train: Dataset, validation: Dataset, options: TrainingOptions, recipe: Recipe) -> str:
    """Hash all that decides a training: options, recipe, data, architecture and initial weights."""
    parts = (asdict(options), recipe.describe(), train.fingerprint(), validation.fingerprint(), weights_digest(module))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _resume(
    store: Checkpoint,
    module: nn.Module,
    average: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> tuple[History, dict[str, Tensor]]:
    """Continue from the file, if it is whole and of this training."""
    snapshot = store.load()
    if snapshot is None or isinstance(snapshot, str):
        return History(remarks=[] if snapshot is None else [snapshot]), best
    module.load_state_dict(snapshot.parts["model"])
    restore_optimizer(optimizer, snapshot.parts["optimizer"])
    if average is not None:
        average.load_state_dict(snapshot.parts["average"])
    history = History([Epoch(**epoch) for epoch in snapshot.facts["epochs"]], snapshot.facts["best"])
    history.resumed_from = len(history.epochs)
    history.remarks.append(f"Training continues after epoch {history.resumed_from}, from {store.path}.")
    return history, snapshot.parts["best"]

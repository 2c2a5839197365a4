"""Adversarial retraining in rounds: attack a share of the samples, train on all of them and the copies, again."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.atomic import write_json, write_tensors
from salus.attacks import UAP, Attack
from salus.batches import rows_at_once
from salus.classifier import Classifier
from salus.data.base import Dataset, Splits
from salus.models.weights import load_weights
from salus.options import check_fields
from salus.training import History, Log, Recipe, TrainingOptions, train
from salus.training.precision import PrecisionOption

#: Samples that are attacked side by side.
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How a trained classifier is retrained (Nédellec and Mouret, 2021, section 4.4.1).

    Attributes:
        rounds: how often the attacked copies are made anew, on the classifier as it then is.
        epochs: of training in each round.
        share: of the training and of the validation samples, drawn anew in each round, that get a copy.
        learning_rate: the highest of each round's one-cycle schedule; the thesis names none.
        batch_size: samples a step.
        balance: see :class:`salus.training.TrainingOptions`.
        prior_shift: see there.
        precision: see there.
        seed: decides which samples are attacked, and the order of all.

    Raises:
        OptionError: a number makes no sense.
    """

    rounds: Annotated[int, Field(ge=1, description="how often the attacked copies are made anew")] = 5
    epochs: Annotated[int, Field(ge=1, description="passes over the data in each round")] = 5
    share: Annotated[float, Field(gt=0, le=1, description="part of the samples that gets a copy in each round")] = 0.5
    learning_rate: Annotated[float, Field(gt=0, description="the highest of each round's schedule")] = 5e-4
    batch_size: Annotated[int, Field(ge=1, description="samples a step")] = 32
    balance: Annotated[
        Literal["none", "weights", "sampling"] | None, Field(description="how rare classes are made up for")
    ] = None
    prior_shift: Annotated[float, Field(ge=0, le=2, description="share of the log prior added to the logits")] = 0.0
    precision: PrecisionOption = "float32"
    seed: Annotated[int, Field(ge=0, description="decides which samples are attacked, and their order")] = 0

    def __post_init__(self) -> None:
        check_fields(self, "Adversarial retraining")

    def training(self, number: int) -> TrainingOptions:
        """Return how the round of this number trains; the thesis keeps what the last epoch leaves."""
        return TrainingOptions(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            balance=self.balance,
            prior_shift=self.prior_shift,
            patience=self.epochs,
            keep="last",
            precision=self.precision,
            seed=self.seed + number,
        )


def retrain(
    classifier: Classifier,
    splits: Splits,
    attack: Attack | None,
    options: Rounds,
    *,
    folder: Path,
    recipe: Recipe | None = None,
    device: str = "cpu",
    log: Log | None = None,
) -> tuple[Classifier, list[dict[str, Any]]]:
    """Retrain a copy of a classifier on the samples and on attacked copies of a share of them, round after round.

    Copies keep their true labels. A universal perturbation is fitted to the drawn training samples and put on the
    drawn samples of both parts. Killed and started again with the same folder, it ends with the same weights.

    Args:
        classifier: trained; it stays as it is.
        splits: ``train`` and ``validation`` are attacked and trained on; the latter decides nothing.
        attack: makes the copies, on the classifier as each round finds it; None for copies as they are: the control,
            which goes on as long on as many samples without an attack.
        options: how many rounds, and how each trains.
        recipe: what each step lowers, such as the loss on augmented samples; the loss as it is when not given.
        folder: where copies, checkpoints and each round's weights lie, mapped from there rather than held in memory.
        device: where to attack and train.
        log: receives remarks, and one line an epoch.

    Returns:
        The retrained classifier, and of each round ``round``, ``copies`` (of training samples), ``fooled`` (the share
        of all copies that were answered wrongly before it), ``loss``, ``accuracy`` and ``macro_recall`` (on validation
        samples and copies, after it) and ``seconds``.

    Raises:
        ModelError: the classifier cannot be trained.
        StoreError: the disk is full, or the folder is not writable.
    """
    say = log or (lambda line: None)
    hardened = copy.deepcopy(classifier).to(device)
    decided = [classifier.fingerprint(), repr(attack), asdict(options), splits.train.fingerprint()]
    if recipe is not None:
        decided.append(recipe.describe())
    origin = _digest(decided, splits.validation.fingerprint())
    records: list[dict[str, Any]] = []
    for number in range(1, options.rounds + 1):
        place = folder / f"round-{number}"
        record = _read(place / "round.json", origin)
        if record is not None:
            load_weights(hardened.module, place / "model.safetensors")
            records.append(record)
            continue
        by = "copying" if attack is None else "attacking"
        named = "" if attack is None else f" by {attack.title}"
        say(f"round {number}/{options.rounds}: {by} {options.share:.0%} of the samples{named}")
        augmented, facts = _copies(hardened, splits, attack, options, number, place, origin)
        hardened.module.requires_grad_(True)
        history = train(
            hardened.module,
            augmented["train"],
            augmented["validation"],
            options.training(number),
            recipe=recipe,
            checkpoint=place / "training.checkpoint",
            device=device,
            log=log,
        )
        hardened.eval()
        write_tensors(place / "model.safetensors", hardened.module.state_dict())
        records.append({"round": number, **facts, **_last(history)})
        write_json(place / "round.json", {"origin": origin, "facts": records[-1]})
        del augmented
        for file in (*place.glob("*.floats"), place / "copies.json", place / "training.checkpoint"):
            file.unlink(missing_ok=True)
    return hardened.to(classifier.device).eval(), records


def _copies(
    classifier: Classifier,
    splits: Splits,
    attack: Attack | None,
    options: Rounds,
    number: int,
    place: Path,
    origin: str,
) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """Join both parts with the attacked copies of a share of them, or map what an earlier run left of that."""
    place.mkdir(parents=True, exist_ok=True)
    parts = {"train": splits.train, "validation": splits.validation}
    draws = {name: _draw(part, options, number, name) for name, part in parts.items()}
    facts = _read(place / "copies.json", origin)
    fooled, mover = 0, None if facts else _mover(attack, classifier, splits.train, draws["train"])
    augmented = {}
    for name, part in parts.items():
        rows = draws[name]
        x = _map_file(place / f"{name}.floats", (len(part) + len(rows), *part.x.shape[1:]))
        if mover is not None:
            for first, piece in _pieces(part.x, torch.arange(len(part))):
                x[first : first + len(piece)] = part.x[piece]
            for first, piece in _pieces(part.x, rows):
                x_adv = mover(part.x[piece], part.y[piece])
                fooled += int((classifier.predict(x_adv).argmax(1) != part.y[piece]).sum())
                x[len(part) + first : len(part) + first + len(piece)] = x_adv
        groups = None if part.groups is None else torch.cat([part.groups, part.groups[rows]])
        augmented[name] = replace(part, x=x, y=torch.cat([part.y, part.y[rows]]), groups=groups)
    if facts is None:
        total = sum(len(rows) for rows in draws.values())
        facts = {"copies": len(draws["train"]), "fooled": fooled / total}
        write_json(place / "copies.json", {"origin": origin, "facts": facts})
    return augmented, facts


def _mover(
    attack: Attack | None, classifier: Classifier, data: Dataset, rows: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what attacks samples ``[n, ...]`` with labels ``[n]``, in main memory."""
    device = classifier.device
    if attack is None:
        return lambda x, y: x
    if isinstance(attack, UAP):
        perturbation = attack.fit(classifier, data.x[rows].to(device), data.y[rows].to(device))
        return lambda x, y: perturbation(x)
    return lambda x, y: attack(classifier, x.to(device), y.to(device)).cpu()


def _draw(part: Dataset, options: Rounds, number: int, name: str) -> Tensor:
    """Draw the samples of this round that get a copy."""
    seed = int(_digest([options.seed, number], name)[:15], 16)
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
    return order[: max(1, round(options.share * len(part)))].sort().values


def _pieces(x: Tensor, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    first = 0
    for piece in rows.split(rows_at_once(x, _BATCH)):
        yield first, piece
        first += len(piece)


def _map_file(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Map a file of floats, made where there is none, as a tensor of this shape."""
    return torch.from_file(str(path), shared=True, size=torch.Size(shape).numel(), dtype=torch.float32).view(shape)


def _last(history: History) -> dict[str, Any]:
    epoch = history.epochs[-1]
    seconds = round(sum(one.seconds for one in history.epochs), 1)
    return {"loss": epoch.loss, "accuracy": epoch.accuracy, "macro_recall": epoch.macro_recall, "seconds": seconds}


def _read(path: Path, origin: str) -> dict[str, Any] | None:
    """Read facts that were stored for this retraining; None where there are none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["facts"] if content["origin"] == origin else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(parts: list[Any], more: str) -> str:
    return hashlib.sha256(json.dumps([*parts, more], default=str).encode()).hexdigest()

"""Classifiers that a transfer attacker trains: on samples of their own, or on the victim's answers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.attacks.objective import frozen
from salus.classifier import Classifier
from salus.data.base import Dataset, Provenance
from salus.data.split import grouped, stratified
from salus.errors import DataError, ModelError, OptionError
from salus.options import check_fields
from salus.training import History, Log, TrainingOptions, fit_classifier, seeded_module, train

#: From a batch ``[N, ...]`` to labels, int64 ``[N]``, -1 where it rejects, or to logits ``[N, K]``.
Oracle = Callable[[Tensor], Tensor]

#: A network of Salus's by name, or a function that builds one, untrained.
Model = str | Callable[[], nn.Module]

#: The few points of the first rounds need more passes than a data set does.
FEW_POINTS = TrainingOptions(epochs=60, batch_size=32, patience=15)

#: The share of the attacker's points that decides when training stops.
HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Substitute:
    """What came of training on a victim's answers.

    Attributes:
        classifier: the substitute.
        queries: how many points the victim was asked about.
        rejected: how many of them it rejected; they teach nothing.
        agreement: share of the held-out points where the substitute answers as the victim does.
        points: how many labelled points each round had.
    """

    classifier: Classifier
    queries: int
    rejected: int
    agreement: float
    points: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class JacobianAugmentation:
    """Train a substitute from queries alone (Papernot et al., 2017, Algorithm 1).

    Each round the victim labels the new points, a network learns all labelled ones afresh, and each point x is
    joined by ``x + lambda * sign(dF_o(x) / dx)``, F the network's logit of the class o that the victim gave:
    points where the victim's answer is about to change. As in Papernot et al. (2016), lambda changes its sign
    every ``period`` rounds, and where the budget is too small for all, a random sample without repetition is
    joined (what reservoir sampling draws), each round as large a one as leaves the later rounds as many.

    Attributes:
        rounds: trainings; there is one augmentation less.
        step: lambda, in the units of x.
        period: rounds after which lambda changes its sign, the paper's tau.
        queries: most questions to the victim, the seeds among them; None for all that the rounds take,
            ``seeds * 2 ** (rounds - 1)``.
        training: how each round trains; None: 60 short epochs. Its seed is left aside.
        seed: decides samples, held-out points and weights.
        batch_size: points that the victim is asked about side by side.

    Raises:
        OptionError: an option has a value that makes no sense.
    """

    rounds: Annotated[int, Field(ge=1, description="trainings")] = 6
    step: Annotated[float, Field(gt=0, description="lambda, in the units of x")] = 0.1
    period: Annotated[int, Field(ge=1, description="rounds after which lambda changes its sign")] = 3
    queries: Annotated[int | None, Field(ge=2, description="most questions; none for all that the rounds take")] = None
    training: TrainingOptions | None = None
    seed: Annotated[int, Field(ge=0, description="decides samples, held-out points and weights")] = 0
    batch_size: Annotated[int, Field(ge=1, description="points that are asked about side by side")] = 512

    def __post_init__(self) -> None:
        check_fields(self, "JacobianAugmentation")

    def fit(
        self,
        oracle: Oracle,
        seeds: Tensor,
        *,
        model: Model,
        classes: Sequence[str],
        bounds: tuple[float, float] = (0.0, 1.0),
        device: torch.device | str = "cpu",
        folder: Path | None = None,
        log: Log | None = None,
    ) -> Substitute:
        """Question the victim and train a substitute.

        Args:
            oracle: the victim: labels int64 ``[N]``, -1 where it rejects (``lambda x: guard(x).answers``), or
                logits, of which the highest alone is used.
            seeds: the attacker's few samples ``[N, ...]``, without labels; asked in their order as far as the
                budget reaches.
            model: a network of Salus's by name, or a function that builds one, untrained.
            classes: class names, in the order of the victim's answers.
            bounds: lowest and highest value of a point.
            device: where to train.
            folder: where to keep a checkpoint of each round.
            log: receives one line a round.

        Raises:
            DataError: the victim rejects all seeds, or answers what is no label.
            ModelError: there is no such network, or it does not suit the points.
        """
        say = log or (lambda line: None)
        budget = _Budget(self.queries)
        draws = torch.Generator().manual_seed(self.seed)
        new = seeds.detach()[: self.queries]
        points, labels = new[:0], torch.zeros(0, dtype=torch.int64, device=new.device)
        history: list[int] = []
        for turn in range(1, self.rounds + 1):
            answers = self._ask(oracle, new, len(classes), budget)
            points, labels = torch.cat([points, new[answers >= 0]]), torch.cat([labels, answers[answers >= 0]])
            if len(points) < 2:
                raise DataError(
                    f"The victim rejected {budget.rejected} of {budget.asked} seeds; "
                    "a substitute needs two that it accepts."
                )
            history.append(len(points))
            learnt, validation = self._split(points, labels, tuple(classes), bounds)
            classifier = self._train(
                model, learnt, validation, device, None if folder is None else folder / f"round-{turn}"
            )
            agreed = agreement(classifier, lambda x: validation.y, validation.x)  # noqa: B023 - called at once
            say(f"round {turn}/{self.rounds}: {budget.asked} queries, {len(points)} points, agreement {agreed:.1%}")
            if turn == self.rounds or budget.left == 0:
                break
            chosen = self._sample(len(points), budget.left, self.rounds - turn, draws).to(points.device)
            sign = (-1) ** ((turn - 1) // self.period)
            new = self._augment(classifier, points[chosen], labels[chosen], sign, bounds)
        return Substitute(classifier, budget.asked, budget.rejected, agreed, tuple(history))

    def _ask(self, oracle: Oracle, points: Tensor, classes: int, budget: _Budget) -> Tensor:
        """Return the victim's answers, int64 ``[N]``."""
        answers = [_labels(oracle, part, classes) for part in points.split(self.batch_size) if len(part)]
        joined = torch.cat([torch.zeros(0, dtype=torch.int64, device=points.device), *answers])
        budget.asked += len(points)
        budget.rejected += int((joined < 0).sum())
        return joined

    def _sample(self, count: int, left: int | None, rounds: int, draws: torch.Generator) -> Tensor:
        """Choose which points to augment, so that as much of the budget is left for each later round."""
        if left is None or count <= left // rounds:
            return torch.arange(count)
        return torch.randperm(count, generator=draws)[: -(-left // rounds)].sort().values

    def _augment(self, classifier: Classifier, x: Tensor, y: Tensor, sign: int, bounds: tuple[float, float]) -> Tensor:
        """Step along the sign of the logit's slope; points that it does not move are left out."""
        moved = [
            (part + sign * self.step * _slope(classifier, part, labels).sign()).clamp(*bounds)
            for part, labels in zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)
        ]
        joined = torch.cat(moved)
        return joined[(joined != x).flatten(1).any(1)]

    def _split(
        self, x: Tensor, y: Tensor, classes: tuple[str, ...], bounds: tuple[float, float]
    ) -> tuple[Dataset, Dataset]:
        data = Dataset(x, y, classes, Provenance("victim's answers", "queries"), bounds=bounds)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed)).to(x.device)
        few = max(1, round(HELD_OUT * len(x)))
        return data.subset(order[few:]), data.subset(order[:few])

    def _train(
        self, model: Model, learnt: Dataset, held: Dataset, device: torch.device | str, checkpoint: Path | None
    ) -> Classifier:
        options = replace(self.training or FEW_POINTS, seed=self.seed)
        return train_classifier(model, learnt, held, options, checkpoint=checkpoint, device=device)[0]


def train_on_split(
    model: Model,
    data: Dataset,
    options: TrainingOptions | None = None,
    *,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
) -> tuple[Classifier, History]:
    """Train a substitute on the attacker's own labelled samples, a fifth of them held out to stop by.

    Args:
        model: a network of Salus's by name, or a function that builds one, untrained.
        data: the attacker's samples, such as :func:`attackers_share`; whole patients are held out.
        options: how to train; its seed also decides what is held out.
        checkpoint: a file to write after every epoch, and to continue from.
        device: where to train.
        log: receives remarks, and one line an epoch.

    Raises:
        DataError: too few samples or patients of a class.
        ModelError: there is no such network, or it does not suit the data.
    """
    options = options or TrainingOptions()
    learnt, validation = attackers_share(data, share=HELD_OUT, seed=options.seed)
    return train_classifier(model, learnt, validation, options, checkpoint=checkpoint, device=device, log=log)


def attackers_share(data: Dataset, *, share: float = 0.5, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Deal data to the victim's owner and to the attacker, by class, no patient on both sides.

    Args:
        data: what is dealt.
        share: what the attacker gets.
        seed: of the draw.

    Returns:
        The owner's part and the attacker's.

    Raises:
        DataError: too few samples or patients of a class.
        OptionError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise OptionError(f"The attacker's share of the data must be between 0 and 1, not {share}.")
    shares, name = {"train": 1 - share, "attacker": share}, data.provenance.name
    y = data.y.cpu().numpy()
    present = sorted(set(y.tolist()))
    ranks, classes = torch.tensor([present.index(k) for k in y.tolist()]).numpy(), [data.classes[k] for k in present]
    if data.groups is None:
        parts = stratified(ranks, classes, shares, seed=seed, name=name)
    else:
        groups = data.groups.cpu().numpy()
        parts = grouped(ranks, groups, classes, shares, seed=seed, name=name, word=data.group_word)
    owner, attacker = (torch.from_numpy(parts[part]).to(data.x.device) for part in ("train", "attacker"))
    return data.subset(owner), data.subset(attacker, note=f"the attacker's share, {share:.0%}")


def train_classifier(
    model: Model,
    learnt: Dataset,
    held: Dataset,
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
) -> tuple[Classifier, History]:
    """Train a network of Salus's, or one that a function builds, on these samples."""
    if isinstance(model, str):
        return fit_classifier(model, learnt, held, options, checkpoint=checkpoint, device=device, log=log)
    module = seeded_module(model, options.seed)
    history = train(module, learnt, held, options, checkpoint=checkpoint, device=device, log=log)
    shape = tuple(learnt.x.shape[1:])
    return Classifier(module, learnt.classes, shape=shape, bounds=learnt.bounds, name="substitute"), history


def agreement(classifier: Classifier, oracle: Oracle, x: Tensor) -> float:
    """Measure how often a substitute answers as the victim does, among the points that the victim accepts.

    Raises:
        ModelError: the victim rejects all of them.
    """
    answers = _labels(oracle, x, len(classifier.classes))
    accepted = answers >= 0
    if not bool(accepted.any()):
        raise ModelError(f"The victim rejects all {len(x)} points, so that there is nothing to agree with.")
    return float((classifier.predict(x).argmax(1) == answers)[accepted].double().mean())


@dataclass
class _Budget:
    """What the victim was asked."""

    allowed: int | None
    asked: int = 0
    rejected: int = 0

    @property
    def left(self) -> int | None:
        return None if self.allowed is None else self.allowed - self.asked


def _labels(oracle: Oracle, points: Tensor, classes: int) -> Tensor:
    """Ask the victim, and check what it says, int64 ``[N]``."""
    with torch.no_grad():
        answers = oracle(points)
    if isinstance(answers, Tensor) and answers.is_floating_point() and answers.shape[1:] == (classes,):
        answers = answers.argmax(1)
    good = isinstance(answers, Tensor) and answers.shape == points.shape[:1] and answers.dtype == torch.int64
    if not good or int(answers.max()) >= classes or int(answers.min()) < -1:
        raise DataError(
            f"The victim must answer {len(points)} points with labels from 0 to {classes - 1}, -1 where it rejects, "
            "or with logits; it answered otherwise."
        )
    return answers.to(points.device)


def _slope(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Differentiate the logit of each point's class in the point, ``[N, ...]``."""
    home = classifier.device
    classifier.to(x.device)
    with torch.inference_mode(False), torch.enable_grad(), frozen(classifier):
        at = x.detach().clone().requires_grad_()
        chosen = classifier(at).gather(1, y[:, None])
        (slope,) = torch.autograd.grad(chosen.sum(), at)
    classifier.to(home)
    return slope

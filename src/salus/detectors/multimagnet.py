"""MultiMagNet: an ensemble of autoencoders, drawn anew for every input, votes on it (Machado et al., ICEIS 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.batches import rows_at_once
from salus.classifier import Classifier, States
from salus.detectors import votes
from salus.detectors.calibration import ReferenceScores
from salus.detectors.multimagnet_grid import Calibration, Combination, Drawn, Temperature
from salus.detectors.reconstruction import DropRate, Metric, ReconstructionDetector, Rule
from salus.errors import CalibrationError, OptionError
from salus.generative.autoencoder_choice import RepositoryOrFolder, SeveralAutoencoders, TrainingEpochs, TrainingSeed
from salus.generative.member_draws import Draws, DrawSeed, MemberDraws
from salus.options import Words, checked


class MultiMagNet(ReconstructionDetector):
    """Rejects an input that most of n autoencoders, drawn at random out of a repository, reconstruct badly.

    Each member scores an input by its reconstruction error (Eq. 1) or by the divergence of the classifier's answers
    to the input and to its reconstruction (Eq. 6), and votes against it above a threshold of its own. With
    ``conformal`` a member's score becomes minus the logarithm of its p-value among clean samples, and one level
    serves all members: the vote is then the median of those drawn, which is calibrated like any other suspicion.
    ``drop-rate`` is the paper's rule; its suspicion is the median score over the threshold, and rejects above 1.
    n = 1 is MagNet.

    Only the members drawn for an input reconstruct it. An attacker sees what holds for every draw, of all members
    and differentiable: ``class_scores`` and ``class_acceptance``.

    Args:
        n: members drawn, odd.
        metric: ``re``, the reconstruction error, or ``jsd``, the Jensen-Shannon divergence.
        temperature: of the softmaxes that ``jsd`` compares (Eq. 7); None with ``re``.
        repository: trained autoencoders, or the folder that holds them; without it ``fit`` trains ten.
        epochs: of that training; None: about 4,000 steps each.
        threshold: ``conformal`` (see ``calibrate``), or ``drop-rate``: each member's threshold rejects this share of
            clean samples (Section 4.1.1). They are those that the training of the autoencoders held out; which were
            trained before may have seen them.
        drop_rate: that share, the paper's t_fp.
        approach: of the paper's rule: members keep their own thresholds (``MTA``), or those drawn for an input share
            the lowest of theirs (``minTA``).
        calibration: the file of a calibration stage, or what it holds; it gives the paper's rule with n, metric,
            temperature, drop rate, approach and thresholds.
        draws: ``sample``, or for how many inputs in turn one draw serves (the paper's experiments: 100).
        draw_seed: a number for tests and reproductions, which makes verdicts repeatable, and foreseeable for who
            knows it; None in production, where the operating system's entropy decides.
        seed: of the training of autoencoders, and of which samples say what is normal.

    Raises:
        OptionError: an option makes no sense.
        BundleError: the repository or the calibration cannot be read.
    """

    name: ClassVar[str] = "multimagnet"
    mitigations: ClassVar[tuple[str, ...]] = ("AML.M0015", "AML.M0006")
    title: ClassVar[str] = "MultiMagNet"
    choice: SeveralAutoencoders

    @checked
    def __init__(
        self,
        *,
        n: Drawn = 5,
        metric: Metric = "re",
        temperature: Temperature = 10.0,
        repository: RepositoryOrFolder = None,
        epochs: TrainingEpochs = None,
        threshold: Rule = "conformal",
        drop_rate: DropRate = 0.01,
        approach: votes.Approach = "MTA",
        calibration: Annotated[
            Calibration | Path | str | None,
            Words("a file of `salus guard calibrate`"),
            Field(description="gives n, metric, temperature, drop_rate, approach and thresholds"),
        ] = None,
        draws: Draws = "sample",
        draw_seed: DrawSeed = None,
        seed: TrainingSeed = 0,
    ) -> None:
        combination = Combination(n=n, metric=metric, temperature=temperature, drop_rate=drop_rate, approach=approach)
        if isinstance(calibration, (str, Path)):
            calibration = Calibration.load(calibration)
        if calibration is not None:
            best = calibration.best.combination
            if combination not in (Combination(), best):
                raise OptionError(
                    f"MultiMagNet: the calibration says {best}; leave out n, metric, temperature, drop_rate and "
                    "approach, which it gives."
                )
            combination, threshold = best, "drop-rate"
        super().__init__(SeveralAutoencoders(self.title, combination.n, repository, epochs, seed), threshold)
        self.combination = combination
        self.calibration = calibration
        self.draws = MemberDraws(draw_seed, draws)
        self._members: ReferenceScores | None = None  # clean scores, one curve a member
        self._thresholds: Tensor | None = None  # [m], of the paper's rule

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> MultiMagNet:
        """Train the autoencoders or take those given, and learn what they measure on clean samples x ``[N, ...]``.

        Raises:
            CalibrationError: the samples are too few to train on or for the drop rate, or the calibration is of
                other autoencoders.
            ModelError: the autoencoders take other samples.
        """
        self.classifier_ = classifier
        self.repository_ = self.choice.find(classifier, x, y, self.trainings)
        if self.own_rule:
            self.threshold_ = 1.0
        if self.calibration is not None:
            self._thresholds = self._calibrated(self.calibration)
            self.false_alarm_rate_ = 1 - self.calibration.best.outcome.ppv
            return self
        with torch.no_grad():
            unseen = self.choice.unseen(x).split(rows_at_once(x, 512))
            parts = [self._all(classifier.states(part, ())) for part in unseen]
        values = torch.cat(parts)  # [R, m]
        if self.own_rule:
            self._thresholds = votes.drop_rate_thresholds(values, self.combination.drop_rate)
            self.false_alarm_rate_ = float(votes.rejection_probability(*self._compared(values), *self._rule).mean())
        else:
            members = torch.arange(values.shape[1], device=x.device).expand_as(values)
            self._members = ReferenceScores.fit(values.flatten(), members.flatten(), values.shape[1])
        return self

    def _calibrated(self, calibration: Calibration) -> Tensor:
        thresholds = calibration.thresholds
        if set(thresholds) != set(self._repository.names):
            raise CalibrationError(
                f"The calibration is of the autoencoders {', '.join(thresholds)}, not of the repository's, "
                f"{', '.join(self._repository.names)}; calibrate these."
            )
        if calibration.repository not in ("", self._repository.fingerprint()):
            raise CalibrationError(
                "The calibration is of autoencoders with these names, but of other weights; name the repository that "
                "it was made with, or calibrate these."
            )
        return torch.tensor([thresholds[name] for name in self._repository.names])

    def class_scores(self, states: States) -> Tensor:
        """Return the suspicion that no draw exceeds, the same under each class, ``[N, K]``; differentiable.

        It is the ((n + 1) / 2)-th largest of all members; with ``conformal`` before the classes are told apart.
        """
        return self._certain(self._all(states))[:, None].expand_as(states.logits)

    def _certain(self, values: Tensor) -> Tensor:
        n, approach = self.combination.n, self.combination.approach
        if self._thresholds is not None:
            return votes.certain_excess(values, self._thresholds.to(values), n, approach)
        return votes.certain(self._surprise(values), n)

    def _accepted(self, scores: Tensor) -> Tensor:
        return self.threshold_ - scores if self.own_rule else super()._accepted(scores)

    def for_attackers(self, states: States) -> tuple[Tensor, Tensor]:
        """Return ``class_acceptance``, and the suspicion of a draw in expectation (EOT)."""
        values, n = self._all(states), self.combination.n
        if self._thresholds is not None:
            mean = votes.expected(values, n, self._thresholds.to(values), self.combination.approach)
        else:
            mean = votes.expected(self._surprise(values), n)
        certain, mean = (score[:, None].expand_as(states.logits) for score in (self._certain(values), mean))
        return self._accepted(certain), mean

    def suspicion(self, states: States) -> Tensor:
        """Draw members for each input and return the median of their suspicions, ``[N]``.

        It is above the threshold exactly where most of them vote against the input.
        """
        return self.judged_by(states, self.drawn(states.x))

    def drawn(self, x: Tensor) -> Tensor:
        """Draw the members that judge each of x ``[N, ...]``: int64 ``[N, n]``, in an order that is random too."""
        return self.draws(x, len(self._repository), self.combination.n, self.twins)

    def judged_by(self, states: States, drawn: Tensor) -> Tensor:
        """Return :meth:`suspicion` of inputs that these members judge, ``[N, n]``."""
        values = self._measured(states, self._repository.reconstruct_drawn(states.x, drawn))
        if self._thresholds is not None:
            thresholds = votes.shared(self._thresholds.to(values), drawn, self.combination.approach)
            return votes.excess(values, thresholds).median(1).values
        median = self._surprise(values, drawn).median(1).values
        return self._reference.suspicion(median, states.logits.argmax(1))

    @property
    def random(self) -> bool:
        """Members are drawn, unless all of them vote."""
        return self.combination.n < len(self._repository)

    def acceptance_probability(self, states: States) -> Tensor:
        """Return the exact probability over draws that each input is accepted, float64 ``[N]``.

        All choices of n members are equally likely: where r of m reject, the number drawn of them is hypergeometric.
        """
        with torch.no_grad():
            return 1 - votes.rejection_probability(*self._compared(self._calibrated_values(states)), *self._rule)

    def acceptance_with(self, states: States) -> Tensor:
        """Return the same where each member in turn is known to be of the ensemble, float64 ``[N, m]``."""
        with torch.no_grad():
            return votes.acceptance_with(*self._compared(self._calibrated_values(states)), *self._rule)

    def _calibrated_values(self, states: States) -> Tensor:
        """Measure inputs in the units that the threshold is in, ``[N, m]``."""
        values = self._all(states)
        if self._thresholds is not None:
            return values
        labels = states.logits.argmax(1)
        return torch.stack([self._reference.suspicion(one, labels) for one in self._surprise(values).unbind(1)], 1)

    def _compared(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put beside values ``[N, m]`` the thresholds of all members ``[m]``."""
        if self._thresholds is not None:
            return values, self._thresholds.to(values)
        return values, torch.full_like(values[0], self.threshold_)

    @property
    def _rule(self) -> tuple[int, votes.Approach]:
        """How many vote, and by which thresholds: one serves all that is conformal."""
        return self.combination.n, self.combination.approach if self._thresholds is not None else "MTA"

    def _surprise(self, values: Tensor, members: Tensor | None = None) -> Tensor:
        """Return minus log p of what members ``[N, n]``, or all, measured ``[N, n]`` among clean samples."""
        if self._members is None:
            raise CalibrationError("MultiMagNet is not fitted yet: call fit(classifier, x, y) first.")
        members = torch.arange(values.shape[1], device=values.device).expand_as(values) if members is None else members
        return self._members.suspicion(values.flatten(), members.flatten()).reshape(values.shape)

    def _all(self, states: States) -> Tensor:
        """Let every member measure every input, ``[N, m]``."""
        repository = self._repository
        return self._measured(states, (repository.reconstruct(i, states.x) for i in range(len(repository))))

    def _measured(self, states: States, made: Iterable[Tensor]) -> Tensor:
        """Measure inputs against several reconstructions of each, ``[N, n]``."""
        temperature = self.combination.temperature
        return torch.stack([self.compared(states.x, states.logits, one, temperature) for one in made], 1)

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        c, m = self.combination, len(self._repository)
        what = (
            "reconstruction error"
            if c.metric == "re"
            else f"Jensen-Shannon divergence at temperature {c.temperature:g}"
        )
        rule = (
            f"drop rate {c.drop_rate:g}, {c.approach}"
            if self.own_rule
            else f"conformal threshold at {self.false_alarm_rate_:g} false alarms"
        )
        chance = "" if self.draws.seed is None else f" (draws can be foreseen: seed {self.draws.seed})"
        return f"MultiMagNet: {c.n} of {m} autoencoders vote, drawn at random{chance}; {what}; {rule}"

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        own = asdict(self.combination)
        return {**own, "draws": self.draws.draws, "draw_seed": self.draws.seed, **super().settings()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the autoencoders, and their thresholds or clean scores."""
        if self._thresholds is not None:
            return {**super().tensors(), "thresholds": self._thresholds}
        learnt = {} if self._members is None else self._members.tensors("members")
        return {**super().tensors(), **learnt, **self._reference.tensors("reference")}

    @classmethod
    def restore(cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> MultiMagNet:
        """Rebuild the detector."""
        detector = super().restore(classifier, settings, tensors)
        if detector.own_rule:
            detector._thresholds = tensors["thresholds"]
            return detector
        detector._members = ReferenceScores.restore(tensors, "members")
        detector.reference_ = ReferenceScores.restore(tensors, "reference")
        return detector

"""MagNet's detectors: what an autoencoder of clean samples cannot reconstruct (Meng and Chen, CCS 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.batches import rows_at_once
from salus.classifier import Classifier, States
from salus.data.packed import take
from salus.detectors.calibration import ReferenceScores
from salus.detectors.reconstruction import DropRate, Metric, ReconstructionDetector, Rule
from salus.errors import CalibrationError
from salus.generative import OneAutoencoder, hold_out
from salus.generative.autoencoder_choice import OneMember, RepositoryOrFolder, TrainingEpochs, TrainingSeed
from salus.options import checked


class MagNet(ReconstructionDetector):
    """Rejects an input that an autoencoder of clean samples reconstructs badly, or into something else.

    The score is the reconstruction error (Section 4.2.1), which finds inputs far from the clean ones, or the
    Jensen-Shannon divergence between the classifier's answers to the input and to its reconstruction (Section 4.2.2),
    which finds those near to them too; a temperature above 1 keeps the answers from saturating. Neither depends on
    the class. MagNet's two detectors for MNIST are ``magnet:member=magnet-1,norm=2+magnet:member=magnet-2``. Its
    released code takes the divergence between two autoencoders' reconstructions; here it is the text's.

    Args:
        metric: ``re``, the reconstruction error, or ``jsd``, the Jensen-Shannon divergence.
        norm: 1 or 2: the reconstruction error is the mean over values of the difference to this power.
        temperature: of the softmaxes that ``jsd`` compares, 10 or 40 in the paper.
        member: which autoencoder, by its number from 0 or its name.
        repository: trained autoencoders, or the folder that holds them; without it ``fit`` trains the one.
        epochs: of that training; None: about 4,000 steps.
        threshold: ``conformal`` (see ``calibrate``), or the paper's ``drop-rate``: a share of clean samples is
            rejected, whatever their class. They are a tenth of the training samples that ``fit`` holds out; an
            autoencoder that was trained before may have seen them.
        drop_rate: that share, 0.001 in the paper on MNIST.
        seed: of the training and of which samples are held out.

    Raises:
        BundleError: the folder holds no repository.
        OptionError: an option makes no sense.
    """

    name: ClassVar[str] = "magnet"
    title: ClassVar[str] = "MagNet"

    @checked
    def __init__(
        self,
        *,
        metric: Metric = "re",
        norm: Annotated[Literal[1, 2], Field(description="power in the reconstruction error")] = 1,
        temperature: Annotated[float, Field(gt=0, description="temperature of the softmaxes that jsd compares")] = 10.0,
        member: OneMember = 0,
        repository: RepositoryOrFolder = None,
        epochs: TrainingEpochs = None,
        threshold: Rule = "conformal",
        drop_rate: DropRate = 0.001,
        seed: TrainingSeed = 0,
    ) -> None:
        super().__init__(OneAutoencoder(self.title, member, repository, epochs, seed), threshold)
        self.metric = metric
        self.norm = norm
        self.temperature = temperature
        self.drop_rate = drop_rate

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> MagNet:
        """Train the autoencoder on clean samples x ``[N, ...]``, or take the one that was given.

        Raises:
            CalibrationError: the samples are too few to train on, or for the drop rate.
            ModelError: the autoencoder takes other samples.
        """
        self.classifier_ = classifier
        self.repository_ = self.choice.find(classifier, x, y, self.trainings)
        if self.own_rule:
            _, held_out = hold_out(len(x), self.choice.options.seed)
            self._drop(take(x, held_out.to(x.device)))
        return self

    @torch.no_grad()
    def _drop(self, x: Tensor) -> None:
        """Set the threshold that this share of clean samples exceeds, whatever their class."""
        dropped = math.floor(len(x) * self.drop_rate + 1e-9)
        if dropped < 1:
            raise CalibrationError(
                f"MagNet: a drop rate of {self.drop_rate:g} drops none of the {len(x)} samples held out; the smallest "
                f"rate they carry is {math.ceil(1e4 / len(x)) / 1e4:g}."
            )
        classifier = self.classifier
        scores = torch.cat([self._scores(classifier.states(part, ())) for part in x.split(rows_at_once(x, 512))])
        nobodys = torch.full_like(scores, -1, dtype=torch.int64)  # every class then has the scores of all
        self.reference_ = ReferenceScores.fit(scores, nobodys, len(classifier.classes))
        last = scores.sort(descending=True).values[dropped : dropped + 1]
        self.threshold_ = float(self.reference_.suspicion(last, torch.zeros_like(nobodys[:1])))
        self.false_alarm_rate_ = self.drop_rate

    def class_scores(self, states: States) -> Tensor:
        """Return the error or the divergence, the same under each class, ``[N, K]``; differentiable."""
        return self._scores(states)[:, None].expand_as(states.logits)

    def _scores(self, states: States) -> Tensor:
        reconstruction = self._repository.reconstruct(0, states.x)
        temperature = None if self.metric == "re" else self.temperature
        return self.compared(states.x, states.logits, reconstruction, temperature, self.norm)

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        member = self._repository.members[0]
        what = (
            f"mean of the reconstruction error to the power {self.norm}"
            if self.metric == "re"
            else f"Jensen-Shannon divergence at temperature {self.temperature:g}"
        )
        rule = (
            f"drop rate {self.drop_rate:g}"
            if self.own_rule
            else f"conformal threshold at {self.false_alarm_rate_:g} false alarms"
        )
        return (
            f"MagNet: {what}, autoencoder {member.spec.name} (mean squared error {member.error:.2g} on samples held "
            f"out); {rule}"
        )

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        own = {name: getattr(self, name) for name in ("metric", "norm", "temperature", "drop_rate")}
        return {**own, **super().settings()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the autoencoder and the reference scores."""
        return {**super().tensors(), **self._reference.tensors("reference")}

    @classmethod
    def restore(cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> MagNet:
        """Rebuild the detector."""
        detector = super().restore(classifier, settings, tensors)
        detector.reference_ = ReferenceScores.restore(tensors, "reference")
        return detector

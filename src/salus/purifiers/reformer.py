"""MagNet's reformer: an input is replaced by its reconstruction (Meng and Chen, CCS 2017, Section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from salus.classifier import Classifier
from salus.errors import CalibrationError
from salus.generative import OneAutoencoder, Repository
from salus.generative.autoencoder_choice import OneMember, RepositoryOrFolder, TrainingEpochs, TrainingSeed
from salus.options import checked
from salus.purifiers.base import Purifier


class Reformer(Purifier):
    """Moves an input towards the clean samples, by an autoencoder that was trained on them.

    An autoencoder is differentiable: whoever knows it needs no stand-in for its gradient, and an attack through it is
    the exact one.

    Args:
        member: which autoencoder, by its number from 0 or its name; the first is the paper's on MNIST.
        repository: trained autoencoders, or the folder that holds them; without it ``fit`` trains the one.
        epochs: of that training; None: about 4,000 steps.
        seed: of that training.

    Raises:
        BundleError: the folder holds no repository.
        OptionError: an option makes no sense.
    """

    name: ClassVar[str] = "reformer"
    title: ClassVar[str] = "Reformer"

    @checked
    def __init__(
        self,
        *,
        member: OneMember = 0,
        repository: RepositoryOrFolder = None,
        epochs: TrainingEpochs = None,
        seed: TrainingSeed = 0,
    ) -> None:
        self.choice = OneAutoencoder(self.title, member, repository, epochs, seed)
        self.repository_: Repository | None = None

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> Reformer:
        """Train the autoencoder on clean samples x ``[N, ...]``, or take the one that was given.

        Raises:
            CalibrationError: the samples are too few to train on.
            ModelError: the autoencoder takes other samples.
        """
        self.repository_ = self.choice.find(classifier, x, y, self.trainings)
        return self

    @property
    def differentiable(self) -> bool:
        """Autoencoders are."""
        return True

    def purify(self, x: Tensor) -> Tensor:
        """Return the reconstruction of x ``[N, ...]``; differentiable."""
        return self._repository.reconstruct(0, x)

    @property
    def _repository(self) -> Repository:
        if self.repository_ is None:
            raise CalibrationError("The reformer is not fitted yet: call fit(classifier, x, y) first.")
        return self.repository_

    def settings(self) -> dict[str, Any]:
        """Return which autoencoder it is."""
        return {"repository": self._repository.settings()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the autoencoder's weights."""
        return self._repository.tensors()

    @classmethod
    def restore(cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Reformer:
        """Rebuild the reformer."""
        reformer = cls(repository=Repository.restore(settings["repository"], tensors))
        reformer.repository_ = reformer.choice.repository
        return reformer

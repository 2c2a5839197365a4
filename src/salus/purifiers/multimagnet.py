"""MultiMagNet's reformer: a random autoencoder rebuilds each input (Machado et al., ICEIS 2019, Section 4.2.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from salus.classifier import Classifier
from salus.errors import CalibrationError
from salus.generative import Repository
from salus.generative.autoencoder_choice import RepositoryOrFolder, SeveralAutoencoders, TrainingEpochs, TrainingSeed
from salus.generative.member_draws import Draws, DrawSeed, MemberDraws
from salus.options import checked
from salus.purifiers.base import Purifier

_STREAM = 1  # of its draws, so that a detector with the same seed draws others


class MultiMagNetReformer(Purifier):
    """Replaces each input by the reconstruction of one member of the repository, drawn at random.

    In a guard whose detector is MultiMagNet with the same autoencoders it is, as in the paper, a member of the ensemble
    that has judged the input: detecting and reforming is one deployment with one draw
    (:attr:`salus.guard.Guard.ensemble`). Where nothing is said of autoencoders here, they are the detector's. Alone it
    draws out of all members.

    What attackers see are all members' reconstructions: they raise the mean of their losses over the draws, each with
    its exact gradient (EOT, Athalye et al., 2018). The loss of the mean reconstruction would be another thing.

    Args:
        repository: trained autoencoders, or the folder that holds them; without it ``fit`` trains ten.
        epochs: of that training; None: about 4,000 steps each.
        draws: ``sample``, or for how many inputs in turn one draw serves.
        draw_seed: a number for tests and reproductions, which makes the draws repeatable; None in production, where
            the operating system's entropy decides.
        seed: of the training of autoencoders.

    Raises:
        BundleError: the folder holds no repository.
        OptionError: an option makes no sense.
    """

    name: ClassVar[str] = "multimagnet-reformer"
    title: ClassVar[str] = "MultiMagNet's reformer"

    @checked
    def __init__(
        self,
        *,
        repository: RepositoryOrFolder = None,
        epochs: TrainingEpochs = None,
        draws: Draws = "sample",
        draw_seed: DrawSeed = None,
        seed: TrainingSeed = 0,
    ) -> None:
        self.choice = SeveralAutoencoders(self.title, 1, repository, epochs, seed)
        self.draws = MemberDraws(draw_seed, draws, stream=_STREAM)
        self.repository_: Repository | None = None

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> MultiMagNetReformer:
        """Train the autoencoders on clean samples x ``[N, ...]``, or take those that were given.

        Raises:
            CalibrationError: the samples are too few to train on.
            ModelError: the autoencoders take other samples.
        """
        self.repository_ = self.choice.find(classifier, x, y, self.trainings)
        return self

    @property
    def chosen(self) -> bool:
        """Whether its autoencoders were given, or their training was."""
        return self.choice.repository is not None or self.choice.options.epochs is not None

    @property
    def _repository(self) -> Repository:
        if self.repository_ is None:
            raise CalibrationError("MultiMagNet's reformer is not fitted yet: call fit(classifier, x, y) first.")
        return self.repository_

    @property
    def random(self) -> bool:
        """Members are drawn."""
        return len(self._repository) > 1

    @property
    def differentiable(self) -> bool:
        """Autoencoders are."""
        return True

    def purify(self, x: Tensor) -> Tensor:
        """Reconstruct each input by a member of its own draw; members that nobody drew do nothing."""
        return self.reform(x, self.draws(x, len(self._repository), 1))

    def reform(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Reconstruct each input by the first of the members drawn for it, ``[N, n]`` in random order."""
        return self._repository.reconstruct_drawn(x, drawn[:, :1])[0]

    def outcomes(self, x: Tensor) -> list[Tensor]:
        """Return every member's reconstruction; differentiable."""
        return [self._repository.reconstruct(i, x) for i in range(len(self._repository))]

    def settings(self) -> dict[str, Any]:
        """Return how it draws, and what the autoencoders are."""
        return {
            "draws": self.draws.draws,
            "draw_seed": self.draws.seed,
            "seed": self.choice.options.seed,
            "repository": self._repository.settings(),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the autoencoders' weights."""
        return self._repository.tensors()

    @classmethod
    def restore(
        cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> MultiMagNetReformer:
        """Rebuild the reformer."""
        repository = Repository.restore(settings["repository"], tensors)
        reformer = cls(**{key: value for key, value in settings.items() if key != "repository"}, repository=repository)
        reformer.repository_ = repository
        return reformer

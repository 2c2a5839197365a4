"""Which autoencoders a defence uses: those it was given, or new ones trained on what it is fitted to."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier
from salus.data.base import Dataset, Provenance
from salus.data.packed import take
from salus.errors import CalibrationError, OptionError
from salus.generative.autoencoder_training import RepositoryOptions, train_repository
from salus.generative.autoencoders import Repository
from salus.models.registry import KINDS
from salus.options import Words

#: Options that defences which stand on autoencoders share.
RepositoryOrFolder = Annotated[
    Repository | Path | str | None,
    Words("a folder of `salus autoencoders`"),
    Field(description="trained autoencoders; without it the defence trains its own"),
]
OneMember = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern="[a-z]")],
    Words("an autoencoder's name or a whole number from 0 up"),
    Field(description="which autoencoder, by its name or its number"),
]
TrainingEpochs = Annotated[
    Annotated[int, Field(ge=1)] | None,
    Field(description="passes over the data in training; about 4,000 steps when not given"),
]
TrainingSeed = Annotated[int, Field(ge=0, description="decides the training, and which samples are held out")]

_MOST = 5000  # clean samples that say what is normal: as many as MultiMagNet's V_leg


class AutoencoderChoice:
    """The choice of autoencoders, read when it is made; found, or trained, when the defence is fitted.

    Args:
        title: the defence's name in sentences.
        repository: where they are; a folder is read at once; None trains them.
        epochs: of that training; None: about 4,000 steps.
        seed: of that training.

    Raises:
        BundleError: the folder holds no repository.
        OptionError: an option makes no sense.
    """

    def __init__(self, title: str, repository: Repository | Path | str | None, epochs: int | None, seed: int) -> None:
        if repository is not None and epochs is not None:
            raise OptionError(f"{title}: the autoencoders of a repository are trained already; leave epochs out.")
        self.repository = Repository.load(repository) if isinstance(repository, (str, Path)) else repository
        self.options = RepositoryOptions(epochs=epochs, seed=seed)

    def find(self, classifier: Classifier, x: Tensor, y: Tensor, folder: Path | None = None) -> Repository:
        """Return them; see :func:`repository_for`.

        Raises:
            CalibrationError: the samples are too few to train on.
            ModelError: the autoencoders take other samples.
        """
        return repository_for(self.repository, classifier, x, y, options=self.options, folder=folder)


class OneAutoencoder(AutoencoderChoice):
    """The choice of one autoencoder, by its number from 0 or its name; otherwise see :class:`AutoencoderChoice`."""

    def __init__(
        self, title: str, member: int | str, repository: Repository | Path | str | None, epochs: int | None, seed: int
    ) -> None:
        super().__init__(title, repository, epochs, seed)
        if self.repository is not None:
            self.repository.index(member)
        self.member = member

    def find(self, classifier: Classifier, x: Tensor, y: Tensor, folder: Path | None = None) -> Repository:
        """Return the autoencoder as a repository of one; see :func:`repository_for`.

        Raises:
            ModelError: it takes other samples.
            OptionError: there is none of that name or number.
        """
        if self.repository is None:
            ten = self.options.ten(KINDS.get(x.ndim - 1, "sample"))
            if isinstance(self.member, int) and self.member >= len(ten):
                raise OptionError(f"There are autoencoders 0 to {len(ten) - 1}; there is no number {self.member}.")
            name = self.member if isinstance(self.member, str) else ten[self.member].name
            options = replace(self.options, members=(name,))
            return repository_for(None, classifier, x, y, options=options, folder=folder)
        return repository_for(self.repository, classifier, x, y).only(self.member)


class SeveralAutoencoders(AutoencoderChoice):
    """The choice of a whole repository, of ``least`` members at least; ten are trained where none is given."""

    def __init__(
        self, title: str, least: int, repository: Repository | Path | str | None, epochs: int | None, seed: int
    ) -> None:
        super().__init__(title, repository, epochs, seed)
        members = self.options.size if self.repository is None else len(self.repository)
        if members < least:
            raise OptionError(f"{title} cannot draw n = {least} of {members} autoencoders; ask for fewer.")

    def unseen(self, x: Tensor) -> Tensor:
        """Take up to 5,000 of the samples x that :meth:`find` held out; of all where it trained nothing."""
        rows = torch.arange(len(x)) if self.repository is not None else hold_out(len(x), self.options.seed)[1]
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.options.seed))
        return take(x, rows[order[:_MOST]].to(x.device))


def repository_for(
    given: Repository | Path | str | None,
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    options: RepositoryOptions | None = None,
    seed: int = 0,
    folder: Path | None = None,
) -> Repository:
    """Find the autoencoders that a defence uses: those given, or new ones trained on nine tenths of x.

    Args:
        given: a repository, the folder of one, or None.
        classifier: whose samples they shall take.
        x: clean training samples ``[N, ...]``.
        y: their labels ``[N]``.
        options: of the training, its seed among them.
        seed: of the training where no options are given.
        folder: where trainings are kept, in a folder each: a stopped one goes on, and what is trained already is taken.

    Raises:
        BundleError: the folder holds no repository.
        CalibrationError: the samples are too few to train on.
        ModelError: the autoencoders take other samples.
    """
    if given is not None:
        repository = given if isinstance(given, Repository) else Repository.load(given)
        repository.check_suits(classifier.shape, classifier.bounds)
        return repository
    options = options or RepositoryOptions(seed=seed)
    learn, held_out = (rows.to(x.device) for rows in hold_out(len(x), options.seed))
    data = Dataset(x, y, classifier.classes, Provenance("training data of a defence", ""), bounds=classifier.bounds)
    train, validation = data.subset(learn), data.subset(held_out)
    if folder is not None:  # members of one training lie together, whichever are asked for
        common = replace(options, size=10, members=())
        key = hashlib.sha256(repr((common.decisive(), train.fingerprint())).encode()).hexdigest()
        folder = folder / f"autoencoders-{key[:8]}"
    return train_repository(train, validation, options, folder=folder, device=x.device)


def hold_out(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Deal n samples into nine tenths to learn from and a tenth to look at afterwards; return their positions.

    Raises:
        CalibrationError: there are fewer than ten.
    """
    if n < 10:
        raise CalibrationError(f"{n} samples are too few to hold a tenth of them out; give ten or more.")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[n // 10 :].sort().values, order[: n // 10].sort().values

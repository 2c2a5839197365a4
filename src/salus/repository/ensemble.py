"""The choice of a whole repository, for defences that draw from it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.errors import OptionError
from salus.repository.choice import hold_out, repository_for
from salus.repository.trained import Repository
from salus.repository.training import RepositoryOptions

_MOST = 5000  # clean samples that say what is normal: as many as MultiMagNet's V_leg


class SeveralAutoencoders:
    """The choice of a repository, checked when it is made; trained, if it has to be, when the defence is fitted.

    Args:
        title: the defence's name in sentences.
        least: members that it needs.
        repository: trained autoencoders; a folder is read at once; None trains ten.
        epochs: of that training; None: about 4,000 steps.
        seed: of that training, and of which samples are held out.

    Raises:
        BundleError: the folder holds no repository.
        OptionError: an option makes no sense, or there are too few members.
    """

    def __init__(
        self, title: str, least: int, repository: Repository | Path | str | None, epochs: int | None, seed: int
    ) -> None:
        for option, number, lowest in (("epochs", epochs, 1), ("seed", seed, 0)):
            if number is not None and (type(number) is not int or number < lowest):
                raise OptionError(f"{title}: {option} must be a whole number from {lowest} up, not {number!r}.")
        if repository is not None and epochs is not None:
            raise OptionError(f"{title}: the autoencoders of a repository are trained already; leave epochs out.")
        # A folder may have a number for a name.
        self.repository = Repository.load(str(repository)) if isinstance(repository, (str, Path, int)) else repository
        self.options = RepositoryOptions(epochs=epochs, seed=seed)
        members = self.options.size if self.repository is None else len(self.repository)
        if members < least:
            raise OptionError(f"{title} cannot draw n = {least} of {members} autoencoders; ask for fewer.")

    def find(self, classifier: Classifier, x: Tensor, y: Tensor) -> Repository:
        """Return the repository; see :func:`salus.repository.repository_for`.

        Raises:
            CalibrationError: the samples are too few to train on.
            ModelError: the autoencoders take other samples.
        """
        return repository_for(self.repository, classifier, x, y, options=self.options)

    def unseen(self, x: Tensor) -> Tensor:
        """Take up to 5,000 of the samples x that :meth:`find` held out; of all where it trained nothing."""
        rows = torch.arange(len(x)) if self.repository is not None else hold_out(len(x), self.options.seed)[1]
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.options.seed))
        return x[rows[order[:_MOST]].to(x.device)]

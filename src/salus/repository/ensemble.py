"""The choice of a whole repository, for defences that draw from it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from salus.data.packed import take
from salus.errors import OptionError
from salus.repository.choice import Autoencoders, hold_out
from salus.repository.trained import Repository

_MOST = 5000  # clean samples that say what is normal: as many as MultiMagNet's V_leg


class SeveralAutoencoders(Autoencoders):
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

"""The options of a study, declared once: fields of a frozen dataclass, each annotated with its line of help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

ScaleName = Literal["smoke", "small", "full"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a study takes: nothing, but for the fields that its own dataclass adds.

    A field is a number, a word (one of a few: a ``Literal``), a path, a switch, or a tuple of words, which the command
    line takes again and again where it says ``Repeated()``, as in
    ``seed: Annotated[int, Field(description="of every random draw")] = 0``. Its name is the command line's too,
    ``data_dir`` for ``--data-dir``.
    """


@dataclass(frozen=True, kw_only=True)
class TrainingStudyOptions(Options):
    """What every study takes that trains and attacks."""

    scale: Annotated[
        ScaleName,
        Field(description="smoke (seconds), small (two cores, an hour or two) or full (as printed: a GPU)"),
    ] = "small"
    time: Annotated[float | None, Field(description="begin nothing that would not end within so many minutes")] = None
    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None
    seed: Annotated[int, Field(description="of every random draw")] = 0
    device: Annotated[str, Field(description="where to compute: cpu, cuda or another of torch's names")] = "cpu"

    @property
    def place(self) -> dict[str, Path]:
        """Say where data are looked for first, as ``salus.data.load`` takes it."""
        return {} if self.data_dir is None else {"data_dir": self.data_dir}

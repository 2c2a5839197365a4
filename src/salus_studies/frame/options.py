"""The options of a study, declared once: fields of a frozen dataclass, each annotated with its line of help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

ScaleName = Literal["smoke", "small", "full"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a study takes: nothing, but for the fields that its own dataclass adds.

    A field is a number, a word (one of a few: a ``Literal``), a path, a switch, or a tuple of words, which the command
    line takes again and again: ``seed: Annotated[int, "Of every random draw."] = 0``. Its name is the command line's
    too, ``data_dir`` for ``--data-dir``.
    """


@dataclass(frozen=True, kw_only=True)
class TrainingStudyOptions(Options):
    """What every study takes that trains and attacks."""

    scale: Annotated[ScaleName, "smoke (seconds), small (two cores, an hour or two) or full (as printed: a GPU)."] = (
        "small"
    )
    time: Annotated[float | None, "Begin nothing that would not end within so many minutes."] = None
    data_dir: Annotated[Path | None, "Where downloaded sets lie."] = None
    seed: Annotated[int, "Of every random draw."] = 0
    device: Annotated[str, "cpu, cuda, ..."] = "cpu"

    @property
    def place(self) -> dict[str, Path]:
        """Say where data are looked for first, as ``salus.data.load`` takes it."""
        return {} if self.data_dir is None else {"data_dir": self.data_dir}

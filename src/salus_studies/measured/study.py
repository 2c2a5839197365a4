"""The measured figures as a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from salus_studies.frame.options import Options
from salus_studies.frame.study import Study

if TYPE_CHECKING:
    from salus_studies.frame.folder import Folder
    from salus_studies.frame.page import Page
    from salus_studies.frame.results import Results


@dataclass(frozen=True, kw_only=True)
class MeasuredOptions(Options):
    """What the study of measured figures takes."""

    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None
    seed: Annotated[int, Field(description="of every random draw")] = 0

    @property
    def place(self) -> dict[str, Path]:
        """Say where data are looked for first, as plans take it."""
        return {} if self.data_dir is None else {"data_dir": self.data_dir}


def _run(options: MeasuredOptions, folder: Folder) -> Results:
    from salus_studies.measured.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.measured.page import page

    return page(results)


STUDY = Study(
    name="measured",
    title="Measured figures",
    summary="An undefended heartbeat network, bare and behind I-defender.",
    options=MeasuredOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/results.md",
)

"""Defences as a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from salus.options import Repeated
from salus_studies.frame.options import Options
from salus_studies.frame.study import Study

if TYPE_CHECKING:
    from salus_studies.frame.folder import Folder
    from salus_studies.frame.page import Page
    from salus_studies.frame.results import Results


@dataclass(frozen=True, kw_only=True)
class DefencesOptions(Options):
    """What the study of defences takes."""

    data: Annotated[tuple[Literal["mitdb", "ham10000"], ...], Repeated(), Field(description="what to audit on")] = (
        "mitdb",
        "ham10000",
    )
    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None


def _run(options: DefencesOptions, folder: Folder) -> Results:
    from salus_studies.defences.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.defences.page import page
    from salus_studies.frame.results import Results
    from salus_studies.heartbeats.study import STUDY as HEARTBEATS

    return page(results, Results.read(HEARTBEATS.room))


STUDY = Study(
    name="defences",
    title="Defences",
    summary="Every defence: what it needs and costs, what it holds against, and who breaks it.",
    options=DefencesOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/defences.md",
)

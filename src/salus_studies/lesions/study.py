"""Skin lesions as a study."""

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
class LesionsOptions(Options):
    """What the study of skin lesions takes."""

    run: Annotated[Path, Field(description="folder of salus reproduce skin-lesion, whose results are told here")] = (
        Path("runs/skin-lesion")
    )


def _run(options: LesionsOptions, folder: Folder) -> Results:
    from salus_studies.lesions.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.lesions.page import page

    return page(results, figures)


STUDY = Study(
    name="lesions",
    title="Skin lesions",
    summary="Skin lesions for the person who decides: what attacks do to patients, and what helps.",
    options=LesionsOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/imaging.md",
    figures="images",
)

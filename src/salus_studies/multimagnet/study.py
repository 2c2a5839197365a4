"""MultiMagNet as a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from salus_studies.frame.options import TrainingStudyOptions
from salus_studies.frame.study import Study

if TYPE_CHECKING:
    from salus_studies.frame.folder import Folder
    from salus_studies.frame.page import Page
    from salus_studies.frame.results import Results


@dataclass(frozen=True, kw_only=True)
class MultiMagNetOptions(TrainingStudyOptions):
    """What the study of MultiMagNet takes."""


def _run(options: MultiMagNetOptions, folder: Folder) -> Results:
    from salus_studies.multimagnet.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.multimagnet.page import page

    return page(results, figures)


STUDY = Study(
    name="multimagnet",
    title="MultiMagNet",
    summary="MultiMagNet (Machado, Goldschmidt and Silva, ICEIS 2019): its six tables beside ours.",
    options=MultiMagNetOptions,
    version=2,
    run=_run,
    compose=_compose,
    page="docs/papers/multimagnet.md",
)

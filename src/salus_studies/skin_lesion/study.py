"""The skin-lesion thesis as a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from salus.errors import OptionError
from salus.options import Repeated
from salus_studies.frame.options import TrainingStudyOptions
from salus_studies.frame.study import Study

if TYPE_CHECKING:
    from salus_studies.frame.folder import Folder
    from salus_studies.frame.page import Page
    from salus_studies.frame.results import Results

#: What the work falls into: each can be done in a run of its own, and all go into one folder.
Part = Literal["networks", "tables", "knows", "poisoning", "resolution", "webp", "defences"]
PARTS: tuple[Part, ...] = ("networks", "tables", "knows", "poisoning", "resolution", "webp", "defences")


@dataclass(frozen=True, kw_only=True)
class SkinLesionOptions(TrainingStudyOptions):
    """What the study of The skin-lesion thesis takes."""

    split: Annotated[
        tuple[Literal["lesions", "images"], ...],
        Repeated(),
        Field(description="lesions, two pictures of one lesion on one side; or images, at random as in the thesis"),
    ] = ("lesions",)
    part: Annotated[
        tuple[Part, ...],
        Repeated(),
        Field(
            description="what is begun now; networks are the plain, hardened and retrained ones, knows are attackers "
            "who know defences"
        ),
    ] = PARTS
    data: Annotated[Literal["ham10000", "isic2018"], Field(description="the same images, twice")] = "ham10000"

    def __post_init__(self) -> None:
        if len(self.split) != 1:
            raise OptionError("The study of skin-lesion takes one split: lesions, or images as in the thesis.")


def _run(options: SkinLesionOptions, folder: Folder) -> Results:
    from salus_studies.skin_lesion.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.skin_lesion.page import page

    return page(results, figures)


STUDY = Study(
    name="skin-lesion",
    title="The skin-lesion thesis",
    summary="The skin-lesion thesis (Nédellec and Mouret, 2021): Tables 4.1 to 4.18 beside ours.",
    options=SkinLesionOptions,
    version=2,
    run=_run,
    compose=_compose,
    page="docs/papers/skin-lesion.md",
)

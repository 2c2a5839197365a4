"""I-defender as a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from salus.options import Repeated
from salus_studies.frame.options import TrainingStudyOptions
from salus_studies.frame.study import Study

if TYPE_CHECKING:
    from salus_studies.frame.folder import Folder
    from salus_studies.frame.page import Page
    from salus_studies.frame.results import Results


@dataclass(frozen=True, kw_only=True)
class IDefenderOptions(TrainingStudyOptions):
    """What the study of I-defender takes."""

    data: Annotated[str | None, Field(description="A folder in ImageNet's layout, train/CLASS/*, for Table 9")] = None
    trained_only: Annotated[
        bool, Field(description="train no network: what needs one that is not there yet is listed as not run")
    ] = False
    part: Annotated[
        tuple[Literal["black-box", "defense-gan", "cifar10", "imagenet"], ...],
        Repeated(),
        Field(description="what is run: I-defender's part of Tables 2 to 5, Defense-GAN's, Tables 6 to 8, Table 9"),
    ] = ("black-box", "defense-gan", "cifar10", "imagenet")


def _run(options: IDefenderOptions, folder: Folder) -> Results:
    from salus_studies.i_defender.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.i_defender.page import page

    return page(results, figures)


STUDY = Study(
    name="i-defender",
    title="I-defender",
    summary="I-defender (Zheng and Hong, NeurIPS 2018): its nine tables and five figures beside ours.",
    options=IDefenderOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/papers/i-defender.md",
    joined={
        "trainings": ("data", "role"),
        "choices": ("data", "network", "layer"),
        "black_box": ("data", "setting", "attack"),
        "figure_1": ("data",),
        "semi_white_box": ("column", "method"),
        "gray_box": ("pair", "column", "alpha"),
        "alone": ("pair", "column"),
        "own": ("pair", "column", "threat_model"),
        "defense_gan": ("data", "setting", "restarts", "iterations", "eps"),
        "trend": ("data", "arm"),
        "speed": ("data",),
        "generators": ("data", "role"),
        "descents": ("data", "restarts", "iterations", "eps"),
        "tuned": ("column",),
        "reads": ("method", "layers"),
        "imagenet": ("pair", "column", "alpha"),
    },
)

"""Attacks as a study."""

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

ModelName = Literal["table", "beats", "beats-hardened", "fashion", "fashion-hardened", "lesions"]
Library = Literal[
    "salus", "adv-lib", "adversarial-robustness-toolbox", "foolbox", "pyautoattack", "secml-torch", "torchattacks"
]


@dataclass(frozen=True, kw_only=True)
class AttacksOptions(Options):
    """What the study of attacks takes."""

    only: Annotated[
        tuple[ModelName, ...], Repeated(), Field(description="which models are attacked; all when none is named")
    ] = ()
    part: Annotated[
        tuple[Literal["attacks", "ensembles", "queries"], ...],
        Repeated(),
        Field(description="attacks within a budget of passes; AutoAttack and its like; attacks that see answers alone"),
    ] = ("attacks", "ensembles", "queries")
    norm: Annotated[tuple[Literal["l0", "l1", "l2", "linf"], ...], Repeated(), Field(description="in which norms")] = (
        "l0",
        "l1",
        "l2",
        "linf",
    )
    budget: Annotated[
        tuple[Literal["80", "200", "1000", "2000"], ...],
        Repeated(),
        Field(description="within how many passes a sample; all when none is named"),
    ] = ()
    library: Annotated[
        tuple[Library, ...], Repeated(), Field(description="whose attacks; all libraries when none is named")
    ] = ()
    again: Annotated[
        tuple[str, ...], Repeated(), Field(description="attacks that are run again, because their code has changed")
    ] = ()
    seeds: Annotated[int, Field(ge=1, le=3, description="most seeds of a run; the others can be run later")] = 3
    samples: Annotated[int, Field(ge=2, description="test samples of each model")] = 256
    time: Annotated[float | None, Field(description="begin nothing that would not end within so many minutes")] = None
    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None


def _run(options: AttacksOptions, folder: Folder) -> Results:
    from salus_studies.attacks.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.attacks.page import page

    return page(results, figures)


STUDY = Study(
    name="attacks",
    title="Attacks",
    summary="What attacks there are, and how near each comes to the best that is known, beside other libraries.",
    options=AttacksOptions,
    version=2,
    run=_run,
    compose=_compose,
    page="docs/attacks.md",
    figures="images",
    side_by_side=True,
)

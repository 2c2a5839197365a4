"""Attacks as a study."""

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
class AttacksOptions(Options):
    """What the study of attacks takes."""

    benchmark: Annotated[
        Path | None,
        Field(description="folder where benchmarks/attacks.py --out put results.json.  [default: this study's own]"),
    ] = None


def _run(options: AttacksOptions, folder: Folder) -> Results:
    from salus_studies.attacks.protocol import run

    return run(options)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.attacks.page import page

    return page(results, figures)


STUDY = Study(
    name="attacks",
    title="Attacks",
    summary="What attacks there are, and how each stands beside the same attack of other libraries.",
    options=AttacksOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/attacks.md",
    figures="images",
)

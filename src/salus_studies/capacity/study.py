"""Capacity as a study."""

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

_BENCHMARKS = Path("benchmarks")


@dataclass(frozen=True, kw_only=True)
class CapacityOptions(Options):
    """What the study of capacity takes."""

    bundle: Annotated[Path, Field(description="a guard's bundle, whose verdicts are timed")]
    service: Annotated[Path, Field(description="what benchmarks/service.py measured")] = _BENCHMARKS / "service.json"
    engines: Annotated[Path, Field(description="what benchmarks/engines.py measured")] = _BENCHMARKS / "engines.json"
    seed: Annotated[int, Field(description="of every random draw")] = 0


def _run(options: CapacityOptions, folder: Folder) -> Results:
    from salus_studies.capacity.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.capacity.page import page

    return page(results, figures)


STUDY = Study(
    name="capacity",
    title="Capacity",
    summary="What so many beats a day, or an audit of so many cells, need; from measured figures, by simulation.",
    options=CapacityOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/capacity.md",
    figures="images/capacity",
)

"""Attacks by queries and their monitors as a study."""

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
class QueriesOptions(Options):
    """What the study of queries takes."""

    bundle: Annotated[Path, Field(description="a guard of heartbeats that learnt from DS1 alone")]
    beats: Annotated[int, Field(ge=1, description="beats of DS2 that are attacked")] = 100
    queries: Annotated[int, Field(ge=50, description="queries for each beat, at most")] = 10_000
    knowing: Annotated[
        int | None, Field(ge=1, description="beats that the attackers who know the monitor try; all if not given")
    ] = None
    knowing_queries: Annotated[
        int | None, Field(ge=50, description="queries of these for each beat, at most; as many if not given")
    ] = None
    outsider: Annotated[int, Field(ge=1, description="beats that ART's HopSkipJump attacks over HTTP, at most")] = 10
    speed: Annotated[Path, Field(description="what benchmarks/monitors.py measured")] = _BENCHMARKS / "monitors.json"
    lesions: Annotated[Path, Field(description="what benchmarks/query_lesions.py measured")] = (
        _BENCHMARKS / "query_lesions.json"
    )
    seed: Annotated[int, Field(ge=0, description="of every random draw")] = 0
    time: Annotated[float | None, Field(description="begin nothing that would not end within so many minutes")] = None
    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None


def _run(options: QueriesOptions, folder: Folder) -> Results:
    from salus_studies.queries.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.queries.page import page

    return page(results)


STUDY = Study(
    name="queries",
    title="Queries",
    summary="Attacks that ask a guard of heartbeats, naive and knowing, and what monitors of callers make of them.",
    options=QueriesOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/queries.md",
)

"""Heartbeats as a study."""

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
class HeartbeatsOptions(Options):
    """What the study of heartbeats takes."""

    beats: Annotated[
        Path | None, Field(description="folder of salus harden with the network by beats, trained here if not given")
    ] = None
    patients: Annotated[Path | None, Field(description="the same by patients")] = None
    plain: Annotated[Path | None, Field(description="folder of an ecg-cnn that was trained as usual, likewise")] = None
    time: Annotated[float | None, Field(description="begin nothing that would not end within so many minutes")] = None
    data_dir: Annotated[Path | None, Field(description="where downloaded sets lie")] = None
    seed: Annotated[int, Field(description="of every random draw")] = 0


def _run(options: HeartbeatsOptions, folder: Folder) -> Results:
    from salus_studies.heartbeats.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    from salus_studies.heartbeats.page import page

    return page(results, figures)


STUDY = Study(
    name="heartbeats",
    title="Heartbeats",
    summary="Two hardened heartbeat classifiers, and what attacks leave of them.",
    options=HeartbeatsOptions,
    version=1,
    run=_run,
    compose=_compose,
    page="docs/ecg.md",
    figures="images",
)

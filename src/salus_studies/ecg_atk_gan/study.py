"""ECG-ATK-GAN as a study."""

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
class ECGATKGANOptions(TrainingStudyOptions):
    """What the study of ECG-ATK-GAN takes."""

    protocol: Annotated[
        tuple[Literal["as-published", "honest"], ...],
        Repeated(),
        Field(description="as-published (the papers' attack data and unit) or honest (attacks at full strength)"),
    ] = ("as-published", "honest")
    split: Annotated[
        tuple[Literal["beats", "patients"], ...], Repeated(), Field(description="those that honest runs on")
    ] = (
        "beats",
        "patients",
    )
    data: Annotated[str, Field(description="mitdb (MIT-BIH), ptbdb (PTB), or a folder of WFDB records")] = "mitdb"
    scale: Annotated[
        Literal["smoke", "small", "letter", "full"],
        Field(
            description="smoke (seconds), small (two cores, an hour or two), letter (two folds and thirty epochs on "
            "fewer beats) or full (as printed: a GPU)"
        ),
    ] = "small"  # type: ignore[assignment]  # one scale more than other studies have


def _run(options: ECGATKGANOptions, folder: Folder) -> Results:
    if options.data == "ptbdb":
        from salus_studies.ecg_atk_gan.ptb import run_ptb

        return run_ptb(options, folder)
    from salus_studies.ecg_atk_gan.protocol import run

    return run(options, folder)


def _compose(results: Results, figures: str) -> Page:
    if results.values.get("ptb"):  # which has a page of its own
        from salus_studies.ecg_atk_gan import page_ptb

        return page_ptb.page(results, figures)
    from salus_studies.ecg_atk_gan.page import page

    return page(results, figures)


STUDY = Study(
    name="ecg-atk-gan",
    title="ECG-ATK-GAN",
    summary="ECG-ATK-GAN (Hossain et al., 2021 and 2022): both papers' tables beside ours.",
    options=ECGATKGANOptions,
    version=2,
    run=_run,
    compose=_compose,
    page="docs/papers/ecg-atk-gan.md",
)

"""A paper worked through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from salus.cli.options import (
    command_line,
)
from salus_studies import PAPERS


@click.command()
@click.argument("paper", type=click.Choice(PAPERS))
@click.option(
    "--protocol",
    multiple=True,
    help="Of ecg-atk-gan: as-published (the papers' attack data and unit) or honest (attacks at full strength).  "
    "[default: both]",
)
@click.option(
    "--scale",
    default="small",
    show_default=True,
    help="smoke (seconds), small (two cores, an hour or two) or full (as in the paper: a GPU).",
)
@click.option(
    "--split",
    multiple=True,
    help="Of ecg-atk-gan: beats or patients, for honest.  [default: both]  Of skin-lesion: lesions, or images as in "
    "the thesis.  [default: lesions]",
)
@click.option("--time", "minutes", type=float, help="Begin nothing that would not end within so many minutes.")
@click.option(
    "--data",
    help="Of ecg-atk-gan: a folder of WFDB records.  [default: mitdb]  Of i-defender: a folder of ImageNet.  Of "
    "skin-lesion: ham10000 or isic2018.  [default: ham10000]",
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where downloaded sets lie.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@click.option("--page", type=click.Path(path_type=Path), help="The page to write.  [default: OUT/PAPER.md]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for models and results.")
def reproduce(paper: str, protocol: tuple[str, ...], split: tuple[str, ...], out: Path, **options: Any) -> None:
    """Train, attack and count what a paper did, and print its numbers beside ours.

    What does not fit the time is listed as not run; the same command goes on where it was.

    \b
    salus reproduce ecg-atk-gan --protocol as-published --scale small --time 90 --out runs/ecg-atk-gan
    """
    from salus_studies import reproduce as run

    command = command_line()
    outcome = run(paper, out, protocols=protocol or None, splits=split or None, command=command, **options)
    click.echo(
        f"{outcome.computed} steps done, {outcome.stored} stored before, {outcome.not_run} not run.\n"
        f"Page: {outcome.page}"
    )

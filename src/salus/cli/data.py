"""Data sets: listed, shown, fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from salus.cli.commands import Commands
from salus.cli.options import DATA, PlanCommand, plan_fields


@click.group(cls=Commands)
def data() -> None:
    """List, show and fetch data sets."""


@data.command("list")
def data_list() -> None:
    """List the known data sets and whether they are at hand."""
    from salus.cli.terminal import print_catalogue
    from salus.data import catalogue

    print_catalogue(catalogue())


@data.command("show", cls=PlanCommand, fields=DATA)
@click.argument("name")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="Where to draw it.  [default: NAME.png, which no file but a picture of Salus's own makes way for]",
)
def data_show(name: str, seed: int, picture: Path | None, **options: Any) -> None:
    """Show a data set: counts, classes, bounds, provenance, and a picture."""
    from salus.cli.terminal import print_data
    from salus.data import load
    from salus.data.plausibility import implausible, values_of
    from salus.figures import dataset_picture, free_place

    splits = load(name, seed=seed, **plan_fields(options))
    print_data(splits)
    for sentence in implausible(splits, values_of(splits)):
        click.echo(f"  warning: {sentence}")
    path = Path(name)
    usual = Path(f"{path.stem.strip('.') or path.resolve().stem}.png")
    place = picture or free_place(usual)
    dataset_picture(splits, place)
    kept = f" ({usual} is not of Salus's making and was left alone)" if picture is None and place != usual else ""
    click.echo(f"  picture: {place}{kept}")


@data.command("fetch")
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="A folder or archive on this disk.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where to put it.")
def data_fetch(name: str, source: Path | None, data_dir: Path | None) -> None:
    """Get a data set from its official home, checked file by file; a broken download goes on."""
    from salus.data import fetch

    place = fetch(name, source=source, data_dir=data_dir)
    click.echo(f"{name} comes with Salus; nothing to fetch." if place is None else f"{name}: {place}")

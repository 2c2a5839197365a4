"""A study worked through: a paper, or a question of our own."""

from __future__ import annotations

import sys
from dataclasses import Field, fields
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

import click

from salus.cli.options import command_line
from salus.errors import OptionError, nearest


class Reproducible(Protocol):
    """What the command line asks of a study; see ``salus_studies.frame.study``."""

    name: str
    summary: str
    options: type[Any]

    def reproduce(self, out: Path, *, page: Path | None, command: str, **options: Any) -> Any:
        """Do it in a folder; gives ``page`` and how many steps were ``computed``, ``stored`` and ``not_run``."""

    def rebuild(self) -> Path:
        """Write its page in the repository again."""

    def check(self) -> str:
        """Say what is wrong with its page in the repository."""


def known_studies() -> dict[str, str]:
    """Say where the object of each study lies, ``module:name``, by the study's name.

    Raises:
        OptionError: there are no studies here.
    """
    try:
        studies: dict[str, str] = import_module("salus_studies").STUDIES
    except ModuleNotFoundError as error:
        if error.name != "salus_studies":
            raise
        raise OptionError(
            "Studies come with a checkout of the repository, not with the wheel: clone it, and install Salus from it "
            "with pip install -e .[dev]."
        ) from error
    return studies


def find_study(name: str) -> Reproducible:
    """Find a study by its name.

    Raises:
        OptionError: there is no such study, or there are none here.
    """
    studies = known_studies()
    if name not in studies:
        raise OptionError(f"There is no study {name!r}; {nearest(name, studies)}")
    module, _, attribute = studies[name].partition(":")
    study: Reproducible = getattr(import_module(module), attribute)
    return study


class _Studies(click.Group):
    """A command a study, each with the options that the study declares."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(known_studies())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        study = find_study(cmd_name)
        annotations = get_type_hints(study.options, include_extras=True)
        own = [_option(field, annotations[field.name]) for field in fields(study.options)]
        return _StudyCommand(
            study.name,
            params=[*own, *_COMMON],
            callback=lambda **given: _run(study, **given),
            help=study.summary,
            short_help=study.summary,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let options stand before the study's name too."""
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            names = known_studies()
            places = [place for place, word in enumerate(args) if word in names]
            if places:
                args = [args.pop(places[0]), *args]
        return super().parse_args(ctx, args)


class _StudyCommand(click.Command):
    """Says of an option that the study does not know which ones it knows."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flags = [flag for option in self.params for flag in option.opts]
            name = error.option_name
            raise OptionError(f"The study {self.name} has no option {name}; {nearest(name, flags)}") from error


_COMMON = [
    click.Option(["--out"], type=click.Path(path_type=Path), help="Folder for models and results."),
    click.Option(["--page"], type=click.Path(path_type=Path), help="The page to write.  [default: OUT/NAME.md]"),
    click.Option(
        ["--check"],
        is_flag=True,
        help="Say whether the page in the repository is what the results stored there give; does nothing else.",
    ),
    click.Option(["--rebuild"], is_flag=True, help="Write that page again; does nothing else."),
]


@click.group(cls=_Studies, options_metavar="", subcommand_metavar="NAME --out FOLDER [OPTIONS]")
def reproduce() -> None:
    """Work through a study, a paper's or one of our own, and print its numbers beside ours.

    What does not fit the time is listed as not run; the same command goes on where it was. Each study has options of
    its own: salus reproduce NAME --help.

    \b
    salus reproduce ecg-atk-gan --protocol as-published --scale small --time 90 --out runs/ecg-atk-gan
    """


def _run(study: Reproducible, out: Path | None, page: Path | None, check: bool, rebuild: bool, **options: Any) -> None:
    if check:
        wrong = study.check()
        click.echo(wrong or f"The page of {study.name} is what its stored results give.")
        sys.exit(int(bool(wrong)))
    if rebuild:
        click.echo(f"Page: {study.rebuild()}")
        return
    if out is None:
        raise OptionError(f"Name a folder for models and results: salus reproduce {study.name} --out FOLDER.")
    options = {name: value for name, value in options.items() if value not in (None, ())}
    outcome = study.reproduce(out, page=page, command=command_line(), **options)
    click.echo(
        f"{outcome.computed} steps done, {outcome.stored} stored before, {outcome.not_run} not run.\n"
        f"Page: {outcome.page}"
    )


def _option(field: Field[Any], annotation: Any) -> click.Option:
    """Turn a field of a study's options into an option of the command line."""
    kind, words = get_args(annotation)  # Annotated[kind, words]
    several = get_origin(kind) is tuple
    kind = next((part for part in get_args(kind) if part is not NoneType), kind) if several or _optional(kind) else kind
    default: Any = field.default
    if several:
        default = ", ".join(default)
    shown = words if default in (None, "") or default is False else f"{words}  [default: {default}]"
    flag = f"--{field.name.replace('_', '-')}"
    if kind is bool:
        return click.Option([flag], is_flag=True, help=shown)
    return click.Option(
        [flag],
        type=click.Path(path_type=Path) if kind is Path else kind if kind in (int, float) else str,
        metavar=f"[{'|'.join(get_args(kind))}]" if get_origin(kind) is Literal else None,
        multiple=several,
        help=shown,
    )


def _optional(kind: Any) -> bool:
    return NoneType in get_args(kind)

"""A study worked through: a paper, or a question of our own."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import click

from salus.cli.options import chosen_engine, click_option, command_line, plan_fields
from salus.errors import OptionError, nearest
from salus.options import options_of
from salus.registry import Registry


class Reproducible(Protocol):
    """What the command line asks of a study; see ``salus_studies.frame.study``."""

    name: str
    summary: str
    options: type[Any]

    def reproduce(self, out: Path, *, page: Path | None, command: str, **options: Any) -> Any:
        """Do it in a folder; gives ``page`` and how many steps were ``computed``, ``stored`` and ``not_run``."""

    def rebuild(self) -> Path:
        """Write its page in the repository again."""

    def store(self, folder: Path) -> Path:
        """Put the results of a run into the repository, and write its page there again."""

    def check(self) -> str:
        """Say what is wrong with its page in the repository."""


def _own() -> dict[str, Reproducible]:
    """Import the studies of a checkout; there are none beside an installed wheel."""
    try:
        places: dict[str, str] = import_module("salus_studies").STUDIES
    except ModuleNotFoundError as error:
        if error.name != "salus_studies":
            raise
        return {}
    own = {}
    for name, place in places.items():
        module, _, attribute = place.partition(":")
        own[name] = getattr(import_module(module), attribute)
    return own


def _suits(thing: Any) -> str | None:
    wants = ("name", "summary", "options", "reproduce", "rebuild", "store", "check")
    return None if all(hasattr(thing, word) for word in wants) else "is no study"


#: Studies by name, other packages' too.
STUDIES: Registry[Reproducible] = Registry("study", "salus.studies", _own, _suits)


def find_study(name: str) -> Reproducible:
    """Find a study by its name.

    Raises:
        OptionError: there is no such study, or there are none here.
    """
    if name not in STUDIES:
        _need_checkout()
    return STUDIES.find(name)


def _need_checkout() -> None:
    """Refuse to look for Salus's own studies where there are none."""
    if not STUDIES.own:
        raise OptionError(
            "Studies come with a checkout of the repository, not with the wheel: clone it, and install Salus from it "
            "with pip install -e .[dev]."
        )


class _Studies(click.Group):
    """A command a study, each with the options that the study declares."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        if not STUDIES:
            _need_checkout()
        return sorted(STUDIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        study = find_study(cmd_name)
        from salus.engines import EngineOptions

        own = [click_option(option) for declaring in (study.options, EngineOptions) for option in options_of(declaring)]
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
            places = [place for place, word in enumerate(args) if word in STUDIES]
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
    click.Option(
        ["--store"],
        is_flag=True,
        help="Put the results in --out into the repository and write that page again; does nothing else.",
    ),
]


@click.group(cls=_Studies, options_metavar="", subcommand_metavar="NAME --out FOLDER [OPTIONS]")
def reproduce() -> None:
    """Work through a study, a paper's or one of our own, and print its numbers beside ours.

    What does not fit the time is listed as not run; the same command goes on where it was. With --jobs or --engine ray
    steps that stand alone are done side by side, and come to the same. Each study has options of its own: salus
    reproduce NAME --help.

    \b
    salus reproduce ecg-atk-gan --protocol as-published --scale small --time 90 --out runs/ecg-atk-gan
    """


def _run(
    study: Reproducible, out: Path | None, page: Path | None, check: bool, rebuild: bool, store: bool, **options: Any
) -> None:
    if check:
        wrong = study.check()
        click.echo(wrong or f"The page of {study.name} is what its stored results give.")
        sys.exit(int(bool(wrong)))
    if rebuild:
        click.echo(f"Page: {study.rebuild()}")
        return
    if store and out is not None:
        click.echo(f"Page: {study.store(out)}")
        return
    if out is None:
        raise OptionError(f"Name a folder for models and results: salus reproduce {study.name} --out FOLDER.")
    with chosen_engine(options) as engine:
        fields = plan_fields(options)
        where = {} if engine is None else {"engine": engine}  # which studies of other packages need not know
        outcome = study.reproduce(out, page=page, command=command_line(), **where, **fields)
    click.echo(
        f"{outcome.computed} steps done, {outcome.stored} stored before, {outcome.not_run} not run.\n"
        f"Page: {outcome.page}"
    )

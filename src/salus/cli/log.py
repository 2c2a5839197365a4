"""The log of a service: checked, written to a file, pruned."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salus.cli.commands import Commands
from salus.cli.options import click_option, plan_fields

if TYPE_CHECKING:
    from salus.serve.settings import Settings

#: Settings of a service that say where its log is.
_WHERE = ("data_folder", "database", "key_file")


class LogCommand(click.Command):
    """A command that is told where a log is, as a service is; the settings are looked up when it is run."""

    _declared = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the command's own parameters, and those of a service after them."""
        if not self._declared:
            from salus.options import options_of
            from salus.serve.settings import Settings

            where = [click_option(option) for option in options_of(Settings) if option.name in _WHERE]
            self.params, self._declared = [*self.params, *where], True
        return super().get_params(ctx)


def log_settings(options: dict[str, Any]) -> Settings:
    """Read where a log is; the first thing that a command does with what ``salus[serve]`` brings.

    Raises:
        OptionError: it is not installed, or an option makes no sense.
    """
    from salus.errors import OptionError
    from salus.options import build

    try:
        import alembic  # noqa: F401
        import cryptography  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ModuleNotFoundError as error:
        raise OptionError(f"The log needs {error.name}, which is not installed: pip install 'salus[serve]'.") from error
    from salus.serve.settings import Settings

    return build(Settings, plan_fields(options), "the log")


@click.group(cls=Commands)
def log() -> None:
    """Check a service's log, write it to a file, prune it."""


@log.command("verify", cls=LogCommand)
@click.option("--export", type=click.Path(path_type=Path), help="Check a file of `salus log export` instead.")
@click.option(
    "--public-key", type=click.Path(path_type=Path), help="A copy of the log's public key.  [default: of the key file]"
)
@click.option(
    "--checkpoints", type=click.Path(path_type=Path), help="The file of checkpoints.  [default: beside the key file]"
)
def log_verify(export: Path | None, public_key: Path | None, checkpoints: Path | None, **options: Any) -> None:
    """Check that nothing in the log was changed, put in, taken out or cut off.

    Ends with 0 where the log is whole, with 1 where it was tampered with, naming the place, and with 2 where it cannot
    be read. Give a copy of the public key that was kept elsewhere, so that a key that was replaced is found too.

    \b
    salus log verify
    salus log verify --export log.jsonl --public-key service-key.pub
    """
    settings = log_settings(options)
    from contextlib import closing

    from salus.serve.database import Database, default_url, folder_of
    from salus.serve.keys import Keys, PublicKey, checkpoints_beside
    from salus.serve.log.exporting import verify_export
    from salus.serve.log.verifying import verify

    keys = None
    if public_key is not None:
        public = PublicKey.read(public_key)
    else:
        keys = Keys.open(settings.key, data_folder=folder_of(default_url(settings)), create=False)
        public = keys.public
    if export is not None:
        verification = verify_export(export, public)
    else:
        file = checkpoints or checkpoints_beside(settings.key)
        with closing(Database.open(default_url(settings), migrate=False)) as database:
            verification = verify(database, public, checkpoints=file, keys=keys)
    click.echo(verification.sentence(), err=not verification.ok)
    for note in verification.notes:
        click.echo(note, err=True)
    if not verification.ok:
        sys.exit(1)


@log.command("export", cls=LogCommand)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON lines to write.")
@click.option("--since", help="From this time on: 2026-11-30, or 2026-11-30T08:15, UTC.  [default: the first entry]")
@click.option("--until", help="Before this time, and on to the next checkpoint.  [default: the last entry]")
def log_export(out: Path, since: str | None, until: str | None, **options: Any) -> None:
    """Write the log to a file that can be checked without the database.

    \b
    salus log export --out november.jsonl --since 2026-11-01 --until 2026-12-01
    """
    settings = log_settings(options)
    from contextlib import closing

    from salus.serve.database import Database, default_url, folder_of
    from salus.serve.keys import Keys
    from salus.serve.log.exporting import export

    keys = Keys.open(settings.key, data_folder=folder_of(default_url(settings)), create=False)
    span = {"since": _time("since", since), "until": _time("until", until)}
    with closing(Database.open(default_url(settings), migrate=False)) as database:
        header = export(database, keys, out, **span)
    click.echo(
        f"Entries {header.before.seq + 1} to {header.last.seq}: {out}\n"
        f"Check it: salus log verify --export {out} --public-key {keys.public_path}"
    )


@log.command("prune", cls=LogCommand)
@click.option("--older-than", type=float, required=True, metavar="DAYS", help="Delete what is older than so many days.")
def log_prune(older_than: float, **options: Any) -> None:
    """Delete the log's oldest entries, up to a checkpoint; what is left can still be checked.

    The log is checked first, and nothing is deleted where it was tampered with.

    \b
    salus log prune --older-than 365
    """
    settings = log_settings(options)
    from contextlib import closing

    from salus.serve.database import Database, default_url, folder_of
    from salus.serve.keys import Keys
    from salus.serve.log.pruning import prune

    keys = Keys.open(settings.key, data_folder=folder_of(default_url(settings)), create=False)
    with closing(Database.open(default_url(settings), migrate=False)) as database:
        pruning = prune(database, keys, older_than=older_than)
    if pruning.deleted:
        click.echo(f"{pruning.deleted} entries deleted; the log begins at entry {pruning.last + 1} now.")
    else:
        click.echo("Nothing is old enough: entries go up to the last checkpoint from before that time.")


def _time(option: str, words: str | None) -> float | None:
    """Read a time, UTC where it does not say."""
    if words is None:
        return None
    try:
        time = datetime.fromisoformat(words)
    except ValueError:
        from salus.errors import OptionError

        raise OptionError(f"Option --{option} takes a time as 2026-11-30 or 2026-11-30T08:15, not {words!r}.") from None
    return (time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)).timestamp()

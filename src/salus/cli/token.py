"""Tokens of a service: made, listed, revoked."""

from __future__ import annotations

from typing import Any

import click

from salus.cli.commands import Commands
from salus.cli.log import LogCommand, log_settings


@click.group(cls=Commands)
def token() -> None:
    """Say who may ask a service, and for what."""


@token.command("add", cls=LogCommand)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="What it may do: judge, scores, metrics, dashboard, admin; repeatable.",
)
@click.option("--days", type=float, help="Days after which it ends.  [default: never]")
def token_add(name: str, scopes: tuple[str, ...], days: float | None, **options: Any) -> None:
    """Make a token for NAME and print its secret, which is shown this once.

    \b
    salus token add ward-7 --scope judge --days 365
    """
    settings = log_settings(options)
    import time
    from contextlib import closing

    from salus.errors import OptionError
    from salus.serve.database import Database, default_url
    from salus.serve.tokens import Tokens

    if days is not None and not 0 < days < 100_000:
        raise OptionError(f"Option --days takes a number above 0 and below 100000, not {days!r}.")
    with closing(Database.open(default_url(settings))) as database:
        secret = Tokens(database).add(name, scopes, None if days is None else time.time() + days * 86_400)
    click.echo("The token, which is kept nowhere:", err=True)
    click.echo(secret)


@token.command("list", cls=LogCommand)
def token_list(**options: Any) -> None:
    """List tokens, without their secrets."""
    settings = log_settings(options)
    import time
    from contextlib import closing
    from datetime import datetime, timezone

    from salus.serve.database import Database, default_url
    from salus.serve.tokens import Tokens

    def day(seconds: float) -> str:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d}"

    with closing(Database.open(default_url(settings), migrate=False)) as database:
        tokens = Tokens(database).list()
    for each in tokens:
        if each.revoked is not None:
            state = f"revoked {day(each.revoked)}"
        elif each.expires is None:
            state = "never ends"
        else:
            state = f"{'ends' if each.valid(time.time()) else 'ended'} {day(each.expires)}"
        click.echo(f"{each.id}  {each.name}: {', '.join(sorted(each.scopes))}; made {day(each.created)}, {state}")
    if not tokens:
        click.echo("There are no tokens: make one with `salus token add NAME --scope judge`.")


@token.command("revoke", cls=LogCommand)
@click.argument("id_", metavar="ID")
def token_revoke(id_: str, **options: Any) -> None:
    """End the token ID within seconds, in a service that runs too."""
    settings = log_settings(options)
    from contextlib import closing

    from salus.serve.database import Database, default_url
    from salus.serve.tokens import Tokens

    with closing(Database.open(default_url(settings), migrate=False)) as database:
        Tokens(database).revoke(id_)
    click.echo(f"Token {id_} is revoked.")

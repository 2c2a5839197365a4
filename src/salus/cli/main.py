"""The command ``salus``: its commands, and how mistakes end."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import click

from salus import __version__
from salus.cli.attack import attack
from salus.cli.audit import audit, report
from salus.cli.commands import Commands
from salus.cli.data import data
from salus.cli.generative import autoencoders, generator
from salus.cli.guard import guard
from salus.cli.harden import harden
from salus.cli.labels import labels
from salus.cli.leaderboard import leaderboard
from salus.cli.listing import listing
from salus.cli.log import log
from salus.cli.model import model
from salus.cli.reproduce import reproduce
from salus.cli.serve import serve
from salus.cli.token import token
from salus.errors import SalusError
from salus.registry import PluginWarning

_WIDTH = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}


class _Group(Commands):
    """Turns every mistake of input into one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except SalusError as error:
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("Stopped. Run the same command again to go on from here.", err=True)
            sys.exit(130)


_show_others = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Print what is wrong with another package in one line, and all other warnings as Python does."""
    if issubclass(category, PluginWarning):
        click.echo(f"Warning: {message}", err=True)
    else:
        _show_others(message, category, *where, **more)


@click.group(cls=_Group, context_settings=_WIDTH)
@click.version_option(__version__, prog_name="salus")
def main() -> None:
    """Audit, harden and guard medical classifiers against adversarial inputs."""


for command in (
    audit, attack, reproduce, report, leaderboard, harden, labels, generator, autoencoders, guard, model, serve, log,
    token, data, listing,
):  # fmt: skip
    main.add_command(command)

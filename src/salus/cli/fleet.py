"""Fleets: several audits that one plan asks for, and what is printed of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from salus.cli.options import command_line

if TYPE_CHECKING:
    from salus.audit.fleet import Fleet
    from salus.audit.fleet_run import Finish
    from salus.engines import Engine


def audit_fleet(fleet: Fleet, out: Path, engine: Engine | None, *, shown: str) -> bool:
    """Run a fleet, write each report and the index, and print the rankings.

    Args:
        fleet: what to do.
        out: the fleet's folder.
        engine: where to compute; None for this process.
        shown: the folder as the user wrote it.

    Returns:
        Whether nothing failed.

    Raises:
        SalusError: see ``salus.audit.run_fleet``.
    """
    from salus.audit import run_fleet
    from salus.cli.terminal import print_ranking
    from salus.report import write_report
    from salus.report.leaderboard import rank_fleet, write_index

    def finished(finish: Finish, folder: Path) -> None:
        if finish.outcome is not None:
            write_report(folder)

    outcome = run_fleet(fleet, out, command=command_line(), engine=engine, finished=finished)
    page = write_index(out)
    for ranking in rank_fleet(out):
        print_ranking(ranking)
    computed = sum(finish.outcome.computed for finish in outcome.finishes if finish.outcome is not None)
    click.echo(f"{len(outcome.finishes)} audits, {computed} cells computed.\nIndex: {shown.rstrip('/')}/{page.name}")
    if outcome.whole:
        return True
    for finish in outcome.finishes:
        if finish.outcome is None:
            click.echo(f"{finish.member.name} failed: {finish.error}", err=True)
        elif finish.outcome.failed:
            click.echo(f"{finish.member.name}: {finish.outcome.failed} cells failed.", err=True)
    click.echo("Run the same command to try again what failed.", err=True)
    return False

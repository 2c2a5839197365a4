"""Finished audits side by side."""

from __future__ import annotations

from pathlib import Path

import click

from salus.cli.options import command_line


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@click.option(
    "--by", multiple=True, metavar="EPS/NORM", help="Rank at this size of change.  [default: at all that they share]"
)
@click.option(
    "--threat-model",
    help="Rank under the attacker who knows so much.  [default: who knows most: adaptive, white-box]",
)
@click.option("--page", type=click.Path(path_type=Path), help="Write a page, with links to the reports.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a CSV file.")
def leaderboard(
    folders: tuple[Path, ...], by: tuple[str, ...], threat_model: str | None, page: Path | None, csv_file: Path | None
) -> None:
    """Rank finished audits side by side, the most robust first.

    FOLDER is the folder (--out) of an audit, or of a fleet, which stands for its audits. Ranked are the bare classifier
    and each guard, by what the worst attack of the attacker who knows most leaves right. Audits that differ in nothing
    but the seed are ranked by their mean. Audits of other test data, with other sizes of change (eps, norm), under
    another threat model, or of another number of samples are refused.

    \b
    salus leaderboard runs/ecg-cnn runs/hardened --by 0.01/linf --page leaderboard.html --csv leaderboard.csv
    """
    from salus.cli.terminal import print_ranking
    from salus.report.leaderboard import compare, read_audits, write_csv, write_leaderboard

    ranking = compare(read_audits(folders), by=by, threat_model=threat_model)
    print_ranking(ranking)
    if csv_file is not None:
        write_csv(csv_file, [ranking])
        click.echo(f"CSV: {csv_file}")
    if page is not None:
        click.echo(f"Page: {write_leaderboard(page, ranking, command=command_line())}")

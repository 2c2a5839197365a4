"""Audits, and their reports drawn again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from salus.cli.options import (
    ATTACKS,
    DATA,
    DEFENCE,
    ENDPOINT,
    ENGINE,
    MODEL,
    TRAINING_PART,
    WATCH,
    PlanCommand,
    chosen_engine,
    command_line,
    plan_fields,
)


@click.command(
    cls=PlanCommand,
    fields=(*MODEL, *DEFENCE, *DATA, *ATTACKS, *WATCH, *TRAINING_PART, *ENDPOINT, *ENGINE),
    several=("data", "model", "seed"),
)
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, help="Folder for report and results, or the URL of one (s3://bucket/run).")
def audit(plan: Path | None, out: str, **options: Any) -> None:
    """Attack a classifier, bare and guarded, and write a report.

    PLAN is a YAML file with the same fields as the options. An audit that was stopped goes on where it was. Several
    --data, --model and --seed make a fleet: each of them with each, an audit in a folder of its own within --out, and
    the page index.html that ranks them. In a PLAN they are lists; its list audits: holds partial plans.

    \b
    salus audit --data mitdb --split beats --model ecg-cnn --attack fgsm:eps=0.01 \\
        --attack pgd:eps=0.01,steps=40 --defence i-defender --samples 2000 --out runs/ecg

    \b
    salus audit --data mitdb --model http://127.0.0.1:8000/v1/guards/ecg \\
        --attack cgba:queries=500 --samples 200 --rate 100 --out runs/served

    \b
    salus audit plan.yaml --engine ray:10.0.0.1:6379 --out s3://bucket/run
    """
    from salus.audit import Fleet, run_audit
    from salus.cli.fleet import audit_fleet
    from salus.cli.terminal import print_cells
    from salus.metrics import Commonest
    from salus.report import write_report
    from salus.storage.remote import run_folder

    with run_folder(out) as folder, chosen_engine(options) as engine:
        fields = plan_fields(options)
        fleet = Fleet.of(fields) if plan is None else Fleet.read(plan, fields)
        if fleet.single is None:
            whole = audit_fleet(fleet, folder, engine, shown=out)
        else:
            outcome = run_audit(fleet.single, folder, command=command_line(), engine=engine)
            page = write_report(folder)
    if fleet.single is None:
        sys.exit(0 if whole else 3)
    shown = page if str(folder) == out else f"{out.rstrip('/')}/{page.name}"
    print_cells(outcome.cells, Commonest(**outcome.meta["commonest"]))
    for sentence in outcome.meta["verdict"]:
        click.echo(sentence)
    for sentence in outcome.meta["warnings"]:
        click.echo(f"Warning: {sentence}")
    checks = outcome.meta["checks"]["n"] is not None
    stored = len(outcome.cells) + checks - outcome.computed
    one = " (one checks for masked gradients)" if checks else ""
    click.echo(f"{outcome.computed} cells computed{one}, {stored} stored before.\nReport: {shown}")
    if outcome.failed:
        click.echo(f"{outcome.failed} cells failed; run the same command to try them again.", err=True)
        sys.exit(3)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Draw the report of an audit again, or the index of a fleet, from its stored results alone."""
    from salus.report import write_report

    if (run / "fleet.json").exists():
        from salus.report.leaderboard import write_index

        click.echo(f"Index: {write_index(run)}")
        return
    click.echo(f"Report: {write_report(run)}")

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
    MODEL,
    TRAINING_PART,
    PlanCommand,
    command_line,
    plan_fields,
)


@click.command(cls=PlanCommand, fields=(*MODEL, *DEFENCE, *DATA, *ATTACKS, *TRAINING_PART, *ENDPOINT))
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for report and results.")
def audit(plan: Path | None, out: Path, **options: Any) -> None:
    """Attack a classifier, bare and guarded, and write a report.

    PLAN is a YAML file with the same fields as the options. An audit that was stopped goes on where it was.

    \b
    salus audit --data mitdb --split beats --model ecg-cnn --attack fgsm:eps=0.01 \\
        --attack pgd:eps=0.01,steps=40 --defence i-defender --samples 2000 --out runs/ecg

    \b
    salus audit --data mitdb --model http://127.0.0.1:8000/v1/guards/ecg \\
        --attack cgba:queries=500 --samples 200 --rate 100 --out runs/served
    """
    from salus.audit import Plan, run_audit
    from salus.cli.terminal import print_cells
    from salus.metrics import Commonest
    from salus.report import write_report

    fields = plan_fields(options)
    request = Plan.of(fields) if plan is None else Plan.read(plan, fields)
    outcome = run_audit(request, out, command=command_line())
    page = write_report(out)
    print_cells(outcome.cells, Commonest(**outcome.meta["commonest"]))
    for sentence in outcome.meta["verdict"]:
        click.echo(sentence)
    for sentence in outcome.meta["warnings"]:
        click.echo(f"Warning: {sentence}")
    checks = outcome.meta["checks"]["n"] is not None
    stored = len(outcome.cells) + checks - outcome.computed
    one = " (one checks for masked gradients)" if checks else ""
    click.echo(f"{outcome.computed} cells computed{one}, {stored} stored before.\nReport: {page}")
    if outcome.failed:
        click.echo(f"{outcome.failed} cells failed; run the same command to try them again.", err=True)
        sys.exit(3)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Draw the report of an audit again, from its stored results alone."""
    from salus.report import write_report

    click.echo(f"Report: {write_report(run)}")

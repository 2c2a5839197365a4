"""Audits, and their reports drawn again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from salus.cli.options import (
    command_line,
    data_options,
    defence_options,
    model_options,
    plan_fields,
    training_part_options,
)


@click.command()
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@model_options
@defence_options
@data_options
@click.option("--attack", multiple=True, help="NAME:key=value,... (pgd:eps=0.01,steps=40).  [default: fgsm, pgd]")
@click.option("--eps", help="Radii for attacks that name none, comma-separated; 2/255 will do.")
@click.option("--norm", help="linf or l2, for attacks that name none.  [default: linf]")
@click.option("--steps", type=int, help="Steps of every attack that takes steps.")
@click.option("--queries", type=int, help="Most forward passes on one sample, for each variant of an attack.")
@click.option("--restarts", type=int, help="Starts of every attack that has several.")
@click.option("--time", type=float, help="Most seconds for each variant of an attack.")
@click.option("--control", multiple=True, help="A harmless change to try too (baseline-wander:snr=12).")
@training_part_options
@click.option(
    "--threat-model",
    multiple=True,
    help="white-box, transfer, oblivious, gray-box, adaptive, decision-only.  "
    "[default: white-box, oblivious, adaptive]",
)
@click.option("--substitute", help="What a transfer attacker trains on: data, split or queries.  [default: data]")
@click.option("--target", help="The class that targeted attacks aim for.")
@click.option("--harm", help="What wrong answers cost: missed=10,false-alarm=1,rejected=0.5, or a CSV of classes.")
@click.option("--samples", type=int, help="Test samples to attack, at natural prevalence.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for report and results.")
def audit(plan: Path | None, out: Path, **options: Any) -> None:
    """Attack a classifier, bare and guarded, and write a report.

    PLAN is a YAML file with the same fields as the options. An audit that was stopped goes on where it was.

    \b
    salus audit --data mitdb --split beats --model ecg-cnn --attack fgsm:eps=0.01 \\
        --attack pgd:eps=0.01,steps=40 --defence i-defender --samples 2000 --out runs/ecg
    """
    from salus.audit import Plan, run_audit
    from salus.cli.terminal import print_cells
    from salus.report import write_report

    fields = plan_fields(options)
    made = Plan.of(fields) if plan is None else Plan.read(plan, fields)
    outcome = run_audit(made, out, command=command_line())
    page = write_report(out)
    print_cells(outcome.cells)
    for sentence in outcome.meta["verdict"]:
        click.echo(sentence)
    for sentence in outcome.meta["warnings"]:
        click.echo(f"Warning: {sentence}")
    stored = len(outcome.cells) + 1 - outcome.computed
    click.echo(
        f"{outcome.computed} cells computed (one checks for masked gradients), {stored} stored before.\nReport: {page}"
    )
    if outcome.failed:
        click.echo(f"{outcome.failed} cells failed; run the same command to try them again.", err=True)
        sys.exit(3)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Draw the report of an audit again, from its stored results alone."""
    from salus.report import write_report

    click.echo(f"Report: {write_report(run)}")

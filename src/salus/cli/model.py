"""Looking at models."""

from __future__ import annotations

from typing import Any

import click

from salus.cli.commands import Commands
from salus.cli.options import DATA, ENDPOINT, PlanCommand, plan_fields


@click.group(cls=Commands)
def model() -> None:
    """Look at models before they are attacked."""


@model.command("check", cls=PlanCommand, fields=("data", "weights", "seed", "device", *DATA, *ENDPOINT))
@click.argument("name", metavar="MODEL")
def model_check(name: str, **options: Any) -> None:
    """Say what a model is, how it behaves on data, what it is worth there, and which attacks go with it.

    MODEL is whatever --model takes elsewhere: a file (.onnx, .keras, .skops, .pt2, ...), a folder that Salus saved,
    package.module:factory with --weights, timm:NAME, or the URL of an endpoint. Nothing is written.

    \b
    salus model check heart.onnx --data patients.csv --scale
    """
    from salus.audit.plan import Plan
    from salus.jobs import check_model

    found = check_model(Plan.of({**plan_fields(options), "model": name}))
    width = max(len(fact.what) for fact in found.facts)
    for fact in found.facts:
        mark = " " if fact.sound else "!"
        click.echo(f"{mark} {fact.what + ':':<{width + 1}} {fact.text}")
    for group in sorted(found.attacks, key=lambda group: not group.applies):
        names = ", ".join(group.names)
        click.echo(f"  attacks by {group.why}: {names}" if group.applies else f"  not {names}: {group.why}")
    for remark in found.remarks:
        click.echo(f"  note: {remark}")
    click.echo(f"Next: {found.next}")

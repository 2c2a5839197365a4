"""The search for wrong labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from salus.cli.options import DATA, MODEL, TRAINING_PART, PlanCommand, command_line, plan_fields


@click.command(cls=PlanCommand, fields=(*MODEL, *DATA, *TRAINING_PART))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for labels.csv.")
def labels(out: Path, **options: Any) -> None:
    """Look for wrong labels in training data, and list all labels, the most doubtful first.

    The network that --model names is trained several times, each time without the samples that it then judges. By
    default confident-learning says which labels look wrong; a network that is often wrong doubts many right ones. A
    search that was stopped goes on where it was; the same folder answers by another method (--clean-labels) at once.

    \b
    salus labels --data own.csv --label outcome --scale --model mlp --out runs/labels
    """
    from salus.audit import Plan
    from salus.jobs import run_labels

    search = run_labels(Plan.of(plan_fields(options)), out, command=command_line())
    click.echo(f"{search.summary} All labels, the most doubtful first: {search.path}")

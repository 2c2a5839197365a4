"""Training that makes a classifier harder to fool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from salus.cli.options import DATA, MODEL, PlanCommand, command_line, plan_fields


@click.command(cls=PlanCommand, fields=(*MODEL, *DATA))
@click.argument("method")
@click.option("--attack", help="Makes the attacked copies that a method takes.  [default: pgd:eps=0.01,steps=10]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the hardened model.")
def harden(method: str, attack: str | None, out: Path, **options: Any) -> None:
    """Train a classifier that is harder to fool, and save it.

    METHOD is single-step:eps=0.01, madry:eps=0.01,steps=10 or trades:eps=0.01,beta=6, which train the network that
    --model names on samples attacked as it then is; adversarial-retraining:rounds=5,epochs=5,share=0.5, which goes on
    training a classifier (--model, --training) on its samples and on copies attacked in each round (--attack); or
    ecg-atk-gan:preset=six-attacks,epochs=100, which trains its own on beats and their attacked copies, computed on a
    plain classifier. A run that was stopped goes on where it was.

    \b
    salus harden single-step:eps=0.01 --data mitdb --split patients --model ecg-cnn --out runs/hardened
    salus audit --data mitdb --split patients --model runs/hardened --out runs/hardened-audit
    """
    from salus.audit import Plan
    from salus.jobs import run_hardening
    from salus.metrics import Commonest

    plan = Plan.of(plan_fields(options))
    hardened = run_hardening(method, plan, out, attack=attack, command=command_line())
    test = hardened.facts["test"]
    beside = f" ({Commonest(**test['commonest'])})" if "commonest" in test else ""  # not in those of before
    click.echo(
        f"{test['clean_accuracy']:.1%} of {test['n']} test inputs are answered rightly{beside}. Saved in {out}; audit "
        f"it: {hardened.audit}"
    )

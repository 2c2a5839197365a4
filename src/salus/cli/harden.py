"""Training that makes a classifier harder to fool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salus.cli.options import (
    DATA,
    ENGINE,
    MODEL,
    SWEEP,
    PlanCommand,
    chosen_engine,
    command_line,
    plan_fields,
)

if TYPE_CHECKING:
    from salus.jobs import Hardened


@click.command(cls=PlanCommand, fields=(*MODEL, *DATA, *SWEEP, *ENGINE))
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

    With --grid, --seeds or --folds several trainings are compared (grid.json, grid.csv, grid.png), side by side with
    --jobs or --engine ray. Chosen is the setting with the highest accuracy under the attack of --judge, over all seeds
    and folds together; of equals the one with the higher clean accuracy. It is judged on the validation part, or with
    --folds on the part of the training data that each training was kept from, whole patients each; never on the test
    part, which is opened once, for the network that is kept: the chosen setting's, trained by the first seed on all
    training data.

    \b
    salus harden single-step:eps=0.01 --data mitdb --split patients --model ecg-cnn --out runs/hardened
    salus audit --data mitdb --split patients --model runs/hardened --out runs/hardened-audit
    salus harden madry --grid eps=0.01,0.02 --grid steps=5,10 --seeds 0,1,2 --jobs 2 --data mitdb --out runs/grid
    """
    from salus.audit import Plan
    from salus.jobs import SweepOptions, run_hardening, run_sweep

    asked = SweepOptions(**plan_fields({name: options.pop(name) for name in SWEEP}))
    with chosen_engine(options) as engine:
        plan = Plan.of(plan_fields(options))
        if engine is None and asked == SweepOptions():
            hardened = run_hardening(method, plan, out, attack=attack, command=command_line())
        else:
            from salus.cli.terminal import print_settings

            swept = run_sweep(method, plan, out, asked, attack=attack, engine=engine, command=command_line())
            print_settings(swept.grid)
            hardened = swept.hardened
    click.echo(_last(hardened, out))


def _last(hardened: Hardened, out: Path) -> str:
    """Say how the network answers the test part, and where it lies."""
    from salus.metrics import Commonest

    test = hardened.facts["test"]
    beside = f" ({Commonest(**test['commonest'])})" if "commonest" in test else ""  # not in those of before
    return (
        f"{test['clean_accuracy']:.1%} of {test['n']} test inputs are answered rightly{beside}. Saved in {out}; audit "
        f"it: {hardened.audit}"
    )

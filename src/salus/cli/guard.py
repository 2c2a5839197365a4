"""Guards: fitted, calibrated, applied."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from salus.cli.options import DATA, DEFENCE, MODEL, PlanCommand, plan_fields


@click.group()
def guard() -> None:
    """Make guards and use them."""


@guard.command("fit", cls=PlanCommand, fields=(*MODEL, *DEFENCE, *DATA))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the bundle.")
def guard_fit(out: Path, **options: Any) -> None:
    """Train a classifier, fit its defence and save both as one bundle."""
    from salus.audit.plan import Plan
    from salus.jobs import fit_bundle

    bundle = fit_bundle(Plan.of(plan_fields(options)), out)
    for detector in bundle.guard.describe()["detectors"]:
        click.echo(detector["text"] + ".")
    click.echo(
        f"On {bundle.n} test inputs it rejects {bundle.rejected:.1%} and answers {bundle.right:.1%} rightly. "
        f"Bundle: {out}"
    )


@guard.command("calibrate", cls=PlanCommand, fields=(*MODEL, *DATA))
@click.option("--repository", type=click.Path(path_type=Path), required=True, help="Folder of `salus autoencoders`.")
@click.option("--attack", help="Calibrate against this attack (pgd:eps=0.01).  [default: clean samples alone]")
@click.option("--false-alarm-rate", type=float, help="Clean inputs it may reject, without --attack.  [default: 0.01]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for calibration.json.")
def guard_calibrate(repository: Path, attack: str | None, out: Path, **options: Any) -> None:
    """Choose MultiMagNet's n, metric, temperature, drop rate and approach for a classifier.

    Every combination is scored on samples that neither the classifier nor, of the same data and seed, the
    autoencoders have learnt from; calibration.json holds all of them, and the thresholds of the best.

    \b
    salus autoencoders --data mitdb --out runs/autoencoders
    salus guard calibrate --data mitdb --repository runs/autoencoders --out runs/calibrated
    """
    from salus.audit.plan import Plan
    from salus.cli.terminal import print_calibration
    from salus.jobs import run_calibration

    chosen = run_calibration(Plan.of(plan_fields(options)), repository, out, attack=attack)
    print_calibration(chosen.calibration, *(("blends", 1) if attack is None else ("attacked", 5)))
    against = "blends of them" if attack is None else f"attacked ones that fool the classifier ({attack})"
    spec = f"multimagnet:calibration={chosen.path},repository={repository}"
    click.echo(
        f"{len(chosen.calibration.grid)} combinations scored on {chosen.clean} clean samples and {chosen.adversarial} "
        f"{against}; best: {chosen.calibration.rule}. All of them: {chosen.path}\n"
        f"Use it: --model {chosen.model} --defence {shlex.quote(spec)}"
    )


@guard.command("apply")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", type=click.Path(path_type=Path))
@click.option("--model", help="package.module:factory, for a bundle around a model of your own.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write instead of standard output.")
def guard_apply(bundle: Path, inputs: Path, model: str | None, out: Path | None) -> None:
    """Let a bundle judge the x of an .npz file: one line an input, label or rejected."""
    from salus.jobs import judge_file

    text = judge_file(bundle, inputs, factory=model)
    if out is None:
        click.echo(text, nl=False)
    else:
        from salus.atomic import write_text

        write_text(out, text)
        click.echo(f"Verdicts: {out}")

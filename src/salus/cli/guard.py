"""Guards: fitted, calibrated, applied."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salus.cli.commands import Commands
from salus.cli.options import DATA, DEFENCE, MODEL, PlanCommand, plan_fields

if TYPE_CHECKING:
    from salus.jobs import JudgingTally


@click.group(cls=Commands)
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
        f"On {bundle.n} test inputs it rejects {bundle.rejected:.1%} and answers {bundle.right:.1%} rightly "
        f"({bundle.constant}). Bundle: {out}"
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
    most = max(chosen.clean, chosen.adversarial) / (chosen.clean + chosen.adversarial)
    constant = "accepting" if chosen.clean >= chosen.adversarial else "rejecting"
    click.echo(
        f"{len(chosen.calibration.grid)} combinations scored on {chosen.clean} clean samples and {chosen.adversarial} "
        f"{against} (always {constant}: {most:.1%}); best: {chosen.calibration.rule}. All of them: {chosen.path}\n"
        f"Use it: --model {chosen.model} --defence {shlex.quote(spec)}"
    )


@guard.command("watch", cls=PlanCommand, fields=("data", "seed", *DATA))
@click.argument("folder", type=click.Path(path_type=Path), metavar="BUNDLE")
@click.option("--monitor", default="lifelike", show_default=True, help="Who watches, with its options: nearest.")
@click.option("--factory", help="package.module:factory, for a model of your own.")
def guard_watch(folder: Path, monitor: str, factory: str | None, **options: Any) -> None:
    """Fit a monitor of callers, which the bundle then carries: `salus serve` shows it every query.

    Name the data as they were loaded for training. Each group of the training side (a patient, say) is an honest
    caller, and none of them may raise the alarm; those of the test side are tried, and what they come to is said.

    \b
    salus guard watch runs/bundle --data mitdb --split patients
    """
    from salus.audit.plan import Plan
    from salus.jobs import fit_monitor

    fitted = fit_monitor(folder, Plan.of(plan_fields(options)), monitor, factory=factory)
    click.echo(
        f"{fitted.monitor.describe()} Of {fitted.test} honest callers of the test side {fitted.alarmed} raise the "
        f"alarm; refusing from there on would cost {fitted.refused:.1%} of what they send. Monitor: {fitted.folder}"
    )


@guard.command("apply")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", type=click.Path(path_type=Path))
@click.option("--label", help="The column of a CSV that holds the label, if its name does not tell.")
@click.option("--model", help="package.module:factory, for a bundle around a model of your own.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write instead of standard output.")
@click.option("--fhir", type=click.Path(path_type=Path), help="File for the verdicts as FHIR R4 observations.")
@click.option("--subject", help="The patient that they are of, for FHIR: Patient/17.  [default: left out]")
@click.option(
    "--dicom-sr", type=click.Path(path_type=Path), help="New folder for a DICOM structured report of each file."
)
def guard_apply(
    bundle: Path,
    inputs: Path,
    label: str | None,
    model: str | None,
    out: Path | None,
    fhir: Path | None,
    subject: str | None,
    dicom_sr: Path | None,
) -> None:
    """Let a bundle judge raw inputs: one line each, its class or rejected.

    INPUTS is a CSV file, an image, a WFDB record or another file of an ECG, or a folder of images or of recordings,
    which are prepared as the bundle's training data were; or an .npz or .npy file of x that is prepared already.

    \b
    salus guard apply runs/bundle patients.csv --out answers.csv
    """
    from salus.jobs import HandOver, JudgingTally, judge_thing
    from salus.jobs.handing_over import refuse_taken

    if dicom_sr is not None:
        refuse_taken(dicom_sr)
    tally, over = JudgingTally(), HandOver(inputs, subject)
    hear = None if fhir is None and dicom_sr is None else over.hear
    _print_verdicts(judge_thing(bundle, inputs, tally, factory=model, label=label, hear=hear), tally, out)
    if fhir is not None:
        over.write_fhir(fhir)
        click.echo(f"FHIR observations: {fhir}", err=True)
    if dicom_sr is not None:
        click.echo(f"DICOM structured reports: {over.write_reports(dicom_sr)} in {dicom_sr}", err=True)


def _print_verdicts(lines: Iterator[str], tally: JudgingTally, out: Path | None) -> None:
    """Print lines of CSV as they come, or write them, and say what they come to."""
    if out is None:
        for text in lines:
            click.echo(text, nl=False)
    else:
        from salus.atomic import write_text

        write_text(out, "".join(lines))
        click.echo(f"Verdicts: {out}")
    for sentence in tally.sentences():
        click.echo(sentence, err=True)


@guard.command("ask")
@click.argument("inputs", type=click.Path(path_type=Path))
@click.option("--url", required=True, help="Of the service, https://HOST:PORT.")
@click.option("--guard", "name", help="Who judges.  [default: the only guard that the service has]")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the token, instead of SALUS_TOKEN.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificates (PEM) that are trusted, for https.")
@click.option("--allow-plain-http", is_flag=True, help="Send the token over plain http to another machine, too.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write instead of standard output.")
def guard_ask(
    inputs: Path,
    url: str,
    name: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    allow_plain_http: bool,
    out: Path | None,
) -> None:
    """Let a guard that is served judge raw inputs: the lines that `salus guard apply` gives.

    INPUTS is a CSV file, an image, a WFDB record, or a folder of images or of records; or an .npz or .npy file.

    \b
    salus guard ask patients.csv --url http://127.0.0.1:8000 --out answers.csv
    """
    from salus.client.address import read_token
    from salus.client.client import Client
    from salus.jobs import JudgingTally, ask_about

    tally = JudgingTally()
    token = None if token_file is None else read_token(token_file)
    with Client(url, token=token, verify=ca_file, allow_plain_http=allow_plain_http) as client:
        _print_verdicts(ask_about(client, inputs, tally, guard=name), tally, out)


@guard.command("attach-preprocessor", cls=PlanCommand, fields=("data", "seed", *DATA))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--factory", help="package.module:factory, for a model of your own.")
def guard_attach(folder: Path, factory: str | None, **options: Any) -> None:
    """Let a guard or model from before take raw inputs, prepared as its training data were.

    Name the data as they were loaded for training; they are checked against what the folder holds.

    \b
    salus guard attach-preprocessor runs/bundle --data patients.csv --scale
    """
    from salus.audit.plan import Plan
    from salus.jobs import attach_preprocessor

    attached = attach_preprocessor(folder, Plan.of(plan_fields(options)), factory=factory)
    click.echo(f"{folder} now prepares raw inputs: {attached.preprocessor.describe()}. Checked: {attached.check}.")

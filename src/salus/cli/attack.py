"""An attack on the samples of a file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), help="Labels, .npy, when INPUTS is .npy too.")
@click.option("--attack", "spec", required=True, help="NAME:key=value,... (pgd:eps=0.01,steps=40).")
@click.option("--factory", help="package.module:factory, for a saved model of your own.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for x_adv.npy and results.csv.")
def attack(
    model: Path, inputs: Path, labels: Path | None, spec: str, factory: str | None, device: str, out: Path
) -> None:
    """Attack the samples of a file of any size, writing results as they come.

    MODEL is the folder of an audit (or of a saved model), INPUTS an .npz file with x and y, or an .npy file of x. A
    run that was stopped goes on where it was.

    \b
    salus attack runs/ecg beats.npy --labels y.npy --attack pgd:eps=0.01,steps=40 --out runs/beats-pgd
    """
    from salus.attacks import parse_attack
    from salus.classifier import Classifier
    from salus.jobs import attack_rows, read_rows
    from salus.storage import find_device

    classifier = Classifier.load(model, factory=factory)
    engine = parse_attack(spec, bounds=classifier.bounds)
    attacked = attack_rows(engine, classifier.to(find_device(device)), *read_rows(inputs, labels), out)
    reached = "reach their target" if engine.targeted else "get a wrong answer"
    share = f"{attacked.fooled} of {attacked.n} samples {reached} ({attacked.fooled / attacked.n:.1%})"
    click.echo(
        f"{share}; {attacked.computed} attacked by this run.\nResults: {out / 'results.csv'}, {out / 'x_adv.npy'}"
    )

"""An attack on the samples of a file."""

from __future__ import annotations

from pathlib import Path

import click

#: Inputs that are named of those that could not be prepared.
_MOST_NAMED = 10


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), help="Labels: .npy, or a CSV with columns name,label.")
@click.option("--label", help="The column of a CSV that holds the label, if its name does not tell.")
@click.option("--attack", "spec", required=True, help="NAME:key=value,... (pgd:eps=0.01,steps=40).")
@click.option("--factory", help="package.module:factory, for a saved model of your own.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for x_adv.npy and results.csv.")
def attack(
    model: Path,
    inputs: Path,
    labels: Path | None,
    label: str | None,
    spec: str,
    factory: str | None,
    device: str,
    out: Path,
) -> None:
    """Attack the samples of a file or folder, writing results as they come.

    MODEL is the folder of an audit, a guard or a saved model. INPUTS is a CSV file, an image, a WFDB record, or a
    folder of images or of records, which are prepared as the model's training data were; or an .npz file with x and y,
    or an .npy file of x of any size. Labels are matched with the model's classes by name. A run that was stopped goes
    on where it was.

    \b
    salus attack runs/ecg beats.npy --labels y.npy --attack pgd:eps=0.01,steps=40 --out runs/beats-pgd
    """
    from salus.attacks import parse_attack
    from salus.classifier import Classifier
    from salus.jobs import attack_doubts, attack_rows, read_samples
    from salus.storage import find_device

    classifier = Classifier.load(model, factory=factory)
    engine = parse_attack(spec, bounds=classifier.bounds)
    samples = read_samples(classifier, inputs, labels, label)
    for note in samples.notes:
        click.echo(f"Note: {note}.", err=True)
    for refusal in samples.refused[:_MOST_NAMED]:
        click.echo(f"WARNING: not attacked: {refusal.name}: {refusal.reason}.", err=True)
    if len(samples.refused) > _MOST_NAMED:
        click.echo(f"WARNING: not attacked: {len(samples.refused) - _MOST_NAMED} more.", err=True)
    for sentence in attack_doubts(engine, classifier, samples.x):
        click.echo(f"WARNING: {sentence}", err=True)
    done = attack_rows(engine, classifier.to(find_device(device)), samples.x, samples.y, out, names=samples.names)
    share = f"{{}} of {done.n} samples ({{:.1%}})"
    clean, fooled = (share.format(count, count / done.n) for count in (done.right, done.fooled))
    if engine.targeted:
        click.echo(f"Unattacked, {clean} are answered with their target; attacked, {fooled} reach it.")
    else:
        robust = done.n - done.fooled
        click.echo(
            f"Unattacked, {clean} are answered rightly; attacked, {share.format(robust, robust / done.n)}: "
            f"{done.fallen} fell ({done.constant}, attacked or not)."
        )
    click.echo(f"{done.computed} attacked by this run. Results: {out / 'results.csv'}, {out / 'x_adv.npy'}")

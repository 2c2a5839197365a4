"""An attack on the samples of a file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salus.cli.options import ENDPOINT, PlanCommand, plan_fields

if TYPE_CHECKING:
    from salus.classifier import Classifier

#: Inputs that are named of those that could not be prepared.
_MOST_NAMED = 10


@click.command(cls=PlanCommand, fields=ENDPOINT)
@click.argument("model")
@click.argument("inputs", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), help="Labels: .npy, or a CSV with columns name,label.")
@click.option("--label", help="The column of a CSV that holds the label, if its name does not tell.")
@click.option("--attack", "spec", required=True, help="NAME:key=value,... (pgd:eps=0.01,steps=40).")
@click.option("--factory", help="package.module:factory, for a saved model of your own.")
@click.option("--classes", help="Classes of an endpoint that does not say them, in the order of its outputs: A,B,C.")
@click.option(
    "--ranges", type=click.Path(path_type=Path), help="CSV of what a table's features may become, and its cost."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for x_adv.npy and results.csv.")
def attack(
    model: str,
    inputs: Path,
    labels: Path | None,
    label: str | None,
    spec: str,
    factory: str | None,
    classes: str | None,
    ranges: Path | None,
    device: str,
    out: Path,
    **asking: Any,
) -> None:
    """Attack the samples of a file or folder, writing results as they come.

    MODEL is the folder of an audit, a guard or a saved model, or the URL of an endpoint, whose inputs are prepared
    already. INPUTS is a CSV file, an image, a WFDB record, or a folder of images or of records, which are prepared as
    the model's training data were; or an .npz file with x and y, or an .npy file of x of any size. Labels are matched
    with the model's classes by name. A run that was stopped goes on where it was.

    \b
    salus attack runs/ecg beats.npy --labels y.npy --attack pgd:eps=0.01,steps=40 --out runs/beats-pgd
    salus attack http://127.0.0.1:8000/v1/guards/ecg beats.npz --attack cgba:queries=500 --out runs/served
    """
    from salus.attacks import parse_attack
    from salus.classifier import Classifier
    from salus.client.endpoint import is_endpoint
    from salus.client.options import EndpointOptions
    from salus.jobs.endpoints import account, refuse_attack, victim_at

    options = EndpointOptions(**plan_fields(asking))
    if not is_endpoint(model):
        options.refuse_without_endpoint(model)
        classifier = Classifier.load(Path(model), factory=factory)
        _attack(spec, classifier, inputs, labels, label, ranges, device, out)
        return
    names = () if classes is None else tuple(name.strip() for name in classes.split(","))
    victim = victim_at(model, options, out, classes=names)
    with closing(victim.endpoint):
        refuse_attack(parse_attack(spec, bounds=victim.bounds), victim)
        _attack(spec, victim, inputs, labels, label, ranges, device, out)
        click.echo(account(victim, out))


def _attack(
    spec: str,
    classifier: Classifier,
    inputs: Path,
    labels: Path | None,
    label: str | None,
    ranges: Path | None,
    device: str,
    out: Path,
) -> None:
    """Attack, and say what it came to."""
    from salus.attacks import parse_attack
    from salus.jobs import attack_doubts, attack_rows, read_possible, read_samples
    from salus.storage import find_device

    engine = parse_attack(spec, bounds=classifier.bounds)
    samples = read_samples(classifier, inputs, labels, label)
    possible = None
    if ranges is not None:
        kept, possible = read_possible(ranges, classifier, samples.x, str(inputs))
        engine = parse_attack(spec, bounds=classifier.bounds, **kept)
    for note in samples.notes:
        click.echo(f"Note: {note}.", err=True)
    for refusal in samples.refused[:_MOST_NAMED]:
        click.echo(f"WARNING: not attacked: {refusal.name}: {refusal.reason}.", err=True)
    if len(samples.refused) > _MOST_NAMED:
        click.echo(f"WARNING: not attacked: {len(samples.refused) - _MOST_NAMED} more.", err=True)
    for sentence in attack_doubts(engine, classifier, samples.x):
        click.echo(f"WARNING: {sentence}", err=True)
    done = attack_rows(
        engine, classifier.to(find_device(device)), samples.x, samples.y, out, names=samples.names, ranges=possible
    )
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
    if done.cost is not None:
        fallen = "" if done.cost_fallen is None else f", of one that fell {done.cost_fallen:g}"
        click.echo(f"Median cost of a sample's changes: {done.cost:g}{fallen}.")
    click.echo(f"{done.computed} attacked by this run. Results: {out / 'results.csv'}, {out / 'x_adv.npy'}")

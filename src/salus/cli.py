"""The command line: parses, calls, prints."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from salus import __version__
from salus.errors import SalusError
from salus_studies import PAPERS

F = TypeVar("F", bound=Callable[..., Any])
_WIDTH = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}


class _Group(click.Group):
    """Turns every mistake of input into one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SalusError as error:
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("Stopped. Run the same command again to go on from here.", err=True)
            sys.exit(130)


def _data_options(command: F) -> F:
    """Add the options that say which data, and how they are loaded."""
    options = [
        click.option(
            "--split",
            help="How samples are dealt: beats, patients, ds1-ds2; of skin: lesions, images; of images also all: every "
            "one is a test image, for a model trained elsewhere and guards that learn nothing.",
        ),
        click.option("--bounds", help="Lowest and highest value of x, LOW,HIGH, when they are not 0,1."),
        click.option("--data-dir", type=click.Path(path_type=Path), help="Where downloaded sets lie."),
        click.option("--label", help="The CSV column that holds the label."),
        click.option("--group", help="The CSV column that holds the patient."),
        click.option("--scale", is_flag=True, default=None, help="Min-max scaling fitted on the training part."),
        click.option("--smote", type=int, help="SMOTE to this many training samples per class."),
        click.option("--without-mlii", help="MIT-BIH records without lead MLII: v5 or drop."),
        click.option("--inputs", help="Channels of a heartbeat, comma-separated (beat,previous,next,rhythm)."),
        click.option("--size", help="Pixels to which images are scaled and cropped: 224, or HEIGHTxWIDTH."),
        click.option("--immutable", help="Features that never change, comma-separated."),
        click.option("--integer", help="Features that take whole numbers."),
        click.option("--derived", help="Features that follow from others."),
        click.option("--positive", help="Classes that mean disease; of skin lesions also malignant or thesis."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _model_options(command: F) -> F:
    """Add the options that say which data and which model."""
    options = [
        click.option("--data", help="A data set (see `salus data list`), or a file or folder of your own."),
        click.option(
            "--model",
            help="A network, NAME:key=value,... (ecg-cnn:widths=16+32, resnet50:pretrained=FILE), "
            "package.module:factory, FILE.pt2, or a folder that Salus saved.",
        ),
        click.option("--weights", type=click.Path(path_type=Path), help="The factory's weights."),
        click.option("--training", multiple=True, help="A training option, key=value (epochs=10)."),
        click.option("--seed", type=int, help="Of every random draw.  [default: 0]"),
        click.option("--device", help="cpu, cuda, ...  [default: cpu]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _defence_options(command: F) -> F:
    """Add the options that say which defence."""
    options = [
        click.option("--defence", multiple=True, help="NAME:key=value,...; A+B for one guard; none for none."),
        click.option("--false-alarm-rate", type=float, help="Clean inputs a guard may reject.  [default: 0.01]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _training_part_options(command: F) -> F:
    """Add the options that change the training part, or say what in it looks wrong."""
    options = [
        click.option("--poison", multiple=True, help="Poison the training data first (label-flips:share=0.2)."),
        click.option(
            "--clean-labels",
            help="Find wrong training labels: confident-learning:folds=5, or high-loss:share=0.1; an audit trains "
            "without them (action=drop) or with the most probable ones (action=relabel).",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=_Group, context_settings=_WIDTH)
@click.version_option(__version__, prog_name="salus")
def main() -> None:
    """Audit, harden and guard medical classifiers against adversarial inputs."""


@main.command()
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@_model_options
@_defence_options
@_data_options
@click.option("--attack", multiple=True, help="NAME:key=value,... (pgd:eps=0.01,steps=40).  [default: fgsm, pgd]")
@click.option("--eps", help="Radii for attacks that name none, comma-separated; 2/255 will do.")
@click.option("--norm", help="linf or l2, for attacks that name none.  [default: linf]")
@click.option("--steps", type=int, help="Steps of every attack that takes steps.")
@click.option("--queries", type=int, help="Most forward passes on one sample, for each variant of an attack.")
@click.option("--restarts", type=int, help="Starts of every attack that has several.")
@click.option("--time", type=float, help="Most seconds for each variant of an attack.")
@click.option("--control", multiple=True, help="A harmless change to try too (baseline-wander:snr=12).")
@_training_part_options
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
    """  # noqa: D301 - click wants the character
    from salus.audit import Plan, run_audit
    from salus.report import write_report
    from salus.terminal import print_cells

    fields = _fields(options)
    made = Plan.of(fields) if plan is None else Plan.read(plan, fields)
    outcome = run_audit(made, out, command=shlex.join(["salus", *sys.argv[1:]]))
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


@main.command()
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
    """  # noqa: D301 - click wants the character
    from salus.attacks import parse_attack
    from salus.classifier import Classifier
    from salus.jobs import attack_rows, read_rows
    from salus.storage import find_device

    classifier = Classifier.load(model, factory=factory)
    engine = parse_attack(spec, bounds=classifier.bounds)
    made = attack_rows(engine, classifier.to(find_device(device)), *read_rows(inputs, labels), out)
    reached = "reach their target" if engine.targeted else "get a wrong answer"
    click.echo(
        f"{made.fooled} of {made.n} samples {reached} ({made.fooled / made.n:.1%}); {made.computed} attacked by this "
        f"run.\nResults: {out / 'results.csv'}, {out / 'x_adv.npy'}"
    )


@main.command()
@click.argument("paper", type=click.Choice(PAPERS))
@click.option(
    "--protocol",
    multiple=True,
    help="Of ecg-atk-gan: as-published (the papers' attack data and unit) or honest (attacks at full strength).  "
    "[default: both]",
)
@click.option(
    "--scale",
    default="small",
    show_default=True,
    help="smoke (seconds), small (two cores, an hour or two) or full (as in the paper: a GPU).",
)
@click.option(
    "--split",
    multiple=True,
    help="Of ecg-atk-gan: beats or patients, for honest.  [default: both]  Of skin-lesion: lesions, or images as in "
    "the thesis.  [default: lesions]",
)
@click.option("--time", "minutes", type=float, help="Begin nothing that would not end within so many minutes.")
@click.option(
    "--data",
    help="Of ecg-atk-gan: a folder of WFDB records.  [default: mitdb]  Of i-defender: a folder of ImageNet.  Of "
    "skin-lesion: ham10000 or isic2018.  [default: ham10000]",
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where downloaded sets lie.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@click.option("--page", type=click.Path(path_type=Path), help="The page to write.  [default: OUT/PAPER.md]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for models and results.")
def reproduce(paper: str, protocol: tuple[str, ...], split: tuple[str, ...], out: Path, **options: Any) -> None:
    """Train, attack and count what a paper did, and print its numbers beside ours.

    What does not fit the time is listed as not run; the same command goes on where it was.

    \b
    salus reproduce ecg-atk-gan --protocol as-published --scale small --time 90 --out runs/ecg-atk-gan
    """  # noqa: D301 - click wants the character
    from salus_studies import reproduce as run

    command = shlex.join(["salus", *sys.argv[1:]])
    outcome = run(paper, out, protocols=protocol or None, splits=split or None, command=command, **options)
    click.echo(
        f"{outcome.computed} steps done, {outcome.stored} stored before, {outcome.not_run} not run.\n"
        f"Page: {outcome.page}"
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Draw the report of an audit again, from its stored results alone."""
    from salus.report import write_report

    click.echo(f"Report: {write_report(run)}")


@main.command()
@click.argument("method")
@_model_options
@_data_options
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
    """  # noqa: D301 - click wants the character
    from salus.audit import Plan
    from salus.jobs import run_hardening

    plan = Plan.of(_fields(options))
    made = run_hardening(method, plan, out, attack=attack, command=shlex.join(["salus", *sys.argv[1:]]))
    test = made.facts["test"]
    click.echo(
        f"{test['clean_accuracy']:.1%} of {test['n']} test inputs are answered rightly. Saved in {out}; audit it: "
        f"{made.audit}"
    )


@main.command()
@_model_options
@_data_options
@_training_part_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for labels.csv.")
def labels(out: Path, **options: Any) -> None:
    """Look for wrong labels in training data, and list all labels, the most doubtful first.

    The network that --model names is trained several times, each time without the samples that it then judges. By
    default confident-learning says which labels look wrong; a network that is often wrong doubts many right ones. A
    search that was stopped goes on where it was; the same folder answers by another method (--clean-labels) at once.

    
    salus labels --data own.csv --label outcome --scale --model mlp --out runs/labels
    """
    from salus.audit import Plan
    from salus.jobs import run_labels

    made = run_labels(Plan.of(_fields(options)), out, command=shlex.join(["salus", *sys.argv[1:]]))
    click.echo(f"{made.summary} All labels, the most doubtful first: {made.path}")


@main.command()
@click.option("--data", required=True, help="A data set (see `salus data list`), or a file or folder of your own.")
@click.option("--epochs", type=int, help="Passes over the training samples.  [default: 100]")
@click.option("--training", multiple=True, help="Another training option, key=value (width=32, precision=bfloat16).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@_data_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the generator.")
def generator(data: str, epochs: int | None, seed: int, device: str, out: Path, **options: Any) -> None:
    """Train a generator of samples (WGAN-GP), which Defense-GAN finds an input's nearest likeness with.

    A run that was stopped goes on where it was, and so does one that is asked for more epochs; asked for fewer, it
    leaves the generator as it is. After every epoch the folder holds a generator that can be used.

    \b
    salus generator --data mnist --epochs 100 --out runs/mnist-generator
    salus audit --data mnist --defence defense-gan:generator=runs/mnist-generator --out runs/mnist
    """  # noqa: D301 - click wants the character
    from salus.jobs import run_generator

    fields = _fields(options)
    training = fields.pop("training", {}) | ({} if epochs is None else {"epochs": epochs})
    made = run_generator(data, out, training=training, data_options=fields, seed=seed, device=device)
    last = made.history.epochs[-1]
    click.echo(
        f"Trained for {last.epoch} epochs on {made.samples} samples; the critic tells them apart by "
        f"{last.distance:.3f}. Saved in {out}; use it: --defence defense-gan:generator={out}"
    )


@main.command()
@click.option("--data", required=True, help="A data set (see `salus data list`), or a file or folder of your own.")
@click.option("--members", help="How many of the ten, or their names, comma-separated.  [default: 10]")
@click.option("--epochs", type=int, help="Passes over the training samples.  [default: about 4,000 steps]")
@click.option("--training", multiple=True, help="Another training option, key=value (precision=bfloat16).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@_data_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the repository.")
def autoencoders(
    data: str, members: str | None, epochs: int | None, seed: int, device: str, out: Path, **options: Any
) -> None:
    """Train a repository of autoencoders, which MagNet, MultiMagNet and their reformers draw from.

    A run that was stopped goes on where it was, and so does one that is asked for more members. Beside them lies
    reconstructions.png: what each makes of samples that it was not trained on.

    \b
    salus autoencoders --data mnist --out runs/mnist-autoencoders
    salus audit --data mnist --defence magnet:repository=runs/mnist-autoencoders,member=relu --out runs/mnist
    """  # noqa: D301 - click wants the character
    from salus.figures import reconstructions_picture
    from salus.jobs import run_autoencoders
    from salus.terminal import print_members

    fields = _fields(options)
    training = fields.pop("training", {}) | ({} if epochs is None else {"epochs": epochs})
    made = run_autoencoders(
        data, out, members=members, training=training, data_options=fields, seed=seed, device=device
    )
    picture = reconstructions_picture(made.repository.to("cpu"), made.held_out, out / "reconstructions.png")
    print_members(made.repository)
    click.echo(f"Saved in {out}, drawn in {picture}; use it: --defence magnet:repository={out}")


@main.group()
def guard() -> None:
    """Make guards and use them."""


@guard.command("fit")
@_model_options
@_defence_options
@_data_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the bundle.")
def guard_fit(out: Path, **options: Any) -> None:
    """Train a classifier, fit its defence and save both as one bundle."""
    from salus.audit.plan import Plan
    from salus.jobs import fit_bundle

    made = fit_bundle(Plan.of(_fields(options)), out)
    for detector in made.guard.describe()["detectors"]:
        click.echo(detector["text"] + ".")
    click.echo(
        f"On {made.n} test inputs it rejects {made.rejected:.1%} and answers {made.right:.1%} rightly. Bundle: {out}"
    )


@guard.command("calibrate")
@_model_options
@click.option("--repository", type=click.Path(path_type=Path), required=True, help="Folder of `salus autoencoders`.")
@click.option("--attack", help="Calibrate against this attack (pgd:eps=0.01).  [default: clean samples alone]")
@click.option("--false-alarm-rate", type=float, help="Clean inputs it may reject, without --attack.  [default: 0.01]")
@_data_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for calibration.json.")
def guard_calibrate(repository: Path, attack: str | None, out: Path, **options: Any) -> None:
    """Choose MultiMagNet's n, metric, temperature, drop rate and approach for a classifier.

    Every combination is scored on samples that neither the classifier nor, of the same data and seed, the
    autoencoders have learnt from; calibration.json holds all of them, and the thresholds of the best.

    \b
    salus autoencoders --data mitdb --out runs/autoencoders
    salus guard calibrate --data mitdb --repository runs/autoencoders --out runs/calibrated
    """  # noqa: D301 - click wants the character
    from salus.audit.plan import Plan
    from salus.jobs import run_calibration
    from salus.terminal import print_calibration

    made = run_calibration(Plan.of(_fields(options)), repository, out, attack=attack)
    print_calibration(made.calibration, *(("blends", 1) if attack is None else ("attacked", 5)))
    against = "blends of them" if attack is None else f"attacked ones that fool the classifier ({attack})"
    spec = f"multimagnet:calibration={made.path},repository={repository}"
    click.echo(
        f"{len(made.calibration.grid)} combinations scored on {made.clean} clean samples and {made.adversarial} "
        f"{against}; best: {made.calibration.rule}. All of them: {made.path}\n"
        f"Use it: --model {made.model} --defence {shlex.quote(spec)}"
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


@main.group()
def data() -> None:
    """List, show and fetch data sets."""


@data.command("list")
def data_list() -> None:
    """List the known data sets and whether they are at hand."""
    from salus.data import catalogue
    from salus.terminal import print_catalogue

    print_catalogue(catalogue())


@data.command("show")
@click.argument("name")
@_data_options
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="Where to draw it.  [default: NAME.png]")
def data_show(name: str, seed: int, picture: Path | None, **options: Any) -> None:
    """Show a data set: counts, classes, bounds, provenance, and a picture."""
    from salus.data import load
    from salus.figures import dataset_picture
    from salus.terminal import print_data

    splits = load(name, seed=seed, **_fields(options))
    print_data(splits)
    place = picture or Path(f"{Path(name).stem}.png")
    dataset_picture(splits, place)
    click.echo(f"  picture: {place}")


@data.command("fetch")
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="A folder or archive on this disk.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where to put it.")
def data_fetch(name: str, source: Path | None, data_dir: Path | None) -> None:
    """Get a data set from its official home, checked file by file; a broken download goes on."""
    from salus.data import fetch

    place = fetch(name, source=source, data_dir=data_dir)
    click.echo(f"{name} comes with Salus; nothing to fetch." if place is None else f"{name}: {place}")


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """Keep what was given, in the shape that plans have."""
    fields = {key: value for key, value in options.items() if value not in (None, ())}
    for name in ("inputs", "immutable", "integer", "derived", "positive"):
        if name in fields:
            fields[name] = tuple(word.strip() for word in fields[name].split(","))
    if "bounds" in fields:
        from salus.errors import OptionError

        try:
            low, high = (float(part) for part in fields["bounds"].split(","))
        except ValueError as error:
            raise OptionError(f"--bounds takes two numbers, LOW,HIGH, not {fields['bounds']!r}.") from error
        fields["bounds"] = (low, high)
    if "training" in fields:
        from salus.options import split_spec

        _, fields["training"] = split_spec(f"training:{','.join(fields['training'])}", "training option")
    return fields


if __name__ == "__main__":
    main()

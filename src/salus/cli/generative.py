"""What MagNet, MultiMagNet and Defense-GAN stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from salus.cli.options import DATA, PlanCommand, key_values, plan_fields


@click.command(cls=PlanCommand, fields=DATA)
@click.option("--data", required=True, help="A data set (see `salus data list`), or a file or folder of your own.")
@click.option("--epochs", type=int, help="Passes over the training samples.  [default: 100]")
@click.option("--training", multiple=True, help="Another training option, key=value (width=32, precision=bfloat16).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the generator.")
def generator(data: str, epochs: int | None, seed: int, device: str, out: Path, **options: Any) -> None:
    """Train a generator of samples (WGAN-GP), which Defense-GAN finds an input's nearest likeness with.

    A run that was stopped goes on where it was, and so does one that is asked for more epochs; asked for fewer, it
    leaves the generator as it is. After every epoch the folder holds a generator that can be used.

    \b
    salus generator --data mnist --epochs 100 --out runs/mnist-generator
    salus audit --data mnist --defence defense-gan:generator=runs/mnist-generator --out runs/mnist
    """
    from salus.jobs import run_generator

    fields = plan_fields(options)
    training = key_values(fields.pop("training", ())) | ({} if epochs is None else {"epochs": epochs})
    trained = run_generator(data, out, training=training, data_options=fields, seed=seed, device=device)
    last = trained.history.epochs[-1]
    click.echo(
        f"Trained for {last.epoch} epochs on {trained.samples} samples; the critic tells them apart by "
        f"{last.distance:.3f}. Saved in {out}; use it: --defence defense-gan:generator={out}"
    )


@click.command(cls=PlanCommand, fields=DATA)
@click.option("--data", required=True, help="A data set (see `salus data list`), or a file or folder of your own.")
@click.option("--members", help="How many of the ten, or their names, comma-separated.  [default: 10]")
@click.option("--epochs", type=int, help="Passes over the training samples.  [default: about 4,000 steps]")
@click.option("--training", multiple=True, help="Another training option, key=value (precision=bfloat16).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
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
    """
    from salus.cli.terminal import print_members
    from salus.figures import reconstructions_picture
    from salus.jobs import run_autoencoders

    fields = plan_fields(options)
    training = key_values(fields.pop("training", ())) | ({} if epochs is None else {"epochs": epochs})
    trained = run_autoencoders(
        data, out, members=members, training=training, data_options=fields, seed=seed, device=device
    )
    picture = reconstructions_picture(trained.repository.to("cpu"), trained.held_out, out / "reconstructions.png")
    print_members(trained.repository)
    click.echo(f"Saved in {out}, drawn in {picture}; use it: --defence magnet:repository={out}")

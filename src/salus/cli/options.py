"""Options that several commands share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def data_options(command: F) -> F:
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


def model_options(command: F) -> F:
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


def defence_options(command: F) -> F:
    """Add the options that say which defence."""
    options = [
        click.option("--defence", multiple=True, help="NAME:key=value,...; A+B for one guard; none for none."),
        click.option("--false-alarm-rate", type=float, help="Clean inputs a guard may reject.  [default: 0.01]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def training_part_options(command: F) -> F:
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


def plan_fields(options: dict[str, Any]) -> dict[str, Any]:
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


def command_line() -> str:
    """Return what was typed, for reports."""
    return shlex.join(["salus", *sys.argv[1:]])

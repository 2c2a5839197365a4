"""Wrong labels in the training part of a plan: found, written down and, for an audit, dropped or mended."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from salus.atomic import write_text
from salus.audit import setup as build
from salus.audit.plan import Plan
from salus.data import Dataset, Splits
from salus.errors import OptionError
from salus.hardening.label_cleaning import LabelFinds, without
from salus.hardening.label_judgement import judge
from salus.metrics import Rate
from salus.models import default_model
from salus.progress import console

#: In the folder of an audit or of a label search: the list of all labels, and what the finished folds answered.
LIST, FOLDS = "labels.csv", "folds"


def check_cleaning(plan: Plan, splits: Splits) -> None:
    """Refuse a label cleaning that cannot be done, before anything is trained.

    Raises:
        DataError: the training part is too small for the folds.
        OptionError: the model is not trained here, or a library is missing.
    """
    cleaning, spec = plan.cleaning(), build.model_spec(plan, splits)
    if cleaning is None:
        return
    if spec.kind != "network":
        raise OptionError(
            f"Label cleaning trains a built-in model fold by fold, but {spec.text!r} is used as it is; name a network "
            f"by --model, such as {default_model(splits.test.kind)}."
        )
    cleaning.check(splits.train)


def cleaned(plan: Plan, splits: Splits, folder: Path) -> tuple[Splits, dict[str, Any] | None]:
    """Clean the labels of the training part as the plan asks, or go on with a cleaning that was stopped.

    Returns:
        The data to train on, and what is to be said of it; None where the plan asks for no cleaning.
    """
    cleaning = plan.cleaning()
    if cleaning is None:
        return splits, None
    finds, facts = find_wrong(plan, splits, folder)
    train = without(splits.train, finds, cleaning.action)
    gone = [label for label, count in train.counts.items() if splits.train.counts[label] and not count]
    return replace(splits, train=train), {**facts, "classes_gone": gone}


def find_wrong(plan: Plan, splits: Splits, folder: Path) -> tuple[LabelFinds, dict[str, Any]]:
    """Find wrong labels by the plan's method, with its network and training, and list all in ``labels.csv``.

    Returns:
        The finds, and facts for JSON; recall and precision are None where no label is known to be flipped.
    """
    cleaning, spec, train = plan.cleaning(), build.model_spec(plan, splits), splits.train
    assert cleaning is not None  # noqa: S101 - the callers have looked
    finds = cleaning.find(
        train,
        splits.validation,
        spec.name,
        build.training_options(plan, splits),
        model_options=spec.options,
        folder=folder / FOLDS,
        device=plan.device,
        log=build.spaced(console.print),
    )
    write_text(folder / LIST, _csv(train, finds))
    known, unknown = judge(finds, train), Rate(None, None, None, 0)
    return finds, {
        "method": cleaning.name,
        "options": cleaning.settings(),
        "samples": len(train),
        "found": int(finds.flags.sum()),
        "not_judged": int(finds.quality.isnan().sum()),
        "flipped": None if known is None else known.flipped,
        **(unknown if known is None else known.recall).named("recall"),
        **(unknown if known is None else known.precision).named("precision"),
    }


def in_words(facts: Mapping[str, Any], done: str = "") -> str:
    """Say what was found, and ``done`` about it, and how that agrees with what is known to be flipped."""
    text = f"{facts['found']:,} of {facts['samples']:,} training labels look wrong to {facts['method']}{done}."
    if facts["flipped"] is not None:
        text += f" Of the {facts['flipped']:,} that were flipped on purpose it found {_share(facts, 'recall')}"
        text += f"; {_share(facts, 'precision')} of its finds were flipped." if facts["found"] else "."
    if facts["not_judged"]:
        text += f" {facts['not_judged']:,} could not be judged: all samples of their class are in one fold."
    return text


def _share(facts: Mapping[str, Any], name: str) -> str:
    return f"{facts[name]:.1%} ({100 * facts[f'{name}_low']:.1f} to {100 * facts[f'{name}_high']:.1f})"


def _csv(data: Dataset, finds: LabelFinds) -> str:
    """List all labels, the least fitting first and those that could not be judged last."""
    columns: dict[str, list[Any]] = {"index": list(range(len(data)))}
    if data.names:
        columns["sample"] = [*data.names, *[""] * (len(data) - len(data.names))]
    if data.groups is not None:
        columns["group"] = ["" if group < 0 else group for group in data.groups.tolist()]
    columns["given"] = [data.classes[label] for label in data.y.tolist()]
    columns["suggested"] = [data.classes[label] for label in finds.suggested.tolist()]
    columns["quality"] = ["" if value != value else f"{value:.6g}" for value in finds.quality.tolist()]
    columns["flagged"] = [str(flag).lower() for flag in finds.flags.tolist()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    rows = list(zip(*columns.values(), strict=True))
    writer.writerows(rows[row] for row in finds.quality.argsort(stable=True).tolist())
    return text.getvalue()

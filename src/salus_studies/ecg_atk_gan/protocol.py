"""The order of the steps of ECG-ATK-GAN: trainings and cells one after the other, each stored, within a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus import atomic
from salus.audit.cell import Cell
from salus.audit.measure import measure_cell
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.data import load as load_data
from salus.progress import console, progress
from salus.storage import TrainingFolder, find_device
from salus_studies.ecg_atk_gan import as_published, honest
from salus_studies.ecg_atk_gan.attacked import COLUMNS, describe_change
from salus_studies.ecg_atk_gan.honest import Planned
from salus_studies.ecg_atk_gan.scales import SCALES, GANScale
from salus_studies.ecg_atk_gan.study import STUDY, ECGATKGANOptions
from salus_studies.ecg_atk_gan.trainings import ARCHITECTURES, TrainedColumn, read_gan, train_column
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.frame.step import Step, Training
from salus_studies.frame.steps import Steps


def run(options: ECGATKGANOptions, folder: Folder) -> Results:
    """Train, attack and count what the two papers did.

    A protocol that is not named keeps what is stored of it.

    Raises:
        SalusError: an option, the data or the folder cannot be used.
    """
    find_device(options.device)
    names: dict[str, None] = dict.fromkeys(("beats", *options.split))
    loaded = {split: load_data(options.data, split=split, seed=options.seed, **options.place) for split in names}
    identity = {"scale": options.scale, "seed": options.seed, "data": loaded["beats"].test.fingerprint()}
    steps = folder.claim(identity, {"data": options.data, "device": options.device}, options.time)
    order = GANOrder(options, steps, loaded)
    order.announce()
    order.speed()
    if "as-published" in options.protocol:
        order.as_published(loaded["beats"])
    if "honest" in options.protocol:
        for split in options.split:
            order.honest(split, loaded[split])
    values = order.results()
    return Results(values, order.arrays(values))


def train_model(
    checkpoint: Path, splits: Splits, architecture: str, column: str, scale: GANScale, seed: int, device: str
) -> tuple[Classifier, dict[str, Any]]:
    """Train one architecture for one column, into the folder of the checkpoint; see :func:`train_column`."""
    return train_column(
        splits,
        architecture,
        column,
        scale,
        checkpoint.parent,
        seed=seed,
        device=device,
        log=lambda line: None if line.startswith("epoch") else console.print(line),
    )


def count(cell: Cell, facts: dict[str, Any]) -> dict[str, Any]:
    """Compute a cell; ``facts`` say which it is."""
    return {**measure_cell(cell, cell.guard(cell.data.x)), **facts}


class GANOrder:
    """The order of the steps, and what they left.

    Args:
        options: what was asked for.
        steps: where steps are stored.
        loaded: the data, by split.
    """

    def __init__(self, options: ECGATKGANOptions, steps: Steps, loaded: dict[str, Splits]) -> None:
        self.options, self.steps, self.loaded = options, steps, loaded
        self.scale, self.seed, self.device = SCALES[options.scale], options.seed, options.device
        self.folder = steps.folder
        self.unattacked: list[tuple[str, str, str]] = []  # split, architecture and column of models without a training

    def announce(self) -> None:
        """Say what is to come and how long it may take."""
        minutes = self.steps.minutes
        limit = "no limit of time" if minutes is None else f"at most about {minutes:g} minutes"
        console.print(
            f"Reproducing ECG-ATK-GAN, {' and '.join(self.options.protocol)}, scale {self.options.scale}, {limit}: "
            f"{len(COLUMNS)} columns, {len(ARCHITECTURES)} architectures. What does not fit is listed as not run."
        )

    def speed(self) -> None:
        """Time one step of the GAN on this machine."""
        from salus_studies.ecg_atk_gan.speed import measure

        options = self.scale.options(self.seed)
        self.steps.do(
            "speed", "speed", [asdict(options), torch.get_num_threads()], lambda: measure(options), always=True
        )

    # The two protocols.

    def as_published(self, splits: Splits) -> None:
        """Train every architecture for every column and judge it on its own attack; both papers' columns first."""
        test = _drawn(splits.test, self.scale.test_beats, self.seed)
        with progress("as published", len(COLUMNS) * len(ARCHITECTURES)) as advance:
            for columns in (COLUMNS[:5], COLUMNS[5:]):
                models = list(product(ARCHITECTURES, columns))
                if self.steps.engine is not None:
                    self.trainings("beats", splits, models)  # side by side, before any is judged
                for architecture, column in models:
                    advance(0, note=f"{architecture}, {column}")
                    trained = self.trainings("beats", splits, [(architecture, column)])[0]
                    if trained is not None:
                        self.judged(trained, test, architecture, column)
                    advance(1)

    def judged(self, trained: TrainedColumn, test: Dataset, architecture: str, column: str) -> None:
        """Count one cell of Table 1, and the generator's row of Table 3 where there is one."""

        def count() -> dict[str, Any]:
            shown = self.attacked(test, column)
            record = {"architecture": architecture, "attack": column} | as_published.judge(trained, test, shown)
            content: dict[str, Any] = {"cell": record}
            if trained.gan is not None:
                content["generator"] = as_published.resemblance(trained.gan, test, shown, seed=self.seed)
                drawn = as_published.examples(trained.gan, test, shown)
                atomic.write_tensors(self.folder / "examples" / f"{column}.safetensors", drawn)
            return content

        self.steps.do(
            f"beats-{architecture}-{column}-judged",
            "judging",
            [trained.classifier.fingerprint(), test.fingerprint()],
            count,
        )

    def attacked(self, test: Dataset, column: str) -> Tensor:
        """Make the attacked copies of the test beats, once, and say what they are."""
        if column == "none":
            return test.x
        released = self.scale.released(column, self.seed)
        place = self.folder / "attacked" / f"{column}.safetensors"

        def make() -> dict[str, Any]:
            x_adv = released(test.x, test.y)
            atomic.write_tensors(place, {"x": x_adv})
            network = released.network(tuple(test.x.shape[1:]), len(test.classes))
            return {"part": "test", "n": len(test), **describe_change(network, test.x, x_adv)}

        if not place.exists():
            self.steps.forget(f"attacked-{column}")
        self.steps.do(f"attacked-{column}", "attacking", [asdict(released), test.fingerprint()], make, always=True)
        return load_safetensors(place.read_bytes())["x"]

    def honest(self, name: str, splits: Splits) -> None:
        """Attack the trained models of one split at full strength; what asks thousands of queries comes last."""
        whole = _drawn(splits.test, self.scale.honest_beats, self.seed)
        models = [(one, on) for on in honest.TRAINED_ON for one in ARCHITECTURES]
        with progress(f"honest, {name}", 2 * len(models)) as advance:
            trainings = dict(zip(models, self.trainings(name, splits, models), strict=True))
            for asking in (False, True):
                cells: list[Step] = []
                for architecture, on in models:
                    trained = trainings[architecture, on]
                    if trained is not None:
                        trained.classifier.to(self.device)
                        bare, guarded = honest.guards(trained, splits.calibration, seed=self.seed)
                        for plan in honest.planned(architecture, self.scale, self.seed):
                            if (plan.beats is not None) == asking:
                                cells.append(self.attack(name, architecture, on, plan, bare, guarded, whole))
                    elif asking:
                        self.unattacked.append((name, architecture, on))
                self.steps.do_all(cells, f"honest, {name}: {'asking' if asking else 'by gradients'}")
                advance(len(models))

    def attack(
        self, split: str, architecture: str, on: str, plan: Planned, bare: Any, guarded: Any, whole: Dataset
    ) -> Step:
        """Say what one honest cell is."""
        data = whole if plan.beats is None else _drawn(whole, plan.beats, self.seed)
        data = replace(data, x=data.x.to(self.device), y=data.y.to(self.device))
        cell = honest.cell(plan, bare, guarded, data)
        title = f"{architecture} trained on {on}, {split}: {cell.title()}"
        facts = {"split": split, "architecture": architecture, "trained_on": on}
        slug = hashlib.sha256(title.encode()).hexdigest()[:12]
        kind = f"{'guarded ' if plan.guarded else ''}{plan.attack.name if plan.attack else 'clean'} {plan.threat_model}"
        return Step(
            name=f"honest-{slug}",
            kind=kind,
            key=[cell.key()],
            function=count,
            arguments=(cell, facts),
            blank={**cell.blank(), **facts},
        )

    def trainings(self, split: str, splits: Splits, models: Sequence[tuple[str, str]]) -> list[TrainedColumn | None]:
        """Train, or load, architectures for columns; None where the time does not allow it."""
        shared, prints, todo = self.steps.share(splits), splits.train.fingerprint(), []
        for architecture, column in models:
            name = f"{split}-{architecture}-{column}"
            todo.append(
                Training(
                    name=f"training-{name}",
                    kind=f"training {architecture}",
                    key=[STUDY.version, asdict(self.scale), prints, self.seed, name],
                    place=TrainingFolder(self.folder / "models" / name, name),
                    function=train_model,
                    arguments=(shared, architecture, column, self.scale, self.seed, self.device),
                    blank={"split": split, "architecture": architecture, "attack": column},
                )
            )
        trained: list[TrainedColumn | None] = []
        for training, (classifier, _) in zip(todo, self.steps.train_all(todo), strict=True):
            folder = training.place.folder
            if classifier is not None:
                for path in (folder / "working").glob("*.checkpoint"):  # the GAN's own; all is kept now
                    path.unlink()
            trained.append(None if classifier is None else TrainedColumn(classifier, read_gan(folder, classifier)))
        return trained

    # What is stored, in one page of values.

    def results(self) -> dict[str, Any]:
        """Gather all steps into ``results.json``."""
        steps = self.steps.contents()
        trainings = [content for name, content in steps.items() if name.startswith("training-")]
        state = {(one["split"], one["architecture"], one["attack"]): one for one in trainings}
        cells, generator = [], []
        for column in COLUMNS:
            for architecture in ARCHITECTURES:
                judged = steps.get(f"beats-{architecture}-{column}-judged", {})
                training = state.get(("beats", architecture, column), {})
                base = {
                    "protocol": "as-published",
                    "split": "beats",
                    "architecture": architecture,
                    "attack": column,
                }
                if "cell" in judged:
                    cells.append({**base, **judged["cell"], "status": "done", "reason": None})
                else:
                    reason = judged.get("reason") or training.get("reason") or "not reached in the time that was given"
                    cells.append({**base, "status": "not run", "reason": reason})
                if "generator" in judged:
                    generator.append({"split": "beats", "attack": column, **judged["generator"]})
        attack_data = [
            {"split": "beats", "architecture": "all", "attack": name.removeprefix("attacked-"), **content}
            for name, content in steps.items()
            if name.startswith("attacked-")
        ]
        attack_data.sort(key=lambda row: COLUMNS.index(row["attack"]))
        done = [path.stem for path in (self.folder / "examples").glob("*.safetensors")]
        options = self.scale.options(self.seed)
        return {
            "meta": {
                **self.steps.meta(scale=self.options.scale, seed=self.seed, device=self.device),
                "protocols": list(self.options.protocol),
                "settings": {
                    **asdict(options),
                    "test_beats": self.scale.test_beats or len(self.loaded["beats"].test),
                    "iterations": self.scale.iterations,
                    "tries": self.scale.tries,
                    "honest_beats": self.scale.honest_beats,
                    "query_beats": self.scale.query_beats,
                    "queries": self.scale.queries,
                    "baseline": asdict(self.scale.baseline),
                    "dc_gan_epochs": self.scale.dc_gan_epochs,
                },
                "data": {split: splits.describe() for split, splits in self.loaded.items()},
            },
            "trainings": trainings,
            "attack_data": attack_data,
            "cells": cells,
            "honest": [
                *(content for name, content in steps.items() if name.startswith("honest-")),
                *(row for model in self.unattacked for row in self.absent(*model)),
            ],
            "generator": generator,
            "overlays": {
                "attacks": [column for column in COLUMNS if column in done],
                "classes": list(self.loaded["beats"].test.classes),
            },
            "speed": steps.get("speed"),
        }

    def absent(self, split: str, architecture: str, on: str) -> list[dict[str, Any]]:
        """List the honest cells of a model that was not trained."""
        return [
            {
                "split": split,
                "architecture": architecture,
                "trained_on": on,
                "attack": None if plan.attack is None else plan.attack.name,
                "attack_options": {"steps": getattr(plan.attack, "steps", None)},
                "eps": None if plan.attack is None else plan.attack.eps,
                "threat_model": plan.threat_model,
                "guard": "attacked-head" if plan.guarded else "none",
                "status": "not run",
                "reason": "no time left for its training",
            }
            for plan in honest.planned(architecture, self.scale, self.seed)
        ]

    def arrays(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the example beats that the figures show, ``[A, K, L]``."""
        folder = self.folder / "examples"
        examples = [
            load_safetensors((folder / f"{column}.safetensors").read_bytes())
            for column in results["overlays"]["attacks"]
        ]
        if not examples:
            return {}
        return {
            f"overlay_{name}": torch.stack([one[name] for one in examples]).numpy()
            for name in ("clean", "attacked", "generated")
        }


def _drawn(test: Dataset, most: int | None, seed: int) -> Dataset:
    """Draw test beats at natural prevalence, keeping one of each class there is."""
    if most is None or most >= len(test):
        return test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    firsts = [int(order[(test.y[order] == label).nonzero()[0, 0]]) for label in test.y.unique().tolist()]
    rest = [row for row in order.tolist() if row not in firsts][: most - len(firsts)]
    return test.subset(torch.tensor(sorted(firsts + rest)))

"""The order of the steps of ECG-ATK-GAN: trainings and cells one after the other, each stored, within a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus import atomic
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.data import load as load_data
from salus.progress import console, progress
from salus.storage import TrainingFolder, find_device
from salus_studies.ecg_atk_gan import as_published, honest
from salus_studies.ecg_atk_gan.attacked import COLUMNS, LOTTERY, describe_change
from salus_studies.ecg_atk_gan.gathering import gathered
from salus_studies.ecg_atk_gan.honest import Planned
from salus_studies.ecg_atk_gan.naming import NOT_COMPARABLE
from salus_studies.ecg_atk_gan.records import Material, Published, drawn, drawn_by_class, load_by_record
from salus_studies.ecg_atk_gan.scales import PROPOSED, SCALES, GANScale
from salus_studies.ecg_atk_gan.study import STUDY, ECGATKGANOptions
from salus_studies.ecg_atk_gan.trainings import (
    ARCHITECTURES,
    NETWORKS,
    TrainedColumn,
    columns_of,
    read_gan,
    train_column,
)
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.frame.step import Step, Training
from salus_studies.frame.steps import Steps

#: What costs least is trained first, so that a run that is cut short has most to show.
_CHEAP_FIRST = ("acharya", "kachuee", "proposed", "proposed-four", "shaker")

#: How trainings on beats scaled by their record are named, beside those of the splits ``beats`` and ``patients``.
RECORD = "record"


def run(options: ECGATKGANOptions, folder: Folder) -> Results:
    """Train, attack and count what the two papers did.

    A protocol that is not named keeps what is stored of it.

    Raises:
        SalusError: an option, the data or the folder cannot be used.
    """
    find_device(options.device)
    published = load_by_record(options.data, options.seed, options.data_dir)
    splits: tuple[str, ...] = options.split if "honest" in options.protocol else ()
    loaded = {split: load_data(options.data, split=split, seed=options.seed, **options.place) for split in splits}
    identity = {"scale": options.scale, "seed": options.seed, "data": published.test.fingerprint()}
    steps = folder.claim(identity, {"data": options.data, "device": options.device}, options.time)
    order = GANOrder(options, steps, published, loaded)
    order.announce()
    order.speed()
    if "as-published" in options.protocol:
        order.as_published()
    for split in splits:
        order.honest(split, loaded[split])
    values = gathered(order)
    return Results(values, order.arrays(values))


def train_model(
    checkpoint: Path, material: Material, network: str, column: str, scale: GANScale, seed: int, device: str
) -> tuple[Classifier, dict[str, Any]]:
    """Train one network for one column, into the folder of the checkpoint; see :func:`train_column`."""
    return train_column(
        material,
        network,
        column,
        scale,
        checkpoint.parent,
        seed=seed,
        device=device,
        log=lambda line: None if line.startswith("epoch") else console.print(line),
    )


def _in_turn(models: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Put both papers' columns before those of one, and last of all networks with which nothing is comparable."""
    columns = (COLUMNS[:1], COLUMNS[1:5], COLUMNS[5:])
    return [
        [(network, column) for network, column in models if column in part and (network in NOT_COMPARABLE) == last]
        for last in (False, True)
        for part in columns
    ]


class GANOrder:
    """The order of the steps, and what they left.

    Args:
        options: what was asked for.
        steps: where steps are stored.
        published: beats as the papers scale and deal them.
        loaded: the data of ``honest``, by split.
    """

    networks: tuple[str, ...] = NETWORKS

    def __init__(
        self, options: ECGATKGANOptions, steps: Steps, published: Published, loaded: dict[str, Splits]
    ) -> None:
        self.options, self.steps, self.published, self.loaded = options, steps, published, loaded
        self.scale, self.seed, self.device = SCALES[options.scale], options.seed, options.device
        self.folder = steps.folder
        self.unattacked: list[tuple[str, str, str]] = []  # split, architecture and column of models without a training

    def announce(self) -> None:
        """Say what is to come and how long it may take."""
        minutes = self.steps.minutes
        limit = "no limit of time" if minutes is None else f"at most about {minutes:g} minutes"
        console.print(
            f"Reproducing ECG-ATK-GAN, {' and '.join(self.options.protocol)}, scale {self.options.scale}, {limit}: "
            f"{len(COLUMNS)} columns, {len(self.networks)} networks. What does not fit is listed as not run."
        )

    def speed(self) -> None:
        """Time one step of the GAN on this machine."""
        from salus_studies.ecg_atk_gan.speed import measure

        options = self.scale.options(self.seed)
        self.steps.do(
            "speed", "speed", [asdict(options), torch.get_num_threads()], lambda: measure(options), always=True
        )

    # The two protocols.

    def as_published(self) -> None:
        """Train every network for every column and judge it on its own attack; both papers' columns first."""
        material = Material.published(self.published, self.seed, self.scale.options(self.seed).scored)
        test = drawn(self.published.test, self.scale.test_beats, self.seed)
        self.copies_of_seeds(test)
        networks = sorted(self.networks, key=_CHEAP_FIRST.index)
        models = [(network, column) for column in COLUMNS for network in networks if column in columns_of(network)]
        with progress("as published", len(models)) as advance:
            for part in _in_turn(models):
                if self.steps.engine is not None:
                    self.trainings(RECORD, material, part)  # side by side, before any is judged
                for network, column in part:
                    advance(0, note=f"{network}, {column}")
                    trained = self.trainings(RECORD, material, [(network, column)])[0]
                    if trained is not None:
                        self.judged(trained, test, network, column)
                        self.drawn_again(trained, test, network, column)
                    advance(1)

    def judged(self, trained: TrainedColumn, test: Dataset, network: str, column: str) -> None:
        """Count one cell of Table 1, and the generator's row of Table 3 where there is one."""

        def count() -> dict[str, Any]:
            shown = self.attacked(test, column)
            content: dict[str, Any] = {"cell": as_published.judge(trained, test, shown)}
            if trained.gan is not None:
                content["generator"] = as_published.resemblance(trained.gan, test, shown, seed=self.seed)
                if network == "proposed":
                    examples = as_published.examples(trained.gan, test, shown)
                    atomic.write_tensors(self.folder / "examples" / f"{column}.safetensors", examples)
            return content

        self.steps.do(
            f"{RECORD}-{network}-{column}-judged",
            "judging",
            [trained.classifier.fingerprint(), test.fingerprint()],
            count,
        )

    def attacked(self, test: Dataset, column: str, seed: int | None = None) -> Tensor:
        """Make the attacked copies of the test beats, once, and say what they are; of a seed where one is given."""
        if column == "none":
            return test.x
        released = self.scale.released(column, self.seed if seed is None else seed)
        name = column if seed is None else f"{column}-{seed}"
        place = self.folder / "attacked" / f"{name}.safetensors"

        def make() -> dict[str, Any]:
            x_adv = released(test.x, test.y)
            atomic.write_tensors(place, {"x": x_adv})
            network = released.network(tuple(test.x.shape[1:]), len(test.classes))
            same = hashlib.sha256(x_adv.numpy().tobytes()).hexdigest()
            return {"part": "test", "n": len(test), "digest": same, **describe_change(network, test.x, x_adv)}

        prefix = "attacked" if seed is None else "seed"
        if not place.exists():
            self.steps.forget(f"{prefix}-{name}")
        self.steps.do(f"{prefix}-{name}", "attacking", [asdict(released), test.fingerprint()], make, always=True)
        return load_safetensors(place.read_bytes())["x"]

    def seeds_of(self, attack: str) -> Sequence[int]:
        """Seeds of the untrained networks that an attack's copies are made on, beside the run's own."""
        return range(self.scale.seeds) if attack in LOTTERY else (self.seed,)

    def copies_of_seeds(self, test: Dataset) -> None:
        """Make copies of a few test beats on untrained networks of several seeds; this needs no training."""
        few = drawn(test, self.scale.seed_beats, self.seed)
        with progress("attacked copies", sum(len(self.seeds_of(attack)) for attack in COLUMNS[1:])) as advance:
            for attack in COLUMNS[1:]:
                for seed in self.seeds_of(attack):
                    self.attacked(few, attack, seed)
                    advance(1)

    def drawn_again(self, trained: TrainedColumn, test: Dataset, network: str, column: str) -> None:
        """Judge a network on DBB and HSJ of untrained networks of other seeds, where it learnt those or clean beats.

        What learnt clean beats alone is judged on copies of the other attacks too, of one seed.
        """
        few = drawn(test, self.scale.seed_beats, self.seed)
        for attack in COLUMNS[1:] if column == "none" else [one for one in LOTTERY if one == column]:

            def count(attack: str = attack) -> dict[str, Any]:
                shown = [self.attacked(few, attack, seed) for seed in self.seeds_of(attack)]
                clean = as_published.brief(trained.classifier, few, few.x)
                briefs = [as_published.brief(trained.classifier, few, each) for each in shown]
                return {"n": len(few), "clean": clean, "seeds": briefs}

            self.steps.do(
                f"again-{attack}-{network}-{column}",
                f"judging {attack} again",
                [trained.classifier.fingerprint(), few.fingerprint(), self.scale.seeds],
                count,
                blank={"n": len(few), "seeds": []},
            )

    def honest(self, name: str, splits: Splits) -> None:
        """Attack the trained models of one split at full strength; what asks thousands of queries comes last."""
        whole = drawn_by_class(splits.test, self.scale.honest_beats, self.scale.honest_whole, self.seed)
        models = [(one, on) for on in honest.TRAINED_ON for one in ARCHITECTURES]
        with progress(f"honest, {name}", 2 * len(models)) as advance:
            trainings = dict(zip(models, self.trainings(name, Material.of_splits(splits), models), strict=True))
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
        data = whole if plan.beats is None else drawn_by_class(whole, plan.beats, (), self.seed)
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
            function=honest.count,
            arguments=(cell, facts, self.loaded[split].test.counts),
            blank={**cell.blank(), **facts},
        )

    def trainings(
        self, split: str, material: Material, models: Sequence[tuple[str, str]]
    ) -> list[TrainedColumn | None]:
        """Train, or load, networks for columns; None where the time does not allow it."""
        shared, prints, todo = self.steps.share(material), material.whole.fingerprint(), []
        for network, column in models:
            name = f"{split}-{network}-{column}"
            todo.append(
                Training(
                    name=f"training-{name}",
                    kind=f"training {network}",
                    key=[STUDY.version, asdict(self.scale), prints, self.seed, name],
                    place=TrainingFolder(self.folder / "models" / name, name),
                    function=train_model,
                    arguments=(shared, network, column, self.scale, self.seed, self.device),
                    blank={"split": split, "architecture": network, "attack": column},
                )
            )
        trained: list[TrainedColumn | None] = []
        for training, (classifier, content) in zip(todo, self.steps.train_all(todo), strict=True):
            folder = training.place.folder
            if classifier is not None:
                for path in (folder / "working").glob("*.checkpoint"):  # the GAN's own; all is kept now
                    path.unlink()
            network = content["architecture"]
            options = self.scale.options(self.seed, network) if network in PROPOSED else None
            gan = None if classifier is None or options is None else read_gan(folder, classifier, options)
            trained.append(None if classifier is None else TrainedColumn(classifier, gan))
        return trained

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

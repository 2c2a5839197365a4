"""The order of the steps of I-defender: trainings and cells one after the other, each stored, within a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from salus.classifier import Classifier
from salus.data import Splits
from salus.data import load as load_data
from salus.errors import DataError
from salus.progress import console
from salus.storage import find_device
from salus.training import GrowingImages
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.i_defender.bench import Bench, Material, NetworkPlan, drawn
from salus_studies.i_defender.black_box import RELEASED, SUBSTITUTE, TABLE_1, FromEToF, Setting, attacks
from salus_studies.i_defender.choice import LayerChoice, Readings, StateModel
from salus_studies.i_defender.defense_gan import Rival, runs
from salus_studies.i_defender.figure_one import draw_states
from salus_studies.i_defender.imagenet import judge_imagenet, no_imagenet
from salus_studies.i_defender.layers import MODEL_F, MODEL_F3, WIDE_RESNET
from salus_studies.i_defender.published import ALPHAS, BLACK_BOX, GRAY_BOX, SEMI_WHITE_BOX, STRONGEST
from salus_studies.i_defender.scales import SCALES, wide_name
from salus_studies.i_defender.study import IDefenderOptions
from salus_studies.i_defender.substitutes import substitute_e
from salus_studies.i_defender.supervised import SemiWhiteBox, attack_of
from salus_studies.i_defender.taught import METHODS
from salus_studies.i_defender.trend import ARMS, judge_arms
from salus_studies.i_defender.twins import OWN, THREATS, Twins, pair_of

CIFAR = "cifar10"

#: Added to the seed of networks that are trained apart.
_E, _TARGET, _SOURCE = 1, 0, 1

#: Channels of model F's convolutions as Defense-GAN's authors released it.
_THREE = [64, 128, 128]


def run(options: IDefenderOptions, folder: Folder) -> Results:
    """Train, attack and count what the I-defender paper did.

    Of MNIST, Fashion-MNIST and CIFAR-10 those that are not on this machine are listed as not run.

    Raises:
        SalusError: an option, the data or the folder cannot be used.
    """
    find_device(options.device)
    scale = SCALES[options.scale]
    if options.data is not None and not Path(options.data).is_dir():
        raise DataError(f"There is no folder {options.data!r}; --data is a folder in ImageNet's layout, train/CLASS/*.")
    loaded, missing = _load(options, scale.train_images)
    identity = {"scale": options.scale, "seed": options.seed}
    steps = folder.claim(identity, {"data": options.data, "device": options.device}, options.time)
    bench = Bench(folder.path, steps, scale, options.seed, options.device, options.trained_only)
    limit = "no limit of time" if options.time is None else f"at most about {options.time:g} minutes"
    console.print(f"Reproducing I-defender, scale {options.scale}, {limit}. What does not fit is listed as not run.")
    DefenderOrder(bench, loaded, missing, options.part).all(options.data)
    meta = {
        **steps.meta(scale=options.scale, seed=options.seed, device=options.device),
        "settings": asdict(scale),
        "data": {name: splits.describe() for name, splits in loaded.items()},
        "missing": {name: reason for name, reason in missing.items() if reason.startswith(_NO_DATA)},
    }
    return Results({"meta": meta, **bench.sections})


_NO_DATA, _NO_NETWORKS = "no data: ", "its networks are not trained"


def _load(options: IDefenderOptions, most: int | None) -> tuple[dict[str, Splits], dict[str, str]]:
    """Load the data sets of the parts that are run; say of those that are not there why.

    Raises:
        DataError: none of them can be loaded.
    """
    loaded, missing = {}, {}
    for name in (*BLACK_BOX, CIFAR):
        parts = ("cifar10",) if name == CIFAR else ("black-box", "defense-gan")
        if not set(parts) & set(options.part):
            missing[name] = _not_asked(parts[0])
            continue
        try:
            splits = load_data(name, seed=options.seed, **options.place)
            loaded[name] = replace(splits, train=drawn(splits.train, most, options.seed))
        except DataError as error:
            missing[name] = f"{_NO_DATA}{error}"
            console.print(f"{name} is left out: {error}")
    if not loaded and set(options.part) != {"imagenet"}:
        reasons = [reason for reason in missing.values() if reason.startswith(_NO_DATA)]
        raise DataError(reasons[-1].removeprefix(_NO_DATA))
    return loaded, missing


def _not_asked(part: str) -> str:
    return f"not asked for: --part {part} runs it"


class DefenderOrder:
    """The order of the steps: what is short comes first, generators and deeper networks last.

    Args:
        bench: where they are stored.
        loaded: the data there are, by name.
        missing: why the others are not there.
        parts: what is run.
    """

    def __init__(self, bench: Bench, loaded: dict[str, Splits], missing: dict[str, str], parts: Sequence[str]) -> None:
        self.bench, self.missing, self.parts = bench, missing, parts
        self.material = {name: Material(splits, bench.device) for name, splits in loaded.items()}

    def all(self, imagenet: str | None) -> None:
        """Do everything."""
        boxes = {name: self.from_e_to_f(name) for name in BLACK_BOX}
        for name, of in boxes.items():
            self.as_released(name, of)
        setting = self.cifar()
        for name, settings in boxes.items():
            self.defense_gan(name, settings)
        self.deep(setting)
        if "imagenet" in self.parts:
            judge_imagenet(self.bench, imagenet)
        else:
            no_imagenet(self.bench, _not_asked("imagenet"))

    def from_e_to_f(self, name: str) -> dict[str, FromEToF] | str:
        """Run I-defender's part of Tables 2 to 5 on one data set, with Table 1's networks.

        Returns:
            What was run, by the networks' setting; or why there is nothing.
        """
        if name not in self.material:
            self._no_black_box(name, [TABLE_1], self.missing[name])
            return self.missing[name]
        material, training = self.material[name], self.bench.scale.small_networks
        plans = (
            NetworkPlan(role="model-e", network="model-e", training=training, apart=_E),
            NetworkPlan(role="model-f", network="model-f", training=training),
        )
        e, f = self.bench.networks(plans, material.splits)
        if e is None or f is None:
            self._no_black_box(name, [TABLE_1], _NO_NETWORKS)
            return _NO_NETWORKS
        readings = LayerChoice(self.bench, material, f, MODEL_F, "model-f").readings()
        box = FromEToF(self.bench, material, e, f, TABLE_1, readings)
        box.judge()
        if readings is not None:
            self._figure_1_of(box, readings)
        return {TABLE_1.key: box}

    def as_released(self, name: str, boxes: dict[str, FromEToF] | str) -> None:
        """Run the same with the networks that Defense-GAN's authors released; what is run is added to ``boxes``."""
        if isinstance(boxes, str):
            self._no_black_box(name, [RELEASED, SUBSTITUTE], boxes)
            return
        material, training = self.material[name], self.bench.scale.small_networks
        plan = NetworkPlan(role="model-f3", network="model-f", options={"widths": _THREE}, training=training)
        f3 = self.bench.network(plan, material.splits)
        if f3 is None:
            self._no_black_box(name, [RELEASED, SUBSTITUTE], _NO_NETWORKS)
            return
        readings = LayerChoice(self.bench, material, f3, MODEL_F3, "model-f3").readings()
        attackers = {RELEASED: boxes[TABLE_1.key].e, SUBSTITUTE: substitute_e(self.bench, material.splits, f3)}
        for setting, e in attackers.items():
            if e is None:
                self._no_black_box(name, [setting], _NO_NETWORKS)
                continue
            other = boxes.get(RELEASED.key)
            boxes[setting.key] = FromEToF(self.bench, material, e, f3, setting, readings, other)
            boxes[setting.key].judge()

    def _figure_1_of(self, box: FromEToF, readings: Readings) -> None:
        name = f"fgsm-{STRONGEST:g}"
        draw_states(
            self.bench,
            box.material,
            box.f,
            next(iter(readings.chosen.values())),
            lambda x, y: box.attacked(name, x, y),
            {"attack": "fgsm", "eps": STRONGEST},
            self.bench.scale.test_images,
        )

    def _no_black_box(self, name: str, settings: Sequence[Setting], reason: str) -> None:
        for setting in settings:
            for key, attack in attacks(self.bench.seed, setting).items():
                blank = {"data": name, "setting": setting.key, "attack": key, "eps": attack.eps, "norm": attack.norm}
                self.bench.leave_out("black_box", reason, blank)

    def defense_gan(self, name: str, boxes: dict[str, FromEToF] | str) -> None:
        """Run Defense-GAN's part of the same tables, and look for what its trend hangs on."""
        reason = boxes if isinstance(boxes, str) else _NO_NETWORKS
        if "defense-gan" not in self.parts:
            reason, boxes = _not_asked("defense-gan"), {}
        done = {} if isinstance(boxes, str) else boxes
        generator = None
        for setting in (TABLE_1, SUBSTITUTE):
            if setting.key in done:
                rival = Rival(self.bench, done[setting.key])
                if setting is TABLE_1:
                    generator = rival.generator()
                rival.judge(generator)
                continue
            for restarts, length, eps in runs(name, setting):
                place = {"restarts": restarts, "iterations": length, "eps": eps}
                self.bench.leave_out("defense_gan", reason, {"data": name, "setting": setting.key, **place})
        if TABLE_1.key in done:
            rival = Rival(self.bench, done[TABLE_1.key])
            rival.speed()
            judge_arms(rival, generator)
        else:
            for arm in ARMS:
                self.bench.leave_out("trend", reason, {"data": name, "arm": arm.key, **asdict(arm)})

    def cifar(self) -> StateModel | None:
        """Run Tables 6 and 7; give I-defender's setting."""
        scale = self.bench.scale
        if CIFAR not in self.material:
            self._no_cifar(self.missing[CIFAR])
            return None
        material = self.material[CIFAR]
        target = self.wide("target", dict(scale.shallow), _TARGET)
        readings = None
        if target is not None:
            readings = LayerChoice(self.bench, material, target, WIDE_RESNET, "wrn").readings()
        setting = None if readings is None else next(iter(readings.chosen.values()))
        if target is not None and readings is not None and setting is not None:
            table_6 = SemiWhiteBox(self.bench, material, target, readings)
            sizes = table_6.judge()
            column, eps = SEMI_WHITE_BOX[0], sizes[SEMI_WHITE_BOX[0].key]
            if eps is not None:
                attack = attack_of(column, eps, self.bench.seed)
                draw_states(
                    self.bench,
                    material,
                    target,
                    setting,
                    lambda x, y: attack(target, x, y),
                    {"attack": column.attack, "eps": eps},
                    scale.wide_images,
                )
        else:
            self._no_table_6("no time left for its network, or for the choice of its layer")
        source = self.wide("source", dict(scale.shallow), _SOURCE)
        twins = Twins(self.bench, material, "shallow", pair_of((source, target), setting))
        twins.judge("gray_box", GRAY_BOX, ALPHAS, scale.gray_images)
        twins.alone(scale.gray_images)
        twins.own(scale.own_images)
        return setting

    def deep(self, setting: StateModel | None) -> None:
        """Run the other half of Table 8."""
        if CIFAR not in self.material:
            return
        options = dict(self.bench.scale.deep)
        networks = [self.wide(f"deep-{role}", options, n) for role, n in (("source", _SOURCE), ("target", _TARGET))]
        twins = Twins(self.bench, self.material[CIFAR], "deep", pair_of(networks, setting))
        twins.judge("gray_box", GRAY_BOX, ALPHAS, self.bench.scale.gray_images)

    def wide(self, role: str, options: dict[str, Any], apart: int) -> Classifier | None:
        """Train a wide residual network, on mirrored and shifted images that grow."""
        role = f"{wide_name(options).lower()}-{role}"
        training, recipe = self.bench.scale.wide, GrowingImages()
        plan = NetworkPlan(role=role, network="wrn", options=options, training=training, apart=apart, recipe=recipe)
        return self.bench.network(plan, self.material[CIFAR].splits)

    def _no_table_6(self, reason: str) -> None:
        for column in SEMI_WHITE_BOX:
            for method in ("i-defender", *METHODS):
                self.bench.leave_out("semi_white_box", reason, {"column": column.key, "method": method})

    def _no_cifar(self, reason: str) -> None:
        self._no_table_6(reason)
        for pair in ("shallow", "deep"):
            for column in GRAY_BOX:
                for alpha in ALPHAS:
                    blank = {"pair": pair, "column": column.key, "alpha": alpha}
                    self.bench.leave_out("gray_box", reason, blank)
        self.bench.leave_out("alone", reason, {"pair": "shallow", "column": OWN.key})
        for threat in THREATS:
            blank = {"pair": "shallow", "column": OWN.key, "threat_model": threat}
            self.bench.leave_out("own", reason, blank)

"""The order of the steps of I-defender: trainings and cells one after the other, each stored, within a time."""

from __future__ import annotations

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
from salus_studies.i_defender.black_box import FromEToF, attacks
from salus_studies.i_defender.choice import WIDE_RESNET, LayerChoice, StateModel
from salus_studies.i_defender.defense_gan import Rival, runs
from salus_studies.i_defender.imagenet import judge_imagenet
from salus_studies.i_defender.published import ALPHAS, BLACK_BOX, GRAY_BOX, SEMI_WHITE_BOX
from salus_studies.i_defender.scales import SCALES, wide_name
from salus_studies.i_defender.study import IDefenderOptions
from salus_studies.i_defender.supervised import LAYERS, SemiWhiteBox
from salus_studies.i_defender.twins import OWN, THREATS, Twins, pair_of

CIFAR = "cifar10"

#: Added to the seed of networks that are trained apart.
_E, _TARGET, _SOURCE = 1, 0, 1


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
    bench = Bench(folder.path, steps, scale, options.seed, options.device)
    limit = "no limit of time" if options.time is None else f"at most about {options.time:g} minutes"
    console.print(f"Reproducing I-defender, scale {options.scale}, {limit}. What does not fit is listed as not run.")
    DefenderOrder(bench, loaded, missing).all(options.data)
    meta = {
        **steps.meta(scale=options.scale, seed=options.seed, device=options.device),
        "settings": asdict(scale),
        "data": {name: splits.describe() for name, splits in loaded.items()},
        "missing": missing,
    }
    return Results({"meta": meta, **bench.sections})


def _load(options: IDefenderOptions, most: int | None) -> tuple[dict[str, Splits], dict[str, str]]:
    """Load the paper's data sets; say of those that cannot be why.

    Raises:
        DataError: none of them can be.
    """
    loaded, missing = {}, {}
    for name in (*BLACK_BOX, CIFAR):
        try:
            splits = load_data(name, seed=options.seed, **options.place)
            loaded[name] = replace(splits, train=drawn(splits.train, most, options.seed))
        except DataError as error:
            missing[name] = f"no data: {error}"
            console.print(f"{name} is left out: {error}")
    if not loaded:
        raise DataError(missing[CIFAR].removeprefix("no data: "))
    return loaded, missing


class DefenderOrder:
    """The order of the steps: what is short comes first, generators and deeper networks last.

    Args:
        bench: where they are stored.
        loaded: the data there are, by name.
        missing: why the others are not there.
    """

    def __init__(self, bench: Bench, loaded: dict[str, Splits], missing: dict[str, str]) -> None:
        self.bench, self.missing = bench, missing
        self.material = {name: Material(splits, bench.device) for name, splits in loaded.items()}

    def all(self, imagenet: str | None) -> None:
        """Do everything."""
        boxes = {name: self.from_e_to_f(name) for name in BLACK_BOX}
        setting = self.cifar()
        for name, box in boxes.items():
            self.defense_gan(name, box)
        self.deep(setting)
        judge_imagenet(self.bench, imagenet)

    def from_e_to_f(self, name: str) -> FromEToF | str:
        """Run I-defender's part of Tables 2 to 5 on one data set; give it, or why there is none."""
        if name not in self.material:
            reason = self.missing[name]
        else:
            material, training = self.material[name], self.bench.scale.small_networks
            plans = (
                NetworkPlan(role="model-e", network="model-e", training=training, apart=_E),
                NetworkPlan(role="model-f", network="model-f", training=training),
            )
            e, f = self.bench.networks(plans, material.splits)
            if e is not None and f is not None:
                box = FromEToF(self.bench, material, e, f)
                box.judge()
                return box
            reason = "no time left for its networks"
        for key, attack in attacks(self.bench.seed).items():
            blank = {"data": name, "attack": key, "eps": attack.eps, "norm": attack.norm}
            self.bench.leave_out("black_box", reason, blank)
        return reason

    def defense_gan(self, name: str, box: FromEToF | str) -> None:
        """Run Defense-GAN's part of the same tables."""
        if isinstance(box, FromEToF):
            rival = Rival(self.bench, box)
            rival.judge()
            rival.speed()
            return
        for restarts, length, eps in runs(name):
            blank = {"data": name, "restarts": restarts, "iterations": length, "eps": eps}
            self.bench.leave_out("defense_gan", box, blank)

    def cifar(self) -> StateModel | None:
        """Run Tables 6 and 7; give I-defender's setting."""
        scale = self.bench.scale
        if CIFAR not in self.material:
            self._no_cifar(self.missing[CIFAR])
            return None
        material = self.material[CIFAR]
        target = self.wide("target", dict(scale.shallow), _TARGET)
        setting = None
        if target is not None:
            choice = LayerChoice(self.bench, material, target, WIDE_RESNET)
            within = choice.within_layers()
            setting = None if within is None else choice.of_all(within)
        if target is not None and setting is not None:
            SemiWhiteBox(self.bench, material, target, setting).judge()
        else:
            self._no_table_6("no time left for its network, or for the choice of its layer")
        source = self.wide("source", dict(scale.shallow), _SOURCE)
        twins = Twins(self.bench, material, "shallow", pair_of((source, target), setting))
        twins.judge("gray_box", GRAY_BOX, ALPHAS, scale.gray_images)
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
            for method in ("i-defender", *LAYERS):
                self.bench.leave_out("semi_white_box", reason, {"column": column.key, "method": method})

    def _no_cifar(self, reason: str) -> None:
        self._no_table_6(reason)
        for pair in ("shallow", "deep"):
            for column in GRAY_BOX:
                for alpha in ALPHAS:
                    blank = {"pair": pair, "column": column.key, "alpha": alpha}
                    self.bench.leave_out("gray_box", reason, blank)
        for threat in THREATS:
            blank = {"pair": "shallow", "column": OWN.key, "threat_model": threat}
            self.bench.leave_out("own", reason, blank)

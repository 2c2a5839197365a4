"""The order of MultiMagNet's experiments: the two sets of data one after the other, within a budget of time."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from salus.attacks.peers.art import ArtAttack
from salus.data import load as load_data
from salus.detectors.multimagnet_grid import Calibration
from salus.errors import DataError
from salus.progress import console
from salus.storage import find_device
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.frame.steps import Steps
from salus_studies.multimagnet import attacked
from salus_studies.multimagnet.attacked import ARMS, WHITE_BOX
from salus_studies.multimagnet.bench import MagNetBench
from salus_studies.multimagnet.experiments import run_experiments
from salus_studies.multimagnet.judging import CONFIGURATIONS
from salus_studies.multimagnet.published import ATTACKS, DATASETS
from salus_studies.multimagnet.scales import SCALES, MagNetScale, deal
from salus_studies.multimagnet.study import MultiMagNetOptions


def run(options: MultiMagNetOptions, folder: Folder) -> Results:
    """Train, attack, calibrate, draw and count what the paper did on MNIST and CIFAR-10.

    A set of data that is not on this machine is listed as not run.

    Raises:
        SalusError: an option or the folder cannot be used, or there is neither of the two sets of data.
    """
    find_device(options.device)
    attacked.engine("fgsm", {"eps": 0.1}, options.seed)  # says that ART is missing before hours of training
    scale = SCALES[options.scale]
    identity = {"scale": options.scale, "seed": options.seed}
    steps = folder.claim(identity, {"device": options.device}, options.time)
    records, data, arrays = _both(options, scale, steps)
    meta = {
        **steps.meta(scale=options.scale, seed=options.seed, device=options.device),
        "art": version(ArtAttack.distribution),
        "protocols": list(ARMS.values()),
        "settings": _settings(scale),
        "data": data,
    }
    return Results({"meta": meta, **records}, arrays | _grids(folder.path))


def _both(
    options: MultiMagNetOptions, scale: MagNetScale, steps: Steps
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any], dict[str, Any]]:
    """Do what there is data and time for; returns all records, what the data are, and example images."""
    all_records: dict[str, list[dict[str, Any]]] = {}
    data: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    missing: list[DataError] = []
    for name in DATASETS:
        console.print(f"MultiMagNet on {DATASETS[name]}. What does not fit the time is listed as not run.")
        try:
            splits = load_data(name, seed=options.seed, **options.place)
        except DataError as error:
            console.print(f"{DATASETS[name]} is left out: {error}")
            missing.append(error)
            parts = _absent(name, str(error).rstrip("."))
        else:
            dealt = deal(splits, scale, scale.settings[name], options.seed)
            counts = {part: len(getattr(dealt, part)) for part in ("train", "legitimate", "test", "drawn")}
            data[name] = {**splits.describe(), "dealt": counts}
            del splits  # in memory once, not twice
            bench = MagNetBench(name, dealt, scale, steps, seed=options.seed, device=options.device)
            run_experiments(bench)
            parts = bench.records
            arrays |= {key: values.numpy() for key, values in bench.arrays.items()}
        for kind, records in parts.items():
            all_records.setdefault(kind, []).extend(records)
    if len(missing) == len(DATASETS):
        raise missing[0]
    return all_records, data, arrays


def _absent(name: str, reason: str) -> dict[str, list[dict[str, Any]]]:
    base = {"dataset": name, "status": "not run", "reason": reason}
    rows = [
        {**base, "attack": attack, "arm": WHITE_BOX, "configuration": each}
        for attack in ATTACKS
        for each in CONFIGURATIONS
    ]
    return {"classifiers": [base], "surrogates": [base], "repositories": [base], "rows": rows, "adaptive": [base]}


def _settings(scale: MagNetScale) -> dict[str, Any]:
    """What of the scale the page tells."""
    return {
        "legitimate": scale.legitimate,
        "tested": scale.tested,
        "experiments": scale.experiments,
        "adaptive": scale.adaptive,
        "adaptive_steps": scale.adaptive_steps,
        "tried": scale.tried,
        "combinations": len(list(scale.grid.combinations())),
        "datasets": {
            name: {
                "attacked": setting.attacked,
                "iterations": setting.iterations,
                "images": setting.images,
                "autoencoder_epochs": setting.repository.epochs,
                "patience": setting.repository.patience,
                "held_out": setting.held_out,
            }
            for name, setting in scale.settings.items()
        },
    }


def _grids(folder: Path) -> dict[str, Any]:
    """Read how every combination of each grid scored: PPV, NPV and whether by divergence, ``[R, 3]``."""
    arrays = {}
    for name in (f"{data}-{attack}-{arm}" for data in DATASETS for attack in ATTACKS for arm in ARMS):
        path = folder / "calibrations" / f"{name}.json"
        if path.exists():
            rows = Calibration.load(path).grid
            arrays[f"grid|{name}"] = np.array(
                [[row.outcome.ppv, row.outcome.npv, row.combination.metric == "jsd"] for row in rows]
            )
    return arrays

"""What the steps of ECG-ATK-GAN left, in one page of values: ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from salus.data import Splits
from salus_studies.ecg_atk_gan import honest
from salus_studies.ecg_atk_gan.attacked import COLUMNS
from salus_studies.ecg_atk_gan.records import Published
from salus_studies.ecg_atk_gan.scales import PROPOSED, GANScale
from salus_studies.ecg_atk_gan.study import ECGATKGANOptions
from salus_studies.ecg_atk_gan.trainings import NETWORKS, columns_of
from salus_studies.frame.steps import Steps

_LATE = "not reached in the time that was given"

#: What is stored of how a training went, beside its network and column.
_SETTINGS = ("test_beats", "iterations", "tries", "seeds", "seed_beats", "honest_beats", "query_beats", "queries")


class Ordered(Protocol):
    """What is asked of an order of steps; see ``protocol.GANOrder``."""

    options: ECGATKGANOptions
    steps: Steps
    published: Published
    loaded: dict[str, Splits]
    scale: GANScale
    seed: int
    device: str
    folder: Path
    unattacked: list[tuple[str, str, str]]

    @property
    def networks(self) -> tuple[str, ...]:
        """What is trained."""


def named(network: str) -> dict[str, str]:
    """Say of which architecture a network is, and by which paper's settings it was trained."""
    return {
        "architecture": "proposed" if network in PROPOSED else network,
        **({"preset": PROPOSED[network]} if network in PROPOSED else {}),
    }


def gathered(order: Ordered) -> dict[str, Any]:
    """Gather all steps."""
    steps, scale = order.steps.contents(), order.scale
    trainings = [content for name, content in steps.items() if name.startswith("training-")]
    state = {(one["split"], one["architecture"], one["attack"]): one for one in trainings}
    cells, generator = [], []
    for column in COLUMNS:
        for network in order.networks:
            if column not in columns_of(network):
                continue
            judged = steps.get(f"record-{network}-{column}-judged", {})
            which = {"split": "beats", "scaling": "record", **named(network), "attack": column}
            if "cell" in judged:
                cells.append({"protocol": "as-published", **which, **judged["cell"], "status": "done", "reason": None})
            else:
                reason = judged.get("reason") or state.get(("record", network, column), {}).get("reason") or _LATE
                cells.append({"protocol": "as-published", **which, "status": "not run", "reason": reason})
            if "generator" in judged:
                generator.append({**which, **judged["generator"]})
    done = [path.stem for path in (order.folder / "examples").glob("*.safetensors")]
    six = scale.options(order.seed)
    return {
        "meta": {
            **order.steps.meta(scale=order.options.scale, seed=order.seed, device=order.device),
            "protocols": list(order.options.protocol),
            "settings": {
                **asdict(six),
                **{name: getattr(scale, name) for name in _SETTINGS},
                "test_beats": scale.test_beats or len(order.published.test),
                "honest_whole": list(scale.honest_whole),
                "baseline": asdict(scale.baseline),
                "dc_gan_epochs": scale.dc_gan_epochs,
            },
            "settings_four": asdict(scale.options(order.seed, "proposed-four")),
            "data": {
                "as published": order.published.describe(),
                **{split: splits.describe() for split, splits in order.loaded.items()},
            },
        },
        "trainings": [{**one, **named(one["architecture"]), **_course(order, one)} for one in trainings],
        "attack_data": _attack_data(steps, "attacked-"),
        "seeds": _attack_data(steps, "seed-"),
        "again": _again(steps),
        "cells": cells,
        "honest": [
            *(content for name, content in steps.items() if name.startswith("honest-")),
            *(row for model in order.unattacked for row in _absent(order, *model)),
        ],
        "generator": generator,
        "overlays": {
            "attacks": [column for column in COLUMNS if column in done],
            "classes": list(order.published.test.classes),
        },
        "speed": steps.get("speed"),
    }


def _course(order: Ordered, training: Mapping[str, Any]) -> dict[str, Any]:
    """Read how the proposed model's training went: held-out accuracy and squared error, an epoch each, by fold."""
    name = "-".join(str(training[part]) for part in ("split", "architecture", "attack"))
    path = order.folder / "models" / name / "losses.json"
    if training["architecture"] not in PROPOSED or not path.exists():
        return {}
    folds: dict[int, list[dict[str, float]]] = {}
    for epoch in json.loads(path.read_text(encoding="utf-8")):
        folds.setdefault(epoch["fold"], []).append(epoch)
    return {
        "course": [[round(epoch["score"], 4) for epoch in fold] for fold in folds.values()],
        "mse_course": [[float(f"{epoch['mse']:.3g}") for epoch in fold] for fold in folds.values()],
    }


def _attack_data(steps: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """List what attacked copies are, in the papers' order; ``attacked-fgsm``, or of a seed ``seed-dbb-3``."""
    rows = []
    for name, content in steps.items():
        if name.startswith(prefix):
            column, _, seed = name.removeprefix(prefix).partition("-")
            of = {"seed": int(seed)} if seed else {}
            rows.append({"split": "beats", "scaling": "record", "attack": column, **of, **content})
    return sorted(rows, key=lambda row: (COLUMNS.index(row["attack"]), row.get("seed", 0)))


def _again(steps: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List what networks answer to DBB and HSJ of other seeds."""
    rows = []
    for column in COLUMNS:
        for network in NETWORKS:
            for on in ("none", column):
                content = steps.get(f"again-{column}-{network}-{on}")
                if content is not None:
                    rows.append({**named(network), "attack": column, "trained_on": on, **content})
    return rows


def _absent(order: Ordered, split: str, architecture: str, on: str) -> list[dict[str, Any]]:
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
        for plan in honest.planned(architecture, order.scale, order.seed)
    ]

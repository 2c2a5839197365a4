"""Gathers what docs/imaging.md is written from: a run of the skin-lesion study, and a few of its images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from salus_studies.frame.folder import Folder
from salus_studies.frame.markdown import Record
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded
from salus_studies.lesions.measured import MALIGNANT, network

if TYPE_CHECKING:
    from salus_studies.lesions.study import LesionsOptions

#: Images drawn of each attack.
EACH = 3

_FACTS = ("network", "model", "purifier", "attack", "attacker", "defence", "n")
_POISONING = (
    "network", "share", "seed", "way", "labels", "weighting", "accuracy", "macro_recall", "fnr", "aim", "found",
    "precision",
)  # fmt: skip
_STATE = ("status", "reason")
_OVERALL = tuple(f"{name}{end}" for name in ("accuracy", "macro_recall") for end in ("", "_low", "_high"))
_FNR = ("fnr", "fnr_low", "fnr_high")
_THRESHOLDS = tuple(f"{name}{end}" for name in ("fnr", "fnr_attacked", "specificity") for end in ("", "_low", "_high"))
_META = ("command", "scale", "seed", "machine", "versions", "classes", "split")


def run(options: LesionsOptions, folder: Folder) -> Results:
    """Keep of a run what the page shows.

    Raises:
        StoreError: there is no run of the skin-lesion study in the folder that was named.
    """
    values = Results.read(options.run).values
    return Results(slim(values, list(pictures(options.run, network(values))), folder.command))


def slim(run: Record, drawn: Sequence[Record], command: str) -> dict[str, Any]:
    """Keep what the page shows: of one network, the figures that are printed.

    Args:
        run: the results of the skin-lesion study.
        drawn: the images.
        command: how they were gathered.
    """
    name = network(run)
    meta, settings = run["meta"], run["meta"]["settings"]
    values: dict[str, Any] = {
        "command": command,
        "meta": {
            **_present(meta, _META),
            "data": {"name": _data_name(meta["data"])},
            "counts": (meta.get("counts") or {}).get("test", meta.get("counts")),
            "settings": {
                "networks": {name: _present(settings["networks"][name], ("size", "architecture"))},
                "hardened": {"network": name},
            },
        },
        "cells": [_slim(record) for record in run["cells"] if record["network"] == name],
        "poisoning": [_labels(record) for record in run["poisoning"] if record["network"] == name],
        "thresholds": [
            {
                **_present(record, ("model", *_STATE)),
                "rows": [_present(row, _THRESHOLDS) for row in record.get("rows") or ()],
            }
            for record in run["thresholds"]
        ],
        "pictures": list(drawn),
    }
    stored: dict[str, Any] = rounded(values)
    return stored


def pictures(run: Path, network: str) -> Iterator[Record]:
    """Take attacked lesions that a plain network gets wrong, those first that are malignant and are missed."""
    for attack, name in (("pgd-harm", "plain-pgd-harm-knows"), ("uap", "plain-uap-knows")):
        path = run / "pictures" / f"{network}-{name}.safetensors"
        if not path.exists():
            continue
        lesions = load_file(path)
        for row in range(min(EACH, len(lesions["y"]))):
            clean, attacked = lesions["clean"][row], lesions["attacked"][row]
            yield {
                "attack": attack,
                **{key: int(lesions[key][row]) for key in ("y", "before", "after")},
                "largest": float(np.abs(attacked - clean).max()),
                "clean": _png(clean),
                "attacked": _png(attacked),
            }


def _data_name(data: Mapping[str, Any]) -> str:
    """Read the name of the data, which once stood under their size."""
    name: str = data["name"] if "name" in data else next(iter(data.values()))["name"]
    return name


def _labels(record: Record) -> Record:
    """Keep of a training on wrong labels what is printed; whole networks once had figures as cells have."""
    if "figures" in record:
        return {**_present(record, ("share", "recall", "precision")), **_slim(record)}
    return {**_present(record, (*_POISONING, *_STATE))}


def _slim(record: Record) -> Record:
    facts = {**{key: record[key] for key in _FACTS if key in record}, **_present(record, _STATE)}
    figures = record.get("figures")
    if figures is None:
        return facts
    health = {**_present(figures["health"][MALIGNANT], _FNR), **_counts(figures["health"][MALIGNANT])}
    return {**facts, "figures": {**_present(figures, _OVERALL), "health": {MALIGNANT: health}}}


def _present(record: Record, names: Sequence[str]) -> dict[str, Any]:
    return {name: record[name] for name in names if record.get(name) is not None}


def _counts(health: Mapping[str, Any]) -> dict[str, int]:
    """Count the healthy lesions, and those of them that raised an alarm."""
    if "confusion" not in health:
        return {name: health[name] for name in ("healthy", "alarmed")}
    _, (alarmed, spared) = health["confusion"]["matrix"]
    return {"healthy": alarmed + spared, "alarmed": alarmed}


def _png(image: NDArray[np.float32]) -> str:
    """Write an image ``[C, H, W]`` as PNG, in base64."""
    pixels = (255 * image.transpose(1, 2, 0)).round().clip(0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="png", optimize=True)
    return base64.b64encode(content.getvalue()).decode()

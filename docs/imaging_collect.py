"""Gather what docs/imaging.md is written from: a run of ``salus reproduce skin-lesion``, and a few of its images."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from salus.atomic import write_text

Record = dict[str, Any]

#: Images drawn of each attack.
EACH = 3


def collect(run: Path, out: Path) -> Record:
    """Keep of a run what the page shows, and write it.

    Args:
        run: the folder that ``salus reproduce skin-lesion`` wrote.
        out: the file to write.
    """
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    made: Record = {
        "meta": results["meta"],
        "cells": [_slim(record) for record in results["cells"]],
        "poisoning": [_slim(record) for record in results["poisoning"]],
        "sweep": results["sweep"],
        "thresholds": results["thresholds"],
        "classifiers": [
            {key: record.get(key) for key in ("network", "model", "status", "reason", "test_accuracy", "seconds")}
            for record in results["classifiers"]
        ],
        "pictures": pictures(run, results["meta"]["settings"]["hardened"]["network"]),
    }
    made = _rounded(made)
    write_text(out, json.dumps(made, separators=(",", ":"), allow_nan=False, ensure_ascii=False) + "\n")
    return made


def pictures(run: Path, network: str) -> list[Record]:
    """Take attacked lesions that a plain network gets wrong, those first that are malignant and are missed."""
    found: list[Record] = []
    for attack, name in (("fgsm", "plain-fgsm-knows"), ("uap", "plain-uap-knows")):
        path = run / "pictures" / f"{network}-{name}.safetensors"
        held = load_file(path) if path.exists() else {"y": ()}
        for row in range(min(EACH, len(held["y"]))):
            change = held["attacked"][row] - held["clean"][row]
            found.append({
                "attack": attack,
                **{key: int(held[key][row]) for key in ("y", "before", "after")},
                "largest": float(np.abs(change).max()),
                "clean": _png(held["clean"][row]),
                "attacked": _png(held["attacked"][row]),
            })  # fmt: skip
    return found


def _slim(record: Mapping[str, Any]) -> Record:
    """Drop what no sentence is made of, and name the counts of the two-class matrices."""
    kept = {key: value for key, value in record.items() if key not in ("figures", "variants", "queries", "passes")}
    if "figures" not in record:
        return kept
    figures = {key: value for key, value in record["figures"].items() if key not in ("confusion", "averaged")}
    health = {name: _counted(found) for name, found in figures["health"].items()}
    return {**kept, "figures": {**figures, "health": health}}


def _counted(found: Mapping[str, Any]) -> Record:
    (caught, missed), (alarmed, spared) = found["confusion"]["matrix"]
    counts = {"ill": caught + missed, "missed": missed, "healthy": alarmed + spared, "alarmed": alarmed}
    return {**{key: value for key, value in found.items() if key != "confusion"}, **counts}


def _png(image: np.ndarray) -> str:
    """Write an image ``[C, H, W]`` as PNG, in base64."""
    pixels = (255 * image.transpose(1, 2, 0)).round().clip(0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="png")
    return base64.b64encode(content.getvalue()).decode()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value

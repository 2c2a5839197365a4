"""Gather what docs/ecg.md is written from: two judged folders, the settings that were tried, a few attacked beats."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from ecg_models import judging
from torch import Tensor

from salus.atomic import write_text
from salus.attacks import BIM, FGSM, PGD, Attack, CarliniWagnerLinf
from salus.classifier import Classifier
from salus.data import Dataset, load

Record = dict[str, Any]


def collect(
    beats_folder: Path | None,
    patients_folder: Path | None,
    frontier_file: Path | None,
    out: Path,
    *,
    model: Path | None = None,
    plain: Path | None = None,
) -> Record:
    """Put stored results into one file; what is missing is left out.

    Args:
        beats_folder: what ``benchmarks/robust_ecg.py`` wrote for the split by beats.
        patients_folder: the same by patients.
        frontier_file: a JSON list of the settings that were tried, judged on validation data.
        out: the file to write.
        model: the hardened model of the split by beats, for pictures of attacked beats.
        plain: an ``ecg-cnn`` that was trained as usual, for the same.
    """
    made: Record = {"machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"}
    for name, folder in (("beats", beats_folder), ("patients", patients_folder)):
        if folder is not None and (folder / "results.json").exists():
            made[name] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    made["command"] = {name: judging(made[name]) for name in ("beats", "patients") if name in made}
    if frontier_file is not None and frontier_file.exists():
        made["frontier"] = json.loads(frontier_file.read_text(encoding="utf-8"))
    made = rounded(made)
    found = {name: folder for name, folder in (("hardened", model), ("plain", plain)) if folder is not None}
    if found and "beats" in made:
        made["examples"] = rounded(examples(found, made["beats"]), digits=4)
    write_text(out, json.dumps(made, separators=(",", ":"), allow_nan=False, ensure_ascii=False) + "\n")
    return made


def rounded(value: Any, digits: int = 6) -> Any:
    """Round to so many significant digits, so that no share moves past a goal by being stored."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(each, digits) for key, each in value.items()}
    return [rounded(each, digits) for each in value] if isinstance(value, list) else value


def examples(models: dict[str, Path], result: Record) -> Record:
    """Attack the first test beat of each class, as each network sees it."""
    data, eps = result["hardening"]["data"], float(result["eps"])
    made: Record = {"classes": data["classes"], "eps": eps, "attacked": {}, "answers": {}}
    for name, folder in models.items():
        classifier = Classifier.load(folder)
        inputs = tuple(data["options"].get("inputs", ("beat",))) if classifier.shape[0] > 1 else ("beat",)
        test = load(data["name"], split="beats", inputs=inputs, seed=result["hardening"]["seed"]).test
        x, y = _firsts(test)
        if "beat" not in inputs:
            continue
        channel = inputs.index("beat")
        made["clean"] = x[:, channel].tolist()
        tried = {attack: moved(classifier, x, y) for attack, moved in _changes(eps).items()}
        made["attacks"] = list(tried)
        made["attacked"][name] = {attack: x_adv[:, channel].tolist() for attack, x_adv in tried.items()}
        made["answers"][name] = {
            attack: [test.classes[k] for k in classifier.predict(x_adv).argmax(1).tolist()]
            for attack, x_adv in {"clean": x, **tried}.items()
        }
    return made


def _firsts(test: Dataset) -> tuple[Tensor, Tensor]:
    rows = torch.tensor([int((test.y == k).nonzero()[0, 0]) for k in range(len(test.classes))])
    return test.x[rows], test.y[rows]


def _changes(eps: float) -> dict[str, Any]:
    """List what is done to the beats; attacks run at full strength, beyond the first success."""
    attacks: dict[str, Attack] = {
        "FGSM": FGSM(eps=eps),
        "BIM": BIM(eps=eps, steps=40, early_stop=False),
        "PGD": PGD(eps=eps, steps=40, early_stop=False),
        "CW": CarliniWagnerLinf(eps=eps),
    }
    return {**attacks, "noise": lambda model, x, y: _noise(x, eps)}


def _noise(x: Tensor, eps: float) -> Tensor:
    """Move every value by eps, up or down by chance: as large as an attack, and blind."""
    signs = torch.randint(2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return (x + eps * signs).clamp(0, 1)

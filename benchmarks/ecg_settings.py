"""Train hardened heartbeat classifiers under several settings and judge them on data that are not the test's.

    python benchmarks/ecg_settings.py --split patients --out runs/ecg-settings-patients
    python benchmarks/ecg_settings.py --split beats --out runs/ecg-settings-beats

Every setting learns from the training part and is judged on the parts ``validation`` and ``calibration`` (by patients
six others of DS1), clean and under PGD of 10 steps at eps 0.01. The one with the highest mean of both macro-F1 is
chosen. The test part is never looked at. Settings are stored as they are done.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus.atomic import write_json
from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import load
from salus.hardening import single_step
from salus.metrics import macro_f1, per_class
from salus.training import TrainingOptions, fit_classifier

EPS = 0.01
PATIENTS = TrainingOptions(
    epochs=6, patience=6, keep="last", weight_decay=0.01, prior_shift=0.5, averaging=0.999, precision="bfloat16",
    balance="none",
)  # fmt: skip
TRAINING = {"patients": PATIENTS, "beats": replace(PATIENTS, epochs=8, patience=8)}
CONTEXT = {"widths": [16, 32, 64], "positions": 4, "hidden": 64, "dropout": 0.4}

EVERYTHING = ("beat", "usual", "difference", "previous", "next", "strip", "rhythm")
WIDE = {"widths": [24, 48, 96, 128]}

Setting = tuple[tuple[str, ...], dict[str, Any], float, dict[str, Any]]

#: split -> name -> inputs, options of the network ecg-context, eps in training, what differs in training
SETTINGS: dict[str, dict[str, Setting]] = {
    "patients": {
        "beat, rhythm": (("beat", "rhythm"), CONTEXT, 0.012, {}),
        "beat, difference, rhythm": (("beat", "difference", "rhythm"), CONTEXT, 0.012, {}),
        "difference, rhythm": (("difference", "rhythm"), CONTEXT, 0.012, {}),
        "difference, rhythm; prior shift 0.8": (("difference", "rhythm"), CONTEXT, 0.012, {"prior_shift": 0.8}),
        "difference, rhythm; 2 epochs": (("difference", "rhythm"), CONTEXT, 0.012, {"epochs": 2, "patience": 2}),
    },
    "beats": {
        "beat, rhythm": (("beat", "rhythm"), {}, 0.012, {}),
        "beat, difference, rhythm": (("beat", "difference", "rhythm"), {}, 0.012, {}),
        "all seven": (EVERYTHING, {}, 0.012, {}),
        "all seven; eps 0.015, prior shift 0.8": (EVERYTHING, {}, 0.015, {"prior_shift": 0.8}),
        "all seven; wider, 24 epochs, prior shift 0.6": (
            EVERYTHING, WIDE, 0.012, {"epochs": 24, "patience": 24, "keep": "loss", "prior_shift": 0.6},
        ),
    },
}  # fmt: skip
JUDGED_ON = {"patients": "six patients of DS1 held out", "beats": "held-out beats of the same patients"}


def main() -> None:
    """Train and judge every setting that is not stored yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=sorted(SETTINGS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--last", type=Path, help="a model that `salus harden` made under the last setting already")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS[options.split]
    for number, name in enumerate(settings):
        path = options.out / f"{number}.json"
        if not path.exists():
            have = options.last if name == list(settings)[-1] else None
            write_json(path, judged(options.split, name, options.seed, have))
        print(json.dumps(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    rows = [json.loads((options.out / f"{number}.json").read_text("utf-8")) for number in range(len(settings))]
    best = max(rows, key=lambda row: float(row["clean_macro_f1"]) + float(row["robust_macro_f1"]))
    for row in rows:
        row["chosen"] = row is best
        row["in_use"] = options.last is not None and row is rows[-1]
    write_json(options.out / "frontier.json", rows)
    print(f"chosen: {best['setting']}")


def judged(split: str, name: str, seed: int, have: Path | None = None) -> dict[str, Any]:
    """Train one setting, unless there is a model of it, and count its answers to held-out beats, clean and attacked."""
    inputs, sizes, eps, changes = SETTINGS[split][name]
    splits = load("mitdb", split=split, inputs=inputs)
    if have is not None:
        classifier = Classifier.load(have)
        seconds = float(json.loads((have / "hardening.json").read_text("utf-8"))["history"]["seconds"])
    else:
        began = time.monotonic()
        classifier, _ = fit_classifier(
            "ecg-context",
            splits.train,
            splits.validation,
            replace(TRAINING[split], seed=seed, **changes),
            model_options=sizes,
            recipe=single_step(eps),
        )
        seconds = time.monotonic() - began
    x = torch.cat([splits.validation.x, splits.calibration.x])
    y = torch.cat([splits.validation.y, splits.calibration.y])
    attack = PGD(eps=EPS, steps=10, seed=seed)
    x_adv = torch.cat([attack(classifier.module, *part) for part in zip(x.split(1024), y.split(1024), strict=True)])
    found: dict[str, Any] = {"split": split, "setting": name, "training_seconds": round(seconds)}
    for word, shown in (("clean", x), ("robust", x_adv)):
        answers: Tensor = classifier.predict(shown).argmax(1)
        found[f"{word}_accuracy"] = float((answers == y).double().mean())
        found[f"{word}_macro_f1"] = macro_f1(y, answers)
        rows = per_class(y, answers, splits.train.classes)
        found["sensitivity_attacked"] = {row["class"]: row["sensitivity"] for row in rows}
    return {**found, "judged_on": f"{JUDGED_ON[split]}, PGD-10"}


if __name__ == "__main__":
    main()

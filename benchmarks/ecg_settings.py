"""Train hardened heartbeat classifiers under several settings and judge them on patients that are not the test's.

    python benchmarks/ecg_settings.py --out runs/ecg-settings

Every setting learns from the training patients of DS1 and is judged on DS1's other six (the parts ``validation`` and
``calibration``), clean and under PGD of 10 steps at eps 0.01. The one with the highest mean of both macro-F1 is
chosen. The test part, DS2, is never looked at. Settings are stored as they are done.
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
from salus.data import load
from salus.hardening import single_step
from salus.metrics import macro_f1, per_class
from salus.training import TrainingOptions, fit_classifier

EPS = 0.01
TRAINING = TrainingOptions(
    epochs=6, patience=6, keep="last", weight_decay=0.01, prior_shift=0.5, averaging=0.999, precision="bfloat16",
    balance="none",
)  # fmt: skip
CONTEXT = {"widths": [16, 32, 64], "positions": 4, "hidden": 64, "dropout": 0.4}

#: name -> inputs, network, its options, eps in training, what differs in training
SETTINGS: dict[str, tuple[tuple[str, ...], str, dict[str, Any], float, dict[str, Any]]] = {
    "beat, rhythm": (("beat", "rhythm"), "ecg-context", CONTEXT, 0.012, {}),
    "beat, difference, rhythm": (("beat", "difference", "rhythm"), "ecg-context", CONTEXT, 0.012, {}),
    "difference, rhythm": (("difference", "rhythm"), "ecg-context", CONTEXT, 0.012, {}),
    "difference, rhythm; prior shift 0.8": (
        ("difference", "rhythm"), "ecg-context", CONTEXT, 0.012, {"prior_shift": 0.8},
    ),
    "difference, rhythm; 2 epochs": (
        ("difference", "rhythm"), "ecg-context", CONTEXT, 0.012, {"epochs": 2, "patience": 2},
    ),
}  # fmt: skip


def main() -> None:
    """Train and judge every setting that is not stored yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for number, name in enumerate(SETTINGS):
        path = options.out / f"{number}.json"
        if not path.exists():
            write_json(path, judged(name, options.seed))
        print(json.dumps(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    rows = [json.loads((options.out / f"{number}.json").read_text("utf-8")) for number in range(len(SETTINGS))]
    best = max(rows, key=lambda row: float(row["clean_macro_f1"]) + float(row["robust_macro_f1"]))
    for row in rows:
        row["chosen"] = row is best
    write_json(options.out / "frontier.json", rows)
    print(f"chosen: {best['setting']}")


def judged(name: str, seed: int) -> dict[str, Any]:
    """Train one setting and count its answers to clean and attacked beats of the held-out patients."""
    inputs, network, sizes, eps, changes = SETTINGS[name]
    splits = load("mitdb", split="patients", inputs=inputs)
    began = time.monotonic()
    classifier, _ = fit_classifier(
        network,
        splits.train,
        splits.validation,
        replace(TRAINING, seed=seed, **changes),
        model_options=sizes,
        recipe=single_step(eps),
    )
    seconds = time.monotonic() - began
    x = torch.cat([splits.validation.x, splits.calibration.x])
    y = torch.cat([splits.validation.y, splits.calibration.y])
    attack = PGD(eps=EPS, steps=10, seed=seed)
    x_adv = torch.cat([attack(classifier.module, *part) for part in zip(x.split(1024), y.split(1024), strict=True)])
    found: dict[str, Any] = {"split": "patients", "setting": name, "training_seconds": round(seconds)}
    for word, shown in (("clean", x), ("robust", x_adv)):
        answers: Tensor = classifier.predict(shown).argmax(1)
        found[f"{word}_accuracy"] = float((answers == y).double().mean())
        found[f"{word}_macro_f1"] = macro_f1(y, answers)
        rows = per_class(y, answers, splits.train.classes)
        found["sensitivity_attacked"] = {row["class"]: row["sensitivity"] for row in rows}
    return {**found, "judged_on": "six patients of DS1 held out, PGD-10"}


if __name__ == "__main__":
    main()

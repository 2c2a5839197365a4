"""Small run folders as an audit leaves them, made with the real metrics from made-up answers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from salus.attacks.editions import cited, split_ids
from salus.attacks.taxonomy import taxonomy
from salus.metrics import auc, commonest, confusion, health, per_class, proportion, roc
from salus.report import write_report
from salus.threats import FIXED, THREAT_MODELS

HOSTILE = ("<script>alert(1)</script>", "a\"b' onload=x", "$\\frac{", "心房 {{ 7 * 7 }}\x07")

RATES = (
    "clean_accuracy", "robust_accuracy", "attack_success_rate", "fallen_all", "robust_accuracy_accepted",
    "rejected_clean", "rejected_adversarial", "rejected_noise", "detection_auc", "detection_auc_all",
    "detection_auc_driven",
)  # fmt: skip


@dataclass
class Maker:
    """Writes one run folder, cell by cell."""

    folder: Path
    x: np.ndarray
    classes: tuple[str, ...]
    positive: tuple[str, ...] = ()
    patients: int = 0
    features: tuple[str, ...] = ()
    name: str = "made-up"

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(1)
        n, k = len(self.x), len(self.classes)
        self.y = np.sort(self.rng.integers(0, k, n))
        self.groups = self.rng.integers(0, self.patients, n) if self.patients else None
        if self.groups is not None:
            self.groups[self.y == k - 1] = 3  # one patient supplies a whole class
            self.groups[np.flatnonzero(self.y == k - 1)[:2]] = 1
        self.cells: list[dict[str, Any]] = []
        self.guards: dict[str, dict[str, Any]] = {}
        self.clean: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        (self.folder / "cells").mkdir(parents=True)
        save_file({"indices": np.arange(n) * 3, "x": self.x, "y": self.y}, self.folder / "samples.safetensors")

    def guard(self, name: str, rate: float = 0.05) -> None:
        self.guards[name] = {
            "text": f"i-defender on the logits, {rate:.0%} false alarms",
            "false_alarm_rate": rate,
            "detectors": [{"name": "i-defender", "text": "…", "false_alarm_rate": rate, "threshold": 0.1}],
            "purifier": None,
            "mitigations": ["AML.M0015"],
            "fingerprint": hashlib.sha256(name.encode()).hexdigest(),
        }

    def cell(
        self, guard: str = "none", attack: str | None = None, eps: float | None = None, *,
        wrong: float = 0.08, rejected: float = 0.0, threat: str | None = None, norm: str = "linf",
        error: str | None = None, store: bool = True, **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        n, k = len(self.x), len(self.classes)
        number = hashlib.sha256(repr((guard, attack, eps, threat, norm, options)).encode()).hexdigest()[:16]
        if attack is not None and threat is None:
            threat = "white-box"
        record: dict[str, Any] = {
            "id": number, "data": self.name, "split": "made up", "model": "small", "guard": guard,
            "attack": attack, "attack_options": {"seed": 0, **options} if attack else None, "eps": eps,
            "finds": "nearest" if attack and eps is None and threat != "control" else "inside" if attack else None,
            "norm": norm if attack else None, "threat_model": threat, "n": n, "error": error,
        }  # fmt: skip
        seen: Any = {"hop-skip-jump": "answers", "baseline-wander": "nothing"}.get(attack or "", "gradients")
        named = {**THREAT_MODELS, **FIXED}[threat].taxonomy(seen) if threat else taxonomy(seen)
        record |= named._asdict() if attack else dict.fromkeys(named._asdict())
        record |= {f"{rate}{end}": None for rate in RATES for end in ("", "_low", "_high")}  # fmt: skip
        record |= dict.fromkeys(
            ["successes", "distance_median", "queries", "passes", "seconds", "confusion", "per_class",
             "health", "roc", "variants"]
        ) | {"examples": []}  # fmt: skip
        self.cells.append(record)
        if error is not None:
            return record
        rng = np.random.default_rng(int(number, 16) % 2**32)
        labels = np.where(rng.random(n) < wrong, (self.y + rng.integers(1, k, n)) % k, self.y)
        accepted = rng.random(n) >= rejected
        answers = np.where(accepted, labels, -1)
        arrays = {"label": answers, "accepted": accepted}
        if attack is None:
            good = answers == self.y
            self.clean[guard] = (good, accepted)
        else:
            good, was_accepted = self.clean[guard]
            fallen = accepted & (labels != self.y)
            record |= proportion(good & ~fallen, groups=self.groups).named("robust_accuracy")
            record |= proportion(fallen, good, self.groups).named("attack_success_rate")
            record |= proportion(fallen, groups=self.groups).named("fallen_all")
            record |= proportion(good & (answers == self.y), groups=self.groups).named("robust_accuracy_accepted")
            record |= proportion(~accepted, groups=self.groups).named("rejected_adversarial")
            record |= {"distance_median": eps or 0.1, "queries": 41.0, "passes": 40.0}
            record["examples"] = np.flatnonzero(good & fallen)[:6].tolist()
            arrays["reached"] = fallen
            step = rng.choice([-1.0, 1.0], self.x.shape) * (eps or 0.1)
            arrays["x_adv"] = np.clip(self.x + step, 0, 1).astype(np.float32)
            if guard != "none":
                fooled = labels != self.y
                scores, attacked = rng.normal(size=n), rng.normal(1.2, 1, n)
                record["successes"] = int(fooled.sum())
                record |= auc(scores, attacked[fooled]).named("detection_auc")
                record |= auc(scores, attacked).named("detection_auc_all")
                record |= proportion(rng.random(n) < 0.07, groups=self.groups).named("rejected_noise")
                record["roc"] = {
                    "all": roc(scores, attacked),
                    "fooled": roc(scores, attacked[fooled]) if record["detection_auc"] is not None else None,
                    "operating_point": {
                        "fpr": float((~was_accepted).mean()),
                        "tpr": float((~accepted).mean()),
                    },
                }
            if threat == "adaptive":
                driven = rng.normal(-1.5, 1, n)[labels != self.y]
                record |= auc(scores, driven).named("detection_auc_driven")
                record["roc"]["driven"] = roc(scores, driven) if record["detection_auc_driven"] is not None else None
                record["variants"] = {"eq6": 0.25, "class-consistent": 0.5, "oblivious": 0.25}
        good, was_accepted = self.clean[guard]
        record |= proportion(good, groups=self.groups).named("clean_accuracy")
        record |= proportion(~was_accepted, groups=self.groups).named("rejected_clean")
        record["seconds"] = 1.25
        record["confusion"] = confusion(self.y, answers, self.classes)
        record["per_class"] = per_class(self.y, answers, self.classes, self.groups)
        disease = [self.classes.index(name) for name in self.positive]
        record["health"] = health(self.y, answers, disease, self.groups)
        if store:
            save_file(arrays, self.folder / "cells" / f"{number}.safetensors")
        return record

    def finish(self, **meta: Any) -> Path:
        counts = {name: int((self.y == i).sum()) for i, name in enumerate(self.classes)}
        parts = ("train", "validation", "calibration", "test")
        kind = {2: "table", 3: "signal", 4: "image"}[self.x.ndim]
        described = {
            "salus": "0.1.0",
            "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "scikit-learn": "1.9.1"},
            "created": "2026-11-21T10:00:00+00:00",
            "command": f"salus audit --data {self.name} --attack pgd:eps=0.01 --out run",
            "seed": 0, "device": "cpu", "threads": 2, "seconds": 81.4, "samples": len(self.x),
            "split": "made up",
            "data": {
                "name": self.name, "kind": kind, "shape": list(self.x.shape[1:]), "bounds": [0.0, 1.0],
                "classes": list(self.classes), "positive": list(self.positive),
                "counts": dict.fromkeys(parts, counts),
                "groups": dict.fromkeys(parts, self.patients) if self.patients else {},
                "provenance": {
                    "source": "made by a test", "version": "1", "licence": "CC0", "checksum": "ab" * 32,
                    "split": "by patient" if self.patients else "at random",
                    "dropped": [{"what": "paced beats", "count": 8043, "reason": "no class of ours"}],
                    "notes": ["Record 114 lists V5 first."],
                },
                "marks": {"immutable": [], "integer": [], "derived": []},
                "fingerprint": "cd" * 32, "split": "patients" if self.patients else "random",
            },
            "model": {
                "name": "small", "fingerprint": "ef" * 32, "parameters": 12345,
                "training": {"epochs": 3, "learning_rate": 0.001}, "remarks": ["Stopped early at epoch 2."],
                "clean_accuracy": 0.9312, "clean_accuracy_low": 0.91, "clean_accuracy_high": 0.95,
            },
            "guards": self.guards,
            "commonest": commonest(self.y, self.classes)._asdict(),
            "codes": cited([*(key for cell in self.cells for key in split_ids(cell["nist_id"] or "")),
                            *(key for cell in self.cells for key in split_ids(cell["atlas"] or "")), "AML.M0015"]),
            "verdict": [
                "This classifier is very easily fooled: PGD-40 at eps = 0.02 (linf) turns 96.1% (94.0 to "
                "97.5) of the inputs it reads correctly into wrong answers.",
                "The smallest change tried that fools at least half of them is eps = 0.005 (linf, PGD-40).",
            ],
            "warnings": ["One patient supplies 97.0% of class 'F'."] * 2,
            "feature_names": list(self.features),
        } | meta  # fmt: skip
        results = {"meta": described, "cells": self.cells}
        (self.folder / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")
        return self.folder


def signals(folder: Path) -> Path:
    """ECG-like beats with patients, a guard, and all threat models."""
    t = np.linspace(-1, 1, 200)
    rng = np.random.default_rng(0)
    beat = 0.3 + 0.6 * np.exp(-((t / 0.04) ** 2)) + 0.1 * np.exp(-(((t - 0.45) / 0.12) ** 2))
    x = np.clip(beat + 0.02 * rng.normal(size=(240, 1, 200)), 0, 1).astype(np.float32)
    make = Maker(folder, x, ("N", "S", "V", "F"), ("S", "V", "F"), patients=14, name="mit-bih")
    make.guard("idef")
    make.cell()
    make.cell("idef", rejected=0.06)
    for attack, strength in (("fgsm", 30.0), ("pgd", 60.0)):
        for eps in (0.005, 0.01, 0.02):
            wrong = min(0.96, strength * eps)
            make.cell("none", attack, eps, wrong=wrong, steps=40)
            make.cell("none", attack, eps, wrong=wrong / 3, threat="transfer", steps=40)
            make.cell("idef", attack, eps, wrong=wrong, rejected=0.8, threat="oblivious", steps=40)
            make.cell("idef", attack, eps, wrong=wrong, rejected=0.3, threat="adaptive", steps=40)
            make.cell("idef", attack, eps, wrong=wrong / 3, rejected=0.1, threat="transfer", steps=40)
    make.cell("none", "baseline-wander", wrong=0.12, threat="control", norm="l2", snr=18.0)
    make.cell("idef", "baseline-wander", wrong=0.12, rejected=0.31, threat="control", norm="l2", snr=18.0)
    return make.finish()


def images(folder: Path) -> Path:
    """Ten classes of small images, bare and guarded, one cell without enough successes."""
    x = np.random.default_rng(0).random((120, 1, 14, 14)).astype(np.float32)
    x[:, :, 4:10, 4:10] *= 0.2
    make = Maker(folder, x, tuple(f"digit {i}" for i in range(10)), name="digits")
    make.guard("idef")
    make.cell()
    make.cell("idef", rejected=0.05)
    for eps in (2 / 255, 8 / 255):
        make.cell("none", "pgd", eps, wrong=12 * eps, steps=10)
        make.cell("none", "pgd", eps, wrong=20 * eps, steps=100)
        make.cell("idef", "pgd", eps, wrong=10 * eps, rejected=0.5, threat="oblivious", steps=10)
    make.cell("none", "deepfool", wrong=0.9, norm="l2")
    make.cell("idef", "hop-skip-jump", wrong=0.0, threat="decision-only", norm="linf")
    return make.finish()


def table(folder: Path) -> Path:
    """A table with features, bare only."""
    x = np.random.default_rng(0).random((90, 12)).astype(np.float32)
    features = ("age", "a feature with quite a long name of its own", *(f"marker {i}" for i in range(10)))
    make = Maker(folder, x, ("benign", "malignant"), ("malignant",), features=features, name="breast-cancer")
    make.cell()
    make.cell("none", "fgsm", 0.1, wrong=0.5)
    make.cell("none", "hop-skip-jump", 0.1, wrong=0.7, queries=2500)
    return make.finish(warnings=[])


def failing(folder: Path) -> Path:
    """Some cells failed, and no arrays were stored."""
    make = Maker(folder, np.full((60, 5), 0.5, np.float32), ("a", "b"), name="failing")
    make.cell(store=False)
    make.cell("none", "fgsm", 0.1, wrong=0.4, store=False)
    make.cell("none", "pgd", 0.1, error="ModelError: the logits are NaN for sample 3.")
    return make.finish()


def bare(folder: Path) -> Path:
    """Clean inputs alone: nothing was attacked."""
    make = Maker(folder, np.full((60, 5), 0.5, np.float32), ("a", "b"), name="bare")
    make.cell()
    return make.finish(guards={}, warnings=[])


def hostile(folder: Path) -> Path:
    """Names that would like to be code."""
    x = np.random.default_rng(0).random((80, 5)).astype(np.float32)
    make = Maker(folder, x, HOSTILE, HOSTILE[:1], features=(*HOSTILE, "</svg><img src=x>"), name=HOSTILE[0])
    make.guard(HOSTILE[1])
    make.cell()
    make.cell(HOSTILE[1], rejected=0.1)
    make.cell("none", "fgsm", 0.1, wrong=0.8)
    make.cell(HOSTILE[1], "fgsm", 0.1, wrong=0.9, rejected=0.2, threat="oblivious", note="</style><b>")
    return make.finish(verdict=[f"Fooled: {HOSTILE[0]}"], warnings=[f"Beware of {HOSTILE[0]}"])


KINDS: dict[str, Callable[[Path], Path]] = {
    maker.__name__: maker for maker in (signals, images, table, failing, bare, hostile)
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make the run folder of a kind once."""
    place = tmp_path_factory.mktemp("runs")
    return cache(lambda kind: KINDS[kind](place / kind))


@pytest.fixture(scope="session")
def drawn_run(made: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the run folder of a kind with its page, which takes seconds to draw; nobody writes to it."""
    place = tmp_path_factory.mktemp("drawn")

    @cache
    def draw(kind: str) -> Path:
        folder = Path(shutil.copytree(made(kind), place / kind / "run"))
        write_report(folder)
        return folder

    return draw


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, drawn_run: Callable[[str], Path], tmp_path: Path) -> Path:
    """Each kind of run folder in turn, with its page."""
    return Path(shutil.copytree(drawn_run(request.param), tmp_path / "run"))


@pytest.fixture
def make_run(made: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Give a run folder of one kind, without its page."""
    return lambda kind: Path(shutil.copytree(made(kind), tmp_path / kind))

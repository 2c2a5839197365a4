"""The page for the person who decides on a skin-lesion model is what its generator writes of stored results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from salus_studies.skin_lesion.cells import COPY, KNOWS, Case

WritePage = Callable[..., subprocess.CompletedProcess[str]]
DOCS = Path(__file__).parents[1] / "docs"
CLASSES = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]


def record(case: Case, accuracy: float, missed: int) -> dict[str, Any]:
    """A cell of 100 images, half of them malignant, as a run stores it."""
    health = {
        "n": 100, "confusion": {"matrix": [[50 - missed, missed], [5, 45]], "rejected": [0, 0]},
        "fnr": missed / 50, "fnr_low": missed / 50 - 0.01, "fnr_high": missed / 50 + 0.01,
    }  # fmt: skip
    figures = {
        "accuracy": accuracy, "accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05,
        "confusion": {"matrix": []}, "averaged": CLASSES, "health": {"medical": health, "thesis": health},
    }  # fmt: skip
    return {"network": "resnet50", **case.record(), "status": "done", "figures": figures, "n": 100, "queries": 3.0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with what the page reads of it."""
    cells = [
        record(Case("plain"), 0.7, 10),
        record(Case("plain", None, "fgsm", KNOWS), 0.1, 30),
        record(Case("plain", None, "pgd", KNOWS), 0.02, 40),
        record(Case("plain", None, "uap", KNOWS), 0.2, 20),
        record(Case("plain", "low-level"), 0.66, 11),
        record(Case("plain", "low-level", "fgsm", COPY), 0.5, 15),
        record(Case("plain", "low-level", "pgd", KNOWS), 0.01, 45),
        record(Case("retrained-fgsm"), 0.6, 12),
        record(Case("retrained-fgsm", None, "fgsm", COPY), 0.55, 13),
        record(Case("retrained-fgsm", None, "pgd", KNOWS), 0.2, 33),
        record(Case("hardened"), 0.5, 9),
        record(Case("hardened", None, "pgd", KNOWS), 0.35, 14),
    ]
    row = {"allowed": 0.1, "threshold": 0.4}
    row |= {f"{name}{end}": value for end in ("", "_low", "_high")
            for name, value in {"fnr": 0.1, "fnr_attacked": 0.19, "specificity": 0.6}.items()}  # fmt: skip
    results = {
        "meta": {
            "command": "salus reproduce skin-lesion", "seed": 0, "machine": "a machine", "versions": {"torch": "2"},
            "classes": CLASSES, "split": "lesions", "data": {"64": {"name": "ham10000"}},
            "settings": {"hardened": {"network": "resnet50"}, "networks": {"resnet50": {"size": 64}}},
        },
        "cells": cells,
        "poisoning": [
            {**record(Case("poisoned"), 0.6, 11), "share": 0.2, "model": "poisoned"},
            {**record(Case("cleaned"), 0.65, 10), "share": 0.2, "model": "cleaned", "recall": 0.8, "precision": 0.4},
        ],
        "sweep": [], "classifiers": [],
        "thresholds": [{"network": "resnet50", "model": "hardened", "status": "done", "rows": [row]}],
    }  # fmt: skip
    folder = tmp_path / "run"
    (folder / "pictures").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    clean = np.random.default_rng(0).random((4, 3, 16, 16)).astype(np.float32)
    held = {"clean": clean, "attacked": np.clip(clean + 2 / 255, 0, 1)}
    held |= {name: np.array(values) for name, values in {"y": [0, 2, 0, 3], "before": [0, 2, 0, 3],
                                                         "after": [1, 1, 4, 1]}.items()}  # fmt: skip
    save_file(held, folder / "pictures" / "resnet50-plain-fgsm-knows.safetensors")
    return folder


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    import imaging_page

    return imaging_page


@pytest.fixture
def write_page(run_script: Callable[..., subprocess.CompletedProcess[str]]) -> WritePage:
    return partial(run_script, DOCS / "imaging_page.py")


def test_a_run_becomes_a_page_that_goes_stale_with_its_results(
    run: Path, tmp_path: Path, write_page: WritePage
) -> None:
    stored, page = tmp_path / "stored.json", tmp_path / "imaging.md"
    arguments = ("--stored", stored, "--page", page)
    made = write_page("--collect", run, *arguments)
    assert made.returncode == 0, made.stderr
    text = page.read_text(encoding="utf-8")
    assert "answers 70 of 100 lesions rightly. Under an attack that no eye sees, 2." in text
    assert "it misses 20 as they are, 80 under this attack" in text
    assert "Holds against an attacker who knows of it: hardened from the start." in text
    assert "Helps a little against an attacker who knows of it: adversarial retraining." in text
    assert "Does not help against an attacker who knows of it: WebP + flip." in text
    assert "| retraining, WebP + flip | not run | not run | not run | not run | not run | not run |" in text
    assert "| PGD, by 2 of 255 | 100 | 2.0 (-3.0–7.0) | 80.0 (79.0–81.0) | 10.0 |" in text
    assert "At 1 of 1 thresholds" in text
    assert "| 20% | 60.0 (55.0–65.0) | 22.0 (21.0–23.0) | 65.0 (60.0–70.0) | 80.0 | 40.0 |" in text
    for name in ("lesions", "missed"):
        assert (tmp_path / "images" / f"imaging-{name}.png").stat().st_size > 5000
    assert write_page("--check", *arguments).returncode == 0

    results = json.loads(stored.read_text())
    results["cells"][1]["figures"]["accuracy"] = 0.3
    results["pictures"][0]["after"] = 5
    stored.write_text(json.dumps(results))
    stale = write_page("--check", *arguments)
    assert stale.returncode == 1 and "imaging.md is stale" in stale.stdout and "imaging-lesions.png" in stale.stdout


def test_a_purifier_that_gradients_only_guess_is_never_said_to_hold(
    run: Path, generator: ModuleType, tmp_path: Path
) -> None:
    from imaging_collect import collect

    results = json.loads((run / "results.json").read_text())
    knowing = next(one for one in results["cells"] if one["purifier"] == "low-level" and one["attack"] == "pgd")
    knowing["figures"]["accuracy"] = 0.6
    (run / "results.json").write_text(json.dumps(results))
    stored = collect(run, tmp_path / "stored.json")
    assert generator.verdict(stored, "low-level") == "unclear" and generator.verdict(stored, "hardened") == "holds"
    assert "Unclear, as behind WebP an attacker has to guess: WebP + flip." in generator.page(stored)


def test_the_page_and_its_figures_are_not_stale() -> None:
    command = [sys.executable, str(DOCS / "imaging_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_stored_is_said_so(run: Path, generator: ModuleType, tmp_path: Path) -> None:
    from imaging_collect import collect

    results = json.loads((run / "results.json").read_text())
    results |= {"cells": [], "poisoning": [], "thresholds": []}
    (run / "results.json").write_text(json.dumps(results))
    (run / "pictures" / "resnet50-plain-fgsm-knows.safetensors").unlink()
    text = generator.page(collect(run, tmp_path / "stored.json"))
    assert text.count("not run") + text.count("Not run") > 10 and "None" not in text

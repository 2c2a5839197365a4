"""The page for the person who decides on a skin-lesion model follows a run of the skin-lesion study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from salus.errors import StoreError
from salus_studies.frame.results import Results
from salus_studies.lesions.measured import DEFENCES, poisonings, verdict
from salus_studies.lesions.page import page
from salus_studies.lesions.protocol import pictures, slim
from salus_studies.lesions.study import STUDY
from salus_studies.lesions.tables import ATTACKS
from salus_studies.skin_lesion.cells import KNOWS, Case

CLASSES = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]


def record(case: Case, accuracy: float, missed: int) -> dict[str, Any]:
    """A cell of 100 images, half of them malignant, as a run stores it; recall is as high as accuracy."""
    fnr = missed / 50
    health = {
        "n": 100,
        "confusion": {"matrix": [[50 - missed, missed], [5, 45]], "rejected": [0, 0]},
        "fnr": fnr,
        "fnr_low": fnr - 0.01,
        "fnr_high": fnr + 0.01,
    }
    figures = {
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.05,
        "accuracy_high": accuracy + 0.05,
        "macro_recall": accuracy,
        "macro_recall_low": accuracy - 0.05,
        "macro_recall_high": accuracy + 0.05,
        "confusion": {"matrix": []},
        "averaged": CLASSES,
        "health": {"medical": health, "thesis": health},
    }
    return {"network": "resnet50", **case.record(), "status": "done", "figures": figures, "n": 100, "queries": 3.0}


def labels(share: float, kind: str, accuracy: float, aim: float) -> dict[str, Any]:
    """A last layer on labels of one kind, as a run stores it."""
    look = {"network": "resnet50", "share": share, "seed": 0, "way": "features", "labels": kind, "weighting": "none"}
    return {**look, "accuracy": accuracy, "macro_recall": 0.5, "fnr": 0.3, "aim": aim, "status": "done"}


def row(**rates: float) -> dict[str, float]:
    """A row of a table of thresholds."""
    return {f"{name}{end}": value for name, value in rates.items() for end in ("", "_low", "_high")}


@pytest.fixture
def values() -> dict[str, Any]:
    """What a run stores."""
    return {
        "meta": {
            "command": "salus reproduce skin-lesion",
            "seed": 0,
            "machine": "a machine",
            "versions": {"torch": "2"},
            "classes": CLASSES,
            "split": "lesions",
            "data": {"name": "ham10000"},
            "counts": {"train": {"NV": 5, "MEL": 1}, "test": {"NV": 60, "MEL": 40}},
            "settings": {
                "hardened": {"network": "resnet50"},
                "networks": {"resnet50": {"size": "96x128", "architecture": "efficientnet-lite0"}},
            },
        },
        "cells": [
            record(Case("plain"), 0.7, 10),
            record(Case("plain", None, "pgd", KNOWS), 0.02, 40),
            record(Case("plain", None, "pgd-harm", KNOWS), 0.03, 48),
            record(Case("plain", None, "uap", KNOWS), 0.2, 20),
            record(Case("plain", "low-level"), 0.66, 11),
            record(Case("plain", "low-level", "pgd", KNOWS), 0.01, 45),
            record(Case("plain", "low-level", "pgd-harm", KNOWS), 0.01, 45),
            record(Case("retrained-fgsm"), 0.6, 12),
            record(Case("retrained-fgsm", None, "pgd", KNOWS), 0.27, 33),
            record(Case("retrained-fgsm", None, "pgd-harm", KNOWS), 0.2, 39),
            record(Case("hardened"), 0.5, 9),
            record(Case("hardened", None, "pgd", KNOWS), 0.35, 14),
            record(Case("hardened", None, "pgd-harm", KNOWS), 0.34, 17),
        ],
        "poisoning": [
            labels(0.0, "right", 0.72, 0.1),
            labels(0.2, "poisoned", 0.6, 0.2),
            labels(0.2, "poisoned", 0.62, 0.4),
            {**labels(0.2, "cleaned", 0.65, 0.15), "found": 0.8, "precision": 0.4},
        ],
        "sweep": [],
        "classifiers": [],
        "thresholds": [
            {
                "network": "resnet50",
                "model": "hardened",
                "status": "done",
                "rows": [{**row(fnr=0.1, fnr_attacked=0.19, specificity=0.6), "allowed": 0.1, "threshold": 0.4}],
            }
        ],
    }


@pytest.fixture
def run(tmp_path: Path, values: dict[str, Any]) -> Path:
    """A run's folder with what the page reads of it."""
    folder = tmp_path / "run"
    Results(values).write(folder)
    clean = np.random.default_rng(0).random((4, 3, 16, 16)).astype(np.float32)
    labels = {"y": [0, 2, 0, 3], "before": [0, 2, 0, 3], "after": [1, 1, 4, 1]}
    arrays = {"clean": clean, "attacked": np.clip(clean + np.float32(2 / 255), 0, 1)}
    (folder / "pictures").mkdir()
    save_file(
        {**arrays, **{name: np.array(each) for name, each in labels.items()}},
        folder / "pictures" / "resnet50-plain-pgd-harm-knows.safetensors",
    )
    return folder


def text_of(values: dict[str, Any]) -> str:
    return page(Results(slim(values, [], "salus reproduce lesions")), "images").text


def test_a_run_becomes_a_page(run: Path, tmp_path: Path) -> None:
    outcome = STUDY.reproduce(tmp_path / "out", run=run, command="salus reproduce lesions --run run")
    text = outcome.page.read_text(encoding="utf-8")
    assert "misses 20 as they are, 96 under an attack that no eye sees and that wants them missed." in text
    assert "Its recall is 70.0%, more than the 14.3% of no look at the picture." in text
    assert "- Holds against an attacker who knows of it: hardened." in text
    assert "- Helps a little against an attacker who knows of it: adversarial retraining." in text
    assert "- Does not help against an attacker who knows of it: WebP + flip." in text
    assert (
        "costs right answers where nobody attacks: 50.0% against 70.0%; of the malignant it then misses fewer" in text
    )
    assert "| retraining, WebP + flip |" not in text
    assert any(line.startswith("Not run: ") and "retraining, WebP + flip" in line for line in text.splitlines())
    assert "| no look at the picture, always “mole” |  | 100.0 | 0.0 | 14.3 | 60.0 |" in text
    assert "At 1 of 1 the attacker" in text and "EfficientNet-Lite0 for ResNet 50 at 96x128 pixels" in text
    assert "| 20% | 61.0 | 30.0 | 30.0 | 65.0 | 80.0 | 40.0 |" in text
    assert "```\nsalus reproduce skin-lesion\nsalus reproduce lesions --run run\n```" in text
    for name in ("lesions", "missed"):
        assert (tmp_path / "out" / "images" / f"imaging-{name}.png").stat().st_size > 5000


def test_what_is_kept_of_a_run_is_what_the_page_shows(run: Path, values: dict[str, Any]) -> None:
    stored = slim(values, list(pictures(run, "resnet50")), "salus reproduce lesions")
    assert [picture["after"] for picture in stored["pictures"]] == [1, 1, 4]
    kept = {f"{name}{end}" for name in ("accuracy", "macro_recall") for end in ("", "_low", "_high")}
    assert set(stored["cells"][0]["figures"]) == {*kept, "health"} and stored["meta"]["counts"]["NV"] == 60
    assert stored["cells"][0]["figures"]["health"]["medical"]["alarmed"] == 5
    again = slim({**stored, "sweep": []}, stored["pictures"], "salus reproduce lesions")
    assert again == stored


def test_a_purifier_that_gradients_only_guess_is_never_said_to_hold(values: dict[str, Any]) -> None:
    for each in values["cells"]:
        if each["purifier"] == "low-level" and each["attack"] != "none":
            each["figures"] |= {
                "macro_recall": 0.6,
                "health": {"medical": {**each["figures"]["health"]["medical"], "fnr": 0.3}},
            }
    assert verdict(values, "low-level") == "unclear" and verdict(values, "hardened") == "holds"
    assert "Unclear, as the attacker has to guess: WebP + flip." in text_of(values)


def test_accuracy_alone_never_makes_a_defence_hold(values: dict[str, Any]) -> None:
    for each in values["cells"]:
        if each["model"] == "hardened" and each["attack"] == "pgd":
            each["figures"] |= {"accuracy": 0.66, "macro_recall": 1 / 7, "macro_recall_low": 0.1}
        if each["model"] == "hardened" and each["attack"] == "pgd-harm":
            each["figures"]["health"]["medical"]["fnr"] = 1.0
    assert verdict(values, "hardened") == "no", "always answering NV is right as often"


def test_what_was_stored_before_recall_was_is_not_judged(values: dict[str, Any]) -> None:
    for each in values["cells"]:
        each["figures"].pop("macro_recall")
    assert verdict(values, "hardened") == "not judged"
    assert "cannot be told: its recall was not stored" in text_of(values)


def test_cleaning_costs_at_most_half_a_point_of_accuracy_in_what_is_stored() -> None:
    stored = STUDY.stored()
    assert stored is not None
    rows = [row for row in poisonings(stored.values) if row.get("way") == "features"]
    if not rows:
        pytest.skip("what is stored is older than labels cleaned on pretrained features")
    for share in {row["share"] for row in rows if row["share"]}:
        before, after = (
            np.mean([row["accuracy"] for row in rows if row["share"] == share and row["labels"] == labels])
            for labels in ("poisoned", "cleaned")
        )
        assert after >= before - 0.005, share


def test_nothing_stored_is_said_so(values: dict[str, Any]) -> None:
    untold = {"network": "resnet50", "model": "hardened", "status": "not run", "reason": "no time"}
    assert "Not run." in text_of({**values, "thresholds": [untold]})
    text = text_of({**values, "cells": [], "poisoning": [], "thresholds": []})
    lines = [line for line in text.splitlines() if line.startswith("Not run: ")]
    assert [line.count("; ") + 1 for line in lines] == [len(ATTACKS), len(DEFENCES)]
    assert "not run" in text and "None" not in text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"results\.json cannot be read"):
        STUDY.reproduce(tmp_path / "out", run=tmp_path / "nowhere")

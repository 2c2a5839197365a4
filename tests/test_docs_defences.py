"""The page of defences is what its generator writes, forgets none, and its tables follow the results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from salus.detectors import DETECTORS
from salus.hardening import METHODS
from salus.purifiers import PURIFIERS

DOCS = Path(__file__).parents[1] / "docs"
RATES = ("clean_accuracy", "robust_accuracy", "attack_success_rate", "rejected_clean", "rejected_adversarial",
         "rejected_noise", "detection_auc")  # fmt: skip


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    import defences_page

    return defences_page


def cell(guard: str, threat: str | None, attack: str | None = "pgd", **rates: float | dict | None) -> dict[str, Any]:
    """Make a cell as an audit stores it."""
    found = {f"{name}{end}": rates.get(name) for name in RATES for end in ("", "_low", "_high")}
    return {
        "guard": guard, "attack": attack, "attack_options": None if attack is None else {"steps": 40},
        "eps": None if attack is None else 0.01, "norm": "linf", "threat_model": threat, "n": 500,
        "cost": rates.get("cost"), "error": None, "variants": rates.get("variants"), "successes": 400, **found,
    }  # fmt: skip


@pytest.fixture
def audit() -> dict[str, Any]:
    return {
        "salus": "0", "created": "2026-11-21T12:00:00", "command": "salus audit ...", "seed": 0, "device": "cpu",
        "threads": 1, "samples": 500, "split": "beats", "versions": {"torch": "2"}, "data": "mitdb", "model": "ecg-cnn",
        "guards": {"kde": {"text": "", "false_alarm_rate": 0.01}},
        "cells": [
            cell("none", None, None, clean_accuracy=0.94),
            cell("kde", None, None, clean_accuracy=0.93, rejected_clean=0.012, cost=0.25),
            cell("none", "white-box", robust_accuracy=0.001),
            cell("kde", "oblivious", clean_accuracy=0.93, robust_accuracy=0.81, detection_auc=0.987,
                 rejected_noise=0.05),
            cell("kde", "gray-box", clean_accuracy=0.93, robust_accuracy=0.7),
            cell("kde", "adaptive", clean_accuracy=0.93, robust_accuracy=0.02,
                 variants={"oblivious": 0.9, "orthogonal": 0.1}),
            cell("kde", "control", "mains-hum", rejected_adversarial=0.4),
        ],
    }  # fmt: skip


def test_the_page_is_what_the_generator_writes() -> None:
    done = subprocess.run([sys.executable, str(DOCS / "defences_page.py"), "--check"], check=False)
    assert done.returncode == 0, "write it anew: python docs/defences_page.py"


def test_no_defence_is_forgotten(generator: ModuleType) -> None:
    assert set(generator.WORDS) == {*DETECTORS.own, *PURIFIERS.own}
    assert set(generator.HARDENING) == set(METHODS.own)


def test_a_line_tells_what_each_attacker_leaves_and_who_breaks_it(generator: ModuleType, audit: dict) -> None:
    lines = "\n".join(generator.measured(audit, audit)).splitlines()
    line = next(line for line in lines if line.startswith("| `kde` | 0.25"))
    told = [part.strip() for part in line.strip("|").split("|")]
    assert [part.split()[0] for part in told[1:7]] == ["0.25", "93.0", "0.987", "81.0", "70.0", "2.0"]
    assert told[7] == "orthogonal"
    assert "| `kde` | 1.2 (1.2–1.2) | 40.0 (40.0–40.0) | 5.0 (5.0–5.0) |" in lines


def test_nobody_breaks_what_keeps_most_of_its_accuracy(generator: ModuleType, audit: dict) -> None:
    knowing = next(one for one in audit["cells"] if one["threat_model"] == "adaptive")
    knowing["robust_accuracy"] = 0.6
    assert "nobody here, which is no proof" in "\n".join(generator.measured(audit, audit))
    next(one for one in audit["cells"] if one["threat_model"] == "gray-box")["robust_accuracy"] = 0.1
    assert "| who has a twin |" in "\n".join(generator.measured(audit, audit))


def test_an_attack_that_failed_is_no_defence_that_held(generator: ModuleType, audit: dict) -> None:
    next(one for one in audit["cells"] if one["threat_model"] == "adaptive")["error"] = "out of memory"
    assert "| not tried, or failed |" in "\n".join(generator.measured(audit, audit))


def test_detection_is_told_as_the_audit_of_most_samples_found_it(generator: ModuleType, audit: dict) -> None:
    wider = json.loads(json.dumps(audit)) | {"samples": 10 * audit["samples"], "command": "salus audit wide"}
    next(one for one in wider["cells"] if one["threat_model"] == "oblivious")["detection_auc"] = 0.5
    page = "\n".join(generator.measured(audit, wider))
    assert "salus audit wide" in page
    line = next(line for line in page.splitlines() if line.startswith("| `kde` | 0.25"))
    assert [part.split()[0] for part in line.strip("|").split("|")][1:5] == ["0.25", "93.0", "0.500", "81.0"]


def test_collecting_keeps_what_the_page_shows(generator: ModuleType, audit: dict, tmp_path: Path) -> None:
    stored = {
        "meta": {**{k: v for k, v in audit.items() if k not in ("data", "model", "cells")},
                 "data": {"name": "mitdb"}, "model": {"name": "ecg-cnn"}},
        "cells": [{**one, "seconds": 3, "roc": {"all": []}} for one in audit["cells"]],
    }  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(stored))
    slim = generator.slim(tmp_path)
    assert slim["cells"][0]["clean_accuracy"] == 0.94 and "roc" not in slim["cells"][0]
    broken = {
        "data": "mitdb",
        "steps": 20,
        "command": "python benchmarks/break_purifiers.py runs/own",
        "samples": 40,
        "rows": [{"guard": "reformer", "eps": eps, "clean": 0.9, "left": 0.5 - 4 * eps} for eps in (0.01, 0.1)],
    }
    page = generator.page([slim], [broken], json.loads((DOCS / "ecg-results.json").read_text()))
    assert page.count("orthogonal") == 1
    assert "| defence | clean % | eps 0.01 % | eps 0.1 % |" in page and "| `reformer` | 90.0 | 46.0 | 10.0 |" in page

"""The page of defences forgets none, and its tables follow the audits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from salus.detectors import DETECTORS
from salus.hardening import METHODS
from salus.purifiers import PURIFIERS
from salus_studies.defences import protocol
from salus_studies.defences.catalogue import catalogue
from salus_studies.defences.page import data_section, page
from salus_studies.frame.results import Results
from salus_studies.heartbeats.study import STUDY as HEARTBEATS

RATES = ("clean_accuracy", "robust_accuracy", "rejected_clean", "rejected_adversarial", "rejected_noise")
Audit = dict[str, Any]


def cell(guard: str, threat: str | None, attack: str | None = "pgd", **figures: Any) -> dict[str, Any]:
    """A cell as an audit stores it."""
    rates = {f"{name}{end}": figures[name] for name in RATES if name in figures for end in ("", "_low", "_high")}
    options = {} if attack is None else {"attack_options": {"steps": 40}, "eps": 0.01}
    return {"guard": guard, "attack": attack, "norm": "linf", "threat_model": threat, **options, **figures, **rates}


@pytest.fixture
def audit() -> Audit:
    """What is kept of an audit of one guard."""
    unaware: dict[str, Any] = {
        "clean_accuracy": 0.93,
        "robust_accuracy": 0.81,
        "detection_auc": 0.987,
        "rejected_noise": 0.05,
    }
    aware: dict[str, Any] = {
        "clean_accuracy": 0.93,
        "robust_accuracy": 0.02,
        "variants": {"oblivious": 0.9, "orthogonal": 0.1},
    }
    return {
        "created": "2026-11-21T12:00:00",
        "command": "salus audit ...",
        "seed": 0,
        "device": "cpu",
        "threads": 1,
        "samples": 500,
        "split": "beats",
        "versions": {"torch": "2"},
        "data": "mitdb",
        "model": "ecg-cnn",
        "guards": ["kde"],
        "cells": [
            cell("none", None, None, clean_accuracy=0.94),
            cell("kde", None, None, clean_accuracy=0.93, rejected_clean=0.012, cost=0.25),
            cell("none", "white-box", robust_accuracy=0.001),
            cell("kde", "oblivious", **unaware),
            cell("kde", "gray-box", clean_accuracy=0.93, robust_accuracy=0.7),
            cell("kde", "adaptive", **aware),
            cell("kde", "control", "mains-hum", rejected_adversarial=0.4),
        ],
    }


def cell_of(audit: Audit, threat: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in audit["cells"] if each["threat_model"] == threat)
    return found


def section(audit: Audit, wider: Audit | None = None) -> str:
    return "\n".join(data_section(audit, wider or audit))


def line_of(text: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith("| `kde` | 0.25"))
    return [part.strip() for part in line.strip("|").split("|")]


def test_no_defence_is_forgotten() -> None:
    names = [[each.name for each in catalogue() if (each.kind == "hardening") == hardens] for hardens in (False, True)]
    assert set(names[0]) == {*DETECTORS.own, *PURIFIERS.own}
    assert set(names[1]) == set(METHODS.own)


def test_a_line_tells_what_each_attacker_leaves_and_who_breaks_it(audit: Audit) -> None:
    text = section(audit)
    parts = line_of(text)
    assert [part.split()[0] for part in parts[1:7]] == ["0.25", "93.0", "0.987", "81.0", "70.0", "2.0"]
    assert parts[7] == "orthogonal, first to succeed"  # variants were not run alone
    assert "| `kde` | 1.2 (1.2–1.2) | 40.0 (40.0–40.0) | 5.0 (5.0–5.0) |" in text.splitlines()


def test_who_breaks_a_defence_is_who_wins_most_alone(audit: Audit) -> None:
    def alone(**left: float) -> dict[str, dict[str, float]]:
        return {name: {"robust_accuracy": one, "attack_success_rate": 1 - one} for name, one in left.items()}

    cell_of(audit, "adaptive")["alone"] = alone(oblivious=0.8, control=0.4, eq6=0.3, orthogonal=0.1, union=0.02)
    text = section(audit)
    assert line_of(text)[7] == "orthogonal"
    assert "| defence | oblivious | control | eq6 | orthogonal | union | wins most alone |" in text
    assert "| `kde` | 80.0 | 40.0 | 30.0 | 10.0 | 2.0 | orthogonal |" in text
    cell_of(audit, "adaptive")["alone"] = alone(oblivious=0.8, control=0.1, eq6=0.3, orthogonal=0.1, union=0.02)
    assert line_of(section(audit))[7] == "the control suffices"
    assert protocol.slim({"meta": {**audit, "data": {"name": ""}, "model": {"name": ""}}, "cells": audit["cells"]})[
        "cells"
    ][5]["alone"]


def test_nobody_breaks_what_keeps_most_of_its_accuracy(audit: Audit) -> None:
    cell_of(audit, "adaptive")["robust_accuracy"] = 0.6
    assert "nobody here, which is no proof" in section(audit)
    cell_of(audit, "gray-box")["robust_accuracy"] = 0.1
    assert "| who has a twin |" in section(audit)


def test_an_attack_that_failed_is_no_defence_that_held(audit: Audit) -> None:
    cell_of(audit, "adaptive")["error"] = "out of memory"
    assert "| not tried, or failed |" in section(audit)


def test_detection_is_told_as_the_audit_of_most_samples_found_it(audit: Audit) -> None:
    wider = json.loads(json.dumps(audit)) | {"samples": 10 * audit["samples"], "command": "salus audit wide"}
    cell_of(wider, "oblivious")["detection_auc"] = 0.5
    text = section(audit, wider)
    assert "salus audit wide" in text
    assert [part.split()[0] for part in line_of(text)[1:5]] == ["0.25", "93.0", "0.500", "81.0"]


def test_what_is_kept_of_an_audit_is_what_the_page_shows(audit: Audit) -> None:
    meta = {name: audit[name] for name in audit if name != "cells"} | {"salus": "0", "guards": {"kde": {"text": "x"}}}
    whole = {
        "meta": meta | {"data": {"name": "mitdb"}, "model": {"name": "ecg-cnn"}},
        "cells": [{**each, "seconds": 3, "roc": {"all": []}} for each in audit["cells"]],
    }
    slim = protocol.slim(whole)
    assert slim["guards"] == ["kde"] and slim["cells"][0]["clean_accuracy"] == 0.94 and "roc" not in slim["cells"][0]
    left = {eps: 0.5 - 4 * eps for eps in (0.01, 0.1)}
    ways = [{"gradients": share + 0.03, "queries": share, "left": share} for share in left.values()]
    rows = [{"guard": "reformer", "eps": eps, "clean": 0.9, **each} for eps, each in zip(left, ways, strict=True)]
    attempts = {"data": "mitdb", "steps": 20, "command": "salus reproduce defences", "samples": 40, "rows": rows}
    text = page(Results({"audits": [slim], "attempts": [attempts]}), Results.read(HEARTBEATS.room)).text
    assert text.count("orthogonal") == 1
    assert "| `reformer` | 0.01 | 90.0 | 49.0 | 46.0 | 46.0 | 3.0 |" in text
    assert "| `reformer` | 0.1 | 90.0 | 13.0 | 10.0 | 10.0 | 3.0 |" in text


@pytest.mark.slow
def test_an_audit_is_done_by_every_attacker_and_on_more_samples_by_the_one_who_knows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "small.yaml"
    plan.write_text(
        "{data: breast-cancer, model: mlp, training: {epochs: 2}, attack: ['pgd:eps=0.05,steps=2'], samples: 10,\n"
        " threat-model: [white-box, oblivious, adaptive], false-alarm-rate: 0.1, defence: [kde, bit-depth:bits=4]}\n"
    )
    first, second = protocol.audit_twice(plan, tmp_path / "out" / "small", 20, {})
    assert (first["samples"], second["samples"]) == (10, 20)
    assert {each.get("threat_model") for each in first["cells"]} == {None, "white-box", "oblivious", "adaptive"}
    assert {each.get("threat_model") for each in second["cells"]} == {None, "oblivious"}
    assert second["command"].startswith("salus audit src/salus_studies/defences/small.yaml --samples 20 --threat-model")
    assert (tmp_path / "out" / "small-wide" / "report.html").exists()

    def no_copy(*_: object) -> Mapping[str, Any]:
        raise AssertionError("the second audit's folder was made already")

    monkeypatch.setattr("shutil.copytree", no_copy)
    assert [each["samples"] for each in protocol.audit_twice(plan, tmp_path / "out" / "small", 20, {})] == [10, 20]

"""The page of measured figures shows every cell of its audits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from salus.audit import Plan
from salus_studies.frame.results import Results
from salus_studies.measured.page import page
from salus_studies.measured.protocol import slim
from salus_studies.measured.study import STUDY


@pytest.fixture
def audit() -> dict[str, Any]:
    """An audit as it stores its results."""
    rates = {f"{name}{end}": 0.5 for name in ("clean_accuracy", "robust_accuracy") for end in ("", "_low", "_high")}
    attack = {"attack": "pgd", "attack_options": {"steps": 40}, "eps": 0.01, "threat_model": "adaptive"}
    nothing = {"attack": None, "robust_accuracy": None, "threat_model": None, "seconds": 3}
    return {
        "meta": {
            "command": "salus audit --data mitdb",
            "split": "beats",
            "samples": 9,
            "seed": 0,
            "device": "cpu",
            "threads": 1,
            "versions": {"torch": "2"},
            "verdict": ["It falls."],
            "warnings": ["Few beats."],
            "data": {"name": "mitdb"},
            "model": rates,
        },
        "cells": [{"guard": "none", **rates, **nothing}, {"guard": "kde", "detection_auc": 0.75, **rates, **attack}],
    }


def test_a_row_is_shown_for_each_cell_with_its_interval(audit: dict[str, Any]) -> None:
    stored = slim(audit)
    assert "seconds" not in stored["cells"][0]
    lines = page(Results({"audits": [stored]})).text.splitlines()
    assert "| bare | none (clean) |  |  | 50.0 (50.0–50.0) |  |  |  |  |" in lines
    assert "| kde | PGD-40 | 0.01 | adaptive | 50.0 (50.0–50.0) | 50.0 (50.0–50.0) |  |  | 0.750 |" in lines
    assert {"salus audit --data mitdb", "- It falls.", "- Warning: Few beats."} <= set(lines)


def test_both_audits_are_done_by_the_commands_that_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audit: dict[str, Any]
) -> None:
    plans: list[Plan] = []

    def run_audit(plan: Plan, out: Path, command: str, engine: object) -> SimpleNamespace:
        plans.append(plan)
        meta = {**audit["meta"], "command": command.replace(str(out), f"runs/{out.name}")}
        return SimpleNamespace(meta=meta, cells=audit["cells"])

    monkeypatch.setattr("salus_studies.measured.protocol.run_audit", run_audit)
    monkeypatch.setattr("salus_studies.measured.protocol.write_report", lambda out: None)
    STUDY.reproduce(tmp_path / "out")
    commands = [each["command"] for each in Results.read(tmp_path / "out").values["audits"]]
    assert commands == [each["command"] for each in Results.read(STUDY.room).values["audits"]]
    assert [plan.split for plan in plans] == ["beats", "patients"]
    STUDY.reproduce(tmp_path / "other", data_dir=tmp_path)
    assert plans[-1].data_dir == tmp_path

"""The page of measured figures shows every cell of its audits."""

from __future__ import annotations

from typing import Any

import pytest

from salus_studies.frame.results import Results
from salus_studies.measured.page import page
from salus_studies.measured.protocol import slim


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

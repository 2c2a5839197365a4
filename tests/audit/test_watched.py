"""Audits of guards whose callers are watched: how far attackers get, when they are noticed, what honest callers pay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from salus.audit import Outcome, Plan, run_audit
from salus.audit.watching import callers, tried
from salus.cli import main
from salus.data import Dataset, Provenance
from salus.detectors.queries import Nearest, Stream
from salus.report import write_report

ATTACKS = ["hop-skip-jump:eps=0.35,norm=l2,queries=200"]


@pytest.fixture(scope="module")
def clinics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of six values, each clinic's about its own middle."""
    rng = np.random.default_rng(0)
    groups = np.arange(900) % 15
    y = rng.integers(0, 2, 900)
    x = 0.45 + 0.1 * rng.random((15, 6))[groups] + 0.3 * (y[:, None] - 0.5) + 0.05 * rng.standard_normal((900, 6))
    place = tmp_path_factory.mktemp("clinics") / "clinics.npz"
    np.savez(place, x=x.clip(0, 1).astype(np.float32), y=y, groups=groups, classes=np.array(["well", "ill"]))
    return place


def fields(clinics: Path, **others: Any) -> dict[str, Any]:
    return {
        "data": str(clinics),
        "attack": ATTACKS,
        "threat_model": ["decision-only"],
        "defence": "none",
        "monitor": ["nearest"],
        "samples": 12,
        "training": {"epochs": 20, "learning_rate": 0.01},
        **others,
    }


@pytest.fixture(scope="module")
def run(clinics: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("watched") / "run"
    return folder, run_audit(Plan.of(fields(clinics, monitor=["nearest", "updates"])), folder)


def test_each_monitor_has_a_cell_beside_the_one_that_nobody_watches(run: tuple[Path, Outcome]) -> None:
    cells = json.loads((run[0] / "results.json").read_text())["cells"]
    asked = [cell for cell in cells if cell["attack"]]
    assert [cell["monitor"] for cell in asked] == [None, "nearest", "updates"]
    assert {cell["threat_model"] for cell in asked} == {"decision-only"}
    alone, watched = asked[0], asked[1]
    assert alone["accounts"] is alone["noticed"] is alone["honest"] is alone["honest_refused"] is None
    assert watched["accounts"] == 1
    assert watched["noticed"] == 1.0
    assert 1 < watched["first_notice"] < 100
    assert watched["queries"] < 100 < alone["queries"]
    assert watched["attack_success_rate"] < alone["attack_success_rate"]
    assert watched["honest"]["callers"] >= 1
    assert 0 <= watched["honest_refused"] <= 1
    assert watched["clean_accuracy"] == alone["clean_accuracy"]


def test_the_page_the_verdict_and_the_warnings_tell_it(run: tuple[Path, Outcome]) -> None:
    folder, outcome = run
    sentence = next(each for each in outcome.meta["verdict"] if "'nearest'" in each)
    assert "refuses whoever raises the alarm" in sentence and "where nobody watches" in sentence
    assert "half of them by question" in sentence and "honest callers of the test part" in sentence
    assert any("who knows of the monitor 'nearest'" in each for each in outcome.meta["warnings"])
    page = write_report(folder).read_text()
    assert "Attackers whom somebody watches" in page and "Honest refused" in page
    assert "decision-only, watched by nearest" in page


def test_the_same_audit_again_computes_nothing(clinics: Path, run: tuple[Path, Outcome]) -> None:
    again = run_audit(Plan.of(fields(clinics, monitor=["nearest", "updates"])), run[0])
    assert again.computed == 0
    assert [cell["noticed"] for cell in again.cells] == [cell["noticed"] for cell in run[1].cells]


def test_more_accounts_ask_more_before_all_are_refused(
    clinics: Path, tmp_path: Path, run: tuple[Path, Outcome]
) -> None:
    result = CliRunner().invoke(
        main,
        [
            *("audit", "--data", str(clinics), "--attack", ATTACKS[0], "--threat-model", "decision-only"),
            *("--defence", "none", "--monitor", "nearest", "--accounts", "3", "--samples", "12"),
            *("--training", "epochs=20", "--training", "learning_rate=0.01", "--out", str(tmp_path / "run")),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "Under watch" in result.output and "of 3" in result.output
    three = json.loads((tmp_path / "run" / "results.json").read_text())["cells"][2]
    one = run[1].cells[2]
    assert (one["monitor"], three["monitor"], three["accounts"]) == ("nearest", "nearest", 3)
    assert three["queries"] > one["queries"]


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ({"threat_model": ["white-box"]}, "none of these attackers does"),
        ({"monitor": ["oracle"]}, "Unknown monitor 'oracle'"),
        ({"data": "breast-cancer"}, "they have no groups"),
        ({"accounts": 0}, "accounts"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence_and_writes_nothing(
    clinics: Path, tmp_path: Path, others: dict[str, Any], sentence: str
) -> None:
    plan = fields(clinics, **others)
    words = ["audit", "--out", str(tmp_path / "run")]
    for name in ("data", "defence", "accounts", "samples"):
        words += [f"--{name}", str(plan[name])] if name in plan else []
    for name in ("attack", "monitor", "threat_model"):
        words += [word for value in plan[name] for word in (f"--{name.replace('_', '-')}", value)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert sentence in result.output
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def dataset(groups: list[int]) -> Dataset:
    count = len(groups)
    return Dataset(
        x=torch.rand(count, 3, generator=torch.Generator().manual_seed(0)),
        y=torch.zeros(count, dtype=torch.int64),
        classes=("a", "b"),
        bounds=(0.0, 1.0),
        provenance=Provenance("t", ""),
        groups=torch.tensor(groups),
    )


def test_large_groups_are_callers_and_small_ones_are_sent_one_after_another() -> None:
    large = callers(dataset([0] * 20 + [1] * 25 + [2] * 3), "t")
    assert [len(rows) for _, rows in large] == [20, 25]
    small = callers(dataset([k % 70 for k in range(210)]), "t")
    assert [len(rows) for _, rows in small] == [102, 102]
    first = small[0][1]
    assert first[:6].tolist() == [0, 70, 140, 1, 71, 141]  # the photographs of one lesion in a row


def test_honest_inputs_are_refused_from_the_first_alarm_on() -> None:
    draw = torch.Generator().manual_seed(0)
    streams = [Stream(f"p{k}", torch.rand(40, 1, 24, generator=draw), torch.zeros(40).long()) for k in range(6)]
    monitor = Nearest().fit(streams[:5])
    twin = streams[5].x.clone()
    twin[30] = twin[29] + 1e-4
    found = tried(monitor, [*streams[:2], Stream("twin", twin, torch.zeros(40).long())])
    assert (found.callers, found.alarmed, int(found.refused.sum())) == (3, 1, 10)
    assert found.figures()["honest_refused"] == 10 / 120

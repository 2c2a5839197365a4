"""Every kind of attack in an audit: one budget for all, controls, poisons, substitutes, answers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from salus.attacks import ATTACKS, DecisionObjective
from salus.audit import Plan, run_audit
from salus.data import load
from salus.errors import OptionError
from salus.report import write_report

BASE = {
    "data": "breast-cancer",
    "training": {"epochs": 8},
    "attack": ["fgsm"],
    "eps": [0.1],
    "defence": ["none"],
    "false_alarm_rate": 0.05,
    "threat_model": ["white-box"],
    "samples": 40,
}
GUARD = "i-defender:components=1"


def audited(tmp_path: Path, **fields: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    outcome = run_audit(Plan.of({**BASE, **fields}), tmp_path / "run")
    assert outcome.failed == 0, [cell["error"] for cell in outcome.cells if cell["error"]]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    return results["meta"], results["cells"]


def page(tmp_path: Path) -> str:
    write_report(tmp_path / "run")
    return (tmp_path / "run" / "report.html").read_text()


def test_one_budget_sets_every_engine_the_same() -> None:
    data = load("breast-cancer").test
    specs = ["bim", "pgd:steps=7", "apgd", "hop-skip-jump", "square", "carlini-wagner-l2", "fgsm"]
    budget = {"eps": "0.05,0.1", "norm": "l2", "steps": 5, "queries": 30, "restarts": 2, "time": 60}
    plans = [Plan.of({**BASE, "attack": specs, **budget}), Plan.of({**BASE, "attack": specs, "budget": budget})]
    # BASE names eps itself: flat fields stand beside a budget and win.
    assert {a.eps for a in plans[0].attacks(data)} == {0.05, 0.1} and {a.eps for a in plans[1].attacks(data)} == {0.1}
    for attack in plans[0].attacks(data):
        options = vars(attack)
        assert attack.norm == "l2" and attack.queries == 30 and attack.time_limit == 60
        assert options.get("steps", 5) == (7 if attack.name == "pgd" else 5)
        assert options.get("restarts", 2) == 2
    with pytest.raises(OptionError, match="Option queries must be a whole number from 1 up or none, not 0"):
        Plan.of({**BASE, "queries": 0})
    substitutes = ("queries:nonsense=1", "split:seeds=20", "queries:seeds=1")
    mistakes: list[dict[str, Any]] = [{"stepz": 3}, {"time": float("inf")}]
    for wrong in (*mistakes, *({"substitute": spec} for spec in substitutes)):
        with pytest.raises(OptionError):
            Plan.of({**BASE, **wrong})


def test_an_attack_that_knows_one_norm_alone_keeps_to_it() -> None:
    data = load("breast-cancer").test
    plan = Plan.of({**BASE, "attack": ["carlini-wagner-l2", "carlini-wagner-linf", "pgd"], "norm": "linf"})
    assert [attack.norm for attack in plan.attacks(data)] == ["l2", "linf", "linf"]


def test_no_sample_is_asked_about_more_often_than_the_budget_allows(tmp_path: Path) -> None:
    attacks = ["pgd:steps=50", "hop-skip-jump", "square", "boundary", "deepfool", "apgd"]
    _, cells = audited(tmp_path, attack=attacks, queries=25, defence=[GUARD], threat_model=["white-box", "oblivious"])
    for cell in cells:
        assert cell["queries"] is None or cell["queries"] <= 25, cell["attack"]


def test_attacks_without_eps_report_how_far_they_had_to_go(tmp_path: Path) -> None:
    fields = {"attack": ["deepfool", "hop-skip-jump:queries=300,norm=l2"], "eps": [], "defence": [GUARD]}
    meta, cells = audited(tmp_path, **fields, threat_model=["white-box", "oblivious", "adaptive", "decision-only"])
    for cell in cells:
        if cell["attack"] is not None and cell["guard"] == "none":
            assert cell["eps"] is None and cell["attack_success_rate"] > 0.9 and cell["distance_median"] > 0
    assert any("median change" in sentence for sentence in meta["verdict"])
    told = page(tmp_path)
    assert "How small a change suffices" in told and "AML.T0043.001" in told


def test_decision_only_attackers_see_answers_and_never_win_by_a_rejection(tmp_path: Path) -> None:
    attacks = ["pgd:steps=3", "hop-skip-jump:queries=200"]
    meta, cells = audited(tmp_path, attack=attacks, defence=[GUARD], threat_model=["decision-only"])
    assert {cell["attack"] for cell in cells} == {None, "hop-skip-jump"}
    assert any("decision-only: PGD, which ask" in sentence for sentence in meta["warnings"])
    for cell in cells:
        if cell["attack"] is not None:
            stored = load_file(tmp_path / "run" / "cells" / f"{cell['id']}.safetensors")
            assert bool((stored["label"][stored["reached"]] >= 0).all())
            assert cell["nist"] == "evasion, black-box, query" and "AML.T0043.001" in cell["atlas"]
    refusing = DecisionObjective(lambda x: torch.full((len(x),), -1))
    assert not bool(refusing.success(torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)).any())


def test_controls_are_counted_but_are_no_attack(tmp_path: Path) -> None:
    controls = ["gaussian-noise:eps=0.02", "uniform-noise:eps=0.02"]
    meta, cells = audited(tmp_path, control=controls, defence=[GUARD], threat_model=["white-box", "oblivious"])
    rows = [cell for cell in cells if cell["threat_model"] == "control"]
    assert [(cell["guard"], cell["attack"]) for cell in rows] == [
        (guard, name) for name in ("gaussian-noise", "uniform-noise") for guard in ("none", GUARD)
    ]
    assert all(cell["atlas"] == "" and cell["rejected_adversarial"] is not None for cell in rows)
    assert sum("harmless changes" in sentence for sentence in meta["verdict"]) == 2
    assert "Harmless changes" in page(tmp_path)


def test_controls_leave_what_cannot_change(tmp_path: Path) -> None:
    fields = {"control": ["uniform-noise:eps=0.1"], "poison": ["backdoor:share=0.2,target=benign"]}
    _, cells = audited(tmp_path, **fields, immutable=["mean radius"], training={"epochs": 40})
    x = load_file(tmp_path / "run" / "samples.safetensors")["x"]
    rows = [cell for cell in cells if cell["attack"]]
    assert {cell["threat_model"] for cell in rows} == {"white-box", "control", "backdoor"}
    for cell in rows:
        stored = load_file(tmp_path / "run" / "cells" / f"{cell['id']}.safetensors")["x_adv"]
        assert torch.equal(stored[:, 0], x[:, 0]) and not torch.equal(stored, x)


def test_a_control_that_does_not_suit_the_data_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="signals"):
        run_audit(Plan.of({**BASE, "control": "baseline-wander:snr=10"}), tmp_path / "run")
    assert not (tmp_path / "run" / "model.json").exists()


@pytest.mark.parametrize("substitute", ["split", "queries:rounds=3,seeds=40,queries=120"])
def test_a_transfer_attacker_may_have_samples_of_their_own_or_answers_alone(substitute: str, tmp_path: Path) -> None:
    fields = {"attack": ["pgd:steps=10"], "threat_model": ["white-box", "transfer"], "substitute": substitute,
              "training": {"epochs": 40}}  # fmt: skip
    meta, cells = audited(tmp_path, **fields)
    rates = {cell["threat_model"]: cell["attack_success_rate"] for cell in cells}
    assert 0.1 < rates["transfer"] <= rates["white-box"]
    facts = meta["substitute"]
    assert facts["kind"] == substitute.partition(":")[0]
    if facts["kind"] == "queries":
        assert 40 <= facts["queries"] <= 120 and facts["agreement"] > 0.6
    again = run_audit(Plan.of({**BASE, **fields}), tmp_path / "run")
    assert again.computed == 0 and again.meta["substitute"] == facts


def test_poisoned_training_is_said_so_and_makes_another_audit(tmp_path: Path) -> None:
    clean_meta, clean = audited(tmp_path / "clean")
    meta, cells = audited(tmp_path / "poisoned", poison=["label-flips:share=0.45"])
    assert cells[0]["clean_accuracy"] < clean[0]["clean_accuracy"]
    assert meta["poison"] == ["129 labels flipped"] and clean_meta["poison"] == []
    assert any("poison" in sentence for sentence in meta["warnings"])


def test_a_backdoor_is_triggered_on_the_test_samples(tmp_path: Path) -> None:
    _, cells = audited(tmp_path, poison=["backdoor:share=0.2,target=benign"], training={"epochs": 40})
    (row,) = [cell for cell in cells if cell["threat_model"] == "backdoor"]
    # Of the malignant alone, who can be turned; all of them, where the trigger was learnt.
    assert row["attack_success_rate"] > 0.8 and row["nist_id"] == "NISTAML.023" and row["target"] == "benign"
    assert "How small a change suffices" not in page(tmp_path)


def test_a_universal_perturbation_is_fitted_to_other_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[torch.Tensor] = []
    fit = ATTACKS["uap"].fit  # type: ignore[attr-defined]

    def watched(self: Any, model: Any, x: torch.Tensor, y: torch.Tensor, **options: Any) -> Any:
        fitted.append(x)
        return fit(self, model, x, y, **options)

    monkeypatch.setattr(ATTACKS["uap"], "fit", watched)
    fields = {"attack": ["uap:epochs=3"], "defence": [GUARD], "threat_model": ["white-box", "oblivious", "adaptive"]}
    _, cells = audited(tmp_path, **fields)
    scored = load_file(tmp_path / "run" / "samples.safetensors")["x"]
    assert fitted and all(not bool((x[:, None] == scored[None]).all(-1).any()) for x in fitted)
    by = {cell["threat_model"]: cell for cell in cells if cell["attack"]}
    assert by["adaptive"]["robust_accuracy"] <= by["oblivious"]["robust_accuracy"]


def test_other_peoples_attacks_stand_in_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("foolbox")
    fields = {"attack": ["foolbox:LinfPGD:steps=5", "pgd:steps=5"], "defence": [GUARD]}
    meta, cells = audited(tmp_path, **fields, threat_model=["white-box", "adaptive"])
    rows = {cell["attack"]: cell for cell in cells if cell["threat_model"] == "white-box"}
    assert rows["foolbox:LinfPGD"]["queries"] >= 5 and rows["foolbox:LinfPGD"]["eps"] == 0.1
    assert not [cell for cell in cells if cell["attack"] == "foolbox:LinfPGD" and cell["threat_model"] == "adaptive"]
    assert any("adaptive: foolbox:LinfPGD, which have no adaptive form" in sentence for sentence in meta["warnings"])

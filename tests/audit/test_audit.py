"""Audits end to end on embedded data: what is stored, what is computed again, what the numbers add up to."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from salus.audit import Plan, cost, run_audit
from salus.classifier import Classifier
from salus.cli.terminal import print_cells
from salus.data import load
from salus.errors import OptionError, StoreError
from salus.generative import RepositoryOptions, train_repository
from salus.guard import Guard
from salus.metrics import Commonest
from salus.purifiers import BitDepth

if TYPE_CHECKING:
    from conftest import Toy

Run = tuple[Path, dict[str, Any]]
QUICK: dict[str, Any] = {
    "data": "breast-cancer",
    "training": {"epochs": 8},
    "attack": ["fgsm", "pgd:steps=5"],
    "eps": [0.02, 0.1],
    "defence": ["i-defender:components=1"],
    "false_alarm_rate": 0.05,
    "threat_model": ["white-box", "transfer", "oblivious", "adaptive"],
    "samples": 60,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("audit") / "run"
    outcome = run_audit(Plan.of(QUICK), out, command="salus audit ...")
    assert outcome.failed == 0
    return out, json.loads((out / "results.json").read_text())


def cells(results: dict[str, Any], **wanted: object) -> list[dict[str, Any]]:
    return [c for c in results["cells"] if all(c[key] == value for key, value in wanted.items())]


def test_results_name_every_id_and_hold_the_constant_answer(run: Run) -> None:
    _, results = run
    meta = results["meta"]
    named = {key for part in meta["codes"] for key in part["names"]}
    used = {key for c in results["cells"] for ids in (c["nist_id"], c["atlas"]) if ids for key in ids.split(", ")}
    assert used | {"AML.M0015"} == named and {"NISTAML.022", "NISTAML.025"} <= used
    assert all(name for part in meta["codes"] for name in part["names"].values())
    assert meta["commonest"]["n"] == 60 and meta["commonest"]["label"] == "benign"
    assert 0.5 < meta["commonest"]["share"] < 0.8 and meta["model"]["commonest"]["n"] > 60
    assert "(always answering 'benign': " in meta["verdict"][0]


def test_only_who_knows_the_guard_drives_its_score_and_never_up(run: Run) -> None:
    _, results = run
    for cell in results["cells"]:
        driven, passing = cell["detection_auc_driven"], cell["detection_auc"]
        if cell["threat_model"] != "adaptive":
            assert driven is None
        elif passing is not None:
            assert driven is not None and driven <= passing
            assert cell["roc"]["driven"] is not None


def test_the_terminals_table_sets_the_constant_answer_first_and_marks_who_only_passes(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    _, results = run
    rows = [dict(c) for c in results["cells"]]
    print_cells(rows, Commonest("benign", 0.625, 60))
    bare = capsys.readouterr().out
    assert bare.splitlines()[1].split() == ["always", "'benign'", "62.5", "62.5", "0.0"]
    for row in rows:
        if row["threat_model"] == "adaptive":
            row |= {"detection_auc": 0.912, "detection_auc_driven": 0.123}
        elif row["threat_model"] == "oblivious":
            row["detection_auc"] = 0.934
    print_cells(rows, Commonest("benign", 0.625, 60))
    shown = capsys.readouterr().out
    assert "AUC, driven" in shown and "0.912*" in shown and "0.123" in shown
    assert "0.934" in shown and "0.934*" not in shown
    assert "* of an attacker who only has to pass this threshold" in shown


def test_every_cell_of_the_plan_is_there_once(run: Run) -> None:
    _, results = run
    kinds = [(c["guard"], c["attack"], c["eps"], c["threat_model"]) for c in results["cells"]]
    assert len(kinds) == len(set(kinds))
    guard = "i-defender:components=1"
    expected: set[tuple[Any, ...]] = {("none", None, None, None), (guard, None, None, None)}
    for attack in ("fgsm", "pgd"):
        for eps in (0.02, 0.1):
            expected |= {("none", attack, eps, "white-box"), ("none", attack, eps, "transfer")}
            expected |= {(guard, attack, eps, threat) for threat in ("transfer", "oblivious", "adaptive")}
    assert set(kinds) == expected


def test_the_stored_arrays_give_the_stored_rates(run: Run) -> None:
    folder, results = run
    samples = load_file(folder / "samples.safetensors")
    x, y = samples["x"], samples["y"]
    model = Classifier.load(folder)
    guard = Guard.load(next((folder / "guards").iterdir()))
    for cell in results["cells"]:
        judge = Guard(model) if cell["guard"] == "none" else guard
        good = judge(x).answers == y
        assert cell["clean_accuracy"] == pytest.approx(float(good.float().mean()))
        assert cell["clean_accuracy_low"] <= cell["clean_accuracy"] <= cell["clean_accuracy_high"]
        if cell["attack"] is None:
            continue
        stored = load_file(folder / "cells" / f"{cell['id']}.safetensors")
        assert float((stored["x_adv"].double() - x.double()).abs().max()) <= cell["eps"]
        answers = judge(stored["x_adv"]).answers
        fallen = (answers >= 0) & (answers != y)
        assert torch.equal(fallen, stored["reached"])
        assert cell["robust_accuracy"] == pytest.approx(float((good & ~fallen).float().mean()))
        assert cell["attack_success_rate"] == pytest.approx(float((good & fallen).sum() / good.sum()))
        assert cell["fallen_all"] == pytest.approx(float(fallen.float().mean()))
        assert cell["robust_accuracy_accepted"] == pytest.approx(float((good & (answers == y)).float().mean()))


def test_the_adaptive_row_is_never_weaker_than_the_oblivious_one(run: Run) -> None:
    _, results = run
    rows = cells(results, threat_model="adaptive")
    assert rows
    for row in rows:
        twin = cells(results, threat_model="oblivious", attack=row["attack"], eps=row["eps"])[0]
        assert row["robust_accuracy"] <= twin["robust_accuracy"]


def test_pgd_is_at_least_as_strong_as_fgsm_and_more_eps_is_never_weaker(run: Run) -> None:
    _, results = run
    white = {(c["attack"], c["eps"]): c["robust_accuracy"] for c in cells(results, threat_model="white-box")}
    assert white["pgd", 0.1] <= white["fgsm", 0.1]
    assert white["pgd", 0.1] <= white["pgd", 0.02]
    assert white["pgd", 0.1] < cells(results, guard="none", attack=None)[0]["clean_accuracy"] - 0.3


def test_a_second_run_computes_nothing_and_changes_no_cell(run: Run) -> None:
    folder, results = run
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    outcome = run_audit(Plan.of(QUICK), folder)
    assert outcome.computed == 0
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()} == before
    assert outcome.cells == results["cells"]


def test_a_longer_plan_computes_only_what_is_new(run: Run) -> None:
    folder, _ = run
    outcome = run_audit(Plan.of({**QUICK, "threat_model": ["white-box"], "attack": ["bim:eps=0.05"]}), folder)
    assert outcome.computed == 1
    run_audit(Plan.of(QUICK), folder)


def test_a_damaged_cell_is_computed_again_to_the_same_figures(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    folder, results = run
    victim = cells(results, threat_model="adaptive")[0]["id"]
    path = folder / "cells" / f"{victim}.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    outcome = run_audit(Plan.of(QUICK), folder)
    assert outcome.computed == 1
    assert "damaged" in capfd.readouterr().err
    again = next(c for c in outcome.cells if c["id"] == victim)
    was = next(c for c in results["cells"] if c["id"] == victim)
    assert {**again, "seconds": 0, "cost": 0} == {**was, "seconds": 0, "cost": 0}


def test_a_guards_cost_is_its_time_beside_the_classifiers_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, results = run
    for record in results["cells"]:
        guarded_and_clean = record["guard"] != "none" and record["attack"] is None
        assert (record["cost"] is not None) == guarded_and_clean
    assert any("more forward passes" in sentence for sentence in results["meta"]["verdict"])

    classifier = Classifier(torch.nn.Linear(3, 2), ("a", "b"), shape=(3,))
    times = {"classifier": 2.0, "bare": 3.0, "guarded": 4.0}

    def seconds(run: Any, batch: torch.Tensor) -> float:
        return times["classifier" if run is classifier else "guarded" if run.purifier else "bare"]

    monkeypatch.setattr(cost, "_seconds", seconds)
    assert cost.extra_cost(Guard(classifier, purifier=BitDepth()), torch.rand(5, 3)) == 0.5
    assert cost.extra_cost(Guard(classifier, purifier=BitDepth()), torch.rand(0, 3)) is None


def test_the_csv_holds_the_same_numbers(run: Run) -> None:
    folder, results = run
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results["cells"])
    for row, cell in zip(rows, results["cells"], strict=True):
        assert row["robust_accuracy"] == ("" if cell["robust_accuracy"] is None else str(cell["robust_accuracy"]))


def test_the_folder_of_another_audit_is_refused(run: Run) -> None:
    folder, _ = run
    with pytest.raises(StoreError, match="another data"):
        run_audit(Plan.of({**QUICK, "data": "digits"}), folder)
    with pytest.raises(StoreError, match=r"another (seed|samples|split)"):
        run_audit(Plan.of({**QUICK, "seed": 5}), folder)


def test_a_folder_that_holds_something_else_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        run_audit(Plan.of(QUICK), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_audits_cannot_share_a_folder(run: Run) -> None:
    from filelock import FileLock

    folder, _ = run
    with FileLock(folder / ".lock"), pytest.raises(StoreError, match="Another audit is running"):
        run_audit(Plan.of(QUICK), folder)


def test_a_cell_that_fails_is_reported_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from salus.attacks import FGSM

    def break_down(self: FGSM, search: object, start: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(FGSM, "perturb", break_down)
    outcome = run_audit(Plan.of({**QUICK, "threat_model": ["white-box"], "defence": "none"}), tmp_path / "run")
    assert outcome.failed == 2
    assert {c["error"] for c in outcome.cells if c["attack"] == "fgsm"} == {"RuntimeError: out of luck"}
    assert all(c["error"] is None for c in outcome.cells if c["attack"] != "fgsm")
    monkeypatch.undo()
    assert run_audit(
        Plan.of({**QUICK, "threat_model": ["white-box"], "defence": "none"}), tmp_path / "run"
    ).computed == 2  # fmt: skip


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    real = os.fsync

    def full(descriptor: int) -> None:
        if "cells" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="is full"):
        run_audit(Plan.of({**QUICK, "defence": "none", "threat_model": "white-box"}), tmp_path / "run")
    assert list((tmp_path / "run" / "cells").iterdir()) == []


@pytest.mark.slow
def test_a_killed_audit_goes_on_where_it_was(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps(QUICK))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "salus.cli", "audit", str(plan), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((out / "cells").glob("[!.]*.json"))) < 5 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists()
    stored = {path.name for path in (out / "cells").glob("[!.]*.json")}
    assert len(stored) >= 5
    outcome = run_audit(Plan.read(plan), out)
    assert outcome.failed == 0
    # What was stored is not computed again: at most the cell in flight was lost.
    assert outcome.computed == len(outcome.cells) + 1 - len(stored)
    assert (out / "results.json").exists()


def test_marked_features_are_left_alone(tmp_path: Path) -> None:
    from salus.data import load

    data = load("breast-cancer").test
    fixed = data.features[:3]
    plan = {**QUICK, "immutable": list(fixed), "defence": "none", "threat_model": "white-box"}
    outcome = run_audit(Plan.of(plan), tmp_path / "run")
    x = load_file(tmp_path / "run" / "samples.safetensors")["x"]
    for cell in outcome.cells:
        if cell["attack"]:
            x_adv = load_file(tmp_path / "run" / "cells" / f"{cell['id']}.safetensors")["x_adv"]
            assert torch.equal(x_adv[:, :3], x[:, :3])
            assert not torch.equal(x_adv, x)
    assert not any("immutable" in warning for warning in outcome.meta["warnings"])


def test_a_guard_that_rejects_everything_scores_zero(toy: Toy) -> None:
    from salus.audit.measure import count
    from salus.audit.odds import Odds

    guard = toy.guard(0.05)
    guard.detectors[0].threshold_ = -1e9
    verdict = guard(toy.test.x)
    assert not bool(verdict.accepted.any())
    odds = Odds.seen(verdict, toy.test.y)
    record = count(toy.test, verdict, odds, odds)
    assert record["clean_accuracy"] == record["robust_accuracy"] == 0
    assert record["robust_accuracy_accepted"] == 0
    assert record["attack_success_rate"] is None


def test_a_guard_that_draws_is_counted_in_expectation(toy: Toy) -> None:
    from salus.audit.measure import count
    from salus.audit.odds import Odds

    y = toy.test.y[:4]
    data = toy.test.subset(torch.arange(4))
    right = torch.tensor([1.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    chances = torch.zeros(4, 3, dtype=torch.float64).scatter(1, y[:, None], right[:, None])
    chances = chances.scatter(1, ((y + 1) % 3)[:, None], 0.25 * (1 - right)[:, None])  # the rest is rejected
    clean, attacked = Odds.expected(chances.clone().fill_(0).scatter(1, y[:, None], 1.0), y), Odds.expected(chances, y)
    verdict = Guard(toy.classifier)(data.x)
    record = count(data, verdict, clean, attacked)
    assert record["clean_accuracy"] == 1
    assert record["fallen_all"] == pytest.approx(0.25 * (1 - right).mean())
    assert record["robust_accuracy"] == pytest.approx(1 - record["fallen_all"])
    assert record["robust_accuracy_accepted"] == pytest.approx(right.mean())
    assert record["rejected_adversarial"] == pytest.approx(0.75 * (1 - right).mean())
    assert record["attack_success_rate"] == pytest.approx(record["fallen_all"])
    assert record["robust_accuracy_low"] < record["robust_accuracy"] < record["robust_accuracy_high"]


def test_gradients_that_led_nowhere_are_told_of() -> None:
    from salus.audit.masking import lost

    row = {
        "guard": "none",
        "attack": "pgd",
        "eps": 0.1,
        "norm": "linf",
        "attack_options": {},
        "threat_model": "white-box",
        "finds": "inside",
        "target": None,
        "error": None,
        "nist": "",
        "gradients_zero": 0.3,
        "gradients_nonfinite": 0.01,
    }
    (sentence,) = lost([row])
    assert "Gradient masking is likely" in sentence and "30" in sentence and "were zero" in sentence
    assert "finite" not in sentence
    assert not list(lost([{**row, "gradients_zero": 0.02}, {**row, "gradients_zero": None}]))


def test_masked_gradients_are_flagged() -> None:
    from salus.audit.masking import masking

    base = {
        "guard": "none",
        "error": None,
        "eps": 0.1,
        "norm": "linf",
        "target": None,
        "attack_options": {"steps": 40},
        "robust_accuracy": 0.5,
        "threat_model": "white-box",
        "attack": "pgd",
        "nist": "evasion, white-box",
    }
    calm = {"checks": {"robust_accuracy": 0.0, "huge_eps": 0.5, "n": 100}}
    assert not list(masking([base], calm))
    assert "half the range" in next(iter(masking([base], {"checks": {**calm["checks"], "robust_accuracy": 0.4}})))
    stronger = {**base, "robust_accuracy": 0.2}
    moved = {**stronger, "threat_model": "transfer", "nist": "evasion, black-box, transfer"}
    assert any("substitute" in w for w in masking([base, moved], calm))
    asked = {**stronger, "attack": "hop-skip-jump", "nist": "evasion, black-box, query"}
    assert any("HopSkipJump" in w and "gradients" in w for w in masking([base, asked], calm))
    assert not list(masking([base, {**asked, "eps": None, "robust_accuracy": 0.0}], calm))  # it had no limit
    assert any("weaker FGSM" in w for w in masking([base, {**stronger, "attack": "fgsm", "attack_options": {}}], calm))
    assert any("fewer" in w for w in masking([base, {**base, "eps": 0.2, "robust_accuracy": 0.7}], calm))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"atack": "pgd"}, ["'atack'", "'attack'"]),
        ({"attack": "pdg"}, ["'pdg'", "'pgd'"]),
        ({"defence": "idefender"}, ["'idefender'", "'i-defender'"]),
        ({"threat_model": "adaptiv"}, ["'adaptiv'", "'adaptive'"]),
        ({"samples": 0}, ["samples", "0"]),
        ({"norm": "l3"}, ["norm", "l3"]),
        ({"false_alarm_rate": 2}, ["false_alarm_rate"]),
        ({"eps": "a,b"}, ["eps"]),
        ({"seed": -1}, ["seed"]),
    ],
)
def test_a_wrong_field_of_a_plan_is_named_with_the_right_one(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        Plan.of(fields)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_options_and_yaml_make_the_same_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("data: digits\nattack: [pgd]\neps: [2/255, 0.1]\nfalse-alarm-rate: 0.05\n")
    assert Plan.read(path) == Plan.of(
        {"data": "digits", "attack": ("pgd",), "eps": "2/255,0.1", "false_alarm_rate": 0.05}
    )
    assert Plan.read(path).budget.eps == (2 / 255, 0.1)


def test_the_substitute_is_never_the_model_itself(tmp_path: Path) -> None:
    plan = {
        **QUICK,
        "training": {"epochs": 3, "seed": 1},
        "threat_model": "transfer",
        "attack": "fgsm",
        "eps": 0.05,
        "defence": "none",
    }
    run_audit(Plan.of(plan), tmp_path / "run")
    model, stand_in = (Classifier.load(tmp_path / "run" / name) for name in (".", "substitute"))
    assert model.fingerprint() != stand_in.fingerprint()


def test_targeted_attacks_count_only_who_is_not_of_the_target_class(tmp_path: Path) -> None:
    plan = {
        **QUICK,
        "attack": "pgd:steps=10,targeted=true",
        "eps": 0.1,
        "target": "benign",
        "threat_model": "white-box",
        "defence": "none",
    }
    outcome = run_audit(Plan.of(plan), tmp_path / "run")
    clean, attacked = outcome.cells
    samples = load_file(tmp_path / "run" / "samples.safetensors")
    stored = load_file(tmp_path / "run" / "cells" / f"{attacked['id']}.safetensors")
    benign = samples["y"] == 1
    assert attacked["target"] == "benign"
    assert torch.equal(stored["x_adv"][benign], samples["x"][benign])
    model = Classifier.load(tmp_path / "run")
    counted = (model.predict(samples["x"]).argmax(1) == samples["y"]) & ~benign
    assert attacked["attack_success_rate"] == pytest.approx(float(stored["reached"][counted].float().mean()))
    assert clean["target"] is None


def test_a_sweep_is_as_wide_as_its_norm_needs() -> None:
    from salus.data import load

    data = load("breast-cancer").test
    linf, l2, l1 = (Plan.of({"attack": f"pgd:norm={norm}"}).attacks(data) for norm in ("linf", "l2", "l1"))
    assert [a.eps for a in l2] == pytest.approx([(a.eps or 0) * 0.5 * 30**0.5 for a in linf])
    assert [a.eps for a in l1] == pytest.approx([(a.eps or 0) * 30 / 8 for a in linf])
    asked = Plan.of({"attack": ["fgsm", "hop-skip-jump"], "norm": "l1"}).attacks(data)
    assert {(a.name, a.norm) for a in asked} == {("fgsm", "l1"), ("hop-skip-jump", "linf")}


def test_layers_and_defences_are_both_joined_by_plus() -> None:
    from salus.audit.defence import Defence

    defence = Defence.parse("i-defender:layers=logits+penultimate,components=2+bit-depth:bits=4", 0.01)
    assert defence.parts == (
        ("i-defender", {"layers": "logits+penultimate", "components": 2}),
        ("bit-depth", {"bits": 4}),
    )


def test_changed_code_of_ones_own_model_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from safetensors.torch import save_file

    from salus.data import load

    def write(sign: str) -> None:
        (tmp_path / "shifting_model.py").write_text(
            "from torch import nn\nclass Net(nn.Linear):\n    def forward(self, x):\n"
            f"        return super().forward({sign}x)\ndef build():\n    return Net(30, 2)\n"
        )
        sys.modules.pop("shifting_model", None)

    data = load("breast-cancer").train
    centre = data.x[data.y == 1].mean(0) - data.x[data.y == 0].mean(0)
    weight = torch.stack([-centre, centre])
    bias = -(weight @ data.x.mean(0))
    save_file({"weight": weight, "bias": bias}, tmp_path / "own.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    plan = Plan.of({**QUICK, "training": {}, "model": "shifting_model:build", "weights": "own.safetensors",
                    "threat_model": "white-box", "defence": "none"})  # fmt: skip
    write("")
    first = run_audit(plan, tmp_path / "run")
    assert run_audit(plan, tmp_path / "run").computed == 0
    write("0.9 * ")
    assert run_audit(plan, tmp_path / "run").computed == first.computed


def test_two_guards_of_the_same_make_have_their_own_rows(tmp_path: Path) -> None:
    plan = {**QUICK, "attack": "fgsm", "eps": 0.05, "threat_model": ["white-box", "oblivious"],
            "defence": ["i-defender", "i-defender:layers=penultimate"]}  # fmt: skip
    outcome = run_audit(Plan.of(plan), tmp_path / "run")
    assert {c["guard"] for c in outcome.cells} == {"none", "i-defender", "i-defender:layers=penultimate"}


def test_a_gray_box_attacker_has_a_twin_of_every_guard(tmp_path: Path) -> None:
    plan = Plan.of({**QUICK, "attack": "pgd:steps=5", "eps": 0.1, "threat_model": ["gray-box", "adaptive"]})
    outcome = run_audit(plan, tmp_path / "run")
    cells = {(c["guard"], c["threat_model"]): c for c in outcome.cells if c["attack"]}
    name = QUICK["defence"][0]
    assert set(cells) == {("none", "gray-box"), (name, "gray-box"), (name, "adaptive")}
    behind = cells[name, "gray-box"]
    assert behind["nist"] == "evasion, gray-box: the weights are unknown"
    assert behind["attack_success_rate"] <= cells[name, "adaptive"]["attack_success_rate"]
    assert sum(behind["variants"].values()) == pytest.approx(1)
    twin = Guard.load(next((tmp_path / "run" / "substitute" / "guards").iterdir()))
    own = Guard.load(next((tmp_path / "run" / "guards").iterdir()))
    assert twin.classifier.fingerprint() != own.classifier.fingerprint()
    assert any("a twin of the guard" in sentence for sentence in outcome.meta["verdict"])
    assert run_audit(plan, tmp_path / "run").computed == 0


def test_a_guard_is_fitted_anew_when_the_autoencoders_that_it_names_changed(tmp_path: Path) -> None:
    data, place = load("breast-cancer"), tmp_path / "ae"

    def train(seed: int) -> None:
        shutil.rmtree(place, ignore_errors=True)
        train_repository(data.train, data.validation, RepositoryOptions(size=3, epochs=2, seed=seed), folder=place)

    spec = f"multimagnet:n=3,draw_seed=0,repository={place}"
    plan = Plan.of({**QUICK, "attack": "fgsm", "eps": 0.1, "defence": [spec], "threat_model": ["gray-box"]})
    train(0)
    first = run_audit(plan, tmp_path / "run")
    assert not first.failed and run_audit(plan, tmp_path / "run").computed == 0
    assert sum(f"has {place} of it as well" in warning for warning in first.meta["warnings"]) == 1
    train(1)
    second = run_audit(plan, tmp_path / "run")
    assert second.computed > 0
    assert first.meta["guards"][spec]["fingerprint"] != second.meta["guards"][spec]["fingerprint"]


def test_an_audit_in_which_nothing_is_right_still_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from salus import guard
    from salus.detectors import Detector, calibrate_together

    def refuse_all(detectors: list[Detector], *args: Any, **options: Any) -> None:
        calibrate_together(detectors, *args, **options)
        for detector in detectors:
            detector.threshold_ = -1e9

    monkeypatch.setattr(guard, "calibrate_together", refuse_all)
    outcome = run_audit(Plan.of({**QUICK, "attack": "fgsm", "eps": 0.05}), tmp_path / "run")
    guarded = [c for c in outcome.cells if c["guard"] != "none"]
    assert outcome.failed == 0
    assert all(c["clean_accuracy"] == 0 for c in guarded)
    assert (tmp_path / "run" / "results.json").exists()

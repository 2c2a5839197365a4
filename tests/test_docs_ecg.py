"""The page of the hardened heartbeat classifiers is what its generator writes, and its sentences follow the results."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

WritePage = Callable[..., subprocess.CompletedProcess[str]]
DOCS = Path(__file__).parents[1] / "docs"
PAGE, STORED = DOCS / "ecg.md", DOCS / "ecg-results.json"
CLASSES = ("N", "S", "V", "F")
FIGURES = ("beats-hardened", "beats-plain", "curve", "frontier")
BEATS = {"N": 1800, "S": 100, "V": 60, "F": 40}


@pytest.fixture
def write_page(run_script: Callable[..., subprocess.CompletedProcess[str]]) -> WritePage:
    return partial(run_script, DOCS / "ecg_page.py")


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    import ecg_page

    return ecg_page


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    import ecg_goals

    return ecg_goals


def counted(found: dict[str, int], macro_f1: float = 0.9, beats: dict[str, int] | None = None) -> dict[str, Any]:
    """What the benchmark counts where so many beats of each class are answered rightly."""
    beats = beats or BEATS
    share = sum(found.values()) / sum(beats.values())
    rows = [
        {"class": name, "n": beats[name], "patients": 5, "largest_patient_share": 0.5}
        | {f"{figure}{end}": found[name] / beats[name] if beats[name] else None
           for figure in ("sensitivity", "positive_predictivity") for end in ("", "_low", "_high")}
        for name in CLASSES
    ]  # fmt: skip
    ends = {"accuracy": share, "accuracy_low": share - 0.01, "accuracy_high": min(1.0, share + 0.01)}
    return {"n": sum(beats.values()), **ends, "macro_f1": macro_f1, "per_class": rows, "seconds": 60}


def judged(split: str) -> dict[str, Any]:
    """A result as benchmarks/robust_ecg.py stores it."""
    clean, strong = {"N": 1798, "S": 98, "V": 60, "F": 38}, {"N": 1796, "S": 92, "V": 59, "F": 35}
    attack = {"name": "pgd", "eps": 0.012, "steps": 1}
    counts = {part: dict.fromkeys(CLASSES, 10) for part in ("train", "validation", "calibration")}
    figures = ("sensitivity", "positive_predictivity")
    row = {
        name: {"beats": 50, **dict.fromkeys(figures, 0.98)}
        | {f"{figure}_attacked": None if name == "F" else 0.5 for figure in figures}
        for name in CLASSES
    }
    few = {"N": 1800, "S": 10, "V": 6, "F": 4}
    return {
        "hardening": {
            "spec": "single-step:eps=0.012",
            "command": f"salus harden single-step:eps=0.012 --split {split} --out /somewhere/robust-{split}",
            "seed": 0,
            "model": {
                "name": "ecg-context",
                "parameters": 1234,
                "training": {"keep": "last", "balance": "none", "prior_shift": 0.5,
                             "recipe": {"attack": attack, "loss": "madry", "clean_share": 0.0, "beta": 6.0}},
            },
            "data": {"name": "mitdb", "classes": list(CLASSES), "options": {"inputs": ["beat", "previous", "rhythm"]},
                     "groups": {"train": 16, "test": 21}, "counts": {**counts, "test": BEATS}},
            "history": {"epochs": 6, "best": 6, "seconds": 120.0},
        },
        "fold_error": 3e-6,
        "test": BEATS,
        "eps": 0.01,
        "clean": counted(clean, 0.95),
        "attacked": {
            "pgd": counted(strong, 0.9),
            "curve-0.02": counted(dict.fromkeys(CLASSES, 30)),
            "autoattack": counted({"N": 1795, "S": 9, "V": 6, "F": 3}, beats=few),
        },
        "ec57": [
            {"kind": kind, "record": name, "beats": 200, "classes": row}
            for kind, name in (("record", "213"), ("gross", "gross"), ("average", "average"))
        ],
        "agreement": {"n": 256, "ours": 0.98, "pyautoattack": 0.96},
        "torch": "2",
        "numpy": "2",
    }  # fmt: skip


def whole() -> dict[str, Any]:
    setting = {"split": "beats", "setting": "eps=0.012", "clean_accuracy": 0.99, "robust_accuracy": 0.98}
    setting |= {"clean_macro_f1": 0.9, "robust_macro_f1": 0.8, "chosen": True, "judged_on": "validation part"}
    setting |= {"sensitivity_attacked": dict.fromkeys(CLASSES, 0.9)}
    other = setting | {"setting": "eps=0.02", "robust_accuracy": 0.985, "chosen": False}
    tried = [setting, other, setting | {"split": "patients", "clean_macro_f1": 0.6, "robust_macro_f1": 0.5}]
    wave = [[0.5] * 280] * 4
    answers = {"clean": list("NSVF"), "FGSM": list("NSVN")}
    examples = {"attacks": ["FGSM"], "classes": list(CLASSES), "clean": wave, "eps": 0.01}
    examples |= {"attacked": {name: {"FGSM": wave} for name in ("hardened", "plain")}}
    examples |= {"answers": dict.fromkeys(("hardened", "plain"), answers)}
    parts = {"frontier": tried, "examples": examples, "machine": "a machine"}
    return {"beats": judged("beats"), "patients": judged("patients"), **parts}


@pytest.mark.skipif(not (PAGE.exists() and STORED.exists()), reason="not measured yet")
def test_the_page_and_its_figures_are_not_stale() -> None:
    command = [sys.executable, str(DOCS / "ecg_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_page_and_figures_come_out_the_same_twice_and_go_stale_with_the_results(
    tmp_path: Path, write_page: WritePage
) -> None:
    stored, pages = tmp_path / "stored.json", [tmp_path / name / "ecg.md" for name in ("one", "two")]
    stored.write_text(json.dumps(whole()))
    for page in pages:
        page.parent.mkdir()
        done = write_page("--stored", stored, "--page", page)
        assert done.returncode == 0, done.stderr
    images = [sorted((page.parent / "images").iterdir()) for page in pages]
    assert [path.name for path in images[0]] == [f"ecg-{name}.png" for name in FIGURES]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert [path.read_bytes() for path in images[0]] == [path.read_bytes() for path in images[1]]
    assert write_page("--check", "--stored", stored, "--page", pages[0]).returncode == 0
    changed = whole()
    changed["beats"]["clean"]["accuracy"] = 0.5
    stored.write_text(json.dumps(changed))
    stale = write_page("--check", "--stored", stored, "--page", pages[0])
    assert stale.returncode == 1 and "ecg.md is stale" in stale.stdout and "ecg-curve.png is stale" in stale.stdout


def test_what_is_missing_is_said_to_be_not_run(generator: ModuleType) -> None:
    full = whole()
    assert "not run" not in generator.page(full)
    assert generator.page(None).count("not run") > 20
    for part in ("beats", "patients", "frontier", "examples"):
        assert "not run" in generator.page({key: value for key, value in full.items() if key != part}), part
    for name in ("pgd", "autoattack", "curve-0.02"):
        cut = copy.deepcopy(full)
        del cut["beats"]["attacked"][name]
        assert "not run" in generator.page(cut), name
    for part in ("agreement", "ec57"):
        cut = copy.deepcopy(full)
        cut["patients"][part] = type(cut["patients"][part])()
        assert "not run" in generator.page(cut), part


def test_goals_are_met_and_missed_as_the_counts_say(rules: ModuleType) -> None:
    clean, strong, auto, weakest = rules.judge("beats", judged("beats"))
    assert (clean.status, clean.value) == ("met", 0.997)  # 1,994 of 2,000
    assert (strong.status, strong.value) == ("met", 0.991)
    assert auto.status == "not finished"  # 1,820 of 2,000
    assert weakest.status == "missed" and weakest.value == 35 / 40 and weakest.short_by == pytest.approx(0.025)
    assert "F is lowest, at 95.0% before any attack" in weakest.binds and "below the goal" not in weakest.binds
    first, second, third = rules.judge("patients", judged("patients"))
    assert [first.status, second.status, third.status] == ["met"] * 3
    assert {goal.status for goal in rules.judge("patients", None)} == {"not run"}


def test_a_missed_goal_names_what_binds(rules: ModuleType, generator: ModuleType) -> None:
    result = judged("beats")
    result["attacked"]["pgd"] = counted({"N": 1750, "S": 92, "V": 59, "F": 35})
    strong = rules.judge("beats", result)[1]
    assert strong.status == "missed" and strong.short_by == pytest.approx(0.987 - 0.968)
    assert strong.binds == (
        "64 of 2,000 beats wrong, 50 of them N; clean errors (0.30%) use up 23% of what the goal allows"
    )
    assert "short by 1.9 points; the interval lies below the goal. 64 of 2,000" in generator.page({"beats": result})
    patients = judged("patients")
    patients["attacked"]["pgd"] = counted({"N": 1750, "S": 92, "V": 59, "F": 0}, macro_f1=0.4)
    _, macro, lost = rules.judge("patients", patients)
    assert macro.status == lost.status == "missed"
    assert "F is lowest: F1 0.00" in macro.binds and "no beat of F" in lost.binds


def test_auto_attack_counts_for_a_class_once_it_attacked_all_of_it(rules: ModuleType) -> None:
    result = judged("beats")
    assert rules.worst(result)["S"] == 0.92
    rest = {"N": 0, "S": 90, "V": 54, "F": 36}
    result["attacked"]["autoattack-rest"] = counted({"N": 0, "S": 80, "V": 54, "F": 31}, beats=rest)
    assert rules.worst(result)["S"] == pytest.approx(0.89) and rules.worst(result)["V"] == 59 / 60
    assert rules.judge("beats", result)[3].binds.endswith("below the goal too: S")


def test_a_number_just_below_its_bar_does_not_read_as_the_bar(generator: ModuleType) -> None:
    stored = {"beats": judged("beats")}
    stored["beats"]["clean"] |= {"accuracy": 0.992998, "n": 2000}
    (line,) = (line for line in generator.page(stored).splitlines() if "accuracy on clean beats ≥ 99.3%" in line)
    assert "99.2998%" in line and "**missed**" in line


def test_sentences_follow_the_numbers(generator: ModuleType) -> None:
    text = generator.page(whole())
    assert "0.015 mV where that is 1.5 mV" in text and "16 ms of 800 ms" in text
    assert "Salus's AutoAttack 98.0% of the same: +2.0 points, **not within** 1 point" in text
    assert "50 of 50 F come from record 213 (100%)" in text
    assert "None reached both goals there." in text and "Reaching both goals there: 1." in text
    assert "wrong answers, of 4: clean 0, FGSM 1" in text
    assert "--out runs/robust-beats\npython benchmarks/robust_ecg.py runs/robust-beats --out" in text
    assert "98.0 → 50.0" in text and "98.0 → –" in text and "<details>" in text


def test_results_are_gathered_from_the_judged_folders(tmp_path: Path, write_page: WritePage) -> None:
    judged_beats, frontier, out = tmp_path / "beats", tmp_path / "frontier.json", tmp_path / "ecg-results.json"
    judged_beats.mkdir()
    result = judged("beats")
    result["clean"]["accuracy"] = 20139 / 20281
    (judged_beats / "results.json").write_text(json.dumps(result))
    frontier.write_text(json.dumps(whole()["frontier"]))
    page = tmp_path / "ecg.md"
    done = write_page(
        "--collect", judged_beats, tmp_path / "none", "--frontier", frontier, "--stored", out, "--page", page
    )
    assert done.returncode == 0, done.stderr
    stored = json.loads(out.read_text())
    assert set(stored) == {"beats", "command", "frontier", "machine"} and len(stored["frontier"]) == 3
    assert stored["beats"]["clean"]["accuracy"] == 0.992998  # not rounded up to a goal of 99.3%
    assert stored["command"] == {
        "beats": "python benchmarks/robust_ecg.py runs/robust-beats --out runs/robust-beats-judged"
    }
    assert "- **Split by patients**: not run." in page.read_text(encoding="utf-8")


def test_a_model_that_the_comparison_did_not_choose_is_said_to_be_none(generator: ModuleType) -> None:
    import ecg_findings

    row = {"chosen": False, "in_use": False}
    assert ecg_findings.elsewhere([{**row, "chosen": True}, row]) == []
    assert ecg_findings.elsewhere([{**row, "chosen": True, "in_use": True}, row]) == []
    (told,) = ecg_findings.elsewhere([{**row, "chosen": True}, {**row, "in_use": True}])
    assert "setting 2, not the chosen one" in told

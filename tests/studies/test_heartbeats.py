"""The sentences on the hardened heartbeat classifiers follow the results, and so do goals and counts."""

from __future__ import annotations

import copy
import shlex
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from salus.attacks import FGSM, PGD
from salus.audit import Plan
from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.data.mitdb import DS1
from salus.training import TrainingOptions
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded
from salus_studies.frame.steps import Steps
from salus_studies.heartbeats import sentences
from salus_studies.heartbeats.folds import FOLDS
from salus_studies.heartbeats.goals import judge
from salus_studies.heartbeats.judging import Effort, Judge, folded
from salus_studies.heartbeats.measured import SPLITS, lowest_sensitivities
from salus_studies.heartbeats.millivolts import ATTACKS, recording_of
from salus_studies.heartbeats.page import page
from salus_studies.heartbeats.protocol import harden, slim
from salus_studies.heartbeats.rivals import RIVALS
from salus_studies.heartbeats.settings import SETTINGS, choose
from salus_studies.heartbeats.study import STUDY

CLASSES = ("N", "S", "V", "F")
FIGURES = ("beats-hardened", "beats-plain", "curve", "frontier", "millivolts")
BEATS = {"N": 1800, "S": 100, "V": 60, "F": 40}


def counted(right: dict[str, int], macro_f1: float = 0.9, beats: dict[str, int] | None = None) -> dict[str, Any]:
    """What is counted where so many beats of each class are answered rightly."""
    beats = beats or BEATS
    share = sum(right.values()) / sum(beats.values())
    rows = [
        {"class": name, "n": beats[name], "patients": 5, "largest_patient_share": 0.5}
        | {
            f"{figure}{end}": right[name] / beats[name] if beats[name] else None
            for figure in ("sensitivity", "positive_predictivity")
            for end in ("", "_low", "_high")
        }
        for name in CLASSES
    ]
    ends = {"accuracy": share, "accuracy_low": share - 0.01, "accuracy_high": min(1.0, share + 0.01)}
    return {"n": sum(beats.values()), **ends, "macro_f1": macro_f1, "per_class": rows, "seconds": 60}


def judged(split: str) -> dict[str, Any]:
    """A result as it is stored."""
    clean, strong = {"N": 1798, "S": 98, "V": 60, "F": 38}, {"N": 1796, "S": 92, "V": 59, "F": 35}
    attack = {"name": "pgd", "eps": 0.012, "steps": 1}
    counts = {part: dict.fromkeys(CLASSES, 10) for part in ("train", "validation", "calibration")}
    figures = ("sensitivity", "positive_predictivity")
    row: dict[str, dict[str, Any]] = {
        name: {"beats": 50, **dict.fromkeys(figures, 0.98)}
        | dict.fromkeys((f"{figure}_attacked" for figure in figures), None if name == "F" else 0.5)
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
                "training": {
                    "keep": "last",
                    "balance": "none",
                    "prior_shift": 0.5,
                    "recipe": {"attack": attack, "loss": "madry", "clean_share": 0.0, "beta": 6.0},
                },
            },
            "data": {
                "name": "mitdb",
                "classes": list(CLASSES),
                "options": {"inputs": ["beat", "previous", "rhythm"]},
                "groups": {"train": 16, "test": 21},
                "counts": {**counts, "test": BEATS},
            },
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
        "command": "salus reproduce heartbeats",
    }


def whole() -> dict[str, Any]:
    setting = {"split": "beats", "setting": "eps=0.012", "clean_accuracy": 0.99, "robust_accuracy": 0.98}
    setting |= {"clean_macro_f1": 0.9, "robust_macro_f1": 0.8, "chosen": True, "judged_on": "validation part"}
    setting |= {"sensitivity_attacked": dict.fromkeys(CLASSES, 0.9)}
    other = setting | {"setting": "eps=0.02", "robust_accuracy": 0.985, "chosen": False}
    compared = [setting, other, setting | {"split": "patients", "clean_macro_f1": 0.76, "robust_macro_f1": 0.7}]
    wave = [[0.5] * 280] * 4
    answers = {"clean": list("NSVF"), "FGSM": list("NSVN")}
    examples = {"attacks": ["FGSM"], "classes": list(CLASSES), "clean": wave, "eps": 0.01}
    examples |= {"attacked": {name: {"FGSM": wave} for name in ("hardened", "plain")}}
    examples |= {"answers": dict.fromkeys(("hardened", "plain"), answers)}
    parts = {"frontier": compared, "examples": examples, "machine": "a machine"}
    patients = {**judged("patients"), "seeds": seeds(), "millivolts": volts(), "rivals": rivals()}
    return {"beats": judged("beats"), "patients": patients, "sequences": sequences(), **parts}


def rivals() -> list[dict[str, Any]]:
    figures = {"n": 2000, "accuracy": 0.9, "macro_f1": 0.7, "f1": dict.fromkeys(CLASSES, 0.7)}
    parts = {"clean": {**figures, "n": 47549}, "drawn": figures, "attacked": {**figures, "accuracy": 0.8}}
    return [{"name": name, "seed": 0, "eps": 0.01, "parameters": 16380, **parts} for name in RIVALS]


def sequences() -> list[dict[str, Any]]:
    def part(f1: float) -> dict[str, Any]:
        figures = {"n": 100, "sensitivity": f1, "positive_predictivity": f1}
        common = {"n": 300, "alike": 0.5, "accuracy": f1, "commonest": 0.9, "macro_f1": f1}
        return {**common, "per_class": [{"class": name, **figures} for name in "NSV"]}

    tested = {"sorted": part(0.9), "time": part(0.4), "shuffled": part(0.3)}
    return [{"trained": order, "seed": 0, "epochs": 10, "tested": tested} for order in ("sorted", "time")]


def seeds() -> list[dict[str, Any]]:
    def part(f1: float) -> dict[str, Any]:
        figures = {"f1": dict.fromkeys(CLASSES, f1), "sensitivity": dict.fromkeys(CLASSES, f1)}
        return {"accuracy": 0.9, "macro_f1": f1, "without": {"232": 0.61, "213": 0.62}, **figures}

    of = {"hardened": (0.71, 0.64), "ordinary": (0.7, 0.31)}
    return [
        {"method": method, "seed": seed, "eps": 0.01, "clean": part(clean + seed / 50), "attacked": part(attacked)}
        for method, (clean, attacked) in of.items()
        for seed in (0, 1)
    ]


def volts() -> list[dict[str, Any]]:
    counts = counted({"N": 1798, "S": 90, "V": 50, "F": 20}, 0.6)
    common = {"microvolts": 15.0, "steps": 30, "jitter": 0, "shape": "free", **counts}
    return [{**common, "attack": name} for name in (*ATTACKS, "pgd-15, blind", "tied-15")]


def text_of(values: dict[str, Any]) -> str:
    return page(Results(values), "images").text


def test_figures_are_drawn_of_what_is_stored_the_same_twice() -> None:
    pictures = page(Results(whole()), "images").pictures
    assert sorted(pictures) == [f"ecg-{name}" for name in FIGURES]
    for name, picture in pictures.items():
        content = picture.draw()
        assert len(content) > 5000 and content == picture.draw(), name
    changed = whole()
    changed["beats"]["clean"]["accuracy"] = 0.5
    after = page(Results(changed), "images").pictures
    moved = [name for name in pictures if after[name].drawn_from != pictures[name].drawn_from]
    assert moved == ["ecg-curve"]


def test_what_is_missing_is_said_to_be_not_run() -> None:
    full = whole()
    assert "not run" not in text_of(full)
    assert text_of({}).count("not run") > 20
    for part in ("beats", "patients", "frontier", "examples", "sequences"):
        assert "not run" in text_of({key: value for key, value in full.items() if key != part}), part
    for name in ("pgd", "autoattack", "curve-0.02"):
        cut = copy.deepcopy(full)
        del cut["beats"]["attacked"][name]
        assert "not run" in text_of(cut), name
    for part in ("agreement", "ec57", "rivals"):
        cut = copy.deepcopy(full)
        cut["patients"][part] = type(cut["patients"][part])()
        assert "not run" in text_of(cut), part


def test_goals_are_met_and_missed_as_the_counts_say() -> None:
    clean, strong, auto, weakest = judge("beats", judged("beats"))
    assert (clean.status, clean.value) == ("met", 0.997)  # 1,994 of 2,000
    assert (strong.status, strong.value) == ("met", 0.991)
    assert auto.status == "not finished"  # 1,820 of 2,000
    assert weakest.status == "missed" and weakest.value == 35 / 40 and weakest.short_by == pytest.approx(0.025)
    assert "F is lowest, at 95.0% before any attack" in weakest.binds and "below the goal" not in weakest.binds
    verdicts = judge("patients", judged("patients"))
    assert [verdict.status for verdict in verdicts] == ["met"] * 5
    assert verdicts[1].value == pytest.approx(98 / 100)  # F1 of S, both of whose figures are 98%
    assert {goal.status for goal in judge("patients", None)} == {"not run"}


def test_a_missed_goal_names_what_binds() -> None:
    result = judged("beats")
    result["attacked"]["pgd"] = counted({"N": 1750, "S": 92, "V": 59, "F": 35})
    strong = judge("beats", result)[1]
    assert strong.status == "missed" and strong.short_by == pytest.approx(0.987 - 0.968)
    assert strong.binds == (
        "64 of 2,000 beats wrong, 50 of them N; clean errors (0.30%) use up 23% of what the goal allows"
    )
    assert "short by 1.9 points; the interval lies below the goal. 64 of 2,000" in text_of({"beats": result})
    patients = judged("patients")
    patients["attacked"]["pgd"] = counted({"N": 1750, "S": 92, "V": 59, "F": 0}, macro_f1=0.4)
    _, _, macro, s, weakest = judge("patients", patients)
    assert (macro.status, s.status, weakest.status) == ("missed", "met", "missed")
    assert "F is lowest: F1 0.00" in macro.binds and "F is lowest, at 95.0% before any attack" in weakest.binds
    patients["attacked"]["pgd"] = counted({"N": 1750, "S": 9, "V": 59, "F": 35}, macro_f1=0.8)
    s = judge("patients", patients)[3]
    assert s.status == "missed" and s.binds == "sensitivity 9.0%, positive predictivity 9.0%"


def test_auto_attack_counts_for_a_class_once_it_attacked_all_of_it() -> None:
    result = judged("beats")
    assert lowest_sensitivities(result)["S"] == 0.92
    rest = {"N": 0, "S": 90, "V": 54, "F": 36}
    result["attacked"]["autoattack-rest"] = counted({"N": 0, "S": 80, "V": 54, "F": 31}, beats=rest)
    assert lowest_sensitivities(result)["S"] == pytest.approx(0.89) and lowest_sensitivities(result)["V"] == 59 / 60
    assert judge("beats", result)[3].binds.endswith("below the goal too: S")


def test_a_number_just_below_its_bar_does_not_read_as_the_bar() -> None:
    stored = {"beats": judged("beats")}
    stored["beats"]["clean"] |= {"accuracy": 0.992998, "n": 2000}
    (line,) = (line for line in text_of(stored).splitlines() if "accuracy on clean beats ≥ 99.3%" in line)
    assert "99.2998%" in line and "**missed**" in line


def test_sentences_follow_the_numbers() -> None:
    text = text_of(whole())
    assert "0.015 mV where that is 1.5 mV" in text and "16 ms of 800 ms" in text
    assert "Salus's AutoAttack 98.0% of the same: +2.0 points, **not within** 1 point" in text
    assert "50 of 50 F come from record 213 (100%)" in text
    assert "None reached both goals there." in text and "The choice rests on the mean F1 of N, S and V" in text
    assert "wrong answers, of 4: clean 0, FGSM 1" in text
    assert "--out runs/robust-beats\nsalus reproduce heartbeats\n```" in text
    assert "98.0 → 50.0" in text and "98.0 → –" in text and "<details>" in text


def test_a_model_that_the_comparison_did_not_choose_is_said_to_be_none() -> None:
    row = {"chosen": False, "in_use": False}
    assert sentences.judged_setting([{**row, "chosen": True}, row]) is None
    assert sentences.judged_setting([{**row, "chosen": True, "in_use": True}, row]) is None
    words = sentences.judged_setting([{**row, "chosen": True}, {**row, "in_use": True}])
    assert words is not None and "setting 2, not the chosen one" in words


def test_numbers_are_not_rounded_up_to_a_goal() -> None:
    assert rounded({"accuracy": 20139 / 20281, "n": 3}) == {"accuracy": 0.992998, "n": 3}


def test_one_setting_of_each_split_is_judged_and_the_best_of_held_out_beats_is_marked() -> None:
    for settings in SETTINGS.values():
        assert [setting.judged for setting in settings].count(True) == 1
    rows = [{"clean_macro_f1": clean, "robust_macro_f1": 0.5} for clean in (0.6, 0.7, 0.65)]
    assert [row["chosen"] for row in choose(rows)] == [False, True, False]


def test_between_patients_the_choice_rests_on_the_classes_that_folds_can_tell_of() -> None:
    folds = [
        {f"{word}_macro_f1": 0.9 - s, f"{word}_f1": {"N": 0.9, "S": s, "V": 0.8, "F": 0.9 - s}}
        for word in ("clean",)
        for s in (0.3, 0.6)
    ]
    rows = [{**row, "robust_macro_f1": row["clean_macro_f1"], "robust_f1": row["clean_f1"]} for row in folds]
    assert [row["chosen"] for row in choose(rows)] == [False, True]
    assert sorted(record for fold in FOLDS for record in fold) == sorted(DS1)


def test_every_seed_is_shown_and_the_price_of_being_hardened() -> None:
    text = text_of(whole())
    assert "| hardened | 1 | 90.0 → 90.0 | 0.730 → 0.640 |" in text
    assert "Hardened, 2 seeds: macro-F1 clean 0.720 (0.710 to 0.730)" in text
    assert "Not hardened, 2 seeds" in text and "0.610 / 0.620" in text


def test_attacks_in_millivolts_stand_beside_blind_changes_as_large() -> None:
    text = text_of(whole())
    assert "| `pgd-15` | 15 | 1.0% | 30 |" in text and "| `pgd-15, blind` | 15 |" in text
    values = whole()
    del values["patients"]["millivolts"]
    assert "## In millivolts" in text_of(values) and "`pgd-15`" not in text_of(values)


def test_a_recording_is_read_with_the_leads_and_beats_that_training_read(mitdb_folder: Path) -> None:
    recording, y = recording_of(mitdb_folder / "114", ("departure", "second-departure", "timing"))
    assert list(recording.signals) == ["MLII", "V5"]
    assert torch.bincount(y[y >= 0], minlength=4).tolist() == [1820, 12, 43, 4]


@pytest.fixture
def beats() -> Dataset:
    """Forty beats of two patients that a straight line tells apart."""
    x = torch.rand(40, 1, 16, generator=torch.Generator().manual_seed(0))
    y = (x.mean((1, 2)) > 0.5).long() + 2 * (torch.arange(40) % 2)
    x = (x * 0.2 + 0.2 * y[:, None, None]).clamp(0, 1)
    return Dataset(x, y, CLASSES, Provenance("beats", "made here"), groups=torch.tensor([100, 201] * 20))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, where it compiles
def test_a_network_is_judged_chunk_by_chunk_and_goes_on_where_it_was(beats: Dataset, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    classifier = Classifier(module, CLASSES, shape=(1, 16), name="line")
    effort = Effort(natural=12, peer=4, chunk=8, strong=PGD(eps=0.01, steps=2), curve=(0.1,), standard=FGSM(eps=0.01))
    judge = Judge("beats", classifier, beats, Steps(tmp_path, 1), effort)
    judge.attacks = lambda: (each for each in Judge.attacks(judge) if each[0] != "peer")  # type: ignore[method-assign]
    counts = judge.judge()
    assert {name: part["n"] for name, part in counts["attacked"].items()} == {
        "pgd": 40,
        "curve-0.1": 12,
        "autoattack": 12,
        "autoattack-rest": len(judge.rest),
    }
    assert counts["clean"]["accuracy"] >= counts["attacked"]["pgd"]["accuracy"]
    assert counts["fold_error"] < 1e-5 and [row["kind"] for row in counts["ec57"]].count("record") == 2
    again = Steps(tmp_path, 1)
    judge.steps = again
    assert judge.judge()["attacked"] == counts["attacked"] and again.computed == 0 and again.stored > 5
    late = Steps(tmp_path / "late", 1, minutes=1e-9)
    judge.steps = late
    assert judge.judge()["attacked"] == {} and late.not_run > 5


def test_convolutions_swallow_the_normalisation_behind_them() -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, (1, 3)), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(42, 4))
    module(torch.rand(8, 1, 1, 16))
    module.eval()
    network, x = folded(module), torch.rand(5, 1, 1, 16)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    assert torch.allclose(network(x), module(x), atol=1e-6)


def test_what_is_kept_of_a_network_is_what_the_page_shows() -> None:
    values = whole()
    values["beats"]["hardening"] |= {"versions": {"torch": "2"}, "test": {"n": 1}}
    before = text_of(values)
    values["beats"] = slim(values["beats"])
    assert "versions" not in values["beats"]["hardening"] and text_of(values) == before


@pytest.mark.parametrize("split", SPLITS)
def test_a_network_is_hardened_by_the_command_that_the_page_shows(
    split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_hardening(spec: str, plan: Plan, out: Path, command: str) -> SimpleNamespace:
        return SimpleNamespace(classifier=plan, facts={"spec": spec, "command": command, "out": out})

    def options(command: str) -> dict[str, set[str]]:
        words = shlex.split(command)
        return {flag: set(value.split(",")) for flag, value in pairwise(words) if flag[:2] == "--" and flag != "--out"}

    monkeypatch.setattr("salus_studies.heartbeats.protocol.run_hardening", run_hardening)
    plan: Any
    plan, facts = harden(split, tmp_path / f"robust-{split}", 0, {})
    stored = Results.read(STUDY.room).values[split]["hardening"]
    assert facts["spec"] == stored["spec"] and facts["out"] == tmp_path / f"robust-{split}"
    assert options(facts["command"]) == options(stored["command"])
    trained = TrainingOptions(**plan.training)
    for name, value in stored["model"]["training"].items():
        assert name == "recipe" or getattr(trained, name) == value, name
    assert list(plan.inputs) == stored["data"]["options"]["inputs"]

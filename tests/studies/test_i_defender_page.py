"""The page of I-defender holds every published number, says what was not run, and is made of stored results alone."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from salus_studies.frame.markdown import words
from salus_studies.frame.results import Results as Stored
from salus_studies.i_defender.black_box import SETTINGS, SUBSTITUTE, TABLE_1
from salus_studies.i_defender.defense_gan import runs
from salus_studies.i_defender.published import (
    ALPHAS,
    BLACK_BOX,
    DETECTION,
    GRAY_BOX,
    IMAGENET,
    IMAGENET_LINES,
    REMARKS,
    SEMI_WHITE_BOX,
    SHALLOW_AND_DEEP,
    TARGET_AND_SOURCE,
)
from salus_studies.i_defender.study import STUDY
from salus_studies.i_defender.trend import ARMS, lines

Results = dict[str, Any]
DONE = {"status": "done", "reason": None, "seconds": 60.0}
NOT_RUN = {"status": "not run", "reason": "the budget of 5 minutes | was spent"}
EPS_OF = {"iter-linf": (0.3, "linf"), "iter-l2": (3.0, "l2"), "deepfool": (None, "l2")}
LAYERS = {"logits": "logits, the only one", "trunk.1": "second convolution, averaged", "joint": "both, jointly"}


def spelled(name: str, value: float | None) -> dict[str, Any]:
    ends = (None, None) if value is None else (max(0.0, value - 0.02), min(1.0, value + 0.02))
    return {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}


def areas(value: float) -> dict[str, Any]:
    return {**spelled("auc", value), **spelled("auc_fooled", None if value < 0.5 else value - 0.001)}


def answers(accuracy: float, n: int = 1000) -> dict[str, Any]:
    return {
        "n": n, "fooled": 321, **spelled("clean_accuracy", 0.987), **spelled("adversarial_accuracy", accuracy),
    }  # fmt: skip


def detector(layer: str, how: str, area: float) -> dict[str, Any]:
    form = {"components": 3 if how == "by blends" else 1, "covariance": "full", "dimensions": None, "kept": 17}
    return {"layer": layer, "title": LAYERS[layer], "how": how, "key": f"{layer} {how}", **form, **areas(area)}


CHOSEN = {"likelihood": "logits by likelihood", "blends": "trunk.1 by blends", "joint": "joint by likelihood"}


def detectors(likelihood: float, blends: float, joint: float) -> list[dict[str, Any]]:
    return [
        detector("logits", "by likelihood", likelihood),
        detector("trunk.1", "by blends", blends),
        detector("joint", "by likelihood", joint),
        detector("logits", "fixed", 0.6),
    ]


def black_box(data: str, attack: str, eps: float | None, norm: str, shift: float, setting: str) -> dict[str, Any]:
    """A record whose first reading has the paper's area plus ``shift`` and whose second has it everywhere."""
    theirs = {line.eps: line.i_defender for line in BLACK_BOX[data].strengths}.get(eps or 0, 0.9)
    line = {"fpr": [0.0, 0.1, 1.0], "tpr": [0.0, 0.8, 1.0]}
    return {
        "data": data, "setting": setting, "attack": attack, "eps": eps, "norm": norm, **DONE, **answers(0.4),
        "chosen": CHOSEN, "detectors": detectors(theirs + shift, theirs, theirs - 0.2),
        "roc": dict.fromkeys(CHOSEN, line), "first": dict.fromkeys(CHOSEN, areas(0.777)),
    }  # fmt: skip


def verdict(area: float) -> dict[str, Any]:
    names = ("good", "robust_accuracy", "attack_success_rate", "fallen_all")
    values = dict(zip(names, (0.91, 0.52, 0.43, 0.37), strict=True))
    return {**answers(0.3), **areas(area), **{k: v for n, x in values.items() for k, v in spelled(n, x).items()}}


def counted(accuracy: float) -> dict[str, Any]:
    return {"false_alarms": 0.061, "caught": 0.7, "caught_fooled": None, "accuracy": accuracy, "accuracy_fooled": 0.81}


@pytest.fixture(scope="module")
def whole() -> Results:
    """Every cell of a run."""
    results: Results = {
        "meta": {
            "command": "salus reproduce i-defender --out runs/x", "scale": "small", "seed": 0, "created": "today",
            "machine": "m", "threads": 2, "versions": {"torch": "2"}, "seconds": 600.0, "budget_minutes": None,
            "settings": {"shallow": {"depth": 10, "width": 2}, "deep": {"depth": 16, "width": 2}},
            "data": {"cifar10": {"name": "cifar10-jpeg"}}, "missing": {},
        },
        "trainings": [{"data": "mnist", "role": "model-e", "network": "model-e", "options": {}, "seed": 1, **DONE,
                       "accuracy": 0.981, "weights": 199210, "train_images": 50_000, "epochs": 8}],
        "generators": [{"data": "mnist", "role": "generator", "network": "WGAN-GP", **DONE, "distance": 3.5,
                        "train_images": 50_000, "epochs": 12}],
        "choices": [
            {"data": data, "network": network, "layer": layer, "title": LAYERS[layer], "width": 128, "dimensions": 17,
             **DONE, "candidates": [{"components": 1, "covariance": "full", "likelihood": -20.0, "blends": 0.71},
                                    {"components": 3, "covariance": "diag", "likelihood": -21.5, "blends": 0.73}],
             "best": {"components": 1, "covariance": "full", "likelihood": -20.0, "blends": 0.71},
             "best_by_blends": {"components": 3, "covariance": "diag", "likelihood": -21.5, "blends": 0.73},
             "per_component": -1.176, "chosen": [rule for rule, key in CHOSEN.items() if key.startswith(layer)]}
            for data, network in (*((data, name) for data in BLACK_BOX for name in ("model-f", "model-f3")),
                                  ("cifar10-jpeg", "wrn"))
            for layer in LAYERS
        ],
        "black_box": [], "defense_gan": [], "speed": [], "tuned": [], "semi_white_box": [], "gray_box": [],
        "own": [], "imagenet": [], "trend": [], "reads": [], "alone": [], "figure_1": [],
    }  # fmt: skip
    for data, paper in BLACK_BOX.items():
        shift = 0.002 if data == "mnist" else -0.1
        for setting in SETTINGS:
            for line in paper.strengths:
                name = f"fgsm-{line.eps:g}"
                results["black_box"].append(black_box(data, name, line.eps, "linf", shift, setting.key))
        results["black_box"] += [black_box(data, name, *of, 0.0, TABLE_1.key) for name, of in EPS_OF.items()]
        for setting in (TABLE_1, SUBSTITUTE):
            for restarts, length, eps in runs(data, setting):
                row = {"data": data, "setting": setting.key, "restarts": restarts, "iterations": length, "eps": eps}
                area = 0.9 if setting is TABLE_1 else 0.87
                results["defense_gan"].append({**row, "steps": length, "n": 100, **areas(area), **DONE})
        for arm in ARMS:
            found = [{"restarts": count, **areas(0.6 if arm.key == "ours" else 0.87), "distance_clean": 9.0,
                      "distance_attacked": 12.0} for count in lines(data)]  # fmt: skip
            results["trend"].append({"data": data, "arm": arm.key, **DONE, "n": 100, "steps": 100, "rows": found})
        results["speed"].append(
            {"data": data, "restarts": 10, "iterations": 400, "steps": 400, **DONE, "classifier": 1e-4,
             "i_defender": 1.1e-4, "defense_gan": 2.2, "ratio": 20_000.0}
        )  # fmt: skip
    for column in SEMI_WHITE_BOX:
        results["tuned"].append({"column": column.key, "eps": 0.0123, "norm": "linf", "reached": 0.131, **DONE})
        place = {"column": column.key, **DONE, **answers(0.14)}
        at = {"id-95": counted(0.861), "id-99": counted(0.852)}
        rows = [{**one, "at": at} for one in detectors(0.88, 0.89, 0.9)]
        results["semi_white_box"].append({**place, "method": "i-defender", "chosen": CHOSEN, "detectors": rows})
        for method in ("svm", "msvm", "subnet"):
            row = {**place, "method": method, **areas(0.88), "at": {"own": counted(0.66)}, "layers": ["last/flat"]}
            results["semi_white_box"].append({**row, "notes": ["trained on bim"]})
    for method in ("svm", "msvm", "subnet"):
        for layers, told in ((["penultimate"], 0.55), (["last/flat"], 0.97)):
            row = {"method": method, "layers": layers, **DONE, "pairs": 900, "held_out": 300, "auc": told, "told": told}
            results["reads"].append({**row, "notes": [], "chosen": told > 0.9})
    for section, pairs, columns, alphas in (
        ("gray_box", ("shallow", "deep"), GRAY_BOX, ALPHAS), ("imagenet", ("imagenet",), IMAGENET, IMAGENET_LINES)
    ):  # fmt: skip
        for pair in pairs:
            for sized in columns:
                for alpha in alphas:
                    place = {"pair": pair, "column": sized.key, "alpha": alpha, **DONE}
                    area = 0.83 if pair == "deep" else 0.8
                    results[section].append({**place, "target": verdict(area), "source": verdict(0.6)})
    alone = [{"attacker": name, "source": verdict(0.6), "target": verdict(0.7)} for name in ("control", "union")]
    results["alone"].append({"pair": "shallow", "column": GRAY_BOX[0].key, **DONE, "rows": alone})
    gaussians = [{"weight": 1.0, "mean": [0.0, 0.1], "covariance": [[1.0, 0.2], [0.2, 0.5]]}]
    for data in (*BLACK_BOX, "cifar10-jpeg"):
        results["figure_1"].append({
            "data": data, "layer": "logits", "title": LAYERS["logits"], "attack": "fgsm", "eps": 0.3, **DONE,
            "classes": ["1", "2"], "clean": [[[0.0, 0.1], [1.0, 1.1]]] * 2, "mixtures": [gaussians] * 2,
            "taken_for": "0", "own": [[0.5, 0.1]], "attacked": [], "own_mixture": gaussians,
        })  # fmt: skip
    for threat in ("oblivious", "gray-box", "adaptive"):
        place = {"pair": "shallow", "column": GRAY_BOX[0].key, "threat_model": threat, **DONE}
        results["own"].append({**place, **verdict(0.7)})
    return results


@pytest.fixture
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write pages without figures, which take most of the time."""
    monkeypatch.setattr("salus_studies.i_defender.figures.draw", lambda results: {})


def page_of(results: Results, folder: Path) -> str:
    page = folder / "i-defender.md"
    STUDY.write_page(Stored(results), page)
    return page.read_text(encoding="utf-8")


def none_run(results: Results) -> Results:
    """The same places, none of them run."""
    identity = ("data", "role", "network", "options", "layer", "title", "attack", "eps", "norm", "restarts",
                "iterations", "column", "method", "pair", "alpha", "threat_model", "setting", "arm",
                "layers")  # fmt: skip
    return {"meta": results["meta"]} | {
        section: [{name: row[name] for name in identity if name in row} | NOT_RUN for row in rows]
        for section, rows in results.items()
        if section != "meta"
    }


@pytest.mark.usefixtures("_no_figures")
def test_every_published_number_is_on_the_page_whatever_was_run(whole: Results, tmp_path: Path) -> None:
    for number, results in enumerate((whole, none_run(whole), {"meta": {}})):
        page = page_of(results, tmp_path / str(number))
        for paper in BLACK_BOX.values():
            for one in paper.descents:
                assert re.search(rf"\| Defense-GAN \| {one.auc:g} \|.*\| {one.restarts} \| {one.iterations} \|", page)
            for strength in paper.strengths:
                assert re.search(
                    rf"\| {strength.eps:g} \| {strength.defense_gan:g} \|.*\| {strength.i_defender:g} \|", page
                )
            assert " | ".join(f"{strength.i_defender:g}" for strength in paper.strengths) in page
        for line in DETECTION.values():
            assert " | ".join(f"{value:g}" for value in line) in page
        for table in (TARGET_AND_SOURCE, SHALLOW_AND_DEEP):
            for first, second in zip(*table.values(), strict=True):
                printed = " | ".join(" / ".join(f"{value:.3f}" for value in pair) for pair in (first, second))
                assert f"| {printed} | not in our copy | not in our copy |" in page
        for values in IMAGENET_LINES.values():
            assert " | ".join(f"{accuracy:.3f} / {area:.3f}" for accuracy, area in values) in page
        assert all(remark in page for remark in REMARKS.values())


def test_ours_stand_beside_them(whole: Results, tmp_path: Path) -> None:
    page = page_of(whole, tmp_path)
    rival = "0.900 (0.880–0.920) | 0.899 (0.879–0.919) | 0.870 (0.850–0.890)"
    assert f"| 0.1 | 0.914 | {rival} | 0.964 | 0.966 (0.946–0.986)" in page
    assert "| I-defender, by likelihood, on Defense-GAN's images | – | 0.777 (0.757–0.797)" in page
    assert "by likelihood | logits, the only one; 1, full | 0.966 (0.946–0.986)" in page and "| **+0.002** |" in page
    assert "| -0.100 |" in page and "| -0.200 |" in page
    assert "**86.1** |" in page and "| **ours**, α = 0.001 | 80.00 / 60.00 |" in page
    assert "80.00 / 83.00" in page and "| 20,000 |" in page
    assert "not run:" not in page and "nan" not in page.split()
    pictures = {path.name for path in (tmp_path / "i-defender").iterdir()}
    assert pictures == {
        "figure-2.png", "figure-3.png", "figure-4.png", "figure-5.png", "layers-mnist.png", "layers-fashion-mnist.png",
        "figure-1-mnist.png", "figure-1-fashion-mnist.png", "figure-1-cifar10-jpeg.png",
    }  # fmt: skip
    assert all(f"(i-defender/{name})" in page for name in pictures)


@pytest.mark.usefixtures("_no_figures")
def test_the_sentences_are_computed(whole: Results, tmp_path: Path) -> None:
    page = page_of(whole, tmp_path)
    short = page.split("## In short")[1].split("## Black-box")[0]
    assert "at every eps: by likelihood and by blends, the rule that was fixed first." in short
    assert "at every eps: by blends, a rule that was added later." in short
    assert "All layers jointly (both, jointly; 1, full covariance)" in short and "at its farthest -0.200." in short
    reasons = page.split("## What differs and why")[1].split("### What the paper leaves out")[0]
    assert "it tells 55.0% right by penultimate, and 97.0% by last/flat: averaging over the positions hides" in reasons
    assert "less than half, 0.112: rate 10 throughout" in reasons and "one that was added later does" in reasons
    assert all(
        f"The run: “What Defense-GAN's trend hangs on, {title}”" in reasons for title in ("MNIST", "Fashion-MNIST")
    )
    none = copy.deepcopy(whole)
    for row in none["black_box"]:
        for one in row["detectors"]:
            one |= spelled("auc", 0.5)
    page_without = page_of(none, tmp_path / "none")
    assert page_without.count("None of the 3 readings agrees with the paper within 0.01 at every eps.") == 2
    assert page_without.count("none of the three readings agrees within 0.01 at every eps") == 2
    assert "I-defender, ID-95 86.1 and 86.1" in short and "ID-95 comes first in 5 of the five columns" in short
    assert "in the paper in 4" in short
    assert "in 16 of 16 places" in short and "by +3.0 to +3.0 points" in short
    assert "20,000 on MNIST (10 × 400)" in short and "estimates 100,000" in short
    assert "WRN-10-2 and WRN-16-2 stand for WRN-34-8 and WRN-46-8" in short
    worse = copy.deepcopy(whole)
    for row in worse["gray_box"]:
        row["target"] |= spelled("auc", 0.5)
    assert "in 0 of 16 places" in page_of(worse, tmp_path / "worse")


def test_what_was_not_run_says_why(whole: Results, tmp_path: Path) -> None:
    page = page_of(none_run(whole), tmp_path)
    reason = words(f"not run: {NOT_RUN['reason']}")
    for line in page.splitlines():
        if line.startswith(("| **ours**, α", "| Defense-GAN |", "| adaptive |", "| SVM", "| FGSM,")):
            assert reason in line, line
    assert "*Figure 2, MNIST: FGSM with different eps.* not run: nothing to draw it from is stored." in page
    assert not (tmp_path / "i-defender").exists()
    short = page.split("## In short")[1].split("## Black-box")[0]
    assert short.count("not run") >= 8


@pytest.mark.usefixtures("_no_figures")
def test_tables_are_whole(whole: Results, tmp_path: Path) -> None:
    for number, results in enumerate((whole, none_run(whole), {"meta": {}})):
        width = None
        for line in page_of(results, tmp_path / str(number)).splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert None in (cells, width) or cells == width, line
            width = cells


def test_the_same_results_give_the_same_bytes(whole: Results, tmp_path: Path) -> None:
    some = {**whole, "black_box": [row for row in whole["black_box"] if row["data"] == "mnist"]}
    one, other = (page_of(copy.deepcopy(some), tmp_path / name) for name in ("one", "other"))
    assert one == other
    for path in (tmp_path / "one" / "i-defender").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / "i-defender" / path.name).read_bytes()


@pytest.mark.usefixtures("_no_figures")
def test_a_failed_detector_is_said_to_have_failed(whole: Results, tmp_path: Path) -> None:
    failed = copy.deepcopy(whole)
    for row in failed["semi_white_box"]:
        if row["method"] == "svm":
            row["error"] = "SafetyNet: the attack fooled nobody"
    page = page_of(failed, tmp_path)
    assert page.count("not run: it failed: SafetyNet: the attack fooled nobody") == 3, "once in each table"

"""The page of ECG-ATK-GAN holds every published number, says what was not run, and is made of stored results alone."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES
from salus_studies.ecg_atk_gan.published import (
    ARCHITECTURES,
    CLASSES,
    CLASSIFICATION,
    GENERATOR,
    PTB,
    REMARKS,
    SIX,
    classification,
)
from salus_studies.ecg_atk_gan.study import STUDY
from salus_studies.frame.results import Results as Stored

Results = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

COUNTS = {"N": 900, "S": 30, "V": 60, "F": 10}
NOT_RUN = {"status": "not run", "reason": "the budget of 5 minutes | was spent"}
SALUS_NAMES = {"none": None, "fgsm": "fgsm", "pgd": "pgd", "hsj": "hop-skip-jump"}


def spelled(name: str, value: float) -> dict[str, Any]:
    return {name: value, f"{name}_low": max(0.0, value - 0.02), f"{name}_high": min(1.0, value + 0.02)}


def confusion(right: float) -> dict[str, Any]:
    matrix = np.zeros((4, 4), int)
    for index, count in enumerate(COUNTS.values()):
        matrix[index, index] = round(right * count)
        matrix[index, (index + 1) % 4] = count - matrix[index, index]
    return {"matrix": matrix.tolist(), "rejected": [0, 0, 0, 0]}


def per_class(right: float, patients: bool = False) -> list[dict[str, Any]]:
    return [
        {"class": name, "n": count, "rejected": 0, "patients": 12 if patients else None,
         "largest_patient_share": (0.933 if name == "F" else 0.2) if patients else None,
         **spelled("sensitivity", right), **spelled("specificity", 0.9), **spelled("positive_predictivity", 0.8)}
        for name, count in COUNTS.items()
    ]  # fmt: skip


def cell(split: str, architecture: str, attack: str, points: float = 0.0) -> dict[str, Any]:
    """A cell whose accuracy, counted as the paper counts it, is the paper's plus ``points``."""
    row = classification(SIX, COLUMNS[attack], architecture)
    assert row is not None
    theirs = (row.accuracy + points) / 100
    clean = attack == "none"
    return {
        "protocol": "as-published", "split": split, "architecture": architecture, "attack": attack, "status": "done",
        "reason": None, "n": 1000, "paper_accuracy": theirs, "paper_auc": {**dict.fromkeys(CLASSES, 0.912), "F": None},
        **spelled("accuracy", 1 - 2 * (1 - theirs)), "macro_f1": 0.777, "per_class": per_class(0.85),
        "score_auc": {**{name: [0.981, 0.97, 0.99] for name in CLASSES}, "F": [None, None, None]},
        "confusion": confusion(0.85), "unchanged": None if clean else 0.1,
        "accuracy_on_changed": None if clean else 0.6, "accuracy_on_unchanged": None if clean else 0.9,
    }  # fmt: skip


def honest(split: str, architecture: str, attack: str, trained_on: str = "none", **others: Any) -> dict[str, Any]:
    clean = attack == "none"
    right = 0.95 if split == "beats" else 0.71
    robust = {"none": right, "fgsm": 0.11, "pgd": 0.042, "hsj": 0.006}[attack] + (0.5 if trained_on != "none" else 0)
    return {
        "split": split, "architecture": architecture, "trained_on": trained_on, "status": "done", "reason": None,
        "error": None, "attack": SALUS_NAMES[attack], "attack_options": {"steps": 40} if attack == "pgd" else None,
        "eps": 0.01 if attack in ("fgsm", "pgd") else None, "threat_model": None if clean else "white-box",
        "guard": "none", "n": 1000, **spelled("clean_accuracy", right),
        **(dict.fromkeys(("robust_accuracy", "robust_accuracy_low", "robust_accuracy_high")) if clean
           else spelled("robust_accuracy", min(robust, right))),
        **spelled("detection_auc", 0.9), **spelled("rejected_clean", 0.05), **spelled("rejected_adversarial", 0.6),
        "per_class": per_class(0.5, split == "patients"), "confusion": confusion(right),
        "distance_median": None if clean else 0.01, "queries": 40.0, "seconds": 1.0, **others,
    }  # fmt: skip


def full() -> Results:
    """Everything that a run can store, all of it run but what a test takes away."""
    lengths = dict(zip(COLUMNS, (0.0, 0.12, 0.13, 0.14, 0.09, 0.9, 3.0), strict=True))
    guard = {"guard": "attacked-head", "trained_on": "pgd"}
    head = [
        honest("beats", "proposed", "pgd", **guard, threat_model="oblivious", **spelled("robust_accuracy", 0.873)),
        honest("beats", "proposed", "pgd", **guard, threat_model="adaptive", **spelled("robust_accuracy", 0.214)),
        honest("patients", "proposed", "pgd", **guard, threat_model="oblivious", **spelled("robust_accuracy", 0.6)),
    ]
    every = [(name, column) for name in ARCHITECTURES for column in COLUMNS]
    return {
        "meta": {
            "command": "salus reproduce ecg-atk-gan --scale small", "protocols": ["as-published", "honest"],
            "scale": "small", "seed": 0, "created": "2025-01-02T03:04:05+00:00", "machine": "AMD EPYC, 2 cores",
            "threads": 2, "versions": {"salus": "0.1.0", "torch": "2.13.0"}, "seconds": 3723.0, "budget_minutes": None,
            "settings": {"per_class": 1000, "epochs": 5, "folds": 5, "folds_trained": 1, "widths": [16, 32, 64],
                         "precision": "float32", "test_beats": 1000, "label_smoothing": None},
            "data": {"counts": {"train": {"N": 72000, "S": 2000, "V": 5000, "F": 600}, "test": COUNTS}},
        },
        "trainings": [
            {"split": "beats", "architecture": name, "attack": column, "status": "done", "reason": None,
             "seconds": 61.5, "epochs": 5, "parameters": 1234567, "beats_per_second": 4321.0}
            for name, column in every
        ],
        "attack_data": [
            {"split": "beats", "architecture": name, "attack": column, "part": part, "n": 1000, "unchanged": 0.02,
             "linf_mean": lengths[column] / 10, "linf_max": lengths[column] / 5, "l2_mean": lengths[column],
             "label_kept": 0.9, "status": "done"}
            for name, column in every if column != "none" for part in ("train", "test")
        ],
        "cells": [cell("beats", name, column) for name, column in every],
        "honest": [
            *(honest(split, name, attack) for split in ("beats", "patients") for name in ARCHITECTURES
              for attack in SALUS_NAMES),
            *(honest("beats", name, "pgd", "pgd") for name in ARCHITECTURES), *head,
        ],
        "generator": [
            {"split": "beats", "attack": column, "n": 1000,
             "input": {"mse": 4.5e-5, "ssim": 0.9912, "ssim_range_2": 0.9954, "cross_correlation": 0.9934,
                       "nrmse": 0.0456},
             "clean": {"mse": 7.8e-5, "ssim": 0.9856, "cross_correlation": 0.9878, "nrmse": 0.0789}}
            for column in COLUMNS
        ],
        "speed": {"gan_beats_per_second": 1502.0, "share_bare": 0.912, "settings": "batch 128, 2 threads"},
        "overlays": {"attacks": ["fgsm", "hsj"], "classes": list(CLASSES)},
    }  # fmt: skip


def arrays() -> Arrays:
    beats = np.exp(-(np.linspace(-6, 6, 280) ** 2)) * np.ones((2, 4, 1))
    noise = np.random.default_rng(0).normal(size=beats.shape) * np.array([0.01, 0.2])[:, None, None]
    return {"overlay_clean": beats, "overlay_attacked": beats + noise, "overlay_generated": 0.95 * beats}


def written(folder: Path, results: Results, beats: Arrays | None = None) -> str:
    """The page's text; figures are drawn only where beats are given."""
    page = folder / "ecg-atk-gan.md"
    with pytest.MonkeyPatch.context() as patch:
        if beats is None:
            patch.setattr("salus_studies.ecg_atk_gan.figures.draw", lambda results, arrays: {})
        STUDY.write_page(Stored(results, beats or {}), page)
    return page.read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands under a title, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found.group(1)


def rows(text: str) -> list[list[str]]:
    """Cells of the tables in a text, headers and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    return [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("page"), full(), arrays())


def test_every_published_number_of_table_1_stands_beside_ours(page: str) -> None:
    accuracy = {(of[0], of[1]): of for of in rows(section(page, "Table 1, split by beats"))}
    tables = {
        "sensitivity": section(page, "Sensitivity of each class, split by beats"),
        "specificity": section(page, "Specificity of each class, split by beats"),
        "auc": section(page, "AUC as the four-attack paper counts it, split by beats"),
    }
    lines = {figure: {of[0]: of for of in rows(text)} for figure, text in tables.items()}
    for row in CLASSIFICATION:
        attack = row.attack or "no attack"
        line = accuracy[attack, NAMES[row.architecture]]
        assert line[3 if row.paper == SIX else 2] == f"{row.accuracy:.1f}"
        for figure, by_line in lines.items():
            printed = getattr(row, figure)
            for index, name in enumerate(CLASSES):
                shown = by_line[f"{attack}, {NAMES[row.architecture]}"][1 + 2 * index]
                assert printed is None or f"{printed[name]:.1f}" in shown.split(" / ")


def test_numbers_of_the_other_tables_stand_as_printed_and_corrected(page: str) -> None:
    for row in PTB:
        assert f" {row.accuracy:.1f} |" in section(page, "PTB: Table 2 of six attacks")
    assert section(page, "PTB: Table 2 of six attacks").count("not run: no data") == 3 + len(COLUMNS)
    for of in GENERATOR:
        attack = of.attack or "no attack"
        source = "four attacks" if of.paper != SIX else "six attacks, as printed"
        assert f"| {attack} | {source} | {of.mse:.4g} | {of.ssim:.2f} |" in page
        if of.swapped:
            assert f"| {attack} | six attacks, MSE and NRMSE exchanged | {of.nrmse:.4g} |" in page


def test_our_numbers_stand_with_their_intervals(page: str) -> None:
    line = next(of for of in rows(section(page, "Table 1, split by beats")) if of[:2] == ["HSJ", "ECG-ATK-GAN"])
    assert line[2:] == ["–", "71.9", "71.9", "0.0", "43.8", "43.8 (41.8–45.8)", "77.7"]
    assert "98.1 (97.0–99.0)" in section(page, "AUC from our class scores, split by beats")
    assert "99.12 | 99.54 | 99.34 | 0.0456" in page
    assert "85.0 (83.0–87.0)" in section(page, "Sensitivity of each class, split by beats")


def test_the_summary_tells_reached_columns_from_missed_ones(tmp_path: Path) -> None:
    results = full()
    results["cells"] = [
        cell("beats", of["architecture"], of["attack"], -4.3 if of["attack"] == "cw" else -1.4)
        for of in results["cells"]
    ]
    results["cells"][-1] |= NOT_RUN
    short = section(written(tmp_path, results), "In short")
    assert "27 of 28 places were run, and 23 of them are within 1.5 points" in short
    assert "CW: 0 of 4, not ECG-ATK-GAN (−4.3), Shaker et al. (−4.3), Kachuee et al. (−4.3) and Acharya" in short
    assert "FGSM: 4 of 4, the lowest −1.4" in short
    assert "HSJ: 3 of 3, the lowest −1.4; Acharya et al. not run: the budget of 5 minutes" in short


def test_the_summary_says_what_pgd_leaves_and_what_becomes_of_accuracy_between_patients(page: str) -> None:
    short = section(page, "In short")
    assert "PGD-40 at eps 0.01 on the trained network itself, split by patients, leaves" in short
    assert "ECG-ATK-GAN 4.2 (2.2–6.2), Shaker et al. 4.2 (2.2–6.2)" in short
    assert "most of ECG-ATK-GAN trained on clean and PGD: 54.2 (52.2–56.2)." in short
    assert re.search(
        r"ECG-ATK-GAN 95\.0% \(macro-F1 [\d.]+\) by beats and 71\.0% \(macro-F1 [\d.]+\) by patients", short
    )


def test_the_head_is_told_with_its_adaptive_row_or_as_an_upper_bound(page: str, tmp_path: Path) -> None:
    told = section(page, "The attacked/clean head alone")
    assert "87.3% against the oblivious attacker and 21.4% against the adaptive attacker" in told
    assert "robust accuracy 87.3%, against 54.2% without the head" in told
    assert "There is no adaptive row: this is an upper bound" in told
    results = full()
    for of in results["honest"]:
        of |= spelled("robust_accuracy", 0.99) if of["threat_model"] == "adaptive" else {}
    assert "weaker than the oblivious one: a fault of ours" in written(tmp_path, results)


def test_the_order_of_architectures_stands_beside_the_papers(tmp_path: Path) -> None:
    results = full()
    for of in results["cells"]:
        if (of["architecture"], of["attack"]) == ("acharya", "fgsm"):
            of |= {"paper_accuracy": 0.999, **spelled("accuracy", 0.998)}
    text = section(written(tmp_path, results), "The order of the architectures, split by beats")
    line = next(of for of in rows(text) if of[0] == "FGSM")
    assert line[2] == "ECG-ATK-GAN > Shaker > Kachuee > Acharya"
    assert line[3].startswith("Acharya ≈ ECG-ATK-GAN > Shaker")
    assert line[4] == "3 of 6"


def test_the_length_of_changes_explains_columns_only_where_it_goes_with_them(tmp_path: Path) -> None:
    results = full()
    text = section(written(tmp_path / "one", results), "The attacked beats, split by beats")
    assert "the longest changes are those of hsj" in text.lower()
    same = re.search(r"correlation of ([\d.−-]+) with the published columns and ([\d.−-]+) with ours", text)
    assert same is not None and same.group(1) == same.group(2)
    for of in results["attack_data"]:
        of |= {"l2_mean": 4 - of["l2_mean"], "unchanged": 1.0 if of["attack"] == "hsj" else 0.0}
    text = section(written(tmp_path / "two", results), "The attacked beats, split by beats")
    assert "does not explain the columns" in text
    assert "are the clean ones under HSJ (100.0%)" in text


def test_what_was_not_run_stands_with_its_reason(tmp_path: Path) -> None:
    results = full()
    for name in ("trainings", "attack_data", "cells", "generator", "honest"):
        for of in results[name]:
            if "hsj" in (of["attack"], of.get("trained_on")) or of["attack"] == "hop-skip-jump":
                kept = ("split", "architecture", "attack", "protocol", "part", "trained_on")
                left = {key: of[key] for key in kept if key in of} | NOT_RUN
                of.clear()
                of |= left
    text = written(tmp_path, results)
    reason = "not run: the budget of 5 minutes \\| was spent"
    for title in (
        "Table 1, split by beats",
        "Sensitivity of each class, split by beats",
        "AUC from our class scores, split by beats",
        "The attacked beats, split by beats",
        "What was trained, split by beats",
        "Bare networks, split by patients",
        "The generator: Table 2 of four attacks, Table 3 of six attacks",
    ):
        assert reason in section(text, title), title
    clean(text)


def test_empty_results_give_a_page_that_says_so_everywhere(tmp_path: Path) -> None:
    text = written(tmp_path, {}, {})
    assert len(rows(section(text, "Table 1, split by beats"))) == 1 + 28
    assert section(text, "Table 1, split by beats").count("not run: not in the stored results") == 28
    assert "![" not in text
    clean(text)


def test_a_failed_attack_is_no_result(tmp_path: Path) -> None:
    results = full()
    broken = next(of for of in results["honest"] if of["attack"] == "pgd")
    broken |= {"error": "a loss is not a number", "robust_accuracy": None}
    text = written(tmp_path, results)
    assert "not run: it failed: a loss is not a number" in text
    assert "ECG-ATK-GAN not run" in section(text, "In short")


def test_caveats_name_classes_that_one_patient_supplies(page: str) -> None:
    caveats = section(page, "What to mind when reading these numbers")
    assert "F, of whose 10 test beats one patient of 12 supplies 93.3%" in caveats
    assert "Always answering N is right on 90.0% of the test beats split by beats" in caveats
    assert "turns into 95.0%" in caveats


def test_differences_are_those_of_this_run_and_of_the_papers(page: str) -> None:
    why = section(page, "What differs and why")
    assert "5 of 100 epochs, 1,000 of 10,000 beats a class, 1 of 5 folds and 1,000 of 19,327 test beats" in why
    assert all(remark in why for remark in REMARKS.values())
    for odd in ("never trained", "max_iter=0", "randint(high=1, low=0)", "sigma 4", "never receives the label"):
        assert odd in why


def test_tables_are_narrow_and_nothing_undefined_is_printed(page: str) -> None:
    clean(page)
    assert "1502" not in page and "1,502 beats a second, 91.2%" in page
    assert "salus reproduce ecg-atk-gan --scale small" in page.split("## In short")[0]


def test_the_same_results_give_the_same_bytes_and_are_left_as_they_were(tmp_path: Path) -> None:
    results = full()
    before = copy.deepcopy(results)
    for name in ("one", "two"):
        written(tmp_path / name, results, arrays())
    assert results == before
    one, two = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_pictures_lie_where_the_page_links_them(tmp_path: Path) -> None:
    text = written(tmp_path, full(), arrays())
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    names = ("accuracy-beats", "attacked", "generated", "robust-beats", "robust-patients")
    assert linked == [f"ecg-atk-gan/{name}.png" for name in names]
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in linked)


def clean(text: str) -> None:
    """Every table is at most 9 columns wide and even, and no undefined value is printed."""
    assert not re.search(r"\b(None|nan|NaN|inf)\b", text)
    width = 0
    for line in text.splitlines():
        cells = len(re.split(r"(?<!\\)\|", line)) - 2 if line.startswith("|") else 0
        assert cells <= 9 and (cells == width or 0 in (cells, width)), line
        width = cells

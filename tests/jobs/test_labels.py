"""Label cleaning in audits, and the search for wrong labels alone."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from salus.audit import Plan, run_audit
from salus.cli import main
from salus.data import load
from salus.errors import OptionError, StoreError
from salus.hardening import folds
from salus.jobs import run_labels
from salus.report import write_report
from salus.training.checkpoint import Checkpoint

POISON = "label-flips:share=0.6,source=malignant,target=benign"
QUICK: dict[str, Any] = {
    "data": "breast-cancer", "training": {"epochs": 25, "learning_rate": 0.02, "batch_size": 32}, "poison": POISON,
    "attack": "fgsm:eps=0.02", "threat_model": "white-box", "defence": "none",
}  # fmt: skip
CLEANING = "confident-learning:folds=4"


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "fit_classifier", lambda *_, **__: pytest.fail("it trains a fold again"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same poisoned audit without a cleaning and with two."""
    pytest.importorskip("cleanlab")
    out = tmp_path_factory.mktemp("labels")
    plans = {"poisoned": None, "dropped": CLEANING, "relabelled": f"{CLEANING},action=relabel"}
    for name, cleaning in plans.items():
        run_audit(Plan.of({**QUICK, "clean_labels": cleaning}), out / name)
        write_report(out / name)
    return {name: out / name for name in plans}


def results(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    held = json.loads((folder / "results.json").read_text())
    return held["meta"], held["cells"][0]


@pytest.mark.parametrize("name", ["dropped", "relabelled"])
def test_cleaning_recovers_what_a_poisoning_cost(runs: dict[str, Path], name: str) -> None:
    (_, poisoned), (meta, cleaned) = results(runs["poisoned"]), results(runs[name])
    assert cleaned["clean_accuracy"] > poisoned["clean_accuracy"] + 0.1
    facts = meta["label_cleaning"]
    assert facts["flipped"] == 64 and facts["recall"] > 0.4 and facts["precision"] > 0.8
    assert facts["recall_low"] < facts["recall"] < facts["recall_high"]
    assert cleaned["id"] != poisoned["id"]
    trained = sum(meta["data"]["counts"]["train"].values())
    assert trained == facts["samples"] - (facts["found"] if name == "dropped" else 0)


def test_it_is_said_in_the_verdict_and_in_the_report(runs: dict[str, Path]) -> None:
    meta, _ = results(runs["dropped"])
    facts = meta["label_cleaning"]
    (sentence,) = [line for line in meta["verdict"] if "look wrong" in line]
    assert sentence.startswith(
        f"{facts['found']} of 286 training labels look wrong to confident-learning and were left"
    )
    assert f"Of the 64 that were flipped on purpose it found {facts['recall']:.1%}" in sentence
    page = (runs["dropped"] / "report.html").read_text()
    assert "confident-learning, folds=4, action=drop" in page and "flipped on purpose" in page
    assert "Label cleaning" not in (runs["poisoned"] / "report.html").read_text()
    mended, _ = results(runs["relabelled"])
    assert mended["poison"] == meta["poison"] == ["64 labels flipped"], "mending is no poisoning"
    assert any("were replaced by the most probable" in line for line in mended["verdict"])


def test_a_second_run_trains_nothing_and_computes_nothing(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_training(monkeypatch)
    again = run_audit(Plan.of({**QUICK, "clean_labels": f"{CLEANING},filter_by=prune_by_noise_rate"}), runs["dropped"])
    assert again.computed == 0
    assert again.meta["label_cleaning"] == results(runs["dropped"])[0]["label_cleaning"]


def test_another_cleaning_is_another_audit(runs: dict[str, Path]) -> None:
    for name, cleaning in (("dropped", None), ("poisoned", CLEANING), ("dropped", "high-loss:share=0.1")):
        with pytest.raises(StoreError, match="another label cleaning"):
            run_audit(Plan.of({**QUICK, "clean_labels": cleaning}), runs[name])


def test_without_a_poisoning_nothing_is_known_of_the_finds(tmp_path: Path) -> None:
    plan = {**QUICK, "training": {"epochs": 2}, "poison": [], "clean_labels": "high-loss:share=0.1,folds=2"}
    facts = run_audit(Plan.of(plan), tmp_path / "run").meta["label_cleaning"]
    assert facts["found"] == 29 and facts["not_judged"] == 0
    assert facts["flipped"] is facts["recall"] is facts["precision"] is None


def test_a_class_that_cleaning_empties_is_warned_of(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    x, y = np.random.default_rng(0).random((160, 4), np.float32), np.repeat([0, 1], 80)
    x[y == 1] += 1
    y[:8] = 2  # looks like class 0 in every way
    np.savez(tmp_path / "own.npz", x=x / 2, y=y, classes=np.array(["a", "b", "c"]))
    plan = {**QUICK, "data": str(tmp_path / "own.npz"), "poison": [], "samples": 10,
            "clean_labels": "confident-learning:folds=2,filter_by=predicted_neq_given"}  # fmt: skip
    warned = run_audit(Plan.of(plan), tmp_path / "run").meta["warnings"]
    assert "The label cleaning left no training sample of class 'c'." in warned


def test_a_model_that_is_used_as_it_is_has_no_labels_to_clean(runs: dict[str, Path], tmp_path: Path) -> None:
    for command in ("audit", "labels"):
        done = salus(command, "--model", runs["poisoned"], "--clean-labels", CLEANING, "--out", tmp_path / "run")
        assert done.exit_code == 2 and len(done.output.strip().splitlines()) == 1
        assert "trains a built-in model fold by fold" in done.output and "such as mlp" in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--clean-labels", "confident"], "did you mean 'confident-learning'"),
        (["--clean-labels", "high-loss"], "share"),
        (["--clean-labels", "high-loss:share=0.1,folds=300"], "fewer folds"),
        (["--clean-labels", "high-loss:share=0.1", "--weights", "own.pt"], "--weights"),
        (["--clean-labels", "high-loss:share=0.1", "--training", "epoch=3"], "epochs"),
        (["--clean-labels", "high-loss:share=0.1", "--model", "ecg-cnn"], "ecg-cnn"),
        (["--poison", "label-flips:share=0.1,source=sick"], "'sick'"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path: Path, words: list[str], expected: str) -> None:
    for command in ("audit", "labels"):
        done = salus(command, *words, "--out", tmp_path / "run")
        assert done.exit_code == 2 and expected in done.output
        assert len(done.output.strip().splitlines()) == 1 and not (tmp_path / "run").exists()


def test_without_cleanlab_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    done = salus("labels", "--out", tmp_path / "run")
    assert done.exit_code == 2 and "pip install 'salus[cleaning]'" in done.output
    assert not (tmp_path / "run").exists()
    with pytest.raises(OptionError, match="salus"):
        run_audit(Plan.of({**QUICK, "clean_labels": CLEANING}), tmp_path / "run")


# The search alone


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[int]]:
    """A CSV file of 200 patients with two rows each, and the rows whose label was mistyped, counted from 1."""
    rng = np.random.default_rng(0)
    sick = rng.integers(0, 2, 200).repeat(2)
    x = 0.3 + 0.4 * sick[:, None] + 0.08 * rng.standard_normal((400, 5))
    mistyped = rng.permutation(400)[:30]
    label = sick.copy()
    label[mistyped] = 1 - label[mistyped]
    path = tmp_path_factory.mktemp("table") / "own.csv"
    rows = [[*map(str, row), f"p{i // 2}", ("well", "sick")[label[i]]] for i, row in enumerate(x.clip(0, 1))]
    path.write_text("\n".join(",".join(row) for row in [["a", "b", "c", "d", "e", "patient", "label"], *rows]))
    return path, {int(row) + 1 for row in mistyped}


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_list_leads_to_the_rows_of_the_file(
    table: tuple[Path, set[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cleanlab")
    path, mistyped = table
    training = ["--training", "epochs=15", "--training", "learning_rate=0.02"]
    words = ["labels", "--data", path, "--group-by", "patient", *training]
    done = salus(*words, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    train, rows = load(path, group_by="patient").train, listed(tmp_path / "run")
    assert train.groups is not None
    flagged = {int(row["sample"].split()[1]) for row in rows if row["flagged"] == "true"}
    wrong = mistyped & {int(name.split()[1]) for name in train.names}
    assert len(wrong) > 8 and len(flagged & wrong) >= 0.8 * max(len(wrong), len(flagged))
    quality = [float(row["quality"]) for row in rows]
    assert quality == sorted(quality) and sorted(int(row["index"]) for row in rows) == list(range(len(train)))
    lines = path.read_text().splitlines()
    for row in rows:
        index = int(row["index"])
        assert row["given"] == train.classes[train.y[index]] and int(row["group"]) == train.groups[index]
        assert lines[int(row["sample"].split()[1])].endswith(row["given"])
        assert row["flagged"] == "false" or row["suggested"] != row["given"]
    (line,) = done.stdout.strip().splitlines()
    assert line.startswith(f"{len(flagged)} of {len(train)} training labels look wrong to confident-learning.")
    assert "flipped" not in line and str(tmp_path / "run" / "labels.csv") in line
    facts = json.loads((tmp_path / "run" / "labels.json").read_text())
    assert facts["labels"]["found"] == len(flagged) and facts["data"]["fingerprint"] == train.fingerprint()

    no_training(monkeypatch)
    other = salus(*words, "--clean-labels", "high-loss:share=0.1", "--out", tmp_path / "run")
    assert other.exit_code == 0 and "high-loss" in other.stdout, "another method, the same folds"
    changed = salus(*words, "--poison", "label-flips:share=0.1", "--out", tmp_path / "run")
    assert changed.exit_code == 2 and "another samples" in changed.output


def test_a_stopped_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["labels", "--data", "breast-cancer", "--poison", POISON, "--clean-labels", "high-loss:share=0.1,folds=2",
             "--training", "epochs=3", "--training", "learning_rate=0.02", "--training", "batch_size=32"]  # fmt: skip
    plan = Plan.of({**QUICK, "training": {"epochs": 3, "learning_rate": 0.02, "batch_size": 32},
                    "clean_labels": "high-loss:share=0.1,folds=2"})  # fmt: skip
    whole = run_labels(plan, tmp_path / "whole")
    real, saves = Checkpoint.save, []

    def stop(self: Checkpoint, *parts: Any) -> None:
        real(self, *parts)
        saves.append(self.path.name)
        if len(saves) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop)
    stopped = salus(*words, "--out", tmp_path / "run")
    assert stopped.exit_code == 130 and not (tmp_path / "run" / "labels.csv").exists()
    done = salus(*words, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "labels.csv").read_bytes() == whole.path.read_bytes()
    assert len(saves) == 2 * (3 + 1) and "flipped on purpose" in done.stdout

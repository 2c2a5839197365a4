"""Weights of harm as a user gives them, and audits that count by them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from salus.audit import Plan, run_audit
from salus.audit.harm import parse_harm
from salus.cli import main
from salus.data import Dataset
from salus.data.base import Provenance
from salus.errors import DataError, OptionError, SalusError
from salus.metrics import HarmWeights
from salus.report import write_report

CLASSES = ("MEL", "NV", "BCC")


def _data(positive: tuple[str, ...] = ("MEL", "BCC")) -> Dataset:
    return Dataset(
        torch.rand(6, 2), torch.tensor([0, 0, 1, 1, 2, 2]), CLASSES, Provenance("moles", ""), positive=positive
    )


def test_the_short_form_spreads_over_the_map_of_diseases() -> None:
    found = parse_harm("missed=10,false-alarm=1,rejected=1/2", _data())
    assert found == HarmWeights(((0, 10, 0), (1, 0, 1), (0, 10, 0)), (0.5, 0.5, 0.5))
    assert parse_harm("missed=3", _data(("MEL",))) == HarmWeights(((0, 3, 3), (0, 0, 0), (0, 0, 0)))


def test_a_table_may_have_its_classes_in_any_order_and_a_cost_of_rejection(tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_text("\ufefftrue,NV,MEL,rejected,BCC\nBCC,5,0.5,2,0\n\nMEL, 20 ,0,3,1\nNV,0,1,0.1,1\n", encoding="utf-8")
    assert parse_harm(str(path), _data(())) == HarmWeights(((0, 20, 1), (1, 0, 1), (0.5, 5, 0)), (3, 0.1, 2))
    named = tmp_path / "a=b"
    named.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert parse_harm(str(named), _data()).rejected == (3, 0.1, 2)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mised=10", "no option 'mised'; did you mean 'missed'"),
        ("missed=10,false-alarm", "'false-alarm' is not an option"),
        ("missed=-1", "from 0 up"),
        ("missed=much", "Harm: missed must be a number from 0 up, not 'much'"),
        ("missed=0", "All weights of harm are 0"),
        ("missed=nan", "from 0 up"),
        ("nowhere.csv", "no table of weights 'nowhere.csv'"),
    ],
)
def test_a_wrong_short_form_is_one_sentence(spec: str, said: str) -> None:
    with pytest.raises(SalusError, match=said) as caught:
        parse_harm(spec, _data())
    assert "\n" not in str(caught.value)


def test_without_a_disease_the_short_form_asks_for_one() -> None:
    with pytest.raises(OptionError, match="no class of 'moles' means disease; name those that do by --positive"):
        parse_harm("missed=10", _data(()))


GOOD = ",MEL,NV,BCC\nMEL,0,10,1\nNV,1,0,1\nBCC,1,5,0\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (GOOD, "", "is empty"),
        (GOOD, "\0\xff", "no readable CSV|name no class|lack the class"),
        ("NV,1,0,1\n", "", "its rows lack the class 'NV'"),
        (",NV,", ",NVV,", "its columns name no class of the data by 'NVV'; did you mean 'NV'"),
        ("BCC,1", "NV,1", "its rows name 'NV' twice"),
        ("10", "ten", "the weight of 'MEL' called 'NV' is 'ten', no number"),
        ("10,1", "10", "the row 'MEL' has 2 weights, but there are 3 columns"),
        ("10", "-10", "finite numbers from 0 up"),
        ("10", "inf", "finite numbers from 0 up"),
        ("MEL,0,10", "MEL,1,10", "A right answer does no harm"),
        ("NV,1,0", 'NV,"1,0', "no readable CSV|lack the class|has"),
    ],
)
def test_a_broken_table_is_one_sentence_that_names_it(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(GOOD.replace(old, new, 1), encoding="latin-1")
    with pytest.raises(DataError, match=said) as caught:
        parse_harm(str(path), _data())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


PLAN = {
    "data": "breast-cancer",
    "training": {"epochs": 4},
    "attack": "fgsm:eps=0.1",
    "defence": "i-defender:components=1",
    "false_alarm_rate": 0.05,
    "threat_model": ["white-box", "oblivious"],
    "samples": 50,
}


def test_the_harm_of_every_cell_is_the_mean_cost_of_its_stored_answers(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_audit(Plan.of({**PLAN, "harm": {"missed": 10, "false-alarm": 1, "rejected": 0.5}}), out)
    results = json.loads((out / "results.json").read_text())
    y = load_file(out / "samples.safetensors")["y"]
    cost = np.array([[0, 10, 0.5], [1, 0, 0.5]])  # malignant, benign
    assert results["meta"]["data"]["classes"] == ["malignant", "benign"]
    assert results["meta"]["harm"] == {
        "asked": "missed=10,false-alarm=1,rejected=0.5", "matrix": [[0, 10], [1, 0]], "rejected": [0.5, 0.5]
    }  # fmt: skip
    for cell in results["cells"]:
        answers = load_file(out / "cells" / f"{cell['id']}.safetensors")["label"]
        assert cell["harm"] == pytest.approx(cost[y, answers].mean())
        assert 0 <= cell["harm_low"] <= cell["harm"] <= cell["harm_high"] <= 10
    clean, attacked = (next(c for c in results["cells"] if c["attack"] == name) for name in (None, "fgsm"))
    assert attacked["harm"] > clean["harm"]
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [float(row["harm"]) for row in rows] == pytest.approx([cell["harm"] for cell in results["cells"]])
    told = [sentence for sentence in results["meta"]["verdict"] if "weights of harm" in sentence]
    assert len(told) == 2
    assert f"{attacked['harm']:.3g}" in told[0]

    # Other weights, or none, are counted from the stored answers: nothing is attacked again.
    other = run_audit(Plan.of({**PLAN, "harm": "missed=1,false-alarm=1,rejected=1"}), out)
    assert other.computed == 0
    assert other.cells[0]["harm"] == pytest.approx(1 - other.cells[0]["clean_accuracy"])
    without = run_audit(Plan.of(PLAN), out)
    assert without.computed == 0
    assert without.meta["harm"] is None
    assert all(cell["harm"] is None and cell["harm_high"] is None for cell in without.cells)
    assert "What wrong answers cost" not in write_report(out).read_text()


def test_cells_of_an_older_version_get_the_figures_they_lack(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = run_audit(Plan.of({**PLAN, "defence": "none"}), out)
    for path in (out / "cells").glob("*.json"):
        cell = json.loads(path.read_text())
        for figures in cell["health"].values():
            for name in ("accuracy", "accuracy_low", "accuracy_high", "confusion"):
                del figures[name]
        for name in ("harm", "harm_low", "harm_high"):
            del cell[name]
        path.write_text(json.dumps(cell))
    again = run_audit(Plan.of({**PLAN, "defence": "none"}), out)
    assert again.computed == 0
    assert again.cells == first.cells


def test_the_command_line_prints_the_harm_and_refuses_before_it_trains(tmp_path: Path) -> None:
    words = ["audit", "--data", "breast-cancer", "--training", "epochs=2", "--attack", "fgsm:eps=0.1"]
    words += ["--defence", "none", "--samples", "40", "--out", str(tmp_path / "run"), "--harm"]
    refused = CliRunner().invoke(main, [*words, "missed=-1"])
    assert refused.exit_code == 2
    assert not (tmp_path / "run").exists()
    done = CliRunner().invoke(main, [*words, "missed=10,false-alarm=1"])
    assert done.exit_code == 0
    assert "harm" in done.stdout.splitlines()[0]
    assert "By these weights of harm (missed=10,false-alarm=1)" in done.stdout
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What wrong answers cost" in page
    assert page.count("<dt>Mean harm</dt>") == 1

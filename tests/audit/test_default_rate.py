"""Where nobody asks for a false-alarm rate, it is one that the calibration samples carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from salus.audit import Plan
from salus.audit.defence import Defence
from salus.cli import main
from salus.data import Splits
from salus.detectors.base import default_rate, smallest_rate
from salus.errors import CalibrationError
from salus.guard import Guard

if TYPE_CHECKING:
    from conftest import Toy

QUICK = ["--training", "epochs=5", "--data", "breast-cancer"]


def splits(toy: Toy, calibration: int) -> Splits:
    few = toy.calibration.subset(toy.calibration.y.new_tensor(range(calibration)))
    return Splits(toy.train, toy.train, few, toy.test)


def test_an_audit_without_a_rate_simply_works_and_says_which_it_took(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--attack", "fgsm:eps=0.05", "--threat-model", "oblivious", "--samples", "30", "--out", str(out)]
    result = CliRunner().invoke(main, ["audit", *QUICK, *words])
    assert result.exit_code == 0, result.output
    sentence = "may reject 1.76% of clean inputs: no false-alarm rate was asked for, and 113 calibration samples"
    assert sentence in result.stderr and f"Warning: The guard 'i-defender' {sentence}" in result.stdout
    meta = json.loads((out / "results.json").read_text())["meta"]
    assert meta["guards"]["i-defender"]["false_alarm_rate"] == 0.0176
    assert meta["false_alarm_rate"] == {"asked": None, "default": 0.01}
    assert sentence in (out / "report.html").read_text()


def test_a_bundle_without_a_rate_simply_works(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["guard", "fit", *QUICK, "--out", str(tmp_path / "bundle")])
    assert result.exit_code == 0, result.output
    assert "no false-alarm rate was asked for" in result.stderr
    assert Guard.load(tmp_path / "bundle").false_alarm_rate == 0.0176


def test_a_rate_that_was_asked_for_and_cannot_be_carried_is_refused(tmp_path: Path) -> None:
    words = ["guard", "fit", *QUICK, "--false-alarm-rate", "0.01", "--out", str(tmp_path / "bundle")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert (
        "cannot carry a false-alarm rate of 0.01" in result.stderr
        and "smallest rate they carry is 0.0176" in result.stderr
    )


def test_enough_samples_are_calibrated_at_the_default_without_a_word(toy: Toy) -> None:
    defence = Defence.parse("i-defender", None)
    assert defence.rate(splits(toy, 300)) == 0.01
    assert defence.remark(splits(toy, 300)) is None


def test_an_asked_rate_is_kept_whatever_the_samples(toy: Toy) -> None:
    defence = Defence.parse("i-defender", 0.2)
    assert defence.rate(splits(toy, 40)) == 0.2 and defence.remark(splits(toy, 40)) is None


@pytest.mark.parametrize("samples", [2, 10, 41, 198])
def test_the_smallest_rate_is_carried_and_no_smaller_one(toy: Toy, samples: int) -> None:
    detector = toy.guard().detectors[0]
    rate = smallest_rate(samples)
    assert default_rate([detector], samples) == max(rate, 0.01)
    detector.check_rate(samples, rate)
    with pytest.raises(CalibrationError, match="smallest rate they carry"):
        detector.check_rate(samples, rate - 2e-4)


def test_python_has_the_same_default(toy: Toy) -> None:
    few = splits(toy, 40).calibration
    detector = toy.guard().detectors[0]
    guard = Guard(toy.classifier, [detector]).fit(toy.train, few)
    assert guard.false_alarm_rate == 0.0477
    toy.guard()


def test_a_rule_of_a_papers_own_needs_no_rate(toy: Toy) -> None:
    defence = Defence.parse("i-defender:threshold=id-95", None)
    assert defence.remark(splits(toy, 40)) is None


def test_one_sample_is_too_few_for_any_rate(toy: Toy) -> None:
    detector = toy.guard().detectors[0]
    with pytest.raises(CalibrationError, match="1 calibration samples cannot carry"):
        detector.check_rate(1, default_rate([detector], 1))


def test_a_plan_tells_asked_from_default() -> None:
    fields: dict[str, Any] = {"data": "digits"}
    assert Plan.of(fields).false_alarm_rate is None
    assert Plan.of({**fields, "false_alarm_rate": "0.01"}).false_alarm_rate == 0.01

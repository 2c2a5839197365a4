"""Defences and methods of hardening that another package brings work as Salus's own do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from salus.audit import Plan, run_audit
from salus.cli import main
from salus.data import load
from salus.detectors import DETECTORS
from salus.detectors.fitted import FittedDetector
from salus.errors import BundleError, OptionError
from salus.guard import Guard
from salus.hardening import METHODS
from salus.hardening.label_cleaning import CLEANINGS
from salus.jobs import run_hardening
from salus.purifiers import PURIFIERS
from salus.report import write_report
from salus.training import TrainingOptions, fit_classifier

MODULE = '''
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from salus.detectors.fitted import FittedDetector
from salus.hardening.base import Method
from salus.hardening.label_cleaning import LabelCleaning
from salus.options import checked
from salus.purifiers import Purifier
from salus.training import fit_classifier


class Far(FittedDetector):
    """Rejects an input far from the mean of the training samples."""

    name = "far"

    @checked
    def __init__(self, *, power: Annotated[float, Field(gt=0, description="of the distance")] = 2.0) -> None:
        super().__init__()
        self.power = power

    @property
    def layers(self):
        return ()

    def fit(self, classifier, x, y):
        self.classifier_, self.learnt_ = classifier, {"mean": x.mean(0)}
        return self

    def class_scores(self, states):
        distance = (states.x - self.learnt("mean", states.x)).flatten(1).norm(dim=1) ** self.power
        return distance[:, None].expand_as(states.logits)

    def describe(self):
        return f"Distance from the mean to the power {self.power:g}"


class Dim(Purifier):
    """Makes values smaller."""

    name = "dim"

    @checked
    def __init__(self, *, by: Annotated[float, Field(gt=0, le=1, description="what is left of each value")]) -> None:
        self.by = by

    def purify(self, x):
        return self.by * x

    def settings(self):
        return {"by": self.by}


@dataclass(frozen=True, kw_only=True)
class Plain(Method):
    """Trains as usual."""

    name = "plain"

    share: Annotated[float, Field(ge=0, le=1, description="of nothing")] = 0.5

    def check(self, splits, task):
        pass

    def train(self, splits, task, folder, log):
        made, history = fit_classifier(task.network, splits.train, splits.validation, task.training)
        return made, {"training": self.settings(), "history": {"epochs": len(history.epochs)}}


@dataclass(frozen=True, kw_only=True)
class Nothing(LabelCleaning):
    """Flags nothing."""

    name = "nothing"

    def flag(self, y, probabilities):
        return torch.zeros(len(y), dtype=torch.bool)
'''
POINTS = """
[salus.detectors]
far = salus_far:Far
[salus.purifiers]
dim = salus_far:Dim
[salus.hardening]
plain = salus_far:Plain
[salus.cleaning]
nothing = salus_far:Nothing
"""
REGISTRIES = (DETECTORS, PURIFIERS, METHODS, CLEANINGS)
QUICK = {
    "data": "breast-cancer",
    "training": {"epochs": 2},
    "attack": ["fgsm"],
    "eps": [0.1],
    "defence": ["far:power=1+dim:by=0.9"],
    "false_alarm_rate": 0.05,
    "threat_model": ["oblivious", "adaptive"],
    "samples": 20,
}


def look_anew() -> None:
    for registry in REGISTRIES:
        registry.__dict__.pop("_loaded", None)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is installed as long as the test runs."""
    folder = tmp_path / "installed"
    information = folder / "salus_far-1.2.dist-info"
    information.mkdir(parents=True)
    (folder / "salus_far.py").write_text(MODULE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: salus-far\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(folder))
    look_anew()
    yield
    sys.modules.pop("salus_far", None)
    monkeypatch.undo()
    look_anew()


@pytest.mark.usefixtures("package")
def test_an_audit_reports_defences_of_another_package_as_its_own(tmp_path: Path) -> None:
    outcome = run_audit(Plan.of(QUICK), tmp_path / "run")
    assert outcome.failed == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {cell["guard"] for cell in results["cells"]} == {"none", "far:power=1+dim:by=0.9"}
    assert "Distance from the mean to the power 1" in json.dumps(results)
    assert "far:power=1+dim:by=0.9" in write_report(tmp_path / "run").read_text(encoding="utf-8")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("defence", "sentence"),
    [
        ("far:pwer=1", "Defence 'far' has no option 'pwer'; did you mean 'power'?"),
        ("far:power=0", "Defence 'far': power must be a number above 0, not 0."),
        ("dim", "Defence 'dim' needs by: write by=VALUE (a number above 0 and up to 1)."),
        ("fare", "Unknown defence 'fare'; did you mean 'far'?"),
        ("dimm", "Unknown defence 'dimm'; did you mean 'dim'?"),
    ],
)
def test_their_options_are_checked_in_the_same_sentences(tmp_path: Path, defence: str, sentence: str) -> None:
    words = ["audit", "--data", "breast-cancer", "--defence", defence, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and sentence in " ".join(result.output.split())


def test_a_bundle_is_loaded_while_the_package_is_there_and_names_it_when_it_is_not(
    package: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = load("breast-cancer")
    classifier, _ = fit_classifier("mlp", splits.train, splits.validation, TrainingOptions(epochs=1))
    guard = Guard(classifier, [DETECTORS.parse("far:power=3")], PURIFIERS.parse("dim:by=0.5"))
    guard.fit(splits.train, splits.calibration, 0.1).save(tmp_path / "guard")
    again = Guard.load(tmp_path / "guard")
    far = again.detectors[0]
    assert again.describe() == guard.describe()
    assert isinstance(far, FittedDetector) and far.options() == {"power": 3.0}
    assert torch.equal(again(splits.test.x).accepted, guard(splits.test.x).accepted)
    monkeypatch.undo()
    look_anew()
    with pytest.raises(BundleError, match=r"has a defence 'far' that .* know; install salus-far 1.2, which brings it"):
        Guard.load(tmp_path / "guard")


def test_what_a_method_of_another_package_trains_is_saved_as_any(package: None, tmp_path: Path) -> None:
    plan = Plan.of({"data": "breast-cancer", "training": {"epochs": 1}})
    hardened = run_hardening("plain:share=1", plan, tmp_path / "run")
    assert hardened.facts["options"] == {"share": 1.0} and hardened.classifier.name == "mlp hardened by plain"
    with pytest.raises(OptionError, match="Hardening 'plain': share must be a number from 0 to 1, not 2"):
        METHODS.parse("plain:share=2")
    assert CLEANINGS.parse("nothing:folds=3", seed=1).settings() == {"folds": 3, "action": "drop", "seed": 1}

"""What stands behind --model: networks with options, and folders that Salus saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from salus.audit import Plan, run_audit
from salus.audit.model import Factory, ModelFile, ModelFolder, Network, parse_model
from salus.classifier import Classifier
from salus.data import load
from salus.data.load import load_for
from salus.errors import BundleError, DataError, ModelError, OptionError, StoreError
from salus.guard import Guard
from salus.jobs.guards import fit_bundle

QUICK = {
    "data": "breast-cancer", "attack": "fgsm", "eps": 0.05, "threat_model": "white-box", "defence": "none",
    "samples": 40, "false_alarm_rate": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit's folder, with a model in it."""
    out = tmp_path_factory.mktemp("saved") / "run"
    run_audit(Plan.of({**QUICK, "model": "mlp:hidden=48+24", "training": {"epochs": 20}}), out)
    return out


def test_options_of_a_network_are_read_and_numbers_joined_by_plus_are_a_list() -> None:
    spec = parse_model("ecg-cnn:widths=16+32+64+128,kernels=7+5,dropout=0.1")
    assert isinstance(spec, Network) and spec.name == "ecg-cnn"
    assert spec.options == {"widths": [16, 32, 64, 128], "kernels": [7, 5], "dropout": 0.1}
    assert isinstance(parse_model("ward.models:build"), Factory)
    assert isinstance(parse_model("ward.pt2"), ModelFile)


def test_a_networks_name_goes_before_a_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlp").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(parse_model("mlp"), Network)
    assert isinstance(parse_model("./mlp"), ModelFolder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mpl", "'mpl'; did you mean 'mlp'"),
        ("ecg-cn:widths=16+32", "'ecg-cn'; did you mean 'ecg-cnn'"),
        ("runs/nosuch", "no folder 'runs/nosuch'"),
    ],
)
def test_what_is_no_model_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        parse_model(text)


def test_the_options_reach_the_trained_model_and_what_is_stored_of_it(saved: Path) -> None:
    model = Classifier.load(saved)
    assert model.architecture == {"name": "mlp", "options": {"hidden": [48, 24]}}
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [(48, 30), (24, 48), (2, 24)]
    with pytest.raises(StoreError, match="another model"):
        run_audit(Plan.of({**QUICK, "model": "mlp:hidden=24", "training": {"epochs": 20}}), saved)


def test_a_wrong_option_of_a_network_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for model, words in (("mlp:hiden=3", "hidden"), ("mlp:hidden=a+b", "whole numbers")):
        with pytest.raises(OptionError, match=words):
            run_audit(Plan.of({**QUICK, "model": model}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_saved_model_is_audited_as_it_is_wherever_it_lies(saved: Path, tmp_path: Path) -> None:
    first = run_audit(Plan.of({**QUICK, "model": str(saved)}), tmp_path / "run")
    assert first.meta["model"]["training"] is None
    assert first.meta["model"]["remarks"] == []
    assert first.meta["model"]["fingerprint"] == Classifier.load(saved).fingerprint()
    before = json.loads((saved / "results.json").read_text())["cells"]
    assert [c["robust_accuracy"] for c in first.cells] == [c["robust_accuracy"] for c in before]
    moved = tmp_path / "moved"
    shutil.copytree(saved, moved)
    assert run_audit(Plan.of({**QUICK, "model": str(moved)}), tmp_path / "run").computed == 0


def test_another_saved_model_makes_another_audit(saved: Path, tmp_path: Path) -> None:
    run_audit(Plan.of({**QUICK, "model": str(saved)}), tmp_path / "run")
    other = Classifier.load(saved)
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    other.save(tmp_path / "other")
    with pytest.raises(StoreError, match="another model"):
        run_audit(Plan.of({**QUICK, "model": str(tmp_path / "other")}), tmp_path / "run")


def test_a_saved_model_gets_a_guard_whose_bundle_holds_it(saved: Path, tmp_path: Path) -> None:
    defence = "i-defender:components=1+reformer:epochs=1"
    fit_bundle(Plan.of({**QUICK, "model": str(saved), "defence": defence}), tmp_path / "guard")
    assert not (tmp_path / "guard" / "trainings").exists()  # it was there meanwhile, to go on after a kill
    guard = Guard.load(tmp_path / "guard")
    assert guard.classifier.fingerprint() == Classifier.load(saved).fingerprint()
    assert run_audit(Plan.of({**QUICK, "model": str(tmp_path / "guard")}), tmp_path / "run").failed == 0


def test_a_transfer_attacker_trains_the_same_network(saved: Path, tmp_path: Path) -> None:
    for kind, place in (("data", "substitute"), ("split", "substitute-split-*")):
        plan = {**QUICK, "model": str(saved), "threat_model": "transfer", "substitute": kind}
        assert run_audit(Plan.of(plan), tmp_path / kind).failed == 0
        stand_in = Classifier.load(next((tmp_path / kind).glob(place)))
        assert stand_in.architecture == {"name": "mlp", "options": {"hidden": [48, 24]}}
        assert run_audit(Plan.of(plan), tmp_path / kind).computed == 0


def test_other_test_samples_than_the_models_own_are_remarked_upon(saved: Path, tmp_path: Path) -> None:
    outcome = run_audit(Plan.of({**QUICK, "model": str(saved), "seed": 3}), tmp_path / "run")
    assert any("may be among those it learnt" in remark for remark in outcome.meta["model"]["remarks"])


def test_what_does_not_go_with_a_folder_is_refused(saved: Path, tmp_path: Path) -> None:
    empty, cut = tmp_path / "empty", tmp_path / "cut"
    empty.mkdir()
    shutil.copytree(saved, cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-4])
    for fields, error, words in (
        ({"model": str(saved), "weights": "own.pt"}, OptionError, "has its own"),
        ({"model": str(saved), "training": {"epochs": 2}}, OptionError, "used as it is"),
        (
            {"model": str(saved), "data": "digits"},
            DataError,
            "digits is no input of this model, which takes a CSV file",
        ),
        ({"model": str(saved), "bounds": (-1, 1)}, OptionError, r"\(-1.0, 1.0\) contradicts the model.*\(0.0, 1.0\)"),
        ({"model": str(saved), "poison": "label-flips:share=0.1"}, OptionError, "--poison"),
        ({"model": str(saved), "defence": "attacked-head"}, ModelError, "salus harden ecg-atk-gan"),
        ({"model": str(empty)}, BundleError, "no saved model"),
        ({"model": str(cut)}, BundleError, "truncated"),
        ({"model": str(saved / "model.json")}, OptionError, "name the folder"),
    ):
        if "bounds" in fields:
            fields["data"] = str(_table(tmp_path / "own.npz"))
        with pytest.raises(error, match=words):
            run_audit(Plan.of({**QUICK, **fields}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def _table(path: Path) -> Path:
    import numpy as np

    np.savez(path, x=np.random.default_rng(0).random((120, 30), np.float32), y=np.arange(120) % 2)
    return path


def test_no_scaling_is_learnt_beside_a_model_that_has_none(tmp_path: Path) -> None:
    rows = [f"{i % 7 / 10},{i % 5 / 10},{'ab'[i % 2]}" for i in range(60)]
    own = tmp_path / "own.csv"
    own.write_text("\n".join(["u,v,label", *rows]) + "\n")
    trained = load(own).test.preprocessor
    assert trained is not None
    with pytest.raises(OptionError, match="Option scale True contradicts the model"):
        load_for(trained, own, {"scale": True})
    np.savez(tmp_path / "own.npz", x=load(own).test.x.numpy(), y=load(own).test.y.numpy(), features=["u", "v"])
    x = load_for(trained, tmp_path / "own.npz", {"split": "all"}).test.x
    assert x.tolist() == load(own).test.x.tolist()


def test_results_say_their_form_and_those_of_a_newer_one_are_refused(saved: Path, tmp_path: Path) -> None:
    from salus.report.run_folder import Run

    run_audit(Plan.of({**QUICK, "model": str(saved)}), tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    results = json.loads(path.read_text())
    assert results["form"] == 1 and Run(tmp_path / "run").cells
    path.write_text(json.dumps({key: value for key, value in results.items() if key != "form"}))
    assert Run(tmp_path / "run").cells, "written before forms were numbered"
    path.write_text(json.dumps({**results, "form": 2}))
    with pytest.raises(BundleError, match="has the form 2; this Salus reads up to 1"):
        Run(tmp_path / "run")

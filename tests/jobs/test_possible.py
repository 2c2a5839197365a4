"""Attacks on files of samples that keep to what the features of a table may become, as audits do."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from salus.attacks import parse_attack
from salus.audit.plan import marks
from salus.classifier import Classifier
from salus.cli import main
from salus.data import load
from salus.data.load import load_for
from salus.models import build_model

RANGES = """feature,least,most,step,change,cost_up,cost_down
age,18,110,1,up,5,
crp,0,300,,,0.1,0.2
visits,0,40,2,,3,3
"""


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["age,crp,visits,sex,label"]
    for row in range(240):
        lines.append(
            f"{rng.integers(20, 90)},{rng.uniform(0, 60) + 30 * (row % 2):.1f},{rng.integers(0, 12)},"
            f"{'mf'[row % 3 // 2]},{('well', 'sick')[row % 2]}"
        )
    (tmp_path / "ward.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "ranges.csv").write_text(RANGES)
    return tmp_path / "ward.csv"


@pytest.fixture
def model(ward: Path) -> Path:
    data = load(ward, scale=True, categories="sex").test
    net = build_model("mlp", (5,), 2, {})
    with torch.no_grad():  # by CRP alone
        for parameter in net.parameters():
            parameter.mul_(0.2)
    classifier = Classifier(
        net, data.classes, shape=(5,), architecture={"name": "mlp", "options": {}}, preprocessor=data.preprocessor
    )
    classifier.save(ward.parent / "model")
    return ward.parent / "model"


def _attack(*words: object) -> Result:
    return CliRunner().invoke(main, ["attack", *map(str, words)])


def test_a_file_is_attacked_inside_its_ranges_as_an_audit_attacks_it_and_costs_are_written(
    ward: Path, model: Path, tmp_path: Path
) -> None:
    ranges, out, spec = tmp_path / "ranges.csv", tmp_path / "out", "pgd:eps=0.3,steps=5"
    done = _attack(model, ward, "--attack", spec, "--ranges", ranges, "--out", out)
    assert done.exit_code == 0, done.output
    x_adv = torch.from_numpy(np.load(out / "x_adv.npy"))
    classifier = Classifier.load(model)
    audited = load_for(classifier.preprocessor, ward, {"ranges": ranges, "split": "all"}).test
    expected = parse_attack(spec, **marks(audited))(classifier, audited.x, audited.y)
    assert torch.equal(x_adv, expected)
    assert classifier.preprocessor is not None and audited.ranges is not None
    raw, before = (classifier.preprocessor.inverse(each) for each in (x_adv, audited.x))
    moved = (raw - before).T
    assert bool((moved[0] >= -1e-3).all()) and float((moved[0] - moved[0].round()).abs().max()) < 1e-3
    assert float((moved[2] / 2 - (moved[2] / 2).round()).abs().max()) < 1e-3
    assert torch.equal(x_adv[:, 3:], audited.x[:, 3:]) and bool(moved[1].abs().max() > 1)
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    costs = torch.tensor([float(row["cost"]) for row in rows], dtype=torch.float64)
    assert torch.allclose(costs, audited.ranges.cost(audited.x, x_adv))
    assert costs.max() > 0 and f"Median cost of a sample's changes: {float(np.median(costs)):g}" in done.output
    again = _attack(model, ward, "--attack", spec, "--ranges", ranges, "--out", out)
    assert again.exit_code == 0 and "0 attacked by this run" in again.output
    ranges.write_text(RANGES.replace("0.1,0.2", "0.5,0.2"))
    other = _attack(model, ward, "--attack", spec, "--ranges", ranges, "--out", out)
    assert other.exit_code == 2 and "another attack, model or data" in other.output


def test_prepared_arrays_keep_their_steps_and_whole_numbers(ward: Path, model: Path, tmp_path: Path) -> None:
    data = load(ward, scale=True, categories="sex").test
    np.savez(tmp_path / "x.npz", x=data.x.numpy(), y=np.array([data.classes[k] for k in data.y.tolist()]))
    done = _attack(model, tmp_path / "x.npz", "--attack", "fgsm:eps=0.2", "--ranges", tmp_path / "ranges.csv",
                   "--out", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0 and data.preprocessor is not None, done.output
    moved = data.preprocessor.inverse(torch.from_numpy(np.load(tmp_path / "out" / "x_adv.npy")))
    moved = (moved - data.preprocessor.inverse(data.x))[:, 2] / 2
    assert float((moved - moved.round()).abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("feature,least\nagee,1\n", "the data have no feature 'agee'; did you mean 'age'"),
        ("feature,most\ncrp,20\n", "outside its range"),
        ("feature,change\nage,upward\n", "did you mean 'up'"),
    ],
)
def test_ranges_that_do_not_fit_are_refused_and_nothing_is_written(
    text: str, sentence: str, ward: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "ranges.csv").write_text(text)
    done = _attack(model, ward, "--attack", "fgsm:eps=0.1", "--ranges", tmp_path / "ranges.csv", "--out",
                   tmp_path / "out")  # fmt: skip
    assert done.exit_code == 2 and sentence in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_model_that_names_no_features_refuses_ranges(ward: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"shape": (5,), "architecture": {"name": "mlp", "options": {}}}
    Classifier(build_model("mlp", (5,), 2, {}), ("a", "b"), **options).save(tmp_path / "bare")
    np.savez(tmp_path / "x.npz", x=np.full((4, 5), 0.5, np.float32), y=np.array(["a", "b", "a", "b"]))
    done = _attack(tmp_path / "bare", tmp_path / "x.npz", "--attack", "fgsm:eps=0.1", "--ranges",
                   tmp_path / "ranges.csv", "--out", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 2 and "features by name, and the model in hand names none" in " ".join(done.output.split())

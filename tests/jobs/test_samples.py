"""What an attack is put on: labels by the names of the model's classes, raw things, clean accuracy beside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from salus.attacks import FGSM
from salus.classifier import Classifier
from salus.cli import main
from salus.errors import DataError
from salus.jobs import attack_doubts, read_samples
from salus.preprocessing import TablePreprocessor
from salus.preprocessing.tables import Column


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of twelve classes named 0 to 11, which answers with the place of the largest value."""
    names = tuple(str(number) for number in range(12))
    columns = tuple(Column(f"v{number}") for number in range(12))
    preprocessor = TablePreprocessor(columns=columns).of(classes=names, bounds=(0, 1), shape=(12,))
    classifier = Classifier(
        nn.Linear(12, 12), names, shape=(12,), architecture={"name": "mlp", "options": {}}, preprocessor=preprocessor
    )
    from salus.models import build_model

    classifier.module = build_model("mlp", (12,), 12, {})
    classifier.save(tmp_path / "model")
    return tmp_path / "model"


def samples(model: Path, count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and what the model answers to them."""
    x = np.random.default_rng(0).random((count, 12)).astype(np.float32)
    return x, Classifier.load(model).predict(torch.from_numpy(x)).argmax(1).numpy()


def table(path: Path, x: np.ndarray, labels: list[str]) -> Path:
    header = ",".join([*(f"v{number}" for number in range(12)), "label"])
    rows = [",".join([*(repr(float(value)) for value in row), label]) for row, label in zip(x, labels, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("form", ["{}", "{}.0", "0{}"])
def test_numbers_as_labels_are_the_classes_of_the_same_value_however_they_are_written(
    model: Path, tmp_path: Path, form: str
) -> None:
    x, y = samples(model)
    path = table(tmp_path / "own.csv", x, [form.format(label) for label in y])
    read = read_samples(Classifier.load(model), path)
    assert read.y.tolist() == y.tolist()
    assert read.names[:2] == ("row 1", "row 2")
    result = CliRunner().invoke(
        main, ["attack", str(model), str(path), "--attack", "fgsm:eps=0", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    assert "Unattacked, 24 of 24 samples (100.0%) are answered rightly; attacked, 24 of 24" in result.output
    label, count = Counter(Classifier.load(model).classes[place] for place in y).most_common(1)[0]
    assert f"(always answering '{label}': {100 * count / 24:.1f}%, attacked or not)" in result.output
    assert "WARNING" not in result.output


def test_an_attack_on_a_file_doubts_a_radius_of_other_units_as_an_audit_does(model: Path, tmp_path: Path) -> None:
    x, y = samples(model)
    classifier = Classifier.load(model)
    path = table(tmp_path / "own.csv", x, [classifier.classes[place] for place in y])
    for eps, words in (("0.00001", "was it meant for other bounds?"), ("0.9", "at least half the range of the values")):
        out = str(tmp_path / f"out{eps}")
        result = CliRunner().invoke(
            main, ["attack", str(model), str(path), "--attack", f"fgsm:eps={eps}", "--out", out]
        )
        assert result.exit_code == 0, result.output
        assert f"WARNING: eps = {float(eps):g} (linf) is" in result.output and words in result.output


def test_no_doubt_is_raised_of_samples_that_no_attack_takes(model: Path) -> None:
    classifier = Classifier.load(model)
    x, _ = samples(model)
    for broken in (x[:0], x + 5, x[:, :3], np.full_like(x, np.nan)):
        assert attack_doubts(FGSM(eps=0.9), classifier, broken) == []
    assert len(attack_doubts(FGSM(eps=0.9), classifier, x)) == 1


def test_labels_from_1_to_k_are_not_taken_for_places_from_0(tmp_path: Path, model: Path) -> None:
    classifier = Classifier.load(model)
    x, y = samples(model)
    named = tuple(str(number) for number in range(1, 13))
    classifier.classes = named
    np.savez(tmp_path / "own.npz", x=x, y=y + 1)
    assert read_samples(classifier, tmp_path / "own.npz").y.tolist() == y.tolist(), "classes called 1 to 12"
    classifier.classes = tuple("abcdefghijkl")
    np.savez(tmp_path / "all.npz", x=x, y=np.arange(24) % 12 + 1)
    with pytest.raises(DataError, match=r"counted from 1 .*or from 0"):
        read_samples(classifier, tmp_path / "all.npz")
    np.savez(tmp_path / "column.npz", x=x, y=y[:, None])
    assert read_samples(classifier, tmp_path / "column.npz").y.tolist() == y.tolist()


def test_labels_beside_the_samples_are_found_by_name_and_a_missing_one_is_named(tmp_path: Path, model: Path) -> None:
    classifier = Classifier.load(model)
    x, y = samples(model)
    path = table(tmp_path / "own.csv", x, ["?"] * 24)
    beside = tmp_path / "labels.csv"
    rows = [f"row {number + 1},{label}" for number, label in enumerate(y)]
    beside.write_text("\n".join(["name,label", *reversed(rows)]) + "\n")
    assert read_samples(classifier, path, beside).y.tolist() == y.tolist()
    beside.write_text("\n".join(["name,label", *rows[1:]]) + "\n")
    with pytest.raises(DataError, match="no label for 'row 1'"):
        read_samples(classifier, path, beside)
    with pytest.raises(DataError, match="is no class"):
        read_samples(classifier, table(tmp_path / "wrong.csv", x, ["malignant"] * 24))

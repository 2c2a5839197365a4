"""Saved classifiers: the round trip, and every way in which a folder can be wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from salus.classifier import Classifier, as_logits
from salus.errors import BundleError
from salus.models import build_model

SHAPES = {"mlp": (6,), "ecg-cnn": (1, 40), "small-cnn": (1, 8, 8)}


def make(name: str, **options: Any) -> Classifier:
    module = build_model(name, SHAPES[name], 3, options)
    architecture = {"name": name, "options": options}
    return Classifier(
        module,
        "abc",
        shape=SHAPES[name],
        bounds=(-1, 2),
        name="mine",
        architecture=architecture,
        notes=["a note"],
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make("ecg-cnn", widths=[4, 8]).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_saved_is_what_is_loaded(name: str, tmp_path: Path) -> None:
    model = make(name)
    model.save(tmp_path)
    again = Classifier.load(tmp_path)
    x = torch.rand(4, *SHAPES[name])
    assert torch.equal(again(x), model(x))
    assert again.fingerprint() == model.fingerprint()
    for word in ("name", "classes", "bounds", "shape", "notes", "architecture"):
        assert getattr(again, word) == getattr(model, word)
    assert not again.training


def test_a_classifier_of_probabilities_stays_one(tmp_path: Path) -> None:
    model = as_logits(make("mlp"))
    model.save(tmp_path)
    x = torch.rand(4, 6).abs()
    assert torch.equal(Classifier.load(tmp_path)(x), model(x)) or bool(model(x).isnan().any())


def test_weights_that_share_memory_are_saved(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    Classifier(module, "abc", shape=(3,)).save(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


def test_an_empty_folder_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no saved model"):
        Classifier.load(tmp_path)


def test_missing_weights_are_said(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"model\.safetensors cannot be read"):
        Classifier.load(folder)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip])
def test_damaged_weights_are_said(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "model.safetensors")
    with pytest.raises(BundleError, match="not the file that was saved"):
        Classifier.load(folder)


def test_a_truncated_description_is_said(folder: Path) -> None:
    truncate(folder / "model.json")
    with pytest.raises(BundleError, match="not JSON"):
        Classifier.load(folder)


def edit(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "another"}, "does not describe a Salus classifier"),
        ({"version": 99}, "version 99"),
        ({"classes": ["a"]}, "two classes or more"),
        ({"classes": ["a", "b"]}, "do not fit"),
        ({"classes": [1, 2, 3]}, "must hold words"),
        ({"bounds": [1, 0]}, "the lower first"),
        ({"bounds": ["0", "1"]}, "two numbers"),
        ({"shape": [1, 56]}, "do not fit.*shape"),
        ({"shape": [1, -40]}, "positive whole numbers"),
        ({"shape": "wide"}, "must be a list"),
        ({"sha256": "0" * 64}, "not the file that was saved"),
        ({"sha256": None}, "must be a str"),
        ({"architecture": {"name": "ecg-cmm"}}, "did you mean 'ecg-cnn'"),
        ({"architecture": {"name": "ecg-cnn", "options": {"widths": [4, 9]}}}, "do not fit"),
        ({"architecture": {"name": "ecg-cnn", "options": {"depth": 3}}}, "no option 'depth'"),
        ({"architecture": {"name": "ecg-cnn", "options": 3}}, "must be an object"),
        ({"architecture": []}, "must be an object or null"),
        ({"architecture": {"program": "model.pt2"}}, r"model\.pt2 cannot be read"),
        ({"architecture": {"program": "../../etc/passwd"}}, r"model\.pt2 cannot be read"),
    ],
)
def test_an_edited_description_is_said(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(BundleError, match=message):
        Classifier.load(folder)


def test_weights_with_the_right_hash_that_are_none_are_said(folder: Path) -> None:
    import hashlib

    (folder / "model.safetensors").write_bytes(b"no tensors here")
    edit(folder, sha256=hashlib.sha256(b"no tensors here").hexdigest())
    with pytest.raises(BundleError, match="holds no safetensors"):
        Classifier.load(folder)


def test_code_that_a_file_names_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trojan_of_a_bundle.py").write_text(
        f"import pathlib, torch\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "def build(): return torch.nn.Linear(6, 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = "trojan_of_a_bundle:build"
    model = Classifier(nn.Linear(6, 3), "abc", shape=(6,), architecture={"factory": spec})
    model.save(tmp_path / "model")
    with pytest.raises(BundleError, match="factory="):
        Classifier.load(tmp_path / "model")
    assert not (tmp_path / "ran").exists()
    again = Classifier.load(tmp_path / "model", factory=spec)  # the caller says so
    assert again.fingerprint() == model.fingerprint()
    sys.modules.pop("trojan_of_a_bundle")

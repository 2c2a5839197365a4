"""Trainings kept and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from salus.classifier import Classifier
from salus.models import build_model
from salus.storage import TrainingFolder

Training = tuple[Classifier, dict[str, Any]]


class Trainer:
    """Counts how often it trains."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, checkpoint: Path) -> Training:
        self.count += 1
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text("half way")
        options = {"hidden": [4]}
        module = build_model("mlp", (3,), 2, options)
        architecture = {"name": "mlp", "options": options}
        return Classifier(module, ("a", "b"), shape=(3,), name="mlp", architecture=architecture), {"epochs": self.count}


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


def test_a_classifier_is_trained_once_and_read_back_after_it(trainer: Trainer, tmp_path: Path) -> None:
    place = TrainingFolder(tmp_path / "model")
    assert place.read() is None
    first, facts = place.once(trainer, ["key"])
    again, same = place.once(trainer, ["key"])
    assert trainer.count == 1 and facts == same == {"epochs": 1}
    assert isinstance(again.module, nn.Module) and again.fingerprint() == first.fingerprint()
    assert not place.checkpoint.exists(), "what the training went on from is not needed any more"


def test_what_was_trained_otherwise_is_trained_again(trainer: Trainer, tmp_path: Path) -> None:
    place = TrainingFolder(tmp_path)
    place.once(trainer, {"epochs": 1})
    assert place.once(trainer, {"epochs": 2})[1] == {"epochs": 2}
    assert place.once(trainer)[1] == {"epochs": 2}, "without a key whatever is there is taken"
    (tmp_path / "training.json").unlink()
    assert place.once(trainer)[1] == {} and trainer.count == 2


def test_a_damaged_classifier_is_trained_again_and_it_is_said(
    trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = TrainingFolder(tmp_path, "substitute")
    place.once(trainer, 1)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    place.once(trainer, 1)
    assert trainer.count == 2 and place.read() is not None
    said = " ".join(capsys.readouterr().err.split())
    assert "The stored substitute cannot be used" in said and "it is trained again" in said

"""The classes of a model are the superset, and are matched by name: what the data lack is no error."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from salus.audit import run_audit
from salus.audit.plan import Plan
from salus.data.classes import match_classes
from salus.errors import DataError, ModelError

FAST = {"attack": "fgsm:eps=0.02", "defence": "none", "threat_model": "white-box"}


class Nearest(nn.Module):
    """Answers one of four classes by the first of two features; of images, by the mean grey."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``[N, 4]``."""
        level = x.flatten(1).mean(1, keepdim=True)
        return -40 * (level - torch.tensor([[0.1, 0.35, 0.6, 0.85]])).abs()


def four() -> nn.Module:
    """Build it; named by the plans below."""
    return Nearest()


OWN = f"{__name__}:four"


def table(path: Path, classes: Sequence[str], levels: Sequence[float], count: int = 60) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "label"])
        for row in range(count):
            level = levels[row % len(levels)]
            writer.writerow([*(level + rng.uniform(-0.02, 0.02, 2)), classes[row % len(classes)]])
    return path


def test_a_model_of_four_classes_on_data_that_hold_two_of_them(tmp_path: Path) -> None:
    data = str(table(tmp_path / "own.csv", ["V", "N"], [0.6, 0.1]))
    with pytest.raises(ModelError, match=r"tells 4 classes apart, but the data have 2: N, V\. .*--classes"):
        run_audit(Plan.of({**FAST, "data": data, "model": OWN}), tmp_path / "no")
    done = run_audit(Plan.of({**FAST, "data": data, "model": OWN, "classes": "N,S,V,F"}), tmp_path / "run")
    clean = next(cell for cell in done.cells if cell["attack"] is None)
    assert clean["clean_accuracy"] == 1
    assert done.meta["data"]["classes"] == ["N", "S", "V", "F"]
    assert any("of which these data have no sample: S, F" in note for note in done.meta["data"]["provenance"]["notes"])


def test_a_saved_model_on_data_of_one_class_and_with_its_classes_in_another_order(tmp_path: Path) -> None:
    plan = {**FAST, "model": OWN, "classes": "N,S,V,F"}
    run_audit(Plan.of({**plan, "data": str(table(tmp_path / "own.csv", ["N", "V"], [0.1, 0.6]))}), tmp_path / "run")
    # The folder's model is of code of one's own: its weights, and the names of its classes, come with the plan.
    one = str(table(tmp_path / "one.csv", ["V"], [0.6]))
    done = run_audit(Plan.of({**plan, "data": one}), tmp_path / "one")
    assert next(cell for cell in done.cells if cell["attack"] is None)["clean_accuracy"] == 1


def test_a_folder_of_images_that_lacks_a_class_all_of_it_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, level in (("d", 0.85), ("a", 0.1), ("c", 0.6)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(12):
            grey = rng.integers(int(level * 255) - 4, int(level * 255) + 4, (8, 8), dtype=np.uint8)
            Image.fromarray(grey).save(tmp_path / "scans" / name / f"{number}.png")
    fields = {**FAST, "data": str(tmp_path / "scans"), "split": "all", "model": OWN, "classes": "a,b,c,d"}
    done = run_audit(Plan.of(fields), tmp_path / "run")
    assert next(cell for cell in done.cells if cell["attack"] is None)["clean_accuracy"] == 1


def test_names_are_matched_whatever_their_case_and_numbers_by_value() -> None:
    assert match_classes(["benign", "Malignant"], ["malignant", "Benign"], name="x").tolist() == [1, 0]
    assert match_classes(["10", "2"], ["2.0", "7", "10.0"], name="x").tolist() == [2, 0]
    assert match_classes(["a"], ["A", "a"], name="x").tolist() == [1]
    with pytest.raises(DataError, match="have the class 'nevus', which the model does not know"):
        match_classes(["malignant", "nevus"], ["benign", "malignant"], name="x")
    assert match_classes(["1"], ["benign", "malignant"], name="x").tolist() == [1], "by its value, not its rank"
    with pytest.raises(DataError, match=r"counted from 1 .*or from 0"):
        match_classes(["1", "2"], ["benign", "malignant"], name="x")
    with pytest.raises(DataError, match="'a' and 'A' are both the model's 'a'"):
        match_classes(["a", "A"], ["a", "b"], name="x")


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb, of pandas 3
def test_records_of_two_kinds_of_beats_suit_a_model_of_all_four(
    tmp_path: Path, write_record: Callable[..., np.ndarray]
) -> None:
    for name in "abcdef":
        write_record(tmp_path / "ecg", name, "NNNV")
    fields = {**FAST, "data": str(tmp_path / "ecg"), "split": "all", "model": f"{__name__}:four_of_beats"}
    done = run_audit(Plan.of(fields), tmp_path / "run")
    assert done.failed == 0
    assert done.meta["data"]["classes"] == ["N", "S", "V", "F"]
    assert any("no sample: S, F" in note for note in done.meta["data"]["provenance"]["notes"])
    with pytest.raises(ModelError, match="tells 4 classes apart, but the data have 2"):
        run_audit(Plan.of({**fields, "classes": "N,V"}), tmp_path / "no")


class AlwaysNormal(nn.Module):
    """Answers N, whatever the beat, a little surer of high ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``[N, 4]``."""
        level = x.flatten(1).mean(1, keepdim=True)
        return torch.cat([1 + level, -level, level, -level], dim=1)


def four_of_beats() -> nn.Module:
    """Build it; named by the plan above."""
    return AlwaysNormal()

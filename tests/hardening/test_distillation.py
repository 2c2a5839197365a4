"""Adversarial distillation: what it lowers, that the teacher stays, and which teachers are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn.functional import kl_div, log_softmax

from salus.classifier import Classifier
from salus.cli import main
from salus.hardening import distillation


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(8, 2))


@pytest.fixture
def teacher() -> Classifier:
    return Classifier(network(1), ("a", "b"), shape=(1, 8), bounds=(0.0, 1.0))


def test_a_student_is_drawn_to_what_its_teacher_says_of_the_clean_sample(teacher: Classifier) -> None:
    x, y = torch.rand(6, 1, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 3)
    student = network(2)
    before = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    recipe = distillation(0.1, teacher, alpha=0.7, temperature=2.0, steps=2)
    loss = recipe.step_loss(student, x, y, nn.functional.cross_entropy, 0.5, 3)
    x_adv = replace(recipe.attack, seed=3)(student, x, y)
    apart = kl_div(
        log_softmax(student(x_adv) / 2, 1),
        log_softmax(teacher.module(x) / 2, 1),
        log_target=True,
        reduction="batchmean",
    )
    wanted = 0.7 * 4 * apart + 0.3 * nn.functional.cross_entropy(student(x), y)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.module.state_dict().items())
    # A student that answers attacked samples as the teacher answers clean ones has nothing left to learn.
    nothing = distillation(1e-9, teacher).step_loss(teacher.module, x, y, nn.functional.cross_entropy, 0.0, 0)
    assert float(nothing.detach()) == pytest.approx(0, abs=1e-5)


def test_trainings_from_other_teachers_are_told_apart(teacher: Classifier) -> None:
    other = Classifier(network(3), ("a", "b"), shape=(1, 8), bounds=(0.0, 1.0))
    one = distillation(0.1, teacher)
    assert one.describe() == distillation(0.1, teacher).describe() != distillation(0.1, other).describe()
    assert one.describe() != replace(one, temperature=1.0).describe()


def test_from_the_command_line_a_hardened_classifier_teaches_and_others_are_refused(tmp_path: Path) -> None:
    rng, y = np.random.default_rng(0), np.arange(120) % 2
    x = (0.4 + 0.2 * y[:, None, None] + 0.05 * rng.normal(size=(120, 1, 32))).clip(0, 1).astype(np.float32)
    np.savez(tmp_path / "waves.npz", x=x, y=y, classes=np.array(["a", "b"]))
    np.savez(tmp_path / "others.npz", x=x, y=y, classes=np.array(["a", "c"]))

    def harden(spec: str, out: str, data: str = "waves.npz") -> tuple[int, str]:
        words = ["harden", spec, "--data", str(tmp_path / data), "--model", "ecg-cnn:widths=4+4,kernels=5+3"]
        words += ["--training", "epochs=1", "--out", str(tmp_path / out)]
        result = CliRunner().invoke(main, words)
        return result.exit_code, result.output

    assert harden("single-step:eps=0.02", "robust")[0] == 0
    code, words = harden(f"adversarial-distillation:eps=0.02,steps=1,teacher={tmp_path / 'robust'}", "student")
    assert code == 0, words
    assert Classifier.load(tmp_path / "student").shape == (1, 32)
    code, words = harden(f"adversarial-distillation:eps=0.02,teacher={tmp_path / 'robust'}", "x", "others.npz")
    assert code == 2
    assert "other classes than these data" in " ".join(words.split())
    code, words = harden(f"adversarial-distillation:eps=0.02,teacher={tmp_path / 'nobody'}", "x")
    assert code == 2
    assert "nobody" in words.replace("\n", "")
    assert not (tmp_path / "x").exists()

"""Defensive distillation: what a teacher's answers are at a temperature, and how well it hides and holds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset, Provenance, Splits
from salus.hardening import AtTemperature, build_method
from salus.hardening.base import HardeningTask
from salus.training import TrainingOptions


def points(count: int, seed: int = 0) -> Dataset:
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    x = torch.rand(count, 16, generator=rng)
    x[:, :4] = 0.5 + 0.1 * (2 * y[:, None] - 1) + 0.08 * torch.randn(count, 4, generator=rng)
    return Dataset(x.clamp(0, 1), y, ("a", "b"), Provenance("points", "made here"))


def zero(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, y)


def test_a_student_learns_the_teacher_s_answers_at_the_temperature() -> None:
    teacher = Classifier(nn.Linear(3, 2), ("a", "b"), shape=(3,))
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)
    recipe = AtTemperature(temperature=4.0, teacher=teacher)
    answers = (teacher.predict(x) / 4).softmax(1)
    entropy = float(-(answers * answers.log()).sum(1).mean())
    assert float(recipe.step_loss(teacher.module, x, y, zero, 0.0, 0).detach()) == pytest.approx(entropy, rel=1e-5)
    student = nn.Linear(3, 2)
    assert float(recipe.step_loss(student, x, y, zero, 0.0, 0).detach()) >= entropy
    without = AtTemperature(temperature=4.0).step_loss(student, x, y, zero, 0.0, 0)
    assert float(without.detach()) == pytest.approx(float(zero(student(x) / 4, y).detach()))
    assert recipe.describe() != AtTemperature(temperature=4.0).describe()


def test_it_hides_the_gradient_of_a_probability_and_not_that_of_an_attack(tmp_path: Path) -> None:
    splits = Splits(points(400), points(100, 1), points(40, 2), points(200, 3))
    method = build_method("defensive-distillation", {"temperature": 20})
    training = TrainingOptions(epochs=25, patience=25, learning_rate=1e-2, batch_size=32, keep="last")
    task = HardeningTask(network="mlp", training=training)
    student, facts = method.train(splits, task, tmp_path, lambda line: None)
    x, y = splits.test.x, splits.test.y
    assert float((student.predict(x).argmax(1) == y).double().mean()) > 0.9
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(student(point), y, reduction="sum"), point)
    assert float((slope.abs().amax(1) < 1e-4).double().mean()) > 0.3, "so sure that the loss is flat"
    fooled = student.predict(PGD(eps=0.15, steps=20)(student, x, y)).argmax(1) != y
    assert float(fooled.double().mean()) > 0.8
    assert facts["teacher"]["epochs"] == 25 and "temperature 20" in facts["training"]["recipe"]
    again, _ = method.train(splits, task, tmp_path, lambda line: None)
    assert again.fingerprint() == student.fingerprint(), "killed afterwards it reads both trainings"

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salus.detectors import ReferenceScores
from salus.errors import CalibrationError

if TYPE_CHECKING:
    from conftest import Toy


def reference(n: int = 3000, classes: int = 3, seed: int = 0) -> ReferenceScores:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return ReferenceScores.fit(torch.randn(n, generator=generator) + labels * 10.0, labels, classes)


@given(st.integers(1, 2000), st.integers(0, 5), st.sampled_from([1e-3, 1.0, 1e5]))
def test_suspicion_rises_strictly_with_the_score_and_never_is_nan(n: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, generator=generator) * scale
    made = ReferenceScores.fit(scores, torch.zeros(n, dtype=torch.int64), 1)
    probe = torch.linspace(-6 * scale, 60 * scale, 500)
    suspicion = made.suspicion(probe, torch.zeros(500, dtype=torch.int64))
    assert suspicion.isfinite().all()
    assert (suspicion.diff() > -1e-6).all()
    assert suspicion[-1] > suspicion[0]


def test_suspicion_is_minus_log_of_the_share_of_references_at_least_as_high() -> None:
    scores = torch.arange(1.0, 100.0)  # 99 references
    made = ReferenceScores.fit(scores, torch.zeros(99, dtype=torch.int64), 1)
    got = made.suspicion(torch.tensor([99.0, 90.0, 1.0]), torch.zeros(3, dtype=torch.int64))
    assert torch.allclose(got, torch.tensor([-math.log(1 / 100), -math.log(10 / 100), -math.log(99 / 100)]), atol=1e-4)


def test_each_class_is_measured_against_its_own_references() -> None:
    made = reference()
    same = made.suspicion(torch.tensor([0.0, 10.0, 20.0]), torch.tensor([0, 1, 2]))
    assert float(same.max() - same.min()) < 0.5
    assert made.suspicion(torch.tensor([20.0]), torch.tensor([0])) > made.suspicion(
        torch.tensor([20.0]), torch.tensor([2])
    )


def test_a_class_without_references_uses_all_of_them() -> None:
    scores, labels = torch.randn(50), torch.zeros(50, dtype=torch.int64)
    made = ReferenceScores.fit(scores, labels, 2)
    probe = torch.randn(20)
    zeros, ones = torch.zeros(20, dtype=torch.int64), torch.ones(20, dtype=torch.int64)
    assert torch.equal(made.suspicion(probe, zeros), made.suspicion(probe, ones))


def test_suspicion_has_a_gradient_far_outside_the_references() -> None:
    score = torch.tensor([1e4], requires_grad=True)
    reference().suspicion(score, torch.tensor([0])).sum().backward()
    assert score.grad is not None and float(score.grad) > 0


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_the_false_alarm_rate_holds_on_fresh_clean_samples(toy: Toy, rate: float) -> None:
    guard = toy.guard(rate)
    # The expected rate is at most `rate`; with 300 calibration and 600 fresh samples its spread is known.
    fresh = torch.cat([toy.test.x, toy.test.x])
    found = float((~guard(fresh).accepted).float().mean())
    spread = math.sqrt(rate * (1 - rate) * (1 / 300 + 1 / 300))
    assert found <= rate + 4 * spread


def test_too_few_samples_are_refused_with_the_smallest_rate_they_carry(toy: Toy) -> None:
    detector = toy.guard().detectors[0]
    with pytest.raises(CalibrationError, match=r"smallest rate they carry is 0\.0477"):
        detector.calibrate(toy.calibration.x[:40], 0.01)
    detector.calibrate(toy.calibration.x[:40], 0.0477)
    assert bool(detector.detect(torch.rand(500, 8)).any()), "a calibrated detector can fire"
    toy.guard()  # leave no half-calibrated detector behind


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0])
def test_a_rate_that_is_none_is_refused(toy: Toy, rate: float) -> None:
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        toy.guard().detectors[0].calibrate(toy.calibration.x, rate)

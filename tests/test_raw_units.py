"""Attacks in raw units, grey levels and millivolts, through preparing: what they find, the guard is fooled by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset
from salus.data.base import Provenance
from salus.detectors import DETECTORS
from salus.errors import DataError, OptionError
from salus.guard import Guard
from salus.preprocessing import ImagePreprocessor, Preprocessor, RecordingPreprocessor, TablePreprocessor
from salus.preprocessing.beats import WINDOW
from salus.preprocessing.tables import Column
from salus.raw_units import RawGuard
from salus.threats.objectives import ClassConsistent, GuardObjective


def _guard(preprocessor: Preprocessor, raw: Tensor, y: Tensor) -> Guard:
    """A small guard, trained on some raw inputs and calibrated on the rest."""
    x = preprocessor.transform(raw).x
    shape, half = tuple(x.shape[1:]), len(x) // 2
    preprocessor = preprocessor.of(classes=("well", "sick"), bounds=(0.0, 1.0), shape=shape)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x[:half]), y[:half]).backward()
        optimizer.step()
    classifier = Classifier(module, ("well", "sick"), shape=shape, preprocessor=preprocessor)
    guard = Guard(classifier, [DETECTORS.build("mahalanobis", {})])
    train, calibration = (
        Dataset(x=part, y=labels, classes=classifier.classes, provenance=Provenance("toy", "toy"))
        for part, labels in ((x[:half], y[:half]), (x[half:], y[half:]))
    )
    return guard.fit(train, calibration, 0.05)


@pytest.fixture(scope="module")
def images() -> tuple[Guard, Tensor, Tensor]:
    """Grey levels of 20x24 pixels, prepared to 8x8; the sick ones are brighter on the left."""
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 2, 240))
    levels = torch.from_numpy(rng.integers(60, 180, (240, 1, 20, 24))).float()
    levels[y == 1, :, :, :12] += 25
    return _guard(ImagePreprocessor(shape=(1, 8, 8), resized=True), levels, y), levels[:60], y[:60]


@pytest.fixture(scope="module")
def beats() -> tuple[Guard, Tensor, Tensor]:
    """Windows in mV; the sick ones have a wide second wave."""
    rng = np.random.default_rng(1)
    time = np.arange(WINDOW)
    y = torch.from_numpy(rng.integers(0, 2, 240))
    spike = np.exp(-(((time - 140) / 6.0) ** 2))
    wave = np.exp(-(((time - 200) / 25.0) ** 2))
    noise = rng.normal(0, 0.04, (240, WINDOW))
    height = rng.uniform(0.9, 1.4, (240, 1))
    windows = torch.from_numpy(height * (spike + 0.35 * wave * y.numpy()[:, None]) + noise - 0.2).float()[:, None]
    return _guard(RecordingPreprocessor(leads=("MLII",)), windows, y), windows[:60], y[:60]


@pytest.mark.parametrize(("kind", "eps"), [("images", 25.0), ("beats", 0.15)])
def test_what_pgd_finds_in_raw_units_is_accepted_and_wrong_when_the_raw_thing_is_judged(
    kind: str, eps: float, request: pytest.FixtureRequest
) -> None:
    guard, raw, y = request.getfixturevalue(kind)
    victim = RawGuard(guard)
    attack = PGD(eps=eps, steps=60, restarts=2, bounds=victim.bounds, targeted=True)
    result = attack.run(ClassConsistent(victim, weight=None), raw, 1 - y)
    clean = guard.judge(raw).verdict
    assert clean is not None and float(((clean.answers == y) & clean.accepted).float().mean()) > 0.8
    assert int(result.success.sum()) >= 10
    assert float((result.x_adv.double() - raw.double()).abs().max()) <= eps
    judged = guard.judge(result.x_adv).verdict
    assert judged is not None
    fooled = judged.accepted & (judged.labels != y)
    assert bool((fooled == result.success).all())


def test_most_of_what_fools_in_grey_levels_still_does_as_a_file(
    images: tuple[Guard, Tensor, Tensor], tmp_path: Path
) -> None:
    guard, raw, y = images
    attack = PGD(eps=25.0, steps=60, restarts=2, bounds=(0.0, 255.0))
    result = attack.run(GuardObjective(RawGuard(guard), weight=0.5), raw, y)
    for row in result.success.nonzero()[:, 0].tolist():
        levels = result.x_adv[row, 0].round().to(torch.uint8).numpy()
        Image.fromarray(levels).save(tmp_path / f"{row:03}.png")
    judgement = guard.judge(tmp_path)
    assert judgement.verdict is not None and len(judgement.names) == int(result.success.sum())
    fooled = judgement.verdict.accepted & (judgement.verdict.labels != y[result.success])
    assert float(fooled.float().mean()) > 0.6


def test_a_raw_guard_gives_the_verdicts_of_the_guard_and_stands_beside_it(beats: tuple[Guard, Tensor, Tensor]) -> None:
    guard, raw, _ = beats
    x = RecordingPreprocessor(leads=("MLII",)).transform(raw).x
    torch.testing.assert_close(RawGuard(guard)(raw).probabilities, guard(x).probabilities)
    torch.testing.assert_close(RawGuard(guard).chances(raw), guard.chances(x))
    assert guard.bounds == (0.0, 1.0) and RawGuard(guard).bounds == (-10.0, 10.0)
    flat = raw.clone()
    flat[3] = 0.5
    with pytest.raises(DataError, match="window 4 is flat"):
        RawGuard(guard)(flat)


def test_tables_whose_features_have_units_of_their_own_are_refused() -> None:
    classifier = Classifier(nn.Linear(2, 2), ("a", "b"), shape=(2,))
    with pytest.raises(OptionError, match="is not known"):
        RawGuard(Guard(classifier))
    classifier.preprocessor = TablePreprocessor(columns=(Column("age"), Column("dose"))).of(
        classes=("a", "b"), bounds=(0.0, 1.0), shape=(2,)
    )
    with pytest.raises(OptionError, match="no unit in common"):
        RawGuard(Guard(classifier))

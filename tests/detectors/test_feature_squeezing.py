"""Feature squeezing, beside SciPy's median filter and the formula worked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import median_filter
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.detectors import FeatureSqueezing
from salus.detectors.feature_squeezing import median
from salus.errors import OptionError

if TYPE_CHECKING:
    from conftest import Toy


@given(st.integers(2, 7), st.integers(7, 20), st.integers(7, 12), st.booleans(), st.integers(0, 99))
def test_the_median_is_scipys(width: int, height: int, length: int, image: bool, seed: int) -> None:
    sides = (height, length) if image else (length,)
    x = torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(seed))
    expected = median_filter(x.numpy(), size=(1, 1, *[width] * len(sides)), mode="reflect")
    assert np.array_equal(median(x, width).numpy(), expected)


def signals(bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[Classifier, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(40, 3))
        x = torch.rand(20, 2, 20) * (bounds[1] - bounds[0]) + bounds[0]
    return Classifier(module, ("a", "b", "c"), shape=(2, 20), bounds=bounds, name="signals"), x


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 2.0)])
def test_the_score_is_the_largest_l1_distance_between_softmaxes(bounds: tuple[float, float]) -> None:
    classifier, x = signals(bounds)
    detector = FeatureSqueezing(bits=(1, 3), windows=(3, 4)).fit(classifier, x, torch.zeros(20, dtype=torch.int64))
    low, high = bounds
    squeezed = [
        ((x - low) / (high - low) * (2**bits - 1)).round() / (2**bits - 1) * (high - low) + low for bits in (1, 3)
    ]
    squeezed += [torch.from_numpy(median_filter(x.numpy(), size=(1, 1, width), mode="reflect")) for width in (3, 4)]
    before = classifier(x).softmax(1)
    expected = torch.stack([(classifier(each).softmax(1) - before).abs().sum(1) for each in squeezed]).amax(0)
    got = detector.score(x)
    torch.testing.assert_close(got, expected)
    assert float(got.detach().amin()) >= 0 and float(got.detach().amax()) <= 2


def test_rounding_has_the_gradient_of_the_identity_and_the_median_that_of_the_value_it_chose() -> None:
    classifier, x = signals()
    rounding = FeatureSqueezing(bits=(2,), windows=(3,)).fit(classifier, x, torch.zeros(20, dtype=torch.int64))
    x.requires_grad_()
    rounded, smoothed = rounding.squeezed(x)
    assert set((rounded.detach() * 3).round().unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    (gradient,) = torch.autograd.grad(rounded.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))
    (gradient,) = torch.autograd.grad(smoothed.sum(), x)
    assert float(gradient.sum()) == smoothed.numel()
    assert bool((gradient >= 0).all()) and float(gradient.amax()) > 1


def test_tables_are_rounded_alone_signals_and_images_smoothed_too(toy: Toy) -> None:
    table = FeatureSqueezing().fit(toy.classifier, toy.train.x, toy.train.y)
    assert len(table.squeezed(toy.test.x)) == 1
    assert "medians" not in table.describe()
    classifier, x = signals()
    signal = FeatureSqueezing().fit(classifier, x, torch.zeros(20, dtype=torch.int64))
    assert len(signal.squeezed(x)) == 2
    assert "medians of 3" in signal.describe()
    image = FeatureSqueezing(windows="2+3")  # type: ignore[arg-type] # as the command line hands it on
    image.classifier_ = classifier
    assert [each.shape for each in image.squeezed(torch.rand(2, 3, 8, 9))] == [(2, 3, 8, 9)] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bits": 0}, "bits must be whole numbers from 1 to 16"),
        ({"bits": "5+x"}, "bits must be whole numbers"),
        ({"bits": 4.5}, "bits must be whole numbers"),
        ({"bits": ()}, "bits must be whole numbers"),
        ({"windows": 1}, "windows must be whole numbers from 2 up"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        FeatureSqueezing(**options)


def test_windows_that_do_not_fit_the_samples_are_refused(toy: Toy) -> None:
    with pytest.raises(OptionError, match="a table has no neighbouring values; leave windows out"):
        FeatureSqueezing(windows=(3,)).fit(toy.classifier, toy.train.x, toy.train.y)
    classifier, x = signals()
    with pytest.raises(OptionError, match=r"a window of 21 is wider than samples \[20\]"):
        FeatureSqueezing(windows=(21,)).fit(classifier, x, torch.zeros(20, dtype=torch.int64))

"""The online alternate generator: an image like the input, the same each time, each on its own."""

from __future__ import annotations

import pytest
import torch

from salus.errors import ModelError, OptionError
from salus.purifiers import AlternateGenerator, build_purifier


def images(count: int = 3) -> torch.Tensor:
    coarse = torch.rand(count, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (18, 23), mode="bilinear").clamp(0, 1)


def test_it_comes_nearer_to_the_input_with_each_turn_and_smooths_fine_noise() -> None:
    x = images()
    apart = [float((AlternateGenerator(steps=steps).purify(x) - x).abs().mean()) for steps in (1, 20, 120)]
    assert apart[0] > apart[1] > apart[2] and apart[2] < 0.1
    noise = 0.1 * (2 * torch.randint(2, x.shape, generator=torch.Generator().manual_seed(1)) - 1)
    noisy = (x + noise).clamp(0, 1)
    made = AlternateGenerator(steps=60).purify(noisy)
    assert float((made - x).square().mean()) < float((noisy - x).square().mean())


def test_an_image_s_copy_does_not_depend_on_its_neighbours_and_is_the_same_each_time() -> None:
    x, purifier = images(5), AlternateGenerator(steps=10, width=4)
    whole = purifier.purify(x)
    torch.testing.assert_close(purifier.purify(x[3:4]), whole[3:4], atol=1e-3, rtol=0)
    assert torch.equal(purifier.purify(x), whole) and not purifier.random
    assert not torch.allclose(AlternateGenerator(steps=10, width=4, seed=1).purify(x), whole, atol=1e-3)
    with torch.inference_mode():
        torch.testing.assert_close(purifier.purify(x), whole, atol=1e-3, rtol=0)


def test_attackers_pass_it_as_the_identity() -> None:
    x = images(2).requires_grad_()
    (outcome,) = AlternateGenerator(steps=2, width=2).outcomes(x)
    (slope,) = torch.autograd.grad(outcome.sum(), x)
    assert torch.equal(slope, torch.ones_like(x))


def test_bounds_are_kept_and_what_is_no_image_is_refused() -> None:
    x = 4 * images() - 2
    made = AlternateGenerator(steps=3, bounds=(-2.0, 2.0)).purify(x)
    assert float(made.min()) >= -2 and float(made.max()) <= 2 and made.shape == x.shape
    with pytest.raises(ModelError, match="images"):
        AlternateGenerator().purify(torch.rand(2, 7))
    with pytest.raises(OptionError, match="steps"):
        build_purifier("alternate-generator", {"steps": 0})
    settings = build_purifier("alternate-generator", {"steps": 7}).settings()
    assert settings["steps"] == 7 and AlternateGenerator(**settings).settings() == settings

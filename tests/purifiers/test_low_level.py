from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from salus.audit import Plan
from salus.classifier import Classifier
from salus.errors import ModelError, OptionError
from salus.guard import Guard
from salus.purifiers import LowLevel, build_purifier

Image = pytest.importorskip("PIL.Image")

RNG = torch.Generator().manual_seed(0)
X = torch.nn.functional.interpolate(torch.rand(12, 3, 6, 6, generator=RNG), size=(24, 24), mode="bilinear")


def test_it_does_what_pillow_does_and_mirrors_afterwards() -> None:
    purified = LowLevel(quality=30).purify(X)
    for x, seen in zip(X, purified, strict=True):
        content = BytesIO()
        levels = (x * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(levels).save(content, "WEBP", quality=30)
        expected = np.asarray(Image.open(content).convert("RGB"))[:, ::-1]
        assert (np.round(seen.permute(1, 2, 0).numpy() * 255) == expected).all()


def test_each_half_alone() -> None:
    both, webp, flip = LowLevel(), LowLevel(flip=False), LowLevel(webp=False)
    assert torch.equal(flip.purify(X), X.flip(-1))
    assert torch.equal(both.purify(X), webp.purify(X).flip(-1))
    change = [float((LowLevel(quality=q, flip=False).purify(X) - X).abs().mean()) for q in (5, 50, 95)]
    assert change[0] > change[1] > change[2] > 0


def test_an_image_is_purified_alike_whatever_stands_beside_it() -> None:
    purifier = LowLevel(quality=40)
    whole = purifier.purify(X)
    assert torch.equal(whole, purifier.purify(X))
    assert torch.equal(whole[[7, 2]], purifier.purify(X[[7, 2]]))
    assert purifier.purify(X[:0]).shape == (0, 3, 24, 24)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 33)])
def test_odd_sizes_and_one_three_or_four_channels_keep_their_shape(channels: int, size: tuple[int, int]) -> None:
    smooth = torch.linspace(0.2, 0.8, size[1]).expand(2, channels, *size).contiguous()
    before = smooth.clone()
    purified = LowLevel(quality=90).purify(smooth)
    assert torch.equal(smooth, before)
    assert purified.shape == smooth.shape
    assert purified.dtype == torch.float32
    assert float((purified - smooth.flip(-1)).abs().max()) < 0.08


@pytest.mark.parametrize("quality", [50, 80])
def test_the_surrogate_lets_through_what_compression_does(quality: int) -> None:
    purifier = LowLevel(quality=quality)
    x = torch.nn.functional.interpolate(torch.rand(40, 3, 8, 8, generator=RNG), size=(64, 64), mode="bicubic")
    x = x.clamp(0.05, 0.95)
    for colour, block in ((False, 1), (False, 16), (True, 1), (True, 16)):
        signs = torch.randn(40, 1, 64 // block, 64 // block, generator=RNG).sign()
        change = signs.repeat_interleave(block, 2).repeat_interleave(block, 3) * 4 / 255
        change = change * torch.tensor([1, -0.5, -0.04] if colour else [1.0, 1.0, 1.0])[:, None, None]
        shares = []
        for process in (purifier.purify, purifier.surrogate):
            came = (process(x + change) - process(x)).flip(-1)
            shares.append(float((came * change).sum() / change.square().sum()))
        assert shares[1] == pytest.approx(shares[0], abs=0.25)
        if block == 16:
            assert shares[1] > 0.6
        elif colour:
            assert shares[1] < 0.2  # of which a gradient without a model of compression knows nothing


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5)])
def test_the_surrogate_of_a_flat_image_is_the_image(channels: int, size: tuple[int, int]) -> None:
    flat = torch.full((2, channels, *size), 0.4)
    assert torch.allclose(LowLevel(quality=10).surrogate(flat), flat, atol=1e-3)
    if channels == 4:
        flat[:, 3] = torch.rand(size, generator=RNG)
        assert torch.equal(LowLevel(quality=10).surrogate(flat)[:, 3], flat[:, 3].flip(-1))


def test_alpha_is_kept_and_so_are_colours_under_it() -> None:
    x = torch.cat([X, torch.zeros(12, 1, 24, 24)], 1)
    x[:, 3, :, :12] = torch.linspace(0, 1, 12)
    purified = LowLevel(quality=90, flip=False).purify(x)
    assert torch.equal((purified[:, 3] * 255).round(), (x[:, 3] * 255).round())
    assert float((purified[:, :3] - X).abs().mean()) < 0.05


def test_values_stay_inside_other_bounds_and_mean_the_same_there() -> None:
    wide = LowLevel(bounds=(-3.0, 0.1)).purify(X * 3.1 - 3)
    assert float(wide.min()) >= -3
    assert float(wide.max()) <= 0.1
    assert torch.allclose((wide + 3) / 3.1, LowLevel().purify(X), atol=1e-5)


def test_what_is_no_image_is_refused() -> None:
    for shape in ((4, 8), (4, 1, 280), (4, 2, 8, 8)):
        with pytest.raises(ModelError, match=r"takes images \[N, C, H, W\] with C of 1, 3 or 4"):
            LowLevel().purify(torch.rand(shape))
    with pytest.raises(ModelError, match="takes images"):
        LowLevel().purify(torch.zeros(1, 1, 1, 16_384))


def test_options_that_make_no_sense_are_refused() -> None:
    for quality in (-1, 101, 50.0, True, "high"):
        with pytest.raises(OptionError, match="quality must be a whole number from 0 to 100"):
            LowLevel(quality=quality)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="flip must be true or false"):
        LowLevel(flip=1)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="changes nothing"):
        LowLevel(flip=False, webp=False)
    with pytest.raises(OptionError, match="no option 'qualty'; did you mean 'quality'"):
        build_purifier("low-level", {"qualty": 5})
    with pytest.raises(OptionError, match="'low-level' has the bounds of the data; leave bounds out"):
        build_purifier("low-level", {"bounds": (0.0, 2.0)})


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(OptionError, match=r"pip install 'salus\[images\]'"):
        LowLevel()
    LowLevel(webp=False)


class _Left(nn.Module):
    """Class 1 for images whose left half is the brighter one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x[..., :12].mean((1, 2, 3)), x[..., 12:].mean((1, 2, 3))
        return torch.stack([right, left], 1) * 10


@pytest.fixture
def guard() -> Guard:
    classifier = Classifier(_Left(), ("right", "left"), shape=(3, 24, 24))
    return Guard(classifier, (), build_purifier("low-level", {"quality": 60, "flip": True}))


def test_a_guard_sees_the_mirror_image_and_attackers_the_mirrored_gradient(guard: Guard) -> None:
    assert torch.equal(guard(X).labels, 1 - guard.classifier.predict(X).argmax(1))
    x = X.clone().requires_grad_()
    view = guard.view(x)
    assert torch.allclose(view.logits, guard.classifier(guard.purifier.purify(X)), atol=1e-5)  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(view.logits[:, 1].sum(), x)
    left, right = gradient.sum(1)[..., :12], gradient.sum(1)[..., 12:]
    assert (
        float(right.mean()) > 10 * abs(float(left.mean())) > 0
    )  # the right half, which is the left one after the flip


def test_a_bundle_keeps_it(tmp_path: Path) -> None:
    from salus.models import build_model

    module = build_model("small-cnn", (3, 24, 24), 2)
    own = Classifier(
        module, ("a", "b"), shape=(3, 24, 24), architecture={"name": "small-cnn", "options": {}}, name="small-cnn"
    )
    made = Guard(own, (), LowLevel(quality=20, flip=False))
    made.save(tmp_path / "bundle")
    loaded = Guard.load(tmp_path / "bundle")
    assert loaded.purifier is not None
    assert loaded.purifier.settings() == {"quality": 20, "flip": False, "webp": True, "bounds": [0.0, 1.0]}
    assert torch.equal(loaded(X).probabilities, made(X).probabilities)


def test_the_command_line_knows_it() -> None:
    plan = Plan.of({"data": "digits", "defence": "low-level:quality=50,flip=true"})
    assert [defence.parts for defence in plan.defences()] == [(("low-level", {"quality": 50, "flip": True}),)]

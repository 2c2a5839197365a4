from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from salus.models.wgan import WGANCritic, WGANGenerator, _Cut, _ToFewChannels

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (2, 30, 21), (1, 8, 8), (1, 280), (2, 187), (1, 1), (30,), (1,)]


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_of_any_shape_lie_between_0_and_1_and_are_scored_once_each(shape: tuple[int, ...]) -> None:
    made = WGANGenerator(shape, latent=6, width=4)(torch.randn(3, 6)).detach()
    assert made.shape == (3, *shape)
    assert float(made.min()) > 0 and float(made.max()) < 1
    assert WGANCritic(shape, width=4)(made).shape == (3,)


def test_the_networks_for_mnist_are_those_of_the_released_code() -> None:
    generator, critic = WGANGenerator((1, 28, 28)), WGANCritic((1, 28, 28))
    sizes: list[Any] = [(part.in_channels, part.out_channels, part.kernel_size) for part in generator.doublings]
    assert sizes == [(256, 128, (5, 5)), (128, 64, (5, 5)), (64, 1, (5, 5))]
    by_hand = (128 + 1) * 4 * 4 * 256 + (256 * 25 + 1) * 128 + (128 * 25 + 1) * 64 + (64 * 25 + 1)
    # a transposed convolution has one bias a channel that leaves it
    assert sum(weight.numel() for weight in generator.parameters()) == by_hand
    by_hand = (25 + 1) * 64 + (64 * 25 + 1) * 128 + (128 * 25 + 1) * 256 + 4 * 4 * 256 + 1
    assert sum(weight.numel() for weight in critic.parameters()) == by_hand


def test_the_first_doubling_is_cut_to_a_quarter_of_the_image() -> None:
    generator = WGANGenerator((1, 28, 28), latent=4, width=2)
    seen = []
    for part in generator.doublings:
        part.register_forward_pre_hook(lambda part, given: seen.append(tuple(given[0].shape[2:])))
    generator(torch.randn(1, 4))
    assert seen == [(4, 4), (7, 7), (14, 14)]


@pytest.mark.parametrize(("axis", "size"), [((5, 2, 2, 1), (7, 9)), ((1, 1, 0, 0), (1, 9))])
def test_the_last_layer_is_a_transposed_convolution_however_it_is_computed(
    axis: tuple[int, ...], size: tuple[int, int]
) -> None:
    form: list[Any] = [(one, other) for one, other in zip(axis, (5, 2, 2, 1), strict=True)]
    layer = _ToFewChannels(6, 3, *form)
    x = torch.randn(2, 6, *size)
    assert torch.allclose(layer(x), nn.ConvTranspose2d.forward(layer, x), atol=1e-5)


@pytest.mark.parametrize("rows", [3, 200])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_layer_that_is_cut_is_a_transposed_convolution_however_it_is_computed(rows: int, precision: str) -> None:
    assert isinstance(WGANGenerator((1, 28, 28), latent=4, width=2).doublings[0], _Cut)
    layer = _Cut(6, 4, 5, 2, 2, 1)
    x = torch.randn(rows, 6, 4, 5, requires_grad=True)
    weigh = torch.randn(rows, 4, 7, 9)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        made, plain = layer(x), nn.ConvTranspose2d.forward(layer, x)[..., :-1, :-1]
    close: dict[str, Any] = {"rtol": 0.05, "atol": 0.05} if precision == "bfloat16" else {"rtol": 1e-4, "atol": 1e-4}
    assert made.dtype == plain.dtype
    torch.testing.assert_close(made, plain, **close)
    wanted = (x, *layer.parameters())
    mine, theirs = (torch.autograd.grad((weigh * one).sum(), wanted) for one in (made, plain))
    for one, other in zip(mine, theirs, strict=True):
        size = float(other.abs().max())
        torch.testing.assert_close(one / size, other / size, **close)


def test_weights_have_the_variance_of_the_released_code() -> None:
    generator, critic = WGANGenerator((1, 28, 28), width=16), WGANCritic((1, 28, 28), width=16)
    weight: Any
    for weight, variance in (
        (generator.seed.weight, 2 / (128 + 4 * 4 * 64)),
        (generator.doublings[0].weight, 4 / (64 * 25 / 4 + 32 * 25)),
        (critic.halvings[1].weight, 4 / (16 * 25 + 32 * 25 / 4)),
    ):
        assert float(weight.detach().var()) == pytest.approx(variance, rel=0.05)
        assert float(weight.detach().abs().max()) <= math.sqrt(3 * variance), "uniform"


def test_a_sample_does_not_depend_on_its_batch() -> None:
    generator, z = WGANGenerator((1, 40), latent=8, width=4), torch.randn(9, 8)
    assert torch.allclose(generator(z)[4:5], generator(z[4:5]), atol=1e-6)

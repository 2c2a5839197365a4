"""The autoencoders of MultiMagNet's released code: their forms, counted as Keras counts them, and computed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from salus.errors import ModelError
from salus.models.autoencoders import AutoencoderSpec, build_autoencoder
from salus.models.released_autoencoders import FAMILIES, RELEASED_CIFAR10, RELEASED_MNIST

SHAPES = {"multimagnet-mnist": (1, 28, 28), "multimagnet-cifar10": (3, 32, 32)}


@pytest.mark.parametrize("family", SHAPES)
def test_each_family_has_ten_that_reconstruct_inside_the_range(family: Any) -> None:
    specs = FAMILIES[family]["image"]
    assert len(specs) == len({spec.name for spec in specs}) == 10
    torch.manual_seed(0)
    x = torch.rand(3, *SHAPES[family], requires_grad=True)
    for spec in specs:
        made = build_autoencoder(SHAPES[family], spec).eval()(x)
        assert made.shape == x.shape and bool(((made >= 0) & (made <= 1)).all())
        (gradient,) = torch.autograd.grad(made[0].sum(), x)
        assert bool(gradient.isfinite().all()) and float(gradient[1:].abs().max()) == 0.0


def test_they_have_as_many_weights_as_keras_counts() -> None:
    def count(spec: AutoencoderSpec, shape: tuple[int, ...]) -> int:
        return sum(weight.numel() for weight in build_autoencoder(shape, spec).parameters())

    def conv(before: int, after: int) -> int:
        return 9 * before * after + after

    first = conv(3, 16) + conv(16, 32) + 2 * conv(32, 32) + conv(32, 32) + conv(32, 16) + conv(16, 3)
    assert count(RELEASED_CIFAR10[0], (3, 32, 32)) == first + 2 * 3
    second = conv(3, 32) + 3 * conv(32, 32) + conv(32, 3) + 2 * 4 * 32
    assert count(RELEASED_CIFAR10[1], (3, 32, 32)) == second + 2 * 3
    assert count(RELEASED_MNIST[3], (1, 28, 28)) == conv(1, 5) + 3 * conv(5, 5) + conv(5, 1)


def test_what_differs_in_the_released_list_by_a_penalty_alone_is_one_form() -> None:
    forms = [replace(spec, name="") for spec in RELEASED_CIFAR10]
    assert [forms.index(form) + 1 for form in forms] == [1, 2, 1, 2, 5, 6, 7, 8, 5, 10]
    forms = [replace(spec, name="") for spec in RELEASED_MNIST]
    assert [forms.index(form) + 1 for form in forms] == [1, 2, 3, 4, 1, 6, 7, 8, 9, 10]


def test_batch_normalisation_stands_before_activations_and_between_the_two_last_sigmoids() -> None:
    torch.manual_seed(1)
    module: Any = build_autoencoder((3, 8, 8), RELEASED_CIFAR10[4])  # 32, average, 32
    x = torch.rand(16, 3, 8, 8)
    module.train()(x)  # so that the running averages are not the first
    module = module.eval().double()
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    x = x.double()
    (one, two, three, four, last), norms = module.layers, module.norms
    states = norms[0](one(x)).relu()
    states = norms[1](two(nn.functional.avg_pool2d(states, 2))).relu()
    states = nn.functional.interpolate(norms[2](three(states)).relu(), scale_factor=2.0)
    expected = torch.sigmoid(module.ending[0](torch.sigmoid(last(norms[3](four(states)).relu()))))
    assert torch.allclose(module(x), expected)


@pytest.mark.parametrize(
    "spec",
    [
        AutoencoderSpec(name="odd", structure=(2.0,), batch_norm=True),
        AutoencoderSpec(name="odd", structure=(2.0,), ending="twice"),
    ],
)
def test_tables_have_neither(spec: AutoencoderSpec) -> None:
    with pytest.raises(ModelError, match="odd"):
        build_autoencoder((6,), spec)


def test_a_spec_from_before_is_told_as_before() -> None:
    plain = AutoencoderSpec(name="any", structure=(3,))
    assert set(plain.decisive()) == {"name", "structure", "activation", "noise", "loss", "kernel"}
    assert {"batch_norm", "ending"} <= set(RELEASED_CIFAR10[1].decisive())

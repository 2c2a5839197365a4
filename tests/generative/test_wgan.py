"""Training of a generator: the losses, whose weights each step moves, what it learns, and how it goes on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.errors import DataError, ModelError, OptionError
from salus.generative.generator import SampleGenerator
from salus.generative.wgan import WGANEpoch, WGANOptions, _Game, train_generator

TINY = WGANOptions(epochs=4, batch_size=10, latent=3, width=4, learning_rate=1e-3, seed=5)


def bumps(n: int = 60, length: int = 16) -> Tensor:
    """One bump a signal, anywhere in its middle."""
    places = length * (0.35 + 0.3 * torch.rand(n, 1, generator=torch.Generator().manual_seed(0)))
    return 0.1 + 0.8 * torch.exp(-((torch.arange(length) - places) ** 2) / 8)[:, None]


def same(one: SampleGenerator, other: SampleGenerator) -> bool:
    pairs = zip(one.tensors().items(), other.tensors().items(), strict=True)
    return all(a == b and torch.equal(v, w) for (a, v), (b, w) in pairs)


def moved(before: nn.Module, after: nn.Module) -> bool:
    return any(not torch.equal(v, w) for v, w in zip(before.parameters(), after.parameters(), strict=True))


class Killed(Exception):  # noqa: N818 - what happens to the process, not a mistake
    pass


class LinearCritic(nn.Module):
    """D(x) = w x, whose slope is w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w


def test_the_critics_loss_is_that_of_algorithm_1() -> None:
    x, w = bumps(10), torch.linspace(-1, 2, 16)
    game = _Game(x, replace(TINY, penalty=7.0), (0.0, 1.0), "cpu")
    critic = LinearCritic(w.clone())
    game.critic = critic  # type: ignore[assignment] # stands in for a WGANCritic
    game.optimizers["critic"] = torch.optim.SGD(critic.parameters(), lr=1.0)  # type: ignore[assignment] # plain steps
    z = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    game._latents = lambda count: z  # type: ignore[method-assign]
    told = game.teach_critic(x)
    with torch.no_grad():
        fake = game.generator(z)
    gap, length = (x - fake).flatten(1).mean(0), w.norm()
    assert told.tolist() == pytest.approx([float(gap @ w), float((length - 1) ** 2)], rel=1e-4)
    step = gap - 7 * 2 * (length - 1) * w / length  # minus the gradient of D(G) - D(x) + 7 (|w| - 1)^2
    assert torch.allclose(critic.w, w + step, atol=1e-4)


def test_each_step_moves_one_network_alone_and_the_generators_comes_after_five_of_the_critic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    game = _Game(bumps(120), TINY, (0.0, 1.0), "cpu")
    before = copy.deepcopy(game.both)
    game.teach_critic(game.x[:10])
    assert moved(before["critic"], game.critic) and not moved(before["generator"], game.generator)
    before = copy.deepcopy(game.both)
    game.teach_generator(10)
    assert moved(before["generator"], game.generator) and not moved(before["critic"], game.critic)
    assert all(weight.requires_grad for weight in game.critic.parameters())
    order: list[str] = []

    def taught(real: Tensor) -> Tensor:
        order.append("c")
        return torch.zeros(2)

    monkeypatch.setattr(game, "teach_critic", taught)
    monkeypatch.setattr(game, "teach_generator", lambda count: order.append("g"))
    for epoch in (1, 2):
        game.play(epoch, lambda *given, **more: None)
    assert "".join(order) == "cccccg" * 4 + "cccc", "12 steps of the critic an epoch; the count goes on"


@pytest.mark.slow
def test_it_learns_what_the_samples_look_like() -> None:
    x = bumps(200)
    made, history = train_generator(x, replace(TINY, epochs=25, learning_rate=3e-3, betas=(0.5, 0.9)))
    blank, _ = train_generator(x, replace(TINY, epochs=1))

    def miss(generator: SampleGenerator) -> float:
        z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        return float(torch.cdist(generator(z).flatten(1), x.flatten(1)).amin(1).mean())

    assert miss(made) < 0.5 < 0.8 < miss(blank), "distance of a made sample from the nearest real one"
    peaks = made(torch.randn(200, 3, generator=torch.Generator().manual_seed(0))).argmax(2)
    assert len(peaks.unique()) >= 3, "not one bump for all"
    assert abs(history.epochs[-1].distance) < 0.5 * max(abs(epoch.distance) for epoch in history.epochs)


def test_a_training_that_was_killed_ends_with_the_weights_it_would_have_had(tmp_path: Path) -> None:
    whole, history = train_generator(bumps(), TINY)

    def kill(epoch: WGANEpoch) -> None:
        if epoch.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        train_generator(bumps(), TINY, folder=tmp_path, on_epoch=kill)
    assert SampleGenerator.load(tmp_path).facts["options"]["epochs"] == 2, (
        "after each epoch there is one that can be used"
    )
    resumed, again = train_generator(bumps(), TINY, folder=tmp_path)
    assert same(resumed, whole)
    assert same(SampleGenerator.load(tmp_path), whole)
    assert "continues after epoch 2" in again.remarks[0]
    assert [epoch.distance for epoch in again.epochs] == [epoch.distance for epoch in history.epochs]
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_more_epochs_go_on_where_fewer_ended_and_other_options_start_afresh(tmp_path: Path) -> None:
    whole, _ = train_generator(bumps(), replace(TINY, epochs=3))
    train_generator(bumps(), replace(TINY, epochs=1), folder=tmp_path)
    longer, _ = train_generator(bumps(), replace(TINY, epochs=3), folder=tmp_path)
    assert same(longer, whole)
    fewer, _ = train_generator(bumps(), replace(TINY, epochs=2), folder=tmp_path)
    assert same(fewer, whole) and fewer.facts["options"]["epochs"] == 3
    other, history = train_generator(bumps(), replace(TINY, epochs=1, seed=6), folder=tmp_path)
    assert "another training" in history.remarks[0]
    assert not same(other, train_generator(bumps(), replace(TINY, epochs=1))[0])


def test_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(1)
    one, _ = train_generator(bumps(), replace(TINY, epochs=1))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    other, _ = train_generator(bumps(), replace(TINY, epochs=1))
    assert same(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_in_other_bounds_are_learnt_alike() -> None:
    unit, _ = train_generator(bumps(), replace(TINY, epochs=1))
    wide, _ = train_generator(4 * bumps() - 1, replace(TINY, epochs=1), bounds=(-1.0, 3.0))
    z = torch.randn(9, 3)
    assert torch.allclose(wide(z), 4 * unit(z) - 1, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 8, 8), (7,)])
def test_images_and_tables_are_trained_on_too_also_in_mixed_precision(shape: tuple[int, ...], tmp_path: Path) -> None:
    options = replace(TINY, epochs=2, precision="bfloat16")
    made, history = train_generator(torch.rand(30, *shape), options, folder=tmp_path)
    assert made(torch.randn(2, 3)).shape == (2, *shape)
    assert all(weight.dtype == torch.float32 for weight in made.tensors().values())
    assert (tmp_path / "samples.png").exists() == (len(shape) > 1)
    assert len(history.epochs) == 2


def test_a_loss_that_is_not_a_number_ends_the_training_with_a_sentence() -> None:
    with pytest.raises(ModelError, match=r"failed in epoch \d: its loss is not a number. Lower the learning rate"):
        train_generator(bumps(), replace(TINY, learning_rate=1e30))


def test_what_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(DataError, match=r"not \[0, 1, 16\]"):
        train_generator(bumps()[:0], TINY)
    with pytest.raises(DataError, match=r"not \[4\]"):
        train_generator(torch.rand(4), TINY)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0}, {"batch_size": 0}, {"critic_steps": 0}, {"latent": 0}, {"width": 0}, {"seed": -1},
        {"penalty": -1.0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"betas": (0.5, 1.0)},
        {"precision": "half"},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"WGAN: {next(iter(change))} must be"):
        replace(TINY, **change)

"""Batch normalisation of image networks is validated with statistics of the weights as they are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import PGD
from salus.data.base import Dataset, Provenance
from salus.hardening.adversarial_training import AdversarialTraining
from salus.models import build_model
from salus.training import Epoch, FlipsAndShifts, History, Recipe, TrainingOptions, TransferOptions, train
from salus.training.loop import seeded_module
from salus.training.statistics import refresh_statistics

OPTIONS = TrainingOptions(epochs=12, batch_size=32, learning_rate=5e-3, keep="last")


class Gathered(Recipe):
    """Ordinary training whose batch normalisation keeps the statistics of the steps."""

    def statistics_inputs(self, x: Tensor) -> Tensor | None:
        return None


def images(n: int = 192, seed: int = 0) -> Dataset:
    """Bright grey images of little contrast; half of them have more."""
    rng = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=rng) < 0.5).long()
    noise = torch.randn(n, 16, 16, generator=rng)
    brightness = 0.7 + 0.02 * torch.randn(n, 1, 1, generator=rng)
    x = brightness + (0.08 + 0.05 * y[:, None, None]) * noise
    return Dataset(x.clamp(0, 1)[:, None], y, ("smooth", "rough"), Provenance("noise", "a test"))


def network(seed: int = 0) -> nn.Module:
    return seeded_module(lambda: build_model("small-cnn", (1, 16, 16), 2, {"widths": [8, 16], "hidden": 16}), seed)


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def state(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten().double() for value in module.state_dict().values()])


def statistics(module: nn.Module) -> Tensor:
    return torch.cat([torch.cat([norm.running_mean, norm.running_var]) for norm in norms(module)])  # type: ignore[list-item]


def lag(module: nn.Module, x: Tensor) -> float:
    """Return how far running means lie from those of x, in standard deviations, at most."""
    gaps: list[float] = []

    def look(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        assert norm.running_mean is not None
        gaps.append(float(((norm.running_mean - mean).abs() / var.sqrt()).max()))

    hooks = [norm.register_forward_pre_hook(look) for norm in norms(module)]
    mode = module.training
    with torch.no_grad():
        module.eval()(x)
    module.train(mode)
    for hook in hooks:
        hook.remove()
    return max(gaps)


@cache
def trained(recipe: type[Recipe] = Recipe, seed: int = 0) -> tuple[History, list[float]]:
    """Train; return the history, and after every epoch how far the running statistics lagged."""
    module, data, lags = network(seed), images(), []
    history = train(
        module, data, images(200, seed=1), replace(OPTIONS, seed=seed), recipe=recipe(),
        on_epoch=lambda epoch: lags.append(lag(module, data.x)),
    )  # fmt: skip
    return history, lags


def falls(history: History) -> float:
    accuracies = [epoch.accuracy for epoch in history.epochs][2:]
    return max(before - after for before, after in pairwise(accuracies))


@pytest.mark.parametrize("seed", [0, 1])
def test_validation_accuracy_rises_steadily_on_statistics_of_the_weights_as_they_are(seed: int) -> None:
    history, lags = trained(seed=seed)
    assert max(lags) < 0.05, "running statistics are those of the training data, in standard deviations"
    assert falls(history) <= 0.05
    assert history.epochs[5].accuracy > 0.95, "half way, at a high learning rate"


def test_it_jumps_on_the_statistics_of_the_steps() -> None:
    history, lags = trained(Gathered)
    assert max(lags) > 1 and falls(history) > 0.2, "else the test above would prove nothing"
    fresh, _ = trained()
    assert [epoch.train_loss for epoch in history.epochs] == [epoch.train_loss for epoch in fresh.epochs]


def test_augmented_images_decide_the_statistics_where_steps_see_them() -> None:
    module, data = network(), images()
    bright = replace(data, x=torch.ones_like(data.x))  # what a shift brings in is 0
    train(module, bright, bright, replace(OPTIONS, epochs=1), recipe=FlipsAndShifts(shift=4))
    assert lag(module, bright.x) > 0.5


class Dropping(nn.Module):
    """Batch normalisation behind dropout, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.norm, self.frozen = nn.Dropout(0.5), nn.BatchNorm2d(1), nn.BatchNorm2d(1)
        self.whole = nn.BatchNorm2d(1, track_running_stats=False)

    def train(self, mode: bool = True) -> Dropping:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.whole(self.frozen(self.norm(self.dropout(x))))
        return y


def test_refreshed_statistics_are_the_mean_of_the_batches_without_dropout() -> None:
    module, x = Dropping(), images(64).x
    module(x)  # in training mode: statistics to be forgotten, and a count
    refresh_statistics(module, x.split(16))
    assert module.norm.running_mean is not None and module.norm.running_var is not None
    assert module.norm.running_mean.item() == pytest.approx(x.mean().item(), abs=1e-5)
    assert module.norm.running_var.item() == pytest.approx(torch.stack([b.var() for b in x.split(16)]).mean().item())
    assert (module.norm.momentum, int(module.norm.num_batches_tracked or 0)) == (0.1, 1), "as before"
    assert not any(part.training for part in module.modules())


def test_frozen_layers_and_networks_without_batch_normalisation_keep_what_they_have() -> None:
    module, x = Dropping(), images(8).x
    before = module.frozen.state_dict()["running_mean"].clone()
    refresh_statistics(module, [x])
    assert torch.equal(module.frozen.state_dict()["running_mean"], before)
    refresh_statistics(nn.Dropout(), [])
    plain = nn.BatchNorm2d(1)
    refresh_statistics(plain, [])
    assert plain.state_dict()["running_var"].item() == 1, "there was nothing to see"


@pytest.mark.parametrize("count", [2, 3, 33])
def test_no_batch_of_one_image_decides_the_statistics(count: int) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 2), nn.BatchNorm1d(2))  # one row alone has no variance
    train(module, images(count), images(20), TrainingOptions(epochs=1, batch_size=2))
    assert torch.isfinite(state(module)).all()


def test_signals_keep_the_statistics_of_the_steps() -> None:
    def weights(recipe: Recipe) -> Tensor:
        rng = torch.Generator().manual_seed(0)
        data = Dataset(
            torch.rand(40, 1, 24, generator=rng), torch.arange(40) % 2, ("a", "b"), Provenance("n", "a test")
        )
        module = seeded_module(lambda: build_model("ecg-cnn", (1, 24), 2, {"widths": [4, 8]}), 0)
        train(module, data, data, TrainingOptions(epochs=2, batch_size=16), recipe=recipe)
        return state(module)

    assert torch.equal(weights(Recipe()), weights(Gathered()))


def test_attacked_samples_and_a_last_layer_alone_keep_theirs() -> None:
    module, data = network(), images(64)
    recipe = AdversarialTraining(attack=PGD(eps=0.01, steps=1))
    train(module, data, data, replace(OPTIONS, epochs=1), recipe=recipe)
    assert lag(module, data.x) > 0.5
    before = statistics(module)
    options = TransferOptions(epochs=1, head_epochs=2, batch_size=32, patience=1)

    def look(epoch: Epoch) -> None:
        if epoch.epoch <= 2:
            assert torch.equal(statistics(module), before)

    train(module, data, data, options, on_epoch=look)
    assert lag(module, data.x) < 0.05


class Killed(Exception):  # noqa: N818 - what happens to the process, not a mistake
    pass


@pytest.mark.parametrize("averaging", [0.0, 0.8])
@pytest.mark.parametrize("keep", ["loss", "last"])
def test_a_killed_training_of_images_ends_with_the_same_weights_and_statistics(
    tmp_path: Path, averaging: float, keep: str
) -> None:
    data = images(96)
    options = TrainingOptions(epochs=4, batch_size=32, averaging=averaging, keep=keep)  # type: ignore[arg-type]

    def run(checkpoint: Path | None = None, end: int = 0) -> tuple[History, nn.Module]:
        def kill(epoch: Epoch) -> None:
            if epoch.epoch == end:
                raise Killed

        module = network()
        return train(module, data, images(40, 1), options, checkpoint=checkpoint, on_epoch=kill), module

    whole, module = run()
    with pytest.raises(Killed):
        run(tmp_path / "training", 2)
    history, resumed = run(tmp_path / "training")
    assert history.resumed_from == 2
    assert torch.equal(state(resumed), state(module))
    assert [epoch.loss for epoch in history.epochs] == [epoch.loss for epoch in whole.epochs]
    assert lag(resumed, data.x) < 0.05, "the statistics of what is kept, averaged or not"


def test_which_epoch_is_kept_is_said() -> None:
    said: list[str] = []
    history = train(network(), images(64), images(32), TrainingOptions(epochs=3, batch_size=32), log=said.append)
    assert said[-1] == f"kept: the weights of epoch {history.best}, that of the lowest validation loss"
    losses = [epoch.loss for epoch in history.epochs]
    assert losses.index(min(losses)) + 1 == history.best
    train(network(), images(64), images(32), replace(OPTIONS, epochs=3), log=said.append)
    assert said[-1] == "kept: the weights of epoch 3, the last"

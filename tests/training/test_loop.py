"""The training loop: it learns, stops, balances, and resumes exactly."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.data.base import Dataset, Provenance
from salus.errors import ModelError, OptionError
from salus.models import build_model
from salus.options import options_of
from salus.training import Epoch, Mixed, Recipe, TrainingOptions, evaluate, fit_classifier, seeded_module, train

OPTIONS = TrainingOptions(epochs=5, batch_size=16, seed=3)


def beats(n: int = 90, seed: int = 0) -> Dataset:
    """Two waves with noise."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (n,), generator=rng)
    t = torch.linspace(0, 1, 24)
    x = 0.5 + 0.3 * torch.sin(2 * math.pi * (2 + 2 * y[:, None]) * t) + 0.2 * torch.rand(n, 24, generator=rng)
    return Dataset(x.clamp(0, 1)[:, None].float(), y, ("slow", "fast"), Provenance("waves", "a test"))


def network() -> nn.Module:
    return seeded_module(lambda: build_model("ecg-cnn", (1, 24), 2, {"widths": [4, 8]}), seed=3)


def digest(module: nn.Module) -> str:
    content = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
    return hashlib.sha256(content).hexdigest()


class Killed(Exception):  # noqa: N818 - what happens to the process, not a mistake
    pass


def killed_after(epoch: int) -> Callable[[Epoch], None]:
    def kill(result: Epoch) -> None:
        if result.epoch == epoch:
            raise Killed

    return kill


def run(checkpoint: Path | None = None, options: TrainingOptions = OPTIONS, **more: Any) -> tuple[Any, nn.Module]:
    module = network()
    return train(module, beats(), beats(40, seed=1), options, checkpoint=checkpoint, **more), module


def test_training_learns_and_ends_with_the_best_weights_in_eval_mode() -> None:
    history, module = run(options=TrainingOptions(epochs=15, batch_size=16, learning_rate=5e-3))
    best = history.epochs[history.best - 1]
    assert best.loss == min(epoch.loss for epoch in history.epochs)
    loss, accuracy, recall = evaluate(module, beats(40, seed=1), nn.CrossEntropyLoss())
    assert (loss, accuracy, recall) == (best.loss, best.accuracy, best.macro_recall)
    assert accuracy > 0.9
    assert not any(part.training for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_a_killed_training_resumes_to_bitwise_the_same_weights(tmp_path: Path, epoch: int) -> None:
    whole, module = run()
    with pytest.raises(Killed):
        run(tmp_path / "training", on_epoch=killed_after(epoch))
    torch.rand(7)  # whatever else the new process drew
    said: list[str] = []
    history, resumed = run(tmp_path / "training", log=said.append)
    assert history.resumed_from == epoch
    assert digest(resumed) == digest(module)
    assert [e.loss for e in history.epochs] == [e.loss for e in whole.epochs]
    assert any(f"continues after epoch {epoch}" in line for line in said)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balanced_training_resumes_too(tmp_path: Path, balance: Any) -> None:
    options = TrainingOptions(epochs=3, batch_size=16, balance=balance)
    _, module = run(options=options)
    with pytest.raises(Killed):
        run(tmp_path / "training", options, on_epoch=killed_after(2))
    assert digest(run(tmp_path / "training", options)[1]) == digest(module)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    _, module = run(tmp_path / "training")
    epochs: list[Epoch] = []
    _, again = run(tmp_path / "training", on_epoch=epochs.append)
    assert epochs == []
    assert digest(again) == digest(module)


def test_the_checkpoint_of_another_training_is_ignored_and_said(tmp_path: Path) -> None:
    run(tmp_path / "training", TrainingOptions(epochs=1, seed=9))
    said: list[str] = []
    history, module = run(tmp_path / "training", log=said.append)
    assert any("belongs to another training" in line for line in said)
    assert history.resumed_from == 0
    assert digest(module) == digest(run()[1])


def flip(content: bytes) -> bytes:
    return content[:-50] + bytes([content[-50] ^ 1]) + content[-49:]


@pytest.mark.parametrize("damage", [flip, lambda c: c[:-9], lambda c: b"", lambda c: b"nothing of the kind"])
def test_a_corrupt_checkpoint_starts_again_and_is_said(tmp_path: Path, damage: Any) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "training", on_epoch=killed_after(2))
    path = tmp_path / "training"
    path.write_bytes(damage(path.read_bytes()))
    said: list[str] = []
    _, module = run(path, log=said.append)
    assert any("training starts from the beginning" in line for line in said)
    assert digest(module) == digest(run()[1])


def test_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, first = run()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert digest(run()[1]) == digest(first)


def test_the_seed_decides_the_weights() -> None:
    def build(seed: int) -> str:
        return digest(seeded_module(lambda: nn.Linear(4, 2), seed))

    assert build(1) == build(1) != build(2)


def test_training_stops_when_the_validation_loss_no_longer_falls() -> None:
    data = beats()
    noise = Dataset(data.x, 1 - data.y, data.classes, data.provenance)  # what is learnt is wrong there
    said: list[str] = []
    options = TrainingOptions(epochs=40, batch_size=16, patience=2, learning_rate=1e-2)
    history = train(network(), data, noise, options, log=said.append)
    assert len(history.epochs) == history.best + 2 < 40
    assert any(line.startswith("stopped") for line in said)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balance_raises_the_recall_of_a_rare_class(balance: Any) -> None:
    assert recall_of_rare(balance=balance) > recall_of_rare(balance="none") + 0.1


def recall_of_rare(**options: Any) -> float:
    """Train where one sample in twenty is of the second class; return the macro recall."""
    rng = torch.Generator().manual_seed(0)
    y = (torch.rand(1500, generator=rng) < 0.05).long()
    x = (0.35 + 0.12 * y[:, None] + 0.12 * torch.randn(1500, 2, generator=rng)).clamp(0, 1)
    data = Dataset(x, y, ("common", "rare"), Provenance("rare", "a test"))
    module = seeded_module(lambda: build_model("mlp", (2,), 2), 0)
    return train(module, data, data, TrainingOptions(epochs=10, learning_rate=1e-2, **options)).epochs[-1].macro_recall


def test_a_shifted_prior_raises_the_recall_of_a_rare_class_by_its_share() -> None:
    none, half, whole = (recall_of_rare(balance="none", prior_shift=shift) for shift in (0.0, 0.5, 1.0))
    assert whole > none + 0.1
    assert none < half <= whole
    assert whole == pytest.approx(recall_of_rare(balance="weights"), abs=0.1), "it answers as if both were as common"


def test_where_classes_are_drawn_alike_there_is_no_prior_to_shift() -> None:
    plain, shifted = (run(options=replace(OPTIONS, balance="sampling", prior_shift=s))[0] for s in (0.0, 1.0))
    assert [epoch.loss for epoch in shifted.epochs] == pytest.approx([epoch.loss for epoch in plain.epochs], rel=1e-3)


def test_the_kept_average_follows_the_weights_of_every_step() -> None:
    options = TrainingOptions(epochs=6, batch_size=90, averaging=0.5, keep="last", learning_rate=1e-2)  # a step each
    module = network()
    after = [copy.deepcopy(module)]
    train(module, beats(), beats(40, seed=1), options, on_epoch=lambda result: after.append(copy.deepcopy(module)))
    expected: list[Tensor] = list(after[0].parameters())
    for step, now in enumerate(after[1:]):
        decay = min(0.5, (step + 1) / (step + 10))  # the first weights are soon forgotten
        expected = [decay * kept + (1 - decay) * new for kept, new in zip(expected, now.parameters(), strict=True)]
    for kept, value, last in zip(module.parameters(), expected, after[-1].parameters(), strict=True):
        assert torch.allclose(kept, value, atol=1e-6)
        assert not torch.equal(kept, last)
    for buffer, unaveraged in zip(module.buffers(), after[-1].buffers(), strict=True):
        assert torch.equal(buffer, unaveraged), "statistics are averages already"


def test_averaging_changes_what_is_kept_and_not_the_training() -> None:
    (plain, one), (averaged, other) = (run(options=replace(OPTIONS, averaging=decay)) for decay in (0.0, 0.9))
    assert [epoch.train_loss for epoch in averaged.epochs] == [epoch.train_loss for epoch in plain.epochs]
    assert [epoch.loss for epoch in averaged.epochs] != [epoch.loss for epoch in plain.epochs]
    assert digest(one) != digest(other)
    best = averaged.epochs[averaged.best - 1]
    assert evaluate(other, beats(40, seed=1), nn.CrossEntropyLoss())[0] == best.loss, "the average is validated"


@pytest.mark.parametrize(
    "changes", [{"averaging": 0.9}, {"averaging": 0.9, "keep": "last"}, {"prior_shift": 1.0}, {"precision": "bfloat16"}]
)
@pytest.mark.parametrize("epoch", [1, 4])
def test_every_way_of_training_resumes_to_bitwise_the_same_weights(
    tmp_path: Path, changes: dict[str, Any], epoch: int
) -> None:
    options = replace(OPTIONS, **changes)
    whole, module = run(options=options)
    with pytest.raises(Killed):
        run(tmp_path / "training", options, on_epoch=killed_after(epoch))
    history, resumed = run(tmp_path / "training", options)
    assert history.resumed_from == epoch
    assert digest(resumed) == digest(module)
    assert [e.loss for e in history.epochs] == [e.loss for e in whole.epochs]


def test_the_last_weights_are_kept_where_asked_though_the_validation_loss_rises() -> None:
    data = beats()
    noise = Dataset(data.x, 1 - data.y, data.classes, data.provenance)  # what is learnt is wrong there
    options = TrainingOptions(epochs=12, batch_size=16, patience=2, learning_rate=1e-2, keep="last")
    lowest, last = network(), network()
    stopped = train(lowest, data, noise, replace(options, keep="loss"))
    history = train(last, data, noise, options)
    assert len(stopped.epochs) == stopped.best + 2 < 12, "it stops"
    assert len(history.epochs) == history.best == 12, "it does not"
    assert evaluate(last, noise, nn.CrossEntropyLoss())[0] == history.epochs[-1].loss > stopped.epochs[0].loss
    assert evaluate(last, data, nn.CrossEntropyLoss())[1] > 0.9


def test_mixed_precision_learns_and_answers_in_float32() -> None:
    options = TrainingOptions(epochs=15, batch_size=16, learning_rate=5e-3, precision="bfloat16")
    history, module = run(options=options)
    assert history.epochs[history.best - 1].accuracy > 0.9
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    x = beats(8).x
    exact, mixed = module(x), Mixed(module, "bfloat16")(x)
    assert exact.dtype == mixed.dtype == torch.float32
    assert not torch.equal(mixed, exact) and torch.allclose(mixed, exact, atol=0.2)
    assert torch.equal(Mixed(module, "float32")(x), exact)


class Louder(Recipe):
    """Raises every sample, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int]] = []

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: Any, progress: float, step: int) -> Tensor:
        assert model.training
        self.told.append((progress, step))
        return loss_of(model((1.2 * x).clamp(0, 1)), y)  # type: ignore[no-any-return]

    def validation_inputs(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        assert not model.training
        return (1.2 * x).clamp(0, 1)

    def describe(self) -> str:
        return "louder"


def test_a_recipe_decides_the_steps_and_what_is_validated_and_is_told_how_far_it_is() -> None:
    recipe = Louder()
    history, module = run(recipe=recipe)
    assert [step for _, step in recipe.told] == list(range(30))  # 90 samples, 16 a step, 5 epochs
    assert [done for done, _ in recipe.told] == [step / 30 for step in range(30)]
    loud = beats(40, seed=1)
    loud = replace(loud, x=(1.2 * loud.x).clamp(0, 1))
    assert evaluate(module, loud, nn.CrossEntropyLoss())[0] == history.epochs[history.best - 1].loss
    assert digest(module) != digest(run()[1])


def test_a_loss_that_is_no_number_is_said() -> None:
    class Exploding(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)) * torch.inf

    with pytest.raises(ModelError, match="epoch 1: the loss is not a number"):
        train(Exploding(24, 2), beats(), beats(), OPTIONS)


def test_a_module_that_does_not_suit_the_data_is_said() -> None:
    with pytest.raises(ModelError, match=r"does not accept samples of shape \[1, 24\]"):
        train(nn.Linear(5, 2), beats(), beats(), OPTIONS)
    with pytest.raises(ModelError, match="it must return"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), beats(), beats(), OPTIONS)


@pytest.mark.parametrize(
    "options",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"patience": 0},
     {"weight_decay": -1.0}, {"balance": "some"}, {"seed": -1}, {"prior_shift": -0.1}, {"prior_shift": 2.1},
     {"prior_shift": math.nan}, {"averaging": 1.0}, {"averaging": -0.1}, {"averaging": math.nan}, {"keep": "best"},
     {"precision": "float16"}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(OptionError) as error:
        TrainingOptions(**options)
    words = next(option.words for option in options_of(TrainingOptions) if option.name == name)
    assert str(error.value) == f"Training: {name} must be {words}, not {value!r}."


def test_training_options_say_what_they_may_be() -> None:
    said = {option.name: option.words for option in options_of(TrainingOptions)}
    assert said["epochs"] == "a whole number from 1 up or none" and said["prior_shift"] == "a number from 0 to 2"
    assert said["balance"] == "'none', 'weights', 'sampling' or none" and said["averaging"].endswith("to below 1")


def test_a_last_batch_of_one_sample_does_not_disturb_batch_normalisation() -> None:
    train(network(), beats(33), beats(20), TrainingOptions(epochs=1, batch_size=16))


def split(x: Tensor, y: Tensor, classes: tuple[str, ...]) -> list[Dataset]:
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    sizes = [int(0.6 * len(y)), int(0.15 * len(y)), len(y) - int(0.6 * len(y)) - int(0.15 * len(y))]
    rows = torch.split(order, sizes)
    return [Dataset(x[r], y[r], classes, Provenance("sklearn", "a test")) for r in rows]


def accuracy(model: Classifier, data: Dataset) -> float:
    return float((model.predict(data.x).argmax(1) == data.y).double().mean())


def test_the_defaults_fit_breast_cancer() -> None:
    data = load_breast_cancer()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = (x - x.amin(0)) / (x.amax(0) - x.amin(0))
    fit, validation, test = split(x, torch.tensor(data.target), ("malignant", "benign"))
    began = time.process_time()
    model, history = fit_classifier("mlp", fit, validation)
    assert accuracy(model, test) >= 0.95
    assert model.architecture == {"name": "mlp", "options": {}}
    assert len(history.epochs) <= 60
    assert time.process_time() - began < 60


@pytest.mark.slow
def test_the_defaults_fit_digits() -> None:
    data = load_digits()
    x = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    fit, validation, test = split(x, torch.tensor(data.target), tuple("0123456789"))
    model, _ = fit_classifier("small-cnn", fit, validation)
    assert accuracy(model, test) >= 0.97

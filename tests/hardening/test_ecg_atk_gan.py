"""The training of ECG-ATK-GAN: what it learns, which network each half-step moves, and how it goes on after a kill."""

from __future__ import annotations

import copy
import csv
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from salus.data import Dataset, Provenance
from salus.errors import DataError, ModelError, OptionError
from salus.hardening import ECGATKGAN, PRESETS, GANOptions, preset, train_ecg_atk_gan
from salus.hardening.ecg_atk_gan import GANEpoch, _Fold, gan_step
from salus.hardening.gan_beats import AttackCopies, deal_folds
from salus.models.ecg_atk_gan import Discriminator, smooth_noise
from salus.training import seeded

TINY = GANOptions(
    widths=(4, 8), epochs=2, folds=2, per_class=None, batch_size=16, learning_rate=5e-3, lambda_atk=1.0, seed=4
)
ONE = replace(TINY, folds_trained=1)


def beats(counts: tuple[int, ...] = (18, 16, 14), length: int = 32, **fields: Any) -> Dataset:
    """One bump a beat, at a place that its class decides."""
    rng = torch.Generator().manual_seed(0)
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    places = length * (y + 1) / (len(counts) + 1) + torch.randn(len(y), generator=rng)
    x = 0.2 + 0.6 * torch.exp(-((torch.arange(length) - places[:, None]) ** 2) / 8)
    x = x + 0.05 * torch.rand(x.shape, generator=rng)
    return Dataset(x[:, None], y, tuple("NSVF"[: len(counts)]), Provenance("bumps", "made here"), **fields)


def zigzag(x: Tensor, y: Tensor) -> Tensor:
    """An attack that is easily seen: up at one sample, down at the next."""
    return (x + 0.1 * (1 - 2 * (torch.arange(x.shape[2]) % 2))).clamp(0, 1)


def trained(
    options: GANOptions = ONE, attacked: AttackCopies | None = zigzag, train: Dataset | None = None, **more: Any
) -> ECGATKGAN:
    return train_ecg_atk_gan(train or beats(), attacked, options, **more)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(v, w) for (a, v), (b, w) in pairs)


@pytest.fixture(scope="module")
def one() -> ECGATKGAN:
    """What one fold comes to, in one go."""
    return trained()


@pytest.fixture(scope="module")
def whole() -> ECGATKGAN:
    """What two folds come to, in one go."""
    return trained(TINY)


class Killed(Exception):  # noqa: N818 - what happens to the process, not a mistake
    pass


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Fold, "_show", lambda *given: None)  # they take longer than all the rest


def killed_after(fold: int, epoch: int) -> Callable[[GANEpoch], None]:
    def kill(result: GANEpoch) -> None:
        if (result.fold, result.epoch) == (fold, epoch):
            raise Killed

    return kill


def test_the_learning_rate_falls_in_a_straight_line_to_its_last_share(no_pictures: None) -> None:
    rates: list[float] = []
    options = replace(ONE, final_rate=0.1)
    fold = _Fold(0, beats(), torch.arange(48), torch.arange(48), None, options, "cpu")
    taken = fold.step

    def step(*given: Any) -> Tensor:
        rates.append(fold.optimizer.param_groups[0]["lr"])
        return taken(*given)

    fold.step = step  # type: ignore[assignment,method-assign]
    fold.train(None, lambda *given, **more: None, lambda line: None, None)
    assert rates[0] == options.learning_rate
    falls = np.diff(rates)
    assert len(rates) == 6
    assert np.allclose(falls, falls[0])
    assert rates[-1] + falls[0] == pytest.approx(0.1 * options.learning_rate)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_last_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(OptionError, match="final_rate"):
        GANOptions(final_rate=share)


def test_the_presets_are_both_papers_settings() -> None:
    six, four = preset("six-attacks"), preset("four-attacks")
    assert (six.attack_loss, six.kappa, six.skip) == ("cross-entropy", (1.0, 1.05), "sda")
    assert (four.attack_loss, four.skip) == ("mae", "sdc")
    assert (six.learning_rate, six.batch_size) == (1e-4, 128)
    assert (four.learning_rate, four.batch_size) == (2e-4, 64)
    assert six.widths == (32, 64, 128, 256) and four.widths == (16, 32, 128)
    for paper in (six, four):
        assert (paper.lambda_atk, paper.lambda_ary, paper.lambda_mse) == (10, 10, 1)
        assert (paper.betas, paper.epochs, paper.folds, paper.per_class) == ((0.5, 0.999), 100, 5, 10_000)
    assert preset("four-attacks", epochs=3) == replace(PRESETS["four-attacks"], epochs=3)
    with pytest.raises(OptionError, match="'six-attack'; did you mean 'six-attacks'"):
        preset("six-attack")


@pytest.fixture(scope="module")
def learnt() -> ECGATKGAN:
    """A pair after its last epoch: of equal scores the first is kept, before the head for attacks has learnt."""
    real, later = _Fold._score, itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Fold, "_score", lambda fold: real(fold) + 1e-6 * next(later))
        return trained(replace(ONE, epochs=20, lambda_atk=3.0), train=beats((30, 28, 26)))


def test_it_learns_the_classes_of_clean_and_attacked_beats(learnt: ECGATKGAN) -> None:
    first, last = learnt.history.epochs[0], learnt.history.epochs[-1]
    assert last.score > 0.9 > 0.34, "a third is chance"
    assert last.classes < 0.5 * first.classes and last.mse < 0.5 * first.mse
    test = beats((20, 20, 20))
    for x in (test.x, zigzag(test.x, test.y)):
        assert float((learnt.classifier.predict(x).argmax(1) == test.y).double().mean()) > 0.9


def test_its_head_for_attacks_ranks_attacked_beats_above_clean_ones(learnt: ECGATKGAN) -> None:
    test, module = beats((20, 20, 20)), learnt.classifier.module
    assert isinstance(module, Discriminator)
    with torch.no_grad():
        clean, attacked = (module.judge(x).attacked.diff()[:, 0] for x in (test.x, zigzag(test.x, test.y)))
    assert float((attacked[:, None] > clean).double().mean()) > 0.95, "the area under the ROC curve"


def test_generated_beats_are_in_bounds_and_a_seed_decides_them() -> None:
    data = replace(beats(), x=beats().x * 4 - 1, bounds=(-1.0, 3.0))
    made = trained(replace(ONE, epochs=1), lambda x, y: x, data)
    x, y = data.x[:7], data.y[:7]
    generated = made.synthesize(x, y, seed=1)
    assert generated.shape == x.shape and generated.min() > -1 and generated.max() < 3
    assert generated.max() > 1, "in the units of the data"
    assert torch.equal(made.synthesize(x, y, seed=1), generated)
    assert torch.allclose(made.synthesize(x, y, seed=1, batch_size=3), generated, atol=1e-5)
    assert not torch.equal(made.synthesize(x, y, seed=2), generated)


# One step.


def moves(options: GANOptions = ONE, steps: int = 2) -> tuple[_Fold, list[tuple[nn.Module, nn.Module]]]:
    """Take steps; return both networks as they are before the first and after each half-step."""
    fold = gan_step(beats(), options)
    states: list[tuple[nn.Module, nn.Module]] = [(copy.deepcopy(fold.discriminator), copy.deepcopy(fold.generator))]
    real = fold.optimizer.step

    def step() -> None:
        real()
        states.append((copy.deepcopy(fold.discriminator), copy.deepcopy(fold.generator)))

    fold.optimizer.step = step  # type: ignore[assignment,method-assign]
    with seeded(0, 0):  # dropout
        for _ in range(steps):
            batch = fold.learn.batch(torch.arange(16), "cpu")
            fold.step(batch, smooth_noise(16, 32, torch.Generator().manual_seed(0)))
    return fold, states


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(v, w) for v, w in zip(one.parameters(), other.parameters(), strict=True))


def test_each_half_step_moves_one_network_alone() -> None:
    _, states = moves(steps=2)  # in the second, Adam has momentum that could move the other
    assert len(states) == 5
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        moved = 0 if number % 2 == 0 else 1
        assert not same_weights(before[moved], after[moved])
        assert same_weights(before[1 - moved], after[1 - moved])


def test_the_generators_own_loss_never_reaches_the_discriminator() -> None:
    (_, one), (_, other) = moves(replace(ONE, lambda_mse=0.0), 1), moves(replace(ONE, lambda_mse=1000.0), 1)
    assert same(one[-1][0], other[-1][0])
    assert not same_weights(one[-1][1], other[-1][1])


def test_after_a_step_the_discriminator_can_learn_again() -> None:
    fold, _ = moves(steps=1)
    assert all(weight.requires_grad for weight in fold.discriminator.parameters())
    norms = [part for part in fold.discriminator.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}


def test_running_averages_of_the_discriminator_are_those_of_recorded_beats_alone() -> None:
    fold = gan_step(beats(), ONE)
    with torch.no_grad():
        assert fold.generator.out.bias is not None
        fold.generator.out.bias.fill_(20.0)  # what it makes is 1 everywhere, far from any beat
    batch, z = fold.learn.batch(torch.arange(16), "cpu"), smooth_noise(16, 32, torch.Generator().manual_seed(0))
    alone = copy.deepcopy(fold.discriminator).train()
    with seeded(0, 0):
        fold.step(batch, z)
    with torch.no_grad():
        alone.judge(batch.x)

    def averages(module: nn.Module) -> list[Tensor]:
        return [value for name, value in module.named_buffers() if "running" in name]

    assert len(averages(alone)) == 8
    for ours, theirs in zip(averages(fold.discriminator), averages(alone), strict=True):
        assert torch.equal(ours, theirs)
    assert fold.generator(batch.x, batch.y, z).min() > 0.99


def test_both_attack_losses_are_their_papers_formulas() -> None:
    fold = gan_step(beats(), replace(ONE, attack_loss="mae"))
    batch = replace(fold.learn.batch(torch.arange(10), "cpu"), attacked=torch.arange(10) % 2)
    judged = fold.discriminator.judge(batch.x)
    p = judged.attacked.softmax(1)
    told = p[torch.arange(10), batch.attacked]  # probability of the truth
    assert fold._losses(judged, 1.0, batch)[1].item() == pytest.approx((1 - told).mean().item(), abs=1e-6)
    fold.options = replace(ONE, kappa=(1.0, 3.0))
    weight = torch.tensor([1.0, 3.0])[batch.attacked]
    expected = -(weight * told.log()).sum() / weight.sum()
    assert fold._losses(judged, 1.0, batch)[1].item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_released_code_weights_the_generators_losses_alone() -> None:
    code = replace(ONE, follow="code", widths=(4, 8, 8), lambda_atk=7.0, kappa=(1.0, 3.0))
    assert code.of_discriminator == code.head_kappa == (1.0, 1.0)
    assert (code.dropout_after, code.noise) == ((1,), "dense") and ONE.dropout_after == ()
    assert replace(ONE, lambda_atk=7.0).of_discriminator == (7.0, 10.0)
    (_, light), (_, heavy) = moves(code, 1), moves(replace(code, lambda_atk=1000.0), 1)
    assert same(light[1][0], heavy[1][0]), "the discriminator's step"
    assert not same_weights(light[-1][1], heavy[-1][1]), "the generator's"
    made = trained(replace(code, epochs=1))
    options = made.classifier.architecture["options"]  # type: ignore[index]
    assert options == {"widths": [4, 8, 8], "dropout_after": [1]}


def test_each_epoch_is_scored_on_as_many_held_out_beats_as_asked_of_each_class_its_share() -> None:
    data = beats((60, 30, 6))
    whole, few = deal_folds(data, ONE)[0], deal_folds(data, replace(ONE, scored=16))[0]
    assert torch.equal(whole[0], few[0]) and len(whole[1]) == 48
    assert torch.bincount(data.y[few[1]]).tolist() == [10, 5, 1] and set(few[1].tolist()) <= set(whole[1].tolist())


# Folds.


def test_synthetic_beats_are_made_after_dealing_so_that_held_out_ones_are_recorded() -> None:
    data, shown = beats(), []

    def attack(x: Tensor, y: Tensor) -> Tensor:
        shown.append((x, y))
        return zigzag(x, y)

    trained(replace(ONE, epochs=1, per_class=20), attack, data)
    (learn, labels), (held, _) = shown
    recorded = {x.numpy().tobytes() for x in data.x}
    assert torch.bincount(labels).tolist() == [20, 20, 20]
    held_out = {x.numpy().tobytes() for x in held}
    assert held_out <= recorded and len(held) == 24
    assert not held_out & {x.numpy().tobytes() for x in learn}
    assert sum(x.numpy().tobytes() not in recorded for x in learn) == 60 - 24


@pytest.mark.usefixtures("no_pictures")
def test_of_all_epochs_of_all_folds_the_one_with_the_best_score_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.4, 0.7, 0.9, 0.3, 0.6])
    monkeypatch.setattr(_Fold, "_score", lambda fold: next(scores))
    after: list[dict[str, Tensor]] = []

    def read(epoch: GANEpoch) -> None:
        content = load_safetensors((tmp_path / f"fold-{epoch.fold}.checkpoint").read_bytes()[32:])
        after.append({name: value for name, value in content.items() if name.startswith("weights/")})

    made = trained(replace(TINY, folds=2, epochs=3), folder=tmp_path, on_epoch=read)
    assert made.history.fold == 1
    assert [epoch.score for epoch in made.history.epochs] == [0.5, 0.4, 0.7, 0.9, 0.3, 0.6]
    kept = {**made.classifier.module.state_dict(prefix="weights/discriminator.")}
    kept |= made.generator.state_dict(prefix="weights/generator.")
    equal = [all(torch.equal(held[name], value) for name, value in kept.items()) for held in after]
    assert equal == [False, False, False, True, False, False], "the first epoch of the second fold"


def test_clean_beats_alone_will_do() -> None:
    made = trained(replace(ONE, epochs=18), None)  # an epoch has half as many steps
    assert made.history.epochs[-1].score > 0.9


def test_mixed_precision_leaves_weights_in_float32() -> None:
    made = trained(replace(ONE, epochs=4, precision="bfloat16"))
    values = [*made.classifier.module.parameters(), *made.generator.parameters()]
    assert {value.dtype for value in values} == {torch.float32}
    assert made.history.epochs[-1].score > 0.6
    assert not same(made.classifier.module, trained(replace(ONE, epochs=4)).classifier.module)


# Kept and continued.


def test_what_the_seed_decides_nothing_else_does(one: ECGATKGAN) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist(), random.getstate()
    other = trained()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state(legacy=False)["state"]["key"].tolist(), random.getstate()) == before[1:]
    assert same(one.classifier.module, other.classifier.module) and same(one.generator, other.generator)
    assert not same(one.classifier.module, trained(replace(ONE, seed=5)).classifier.module)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("fold", "epoch"), [(0, 1), (0, 2), (1, 1)])
def test_killed_and_started_again_it_ends_with_bitwise_the_same_weights(
    whole: ECGATKGAN, tmp_path: Path, fold: int, epoch: int
) -> None:
    with pytest.raises(Killed):
        trained(TINY, folder=tmp_path, on_epoch=killed_after(fold, epoch))
    torch.rand(7)  # whatever else the new process drew
    said: list[str] = []
    again: list[GANEpoch] = []
    resumed = trained(TINY, folder=tmp_path, log=said.append, on_epoch=again.append)
    assert same(resumed.classifier.module, whole.classifier.module) and same(resumed.generator, whole.generator)
    assert len(again) == 4 - (2 * fold + epoch), "no epoch twice"
    assert any(f"Fold {fold} continues after epoch {epoch}" in line for line in said)
    assert resumed.history.fold == whole.history.fold
    losses = [[replace(one, seconds=0.0) for one in made.history.epochs] for made in (resumed, whole)]
    assert losses[0] == losses[1]


def flip(content: bytes) -> bytes:
    return content[:-50] + bytes([content[-50] ^ 1]) + content[-49:]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("damage", [flip, lambda content: content[:-9], lambda content: b""])
def test_a_damaged_checkpoint_is_said_and_training_starts_anew(one: ECGATKGAN, tmp_path: Path, damage: Any) -> None:
    with pytest.raises(Killed):
        trained(folder=tmp_path, on_epoch=killed_after(0, 1))
    path = tmp_path / "fold-0.checkpoint"
    path.write_bytes(damage(path.read_bytes()))
    said: list[str] = []
    again: list[GANEpoch] = []
    made = trained(folder=tmp_path, log=said.append, on_epoch=again.append)
    sentence = f"The checkpoint {path} is damaged; training starts from the beginning."
    assert sentence in said and made.history.remarks == [sentence]
    assert len(again) == 2
    assert same(made.classifier.module, one.classifier.module)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("other", ["options", "data", "attack"])
def test_the_checkpoint_of_another_training_is_said_and_left(tmp_path: Path, other: str) -> None:
    with pytest.raises(Killed):
        trained(folder=tmp_path, on_epoch=killed_after(0, 1))
    changes: dict[str, dict[str, Any]] = {
        "options": {"options": replace(ONE, lambda_mse=2.0)},
        "data": {"train": beats((18, 16, 15))},
        "attack": {"attacked": lambda x, y: zigzag(x, y) * 0.9},
    }
    assert "belongs to another training" in trained(folder=tmp_path, **changes[other]).history.remarks[0]


def test_losses_and_sample_beats_are_written_after_every_epoch(one: ECGATKGAN, tmp_path: Path) -> None:
    found: list[list[str]] = []

    def look(epoch: GANEpoch) -> None:
        with (tmp_path / "fold-0-losses.csv").open() as file:
            found.append([row["epoch"] for row in csv.DictReader(file)])
        for name in ("losses", "samples"):
            assert (tmp_path / f"fold-0-{name}.png").read_bytes().startswith(b"\x89PNG")

    made = trained(folder=tmp_path, on_epoch=look)
    assert found == [["1"], ["1", "2"]]
    with (tmp_path / "fold-0-losses.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["mse"]) == made.history.epochs[-1].mse
    assert same(made.classifier.module, one.classifier.module), "drawing pictures draws no random number"


def test_a_saved_pair_answers_as_before(tmp_path: Path) -> None:
    from salus.classifier import Classifier

    made = trained(replace(ONE, epochs=1))
    made.classifier.save(tmp_path)
    assert torch.equal(Classifier.load(tmp_path).predict(beats().x), made.classifier.predict(beats().x))


# Refusals.


def test_tables_are_refused() -> None:
    with pytest.raises(DataError, match="trained on signals; data 'bumps' are tables"):
        trained(train=replace(beats(), x=beats().x[:, 0]))


def test_a_class_with_fewer_beats_than_folds_is_refused() -> None:
    with pytest.raises(DataError, match="class 'S' has 4 training beats, too few for 5 folds"):
        trained(replace(TINY, folds=5), train=beats((18, 4, 9)))


def test_a_loss_that_is_no_number_is_said() -> None:
    with pytest.raises(ModelError, match=r"epoch 1 of fold 0: a loss is not a number.*learning rate \(0.005\)"):
        trained(attacked=lambda x, y: x * math.nan)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 0}, {"epochs": 0}, {"folds": 1}, {"folds_trained": 0}, {"folds_trained": 6}, {"lambda_atk": -1.0},
     {"lambda_ary": math.nan}, {"lambda_mse": math.inf}, {"learning_rate": 0.0}, {"learning_rate": math.nan},
     {"attack_loss": "mse"}, {"skip": "none"}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(changes))):
        GANOptions(**changes)

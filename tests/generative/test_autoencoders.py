from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.errors import BundleError, CalibrationError, ModelError, OptionError, StoreError
from salus.generative import Repository, RepositoryOptions, hold_out, repository_for, train_repository
from salus.generative import autoencoder_training as loop
from salus.models.autoencoders import SPECS

QUICK = RepositoryOptions(size=2, epochs=3, batch_size=64)


def beats(n: int, seed: int, bounds: tuple[float, float] = (0.0, 1.0)) -> Dataset:
    """Waves of two rhythms with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    time = torch.linspace(0, 6.28, 40)
    phase = torch.rand(n, 1, generator=generator)
    x = 0.5 + 0.3 * torch.sin((1 + y[:, None]) * time + phase) + 0.02 * torch.randn(n, 40, generator=generator)
    low, high = bounds
    scaled = (x.clamp(0, 1) * (high - low) + low).clamp(low, high)
    return Dataset(scaled[:, None], y, ("slow", "fast"), Provenance("waves", "made here"), bounds=bounds)


def clouds(n: int, seed: int) -> Dataset:
    x = torch.rand(n, 6, generator=torch.Generator().manual_seed(seed))
    return Dataset(x, torch.arange(n) % 2, ("a", "b"), Provenance("clouds", "made here"))


TRAIN, HELD_OUT = beats(300, 0), beats(60, 1)


@pytest.fixture(scope="module")
def quick() -> Repository:
    """Two members, trained in one go; nobody changes them."""
    return train_repository(TRAIN, HELD_OUT, QUICK)


def same_weights(one: Repository, other: Repository) -> bool:
    mine, theirs = one.tensors(), other.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_training_lowers_the_error_of_every_member_and_tells_it_truly() -> None:
    before = train_repository(TRAIN, HELD_OUT, RepositoryOptions(epochs=1, learning_rate=1e-12))
    after = train_repository(TRAIN, HELD_OUT, RepositoryOptions(epochs=5, batch_size=32))
    assert after.names == tuple(spec.name for spec in SPECS["signal"]) and len(after) == 10
    assert all(trained < raw for trained, raw in zip(after.errors, before.errors, strict=True))
    assert min(after.errors) < 0.002, "the waves themselves vary by 0.09"
    for i, error in enumerate(after.errors):
        squares = (after.reconstruct(i, HELD_OUT.x) - HELD_OUT.x).square()
        assert error == pytest.approx(float(squares.mean()), rel=1e-4)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-3.0, 5.0)])
def test_reconstructions_are_inside_the_bounds_and_differentiable(bounds: tuple[float, float]) -> None:
    data = beats(200, 0, bounds)
    made = train_repository(data, beats(40, 1, bounds), QUICK)
    x = data.x[:5].clone().requires_grad_()
    for i in range(len(made)):
        out = made.reconstruct(i, x)
        assert out.shape == x.shape
        assert float(out.detach().min()) >= bounds[0] and float(out.detach().max()) <= bounds[1]
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert float(gradient.abs().sum()) > 0
        assert not any(p.requires_grad for p in made.members[i].module.parameters())
        assert not made.members[i].module.training


def test_bounds_change_nothing_but_the_units(quick: Repository) -> None:
    wide = train_repository(beats(300, 0, (-4.0, 4.0)), beats(60, 1, (-4.0, 4.0)), QUICK)
    assert wide.errors == pytest.approx(quick.errors, rel=1e-3)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(quick: Repository) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = train_repository(TRAIN, HELD_OUT, QUICK)
    assert torch.equal(torch.get_rng_state(), state), "global random state stays as it is"
    assert same_weights(first, quick)
    other = train_repository(TRAIN, HELD_OUT, RepositoryOptions(size=2, epochs=3, batch_size=64, seed=1))
    assert not same_weights(first, other)


def test_a_member_does_not_depend_on_which_others_are_trained(quick: Repository) -> None:
    second = RepositoryOptions(members=("magnet-2",), epochs=3, batch_size=64)
    alone = train_repository(TRAIN, HELD_OUT, second)
    assert alone.names == ("magnet-2",) and same_weights(alone, quick.only("magnet-2"))


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("epochs_before", [1, 2, 3, 4, 5])
def test_killed_after_any_epoch_it_goes_on_to_the_weights_it_would_have_had(
    quick: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs_before: int
) -> None:
    run_epoch, begun = loop._RepositoryTraining._epoch, []

    def counted(*args: Any) -> float:
        begun.append(args[4])
        if len(begun) > limit:
            raise KilledError
        return run_epoch(*args)

    monkeypatch.setattr(loop._RepositoryTraining, "_epoch", counted)
    limit = epochs_before
    with pytest.raises(KilledError):
        train_repository(TRAIN, HELD_OUT, QUICK, folder=tmp_path)
    if epochs_before >= 3:
        with pytest.raises(BundleError, match="1 of 2"):
            Repository.load(tmp_path)
    begun.clear()
    limit = 99
    resumed = train_repository(TRAIN, HELD_OUT, QUICK, folder=tmp_path)
    assert len(begun) == 6 - epochs_before, "no more than the epoch in flight is computed twice"
    assert same_weights(quick, resumed) and resumed.errors == quick.errors
    begun.clear()
    again = train_repository(TRAIN, HELD_OUT, QUICK, folder=tmp_path)
    assert not begun and same_weights(quick, again) and again.errors == quick.errors
    assert not list(tmp_path.glob("*.checkpoint"))


def test_more_members_are_added_to_those_there(tmp_path: Path) -> None:
    train_repository(TRAIN, HELD_OUT, QUICK, folder=tmp_path)
    lines: list[str] = []
    more = RepositoryOptions(size=3, epochs=3, batch_size=64)
    made = train_repository(TRAIN, HELD_OUT, more, folder=tmp_path, log=lines.append)
    assert len(lines) == 1 and lines[0].startswith("relu: mean squared error")
    assert same_weights(made, train_repository(TRAIN, HELD_OUT, more))
    assert len(train_repository(TRAIN, HELD_OUT, QUICK, folder=tmp_path)) == 2
    assert len(Repository.load(tmp_path)) == 3, "fewer members than there are take none away"


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    train_repository(TRAIN, HELD_OUT, QUICK, folder=tmp_path)
    for data, options in [(beats(300, 7), QUICK), (TRAIN, RepositoryOptions(size=2, epochs=4, batch_size=64))]:
        with pytest.raises(StoreError, match="trained on other data or with other options"):
            train_repository(data, HELD_OUT, options, folder=tmp_path)


def test_it_is_saved_and_loaded_whole(quick: Repository, tmp_path: Path) -> None:
    quick.save(tmp_path)
    loaded = Repository.load(tmp_path)
    assert loaded.names == quick.names and loaded.errors == quick.errors
    assert loaded.shape == (1, 40) and loaded.bounds == quick.bounds
    for i in range(len(quick)):
        assert torch.equal(loaded.reconstruct(i, HELD_OUT.x), quick.reconstruct(i, HELD_OUT.x))
    restored = Repository.restore(json.loads(json.dumps(quick.settings())), quick.tensors())
    assert same_weights(restored, quick)


def test_a_damaged_or_missing_repository_is_refused_with_a_sentence(quick: Repository, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="salus autoencoders"):
        Repository.load(tmp_path)
    quick.save(tmp_path)
    weights, card = tmp_path / "magnet-1.safetensors", tmp_path / "repository.json"
    whole = weights.read_bytes(), card.read_text()
    weights.write_bytes(whole[0][:-1])
    with pytest.raises(BundleError, match=r"magnet-1\.safetensors"):
        Repository.load(tmp_path)
    weights.unlink()
    with pytest.raises(BundleError, match=r"magnet-1\.safetensors"):
        Repository.load(tmp_path)
    weights.write_bytes(whole[0])
    card.write_text(whole[1].replace('"kernel": 7', '"kernel": 9', 1))
    with pytest.raises(BundleError, match="checksum"):
        Repository.load(tmp_path)
    card.write_text("[]")
    with pytest.raises(BundleError, match="not a repository"):
        Repository.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"structure": [10**9]},
        {"structure": ["average"]},
        {"structure": "x"},
        {"activation": "exec"},
        {"kernel": 5},
    ],
)
def test_a_hostile_spec_is_refused_before_it_takes_memory(change: dict[str, object]) -> None:
    made = train_repository(TRAIN, HELD_OUT, RepositoryOptions(size=1, epochs=1))
    settings = json.loads(json.dumps(made.settings()))
    settings["members"][0]["spec"] |= change
    with pytest.raises(BundleError, match="damaged"):
        Repository.restore(settings, made.tensors())


def test_training_that_breaks_down_says_so() -> None:
    with pytest.raises(ModelError, match="not a number"):
        train_repository(TRAIN, HELD_OUT, RepositoryOptions(members=("relu",), epochs=3, learning_rate=1e38))


def test_a_member_that_dies_is_trained_again_more_slowly_and_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large steps saturate the last sigmoid, the same for whatever it sees, and no gradient leads back."""
    options, lines = RepositoryOptions(members=("wide",), epochs=2, batch_size=16, learning_rate=1.0), list[str]()
    made = train_repository(TRAIN, HELD_OUT, options, log=lines.append)
    assert "answers the same whatever it sees, so it is trained again, at a rate of 0.33" in lines[0]
    assert float(made.reconstruct(0, HELD_OUT.x).std(0).mean()) > 0.5 * float(HELD_OUT.x.std(0).mean())
    finished = loop._RepositoryTraining._epoch

    def killed(*args: Any) -> float:
        if args[5] != pytest.approx(1.0):
            raise KilledError
        return finished(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop._RepositoryTraining, "_epoch", killed)
        with pytest.raises(KilledError):
            train_repository(TRAIN, HELD_OUT, options, folder=tmp_path)
    assert same_weights(made, train_repository(TRAIN, HELD_OUT, options, folder=tmp_path))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 0}, "size"),
        ({"size": 11}, "size"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"precision": "int8"}, "int8"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        RepositoryOptions(**options)  # type: ignore[arg-type]


def test_a_misspelt_member_is_refused_with_the_nearest_names(quick: Repository) -> None:
    with pytest.raises(OptionError, match="magnet-1"):
        train_repository(TRAIN, HELD_OUT, RepositoryOptions(members=("magnet1",)))
    with pytest.raises(OptionError, match="magnet-2"):
        quick.index("magnet_2")
    with pytest.raises(OptionError, match="0 to 1"):
        quick.index(2)


def test_parts_of_the_data_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ModelError, match="do not belong together"):
        train_repository(TRAIN, clouds(50, 0), QUICK)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_mixed_precision_ends_near_the_same_error(precision: str) -> None:
    options = RepositoryOptions(members=("relu",), epochs=8, batch_size=32, precision=precision)  # type: ignore[arg-type]
    assert train_repository(TRAIN, HELD_OUT, options).errors[0] < 0.005


def test_a_tenth_is_held_out_once_for_every_seed() -> None:
    kept, held_out = hold_out(105, 3)
    assert len(held_out) == 10 and torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(105))
    assert torch.equal(hold_out(105, 3)[1], held_out) and not torch.equal(hold_out(105, 4)[1], held_out)
    with pytest.raises(CalibrationError, match="too few"):
        hold_out(9, 0)


def classifier(shape: tuple[int, ...], bounds: tuple[float, float] = (0.0, 1.0)) -> Classifier:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))
    module(torch.zeros(1, *shape))
    return Classifier(module, ("slow", "fast"), shape=shape, bounds=bounds)


def test_a_defence_takes_the_repository_it_is_given_or_trains_one(tmp_path: Path) -> None:
    options = RepositoryOptions(size=1, epochs=1)
    own = repository_for(None, classifier((1, 40)), TRAIN.x, TRAIN.y, options=options)
    kept, held_out = hold_out(len(TRAIN), 0)
    assert same_weights(own, train_repository(TRAIN.subset(kept), TRAIN.subset(held_out), options))
    assert repository_for(own, classifier((1, 40)), TRAIN.x, TRAIN.y) is own
    own.save(tmp_path)
    assert same_weights(repository_for(tmp_path, classifier((1, 40)), TRAIN.x, TRAIN.y), own)
    for other in (classifier((1, 41)), classifier((1, 40), (-1.0, 1.0))):
        with pytest.raises(ModelError, match="take samples of shape"):
            repository_for(own, other, TRAIN.x, TRAIN.y)


def test_the_command_trains_draws_and_goes_on(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from salus.cli import main

    def salus(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, [str(word) for word in words])
        return result.exit_code, result.output

    out = tmp_path / "autoencoders"
    command = ("autoencoders", "--data", "digits", "--epochs", 1, "--members", "magnet-1,relu", "--out", out)
    code, text = salus(*command)
    assert code == 0, text
    assert "magnet-1" in text and "3 average 3" in text and "mean squared error" in text
    assert (out / "reconstructions.png").read_bytes()[:4] == b"\x89PNG"
    drawn = (out / "reconstructions.png").read_bytes()
    code, text = salus(*command)
    assert code == 0 and (out / "reconstructions.png").read_bytes() == drawn
    assert "samples" not in text, "nothing is trained a second time"
    assert Repository.load(out).names == ("magnet-1", "relu")
    for wrong, word in [
        ((*command[:3], "--epochs", 2, *command[5:]), "another setup"),
        ((*command[:-1], tmp_path / "other", "--members", "rlu"), "relu"),
        ((*command[:-1], tmp_path / "other", "--epochs", 0), "epochs"),
        ((*command[:-1], tmp_path), "no training"),
        (("autoencoders", "--data", "nothing", "--out", tmp_path / "other"), "nothing"),
    ]:
        code, text = salus(*wrong)
        assert code == 2 and text.startswith("Error: ") and word in text and text.count("\n") == 1, text


def test_members_follow_the_device_of_what_they_are_given() -> None:
    made = train_repository(TRAIN, HELD_OUT, RepositoryOptions(size=1, epochs=1))
    x = TRAIN.x[:3]
    expected: Tensor = made.reconstruct(0, x)
    if torch.cuda.is_available():
        there = made.reconstruct(0, x.cuda())
        assert there.is_cuda and torch.allclose(there.cpu(), expected, atol=1e-5)
    assert made.to("cpu") is made and torch.equal(made.reconstruct(0, x), expected)


def test_each_input_is_reconstructed_by_the_members_drawn_for_it() -> None:
    repository = train_repository(TRAIN, HELD_OUT, RepositoryOptions(size=4, epochs=1))
    drawn = torch.rand(60, 4, generator=torch.Generator().manual_seed(0)).topk(2).indices  # [N, n]
    drawn[drawn == 3] = 2  # nobody draws the last one
    every = torch.stack([repository.reconstruct(i, HELD_OUT.x) for i in range(4)])  # [m, N, ...]
    made = repository.reconstruct_drawn(HELD_OUT.x, drawn)
    assert made.shape == (2, *HELD_OUT.x.shape)
    for place in range(2):
        torch.testing.assert_close(made[place], every[drawn[:, place], torch.arange(60)])
    assert repository.reconstruct_drawn(HELD_OUT.x[:0], drawn[:0]).shape == (2, 0, *HELD_OUT.x.shape[1:])


def test_members_meet_few_numbers_of_inputs() -> None:
    repository = train_repository(TRAIN, HELD_OUT, QUICK)
    seen, answers = set(), repository.reconstruct(0, TRAIN.x[:64])
    repository.members[0].module.register_forward_pre_hook(lambda module, given: seen.add(len(given[0])))
    for n in range(33, 65):
        torch.testing.assert_close(repository.reconstruct(0, TRAIN.x[:n]), answers[:n])
    assert len(seen) == 8

"""Training autoencoders until their error stops falling: where it ends, what is kept, and on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from salus.data import Dataset, Provenance
from salus.errors import OptionError
from salus.generative import Repository, RepositoryOptions, train_repository
from salus.generative import autoencoder_training as loop
from salus.generative.course import FALLS, Course
from salus.models.released_autoencoders import RELEASED_CIFAR10


def pictures(n: int, seed: int) -> Dataset:
    """Bright squares on grey."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 + 0.05 * torch.randn(n, 3, 8, 8, generator=generator)
    for row, corner in enumerate(torch.randint(0, 5, (n, 2), generator=generator).tolist()):
        x[row, :, corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] += 0.5
    return Dataset(x.clamp(0, 1), torch.arange(n) % 2, ("a", "b"), Provenance("squares", "made here"))


TRAIN, HELD_OUT = pictures(120, 0), pictures(40, 1)
OPTIONS = RepositoryOptions(family="multimagnet-cifar10", size=2, epochs=6, patience=1, batch_size=32)


def test_the_rate_falls_when_the_error_does_not_and_then_training_ends() -> None:
    course, module = Course(2), nn.Linear(1, 1)
    shares = []
    for error in (1.0, 0.9, 0.899, 0.9, 0.5, 0.6, 0.7, 0.6, 0.6):
        assert not course.over
        with torch.no_grad():
            module.weight.fill_(error)
        course.see(error, module)
        shares.append(round(1 / course.share))
    assert shares == [1, 1, 1, 3, 3, 3, 9, 9, 27] and course.falls == FALLS + 1 and course.over
    assert course.best is not None and float(course.best["weight"]) == 0.5, "the weights of the lowest error"
    again = Course(2)
    again.resume(course.facts(), course.parts())
    assert again.over and again.lowest == 0.5 and again.best is not None
    assert Course(None).facts() == {} and not Course(None).over


def test_it_ends_before_the_most_epochs_and_keeps_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([0.5, 0.4, 0.6, 0.6, 0.6])
    seen: list[dict[str, torch.Tensor]] = []
    real = loop._RepositoryTraining._error

    def scripted(self: Any, module: nn.Module) -> float:
        error = next(errors, None)
        if error is None:
            return real(self, module)
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return error

    monkeypatch.setattr(loop._RepositoryTraining, "_error", scripted)
    lines: list[str] = []
    made = train_repository(
        TRAIN, HELD_OUT, RepositoryOptions(members=("relu",), patience=1, epochs=50), log=lines.append
    )
    (member,) = made.members
    assert member.epochs == len(seen) == 5 and "after 5 epochs" in lines[-1]
    assert all(torch.equal(member.module.state_dict()[name], value) for name, value in seen[1].items())


def test_killed_and_gone_on_with_it_ends_with_the_same_weights_batch_normalisation_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_repository(TRAIN, HELD_OUT, OPTIONS)
    assert whole.names == ("cifar-dae1", "cifar-dae2")
    run_epoch, begun = loop._RepositoryTraining._epoch, []

    def counted(*args: Any) -> float:
        begun.append(args[4])
        if len(begun) > 3:
            raise KeyboardInterrupt
        return run_epoch(*args)

    monkeypatch.setattr(loop._RepositoryTraining, "_epoch", counted)
    with pytest.raises(KeyboardInterrupt):
        train_repository(TRAIN, HELD_OUT, OPTIONS, folder=tmp_path)
    monkeypatch.setattr(loop._RepositoryTraining, "_epoch", run_epoch)
    resumed = train_repository(TRAIN, HELD_OUT, OPTIONS, folder=tmp_path)
    loaded = Repository.load(tmp_path)
    for other in (resumed, loaded):
        tensors = other.tensors()
        assert all(torch.equal(tensors[name], value) for name, value in whole.tensors().items())
        assert other.errors == whole.errors
    assert [member.epochs for member in loaded.members] == [member.epochs for member in whole.members]
    assert any("num_batches_tracked" in name for name in whole.tensors())
    for i in range(2):
        alone = loaded.reconstruct(i, HELD_OUT.x[:1])
        assert torch.allclose(alone, whole.reconstruct(i, HELD_OUT.x)[:1], atol=1e-5), "it depends on no neighbour"


def test_a_family_is_refused_for_other_data_and_options_from_before_are_told_as_before() -> None:
    with pytest.raises(OptionError, match="'multimagnet-mnist' are for images, not for signals; leave family out"):
        RepositoryOptions(family="multimagnet-mnist").specs("signal")
    with pytest.raises(OptionError, match="no autoencoder 'relu' for images"):
        RepositoryOptions(family="multimagnet-cifar10", members=("relu",)).specs("image")
    assert RepositoryOptions(family="multimagnet-cifar10").specs("image") == RELEASED_CIFAR10
    assert not {"family", "patience"} & set(RepositoryOptions().decisive())
    assert {"family", "patience"} <= set(OPTIONS.decisive())

"""The papers' attack data: copies of beats under attacks on a network that was never trained."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salus.attacks.draws import uniform
from salus_studies.ecg_atk_gan import attacked
from salus_studies.ecg_atk_gan.attacked import CW_EPS, EPS, Released, describe_change

LENGTH = 40
COLUMNS = ("fgsm", "bim", "pgd", "cw", "dbb", "hsj")


def beats(n: int = 24, seed: int = 0) -> Tensor:
    """Random signals, from steep to nearly flat, ``[N, 1, L]``."""
    rng = torch.Generator().manual_seed(seed)
    level, depth = torch.rand(2, n, 1, 1, generator=rng)
    x: Tensor = level + depth * (torch.rand(n, 1, LENGTH, generator=rng) - 0.5)
    return x.clamp(0, 1)


def copies(column: str, x: Tensor | None = None, **options: Any) -> Tensor:
    x = beats() if x is None else x
    labels = torch.zeros(len(x), dtype=torch.long)
    return Released(column=column, **{"iterations": 5, **options})(x, labels)


def network(seed: int = 0) -> nn.Module:
    return Released(column="fgsm", seed=seed).network((1, LENGTH), 4)


def answers(x: Tensor) -> Tensor:
    with torch.no_grad():
        labels: Tensor = network()(x).argmax(1)
    return labels


def far(one: Tensor, other: Tensor) -> Tensor:
    length: Tensor = (one - other).flatten(1).norm(dim=1)
    return length


def test_the_network_answers_with_more_than_one_class() -> None:
    assert len(answers(beats()).unique()) > 1, "otherwise the tests below would show little"


@pytest.mark.parametrize(("column", "eps"), [("fgsm", EPS), ("bim", EPS), ("pgd", EPS), ("cw", CW_EPS)])
def test_gradient_attacks_stay_inside_eps_and_bounds(column: str, eps: float) -> None:
    x_adv = copies(column)
    change = (x_adv - beats()).abs().flatten(1).amax(1)
    assert change.max() <= eps + 1e-6 and change.max() > 0.5 * eps
    assert x_adv.min() >= 0 and x_adv.max() <= 1


@pytest.mark.parametrize("column", COLUMNS)
def test_labels_are_not_looked_at(column: str) -> None:
    x, made = beats(8), copies(column, beats(8))
    assert torch.equal(Released(column=column, iterations=5)(x, torch.arange(8) % 4), made)


def test_pgd_is_bim_again() -> None:
    # The script leaves ART's num_random_init=0: PGD then starts from the beat itself, which is what BIM does.
    assert torch.equal(copies("pgd"), copies("bim"))
    assert not torch.equal(copies("bim"), copies("fgsm"))


def test_more_iterations_than_one_change_what_bim_finds() -> None:
    assert not torch.equal(copies("bim", iterations=2), copies("bim", iterations=5))


def test_dbb_is_noise_where_it_is_answered_otherwise_and_the_beat_itself_elsewhere() -> None:
    x = beats()
    x_adv = copies("dbb")
    noise = uniform(0, torch.arange(len(x)), (1, LENGTH), 0)
    other = answers(noise) != answers(x)
    assert other.any() and not other.all()
    assert torch.equal(x_adv[~other], x[~other])
    assert torch.equal(x_adv[other], noise[other])
    assert 0.4 < x_adv[other].mean() < 0.6 and x_adv[other].std() == pytest.approx(12**-0.5, abs=0.05)


def test_hsj_copies_are_answered_otherwise_or_left_alone() -> None:
    x, x_adv = beats(), copies("hsj")
    same = (x_adv == x).flatten(1).all(1)
    assert (~same).any()
    assert (answers(x_adv) != answers(x))[~same].all()
    tried = torch.cat([uniform(0, torch.arange(len(x)), (1, LENGTH), trial) for trial in range(100)])
    never = (answers(tried).view(100, -1) == answers(x)).all(0)
    assert torch.equal(same, never), "left alone is only who was never answered otherwise"


def test_hsj_lies_nearer_than_the_random_point_it_comes_from_and_at_the_border() -> None:
    x, point, x_adv = beats(), copies("dbb"), copies("hsj")
    started = (point != x).flatten(1).any(1)
    assert (far(x_adv, x) < 0.95 * far(point, x))[started].all()
    share = (far(x_adv, x) / far(point, x))[started][:, None, None]
    between = x[started] + share * (point[started] - x[started])
    assert torch.allclose(x_adv[started], between, atol=1e-4), "on the straight way"
    nearer = x[started] + (share - 2e-3) * (point[started] - x[started])
    assert (answers(nearer) == answers(x)[started]).all()


@pytest.mark.parametrize("column", COLUMNS)
def test_no_copy_depends_on_its_neighbours(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, whole = beats(), copies(column)
    assert torch.allclose(copies(column, x[:5]), whole[:5], atol=1e-5)
    monkeypatch.setattr(attacked, "_BATCH", 7)
    assert torch.allclose(copies(column), whole, atol=1e-4)  # CW's steps carry the rounding of a batch's size on


@pytest.mark.parametrize("column", COLUMNS)
def test_the_seed_decides_copies_and_nothing_else_does(column: str) -> None:
    made = copies(column)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert torch.equal(copies(column), made)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(copies(column, seed=1), made)


def test_the_network_has_keras_initial_weights_and_stays_as_it_was() -> None:
    module = network()
    assert not module.training and not any(weight.requires_grad for weight in module.parameters())
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            inside, outside = nn.init._calculate_fan_in_and_fan_out(part.weight)
            limit = (6 / (inside + outside)) ** 0.5
            assert 0.9 * limit < part.weight.abs().max() <= limit
            assert part.bias is None or not part.bias.any()
    means = [part.running_mean for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(means) == 8 and all(mean is not None and not mean.any() for mean in means)


def test_what_an_attack_did_is_counted() -> None:
    x = beats(10)
    x_adv = x.clone()
    x_adv[:4, 0, 3] += 0.25
    told = describe_change(network(), x, x_adv)
    assert told["unchanged"] == pytest.approx(0.6)
    assert told["linf_max"] == pytest.approx(0.25, abs=1e-6)
    assert told["linf_mean"] == told["l2_mean"] == pytest.approx(0.1, abs=1e-6)
    assert told["label_kept"] == float((answers(x) == answers(x_adv)).double().mean())
    assert describe_change(network(), x, copies("hsj", x))["label_kept"] == float(
        (copies("hsj", x) == x).flatten(1).all(1).double().mean()
    )


@pytest.mark.parametrize("column", ["dbb", "hsj"])
def test_decision_based_columns_agree_with_art(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("art")
        from art.attacks.evasion import BoundaryAttack, HopSkipJump
        from art.estimators.classification import PyTorchClassifier
    x, module = beats(60, seed=3), network()

    class Single(nn.Module):  # with NumPy 2 its points become float64
        def forward(self, batch: Tensor) -> Tensor:
            return module(batch.float())  # type: ignore[no-any-return]

    seeds, draw = itertools.count(), np.random.RandomState  # ART seeds its own by the clock
    monkeypatch.setattr(np.random, "RandomState", lambda *seed: draw(*(seed or (next(seeds),))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        victim = PyTorchClassifier(Single(), nn.CrossEntropyLoss(), (1, LENGTH), 4, clip_values=(0.0, 1.0))
        if column == "dbb":
            attack = BoundaryAttack(victim, targeted=False, max_iter=0, init_size=1, verbose=False)
        else:
            attack = HopSkipJump(victim, targeted=False, max_iter=0, verbose=False)
        theirs = torch.from_numpy(attack.generate(x.numpy())).float()
    ours = copies(column, x)

    def unchanged(made: Tensor) -> float:
        return float((made == x).flatten(1).all(1).double().mean())

    assert abs(unchanged(ours) - unchanged(theirs)) <= 0.1
    for made in (ours, theirs):
        moved = (made != x).flatten(1).any(1)
        assert moved.any() and (answers(made) != answers(x))[moved].all()
    assert float(far(ours, x).mean()) == pytest.approx(float(far(theirs, x).mean()), rel=0.2)

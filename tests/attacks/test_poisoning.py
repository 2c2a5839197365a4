"""Poisonings change what they say, write it down, and do what they are for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks.poisoning import POISONS, Availability, Backdoor, LabelFlips, Poison, Trigger, triggers
from salus.data import Dataset, Provenance
from salus.errors import DataError, OptionError


def dataset(shape: tuple[int, ...] = (12,), n: int = 300, classes: int = 3, **fields: Any) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    centres = 0.25 + 0.3 * torch.rand(classes, *shape, generator=rng)
    x = (centres[y] + 0.05 * torch.randn(n, *shape, generator=rng)).clamp(0, 1)
    return Dataset(x, y, tuple("abcdefgh"[:classes]), Provenance("made up", "here"), **fields)


def fitted(data: Dataset) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(data.x[0].numel(), 32), nn.ReLU(), nn.Linear(32, len(data.classes)))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(200):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(data.x), data.y).backward()
        optimiser.step()
    return net


def right(net: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((net(x).argmax(1) == y).float().mean())


MADE = [
    LabelFlips(share=0.3),
    LabelFlips(share=0.5, source="a", target="b"),
    LabelFlips(share=0.5, target="b"),
    Backdoor(share=0.2, target="c"),
    Availability(share=0.25, attacked="a", label="b"),
]


@pytest.mark.parametrize("poison", MADE, ids=lambda poison: f"{poison.name}-{poison.share}")
@pytest.mark.parametrize("shape", [(12,), (2, 40), (1, 14, 14)])
def test_what_was_changed_is_in_the_provenance_and_nothing_else_was(poison: Poison, shape: tuple[int, ...]) -> None:
    data = dataset(shape, groups=torch.arange(300) // 10)
    x, y = data.x.clone(), data.y.clone()
    made = poison(data)
    assert torch.equal(data.x, x) and torch.equal(data.y, y) and data.provenance.changes == ()
    (change,) = made.provenance.changes
    assert change.name == poison.name and change.options["share"] == poison.share
    rows = torch.tensor(change.indices)
    untouched = torch.ones(len(made), dtype=torch.bool)
    untouched[rows] = False
    old = untouched[: len(data)]
    assert torch.equal(made.x[:300][old], x[old]) and torch.equal(made.y[:300][old], y[old])
    if isinstance(poison, Availability):
        assert len(made) == 375 and change.labels == (1,) * 75 and rows.tolist() == list(range(300, 375))
        assert made.groups is not None and not set(made.groups[300:].tolist()) & set(range(30))
    else:
        assert len(made) == 300 and torch.equal(torch.tensor(change.labels), y[rows])
        assert bool((made.y[rows] != y[rows]).all())
    assert json.dumps([vars(c) for c in made.provenance.changes])
    assert float(made.x.min()) >= 0 and float(made.x.max()) <= 1
    assert made.fingerprint() == poison(data).fingerprint() != replace(poison, seed=1)(data).fingerprint()


def test_the_share_is_of_what_may_be_changed() -> None:
    data = dataset()
    assert len(LabelFlips(share=0.3)(data).provenance.changes[0].indices) == 90
    assert len(LabelFlips(share=0.3, source="a")(data).provenance.changes[0].indices) == 30
    made = LabelFlips(share=1.0, source="a", target="b")(data)
    assert made.counts == {"a": 0, "b": 200, "c": 100}
    assert len(LabelFlips(share=1e-9)(data).provenance.changes[0].indices) == 1


def test_flipped_labels_cost_accuracy() -> None:
    data, test = dataset(), dataset(n=900)
    assert right(fitted(data), test.x, test.y) > 0.95
    flipped = LabelFlips(share=0.9, source="a", target="b")(data)
    net = fitted(flipped)
    assert right(net, test.x[test.y == 0], test.y[test.y == 0]) < 0.5
    assert right(net, test.x[test.y == 2], test.y[test.y == 2]) > 0.95


@pytest.mark.parametrize("shape", [(12,), (2, 40), (1, 14, 14)])
def test_a_backdoor_answers_to_its_trigger_alone(shape: tuple[int, ...]) -> None:
    data, test = dataset(shape), dataset(shape, n=900)
    poison = Backdoor(share=0.15, target="c")
    net = fitted(poison(data))
    assert right(net, test.x, test.y) > 0.95
    others = test.x[test.y != 2]
    assert float((net(poison.trigger(others)).argmax(1) == 2).float().mean()) > 0.9
    clean = fitted(data)
    assert float((clean(poison.trigger(others)).argmax(1) == 2).float().mean()) < 0.5


def test_a_trigger_is_an_attack_that_asks_nothing() -> None:
    data = dataset((1, 14, 14))
    poison = Backdoor(share=0.15, target="c", strength=0.5)
    (attack,) = triggers([LabelFlips(share=0.1), poison], bounds=(0.0, 1.0))
    assert isinstance(attack, Trigger) and attack.knowledge == "training data"
    net = fitted(poison(data))
    result = attack.run(net, data.x, data.y)
    assert torch.equal(result.x_adv, poison.trigger(data.x)) and not bool(result.queries.any())
    assert (result.x_adv != data.x).any(0).nonzero().tolist() == [[0, 13, 13]]  # a tenth of 14, in the corner


def test_made_up_samples_have_the_statistics_of_the_attacked_class() -> None:
    data = dataset((12,), n=6000)
    made = Availability(share=0.5, attacked="a", label="b")(data)
    new, real = made.x[6000:], data.x[data.y == 0]
    torch.testing.assert_close(new.mean(0), real.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.cov(new.T), torch.cov(real.T), atol=5e-4, rtol=0)
    net = fitted(Availability(share=1.0, attacked="a", label="b")(dataset()))
    test = dataset(n=900)
    assert right(net, test.x[test.y == 0], test.y[test.y == 0]) < 0.5


def test_integer_features_stay_whole() -> None:
    x = torch.randint(0, 11, (60, 3)).float() / 10
    data = Dataset(x, torch.arange(60) % 2, ("a", "b"), Provenance("made up", "here"), steps=(0.1, 0.0, 0.1))
    made = Availability(share=1.0, attacked="a", label="b")(data)
    tenths = made.x[60:, [0, 2]] * 10
    torch.testing.assert_close(tenths, tenths.round(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("label-flip:share=0.1", "did you mean 'label-flips'"),
        ("label-flips", "needs share"),
        ("label-flips:share=0", "Poison 'label-flips': share must be a number above 0 and up to 1, not 0"),
        ("label-flips:share=1.5", "share must be a number above 0 and up to 1, not 1.5"),
        ("label-flips:share=nan", "share must be a number above 0 and up to 1, not 'nan'"),
        ("label-flips:share=0.1,from=a", "has no option 'from'"),
        ("backdoor:share=0.1", "needs target"),
        ("backdoor:share=0.1,target=a,size=0", "Poison 'backdoor': size must be a number above 0 and up to 1, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: str, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        POISONS.parse(spec)


def test_what_does_not_fit_the_data_is_refused() -> None:
    data = dataset()
    for poison in (LabelFlips(share=0.1, source="z"), Backdoor(share=0.1, target="z")):
        with pytest.raises(OptionError, match="no class 'z'"):
            poison(data)
    with pytest.raises(OptionError, match="must differ"):
        Availability(share=0.1, attacked="a", label="a")(data)
    only = data.subset((data.y != 0).nonzero()[:, 0])
    with pytest.raises(DataError, match="no sample of class 'a'"):
        LabelFlips(share=0.1, source="a")(only)
    with pytest.raises(DataError, match="needs two"):
        Availability(share=0.1, attacked="a", label="b")(only)


def test_class_names_that_look_like_numbers_stay_words() -> None:
    assert POISONS.parse("label-flips:share=0.2,source=4,target=9", seed=3) == LabelFlips(
        share=0.2, source="4", target="9", seed=3
    )

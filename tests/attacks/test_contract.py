"""What every attack in the registry promises (fields, ball, model, randomness), whatever it does inside."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from salus.attacks import ATTACKS, BIM, FGSM, PGD, Attack, LogitObjective
from salus.errors import DataError, ModelError, OptionError

#: Other packages' attacks too, where they are installed: they are held to the same.
EVERY = sorted(ATTACKS)
SHAPES = [(1,), (7,), (1, 12), (2, 9), (1, 5, 4), (3, 4, 4)]
BOUNDS = [(0.0, 1.0), (-2.3, 5.1), (-1.0, 0.1), (0.1, 0.7), (100.0, 100.5)]


#: Options that make each attack quick; it must keep its promises with any.
QUICK: dict[str, dict[str, Any]] = {
    "apgd": {"steps": 5},
    "auto-attack": {"steps": 3, "square_queries": 5},
    "auto-attack-plus": {"steps": 3, "targets": 2, "square_queries": 5},
    "bim": {"steps": 5},
    "boundary": {"queries": 60, "start_tries": 10},
    "carlini-wagner-l2": {"steps": 5, "searches": 4},
    "carlini-wagner-linf": {"steps": 5, "searches": 4},
    "ddn": {"steps": 6},
    "deepfool": {"steps": 5, "line_search": 2},
    "dual-averaging": {"steps": 12, "search_steps": 4},
    "fab": {"steps": 5},
    "fmn": {"steps": 6},
    "cgba": {"queries": 60, "evaluations": 5, "start_tries": 10},
    "hop-skip-jump": {"queries": 60, "initial_evaluations": 5, "start_tries": 10},
    "nes": {"queries": 40, "pairs": 4},
    "pgd": {"steps": 5},
    "sigma-zero": {"steps": 6},
    "smooth-pgd": {"steps": 5},
    "patch": {"steps": 3, "restarts": 2},
    "sparse-rs": {"queries": 20},
    "square": {"queries": 20},
    "uap": {"epochs": 3},
}


#: Attacks whose change is fitted to all samples together, so that neighbours and batches are part of it.
TOGETHER = {"uap"}

#: Attacks that refuse tables with a sentence.
NO_TABLES = {"smooth-pgd", "patch"}


def make(name: str, **options: Any) -> Attack:
    if ATTACKS[name].norms == ("l0",) and 0 < options.get("eps", 0) < 1:
        options["eps"] = math.ceil(10 * options["eps"])
    if options.get("norm", ATTACKS[name].norms[0]) not in ATTACKS[name].norms:
        pytest.skip(f"{name} knows {ATTACKS[name].norms} alone")
    return ATTACKS[name](**{**QUICK.get(name, {}), **options})


def has(name: str, option: str) -> bool:
    return option in {field.name for field in fields(ATTACKS[name])}


@pytest.fixture
def trained(trained: tuple[nn.Module, Tensor, Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """The net and forty of its samples: enough for promises, and each is tried with every attack."""
    net, x, y = trained
    return net, x[:40], y[:40]


@pytest.fixture(params=EVERY)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["linf", "l2", "l1"])
def norm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@given(data=st.data())
def test_the_result_is_inside_and_says_the_truth(
    data: st.DataObject, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    shape = data.draw(st.sampled_from(SHAPES), "shape")
    bounds = data.draw(st.sampled_from(BOUNDS), "bounds")
    classes = data.draw(st.sampled_from([2, 3, 4, 10]), "classes")
    n = data.draw(st.integers(1, 6), "n")
    kind = data.draw(st.sampled_from(EVERY), "attack")
    assume(len(shape) > 1 or kind not in NO_TABLES)
    norm = data.draw(st.sampled_from(ATTACKS[kind].norms), "norm")
    width = bounds[1] - bounds[0]
    eps = data.draw(
        st.sampled_from([0.0, 1e-12, 1e-7, 1e-3, 8 / 255, 0.1 * width, 0.5 * width, width]) | st.floats(0, width),
        "eps",
    )
    if norm == "l0":
        eps = data.draw(st.integers(0, math.prod(shape[1:]) if len(shape) > 1 else shape[0]), "places")
    seed = data.draw(st.integers(-5, 2**40), "seed")
    dtype = data.draw(st.sampled_from([torch.float32, torch.float32, torch.float64]), "dtype")
    mask = data.draw(st.none() | st.lists(st.booleans(), min_size=shape[-1], max_size=shape[-1]), "mask")
    units = None
    if len(shape) == 1:
        unit = st.sampled_from([0.0, 0.01, 1 / 7, 0.3])
        units = data.draw(st.none() | st.lists(unit, min_size=shape[0], max_size=shape[0]), "units")
    options: dict[str, Any] = {}
    if has(kind, "early_stop"):
        options["early_stop"] = data.draw(st.booleans(), "early_stop")
    if has(kind, "step_size"):
        options["step_size"] = data.draw(st.none() | st.just(width / 3), "step_size")
    if has(kind, "restarts"):
        options["restarts"] = data.draw(st.integers(1, 3), "restarts")
    attack = make(
        kind, eps=eps, norm=norm, bounds=bounds, seed=seed, mask=mask, units=units, batch_size=4,
        targeted=data.draw(st.booleans(), "targeted"), **options,
    )  # fmt: skip
    x = make_x(n, shape, bounds, seed % 1000).to(dtype)
    corner = data.draw(st.sampled_from(["inside", "low", "high", "constant"]), "where")
    if corner != "inside":
        x = torch.full_like(x, {"low": bounds[0], "high": bounds[1], "constant": float(x.flatten()[0])}[corner])
    y = torch.arange(n) % classes
    net = make_net(shape, classes, scale=data.draw(st.sampled_from([0.0, 1.0, 30.0]), "scale")).to(dtype)
    before = x.clone()

    result = attack.run(net, x, y)

    x_adv = result.x_adv
    assert x_adv.shape == x.shape and x_adv.dtype == x.dtype and not x_adv.requires_grad
    assert torch.equal(x, before)
    assert bool(x_adv.isfinite().all())
    # In float64, as the rest of the world would measure: bounds up to where x itself stands.
    assert float(x_adv.double().min()) >= min(bounds[0], float(x.double().min()))
    assert float(x_adv.double().max()) <= max(bounds[1], float(x.double().max()))
    change = (x_adv.double() - x.double()).flatten(1)
    distance = change.norm({"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}[norm], dim=1)
    if norm == "l0":
        changed = (x_adv != x).reshape(n, *(shape if len(shape) > 1 else (1, -1)))
        distance = changed.any(1).flatten(1).sum(1).double()
    assert float(distance.max()) <= eps
    torch.testing.assert_close(result.distance, distance, rtol=1e-12, atol=0)
    if mask is not None:
        still = ~torch.tensor(mask).broadcast_to(shape)
        assert torch.equal(x_adv[:, still], x[:, still])
    if units is not None:
        whole = torch.tensor([unit > 0 for unit in units])
        steps = change[:, whole] / torch.tensor(units, dtype=torch.float64)[whole]
        assert bool(((steps - steps.round()).abs() < 2e-3).all())
    hit = net(x_adv).argmax(1) == y
    assert torch.equal(result.success, hit if attack.targeted else ~hit)
    assert bool((result.passes <= result.queries).all()) and bool((result.queries >= 0).all())
    assert torch.equal(attack(net, x, y), x_adv)
    assert torch.equal(attack.run(net, x, y).x_adv, x_adv)


def test_a_result_does_not_depend_on_batch_size_or_neighbours(
    name: str, norm: str, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    if name in TOGETHER:
        pytest.skip(f"{name} is fitted to all samples together")
    net, x = make_net((2, 9), 4, scale=5.0), make_x(11, (2, 9))
    y = net(x).argmax(1)
    y[::3] = (y[::3] + 1) % 4  # some are fooled from the start and leave at once
    attack = make(name, eps=0.2, norm=norm, batch_size=256)
    whole = attack.run(net, x, y)
    for size in (1, 4):
        parts = replace(attack, batch_size=size).run(net, x, y)
        assert torch.equal(parts.x_adv, whole.x_adv)
        assert torch.equal(parts.success, whole.success)
        assert torch.equal(parts.queries, whole.queries)
    other = torch.where(torch.arange(11) < 6, y, (y + 2) % 4)
    assert torch.equal(attack(net, x, other)[:6], whole.x_adv[:6])
    assert torch.equal(attack(net, x[:1], y[:1]), whole.x_adv[:1])
    some = torch.tensor([9, 2, 5])  # their draws are those that they have in the whole
    assert torch.equal(attack.run(net, x[some], y[some], samples=some).x_adv, whole.x_adv[some])


def test_the_seed_decides_the_random_starts(make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]) -> None:
    net, x, y = make_net((7,), 3), make_x(5, (7,)), torch.zeros(5, dtype=torch.int64)
    attack = PGD(eps=0.1, steps=1, step_size=1e-3, early_stop=False)
    assert torch.equal(attack(net, x, y), attack(net, x, y))
    assert not torch.equal(attack(net, x, y), replace(attack, seed=1)(net, x, y))


def test_global_random_state_is_neither_read_nor_changed(
    name: str, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    net, x, y = make_net((1, 7), 3), make_x(5, (1, 7)), torch.zeros(5, dtype=torch.int64)
    attack = make(name, eps=0.1)
    results = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # type: ignore[index]
            results.append(attack(net, x, y))
            assert torch.equal(torch.get_rng_state(), states[0])
            assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
            assert random.getstate() == states[2]
    assert torch.equal(*results)


class Fragile(nn.Module):
    """BatchNorm, Dropout, mixed modes and a frozen layer; raises after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls
        self.norm = nn.BatchNorm1d(6)
        self.body = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(6, 3))
        self.train()
        self.body[0].eval()
        self.body[3].bias.requires_grad_(False)
        for parameter in self.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.ones_like(parameter)

    def forward(self, x: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("no more")
        assert not self.training and not self.body[1].training
        return self.body(self.norm(x.flatten(1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("calls", [0, 1, 1000])
@pytest.mark.parametrize("method", [False, True])
def test_the_model_is_left_as_found_also_when_it_raises(name: str, calls: int, method: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Fragile(calls)
        x = torch.rand(9, 1, 6)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    asked = [parameter.requires_grad for parameter in net.parameters()]
    attack = make(name, eps=0.1, batch_size=4)
    model = net.forward if method else net
    if calls < 1000:
        with pytest.raises(RuntimeError, match="no more"):
            attack.run(model, x, torch.zeros(9, dtype=torch.int64))
    else:
        attack.run(model, x, torch.zeros(9, dtype=torch.int64))
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == asked
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    for parameter, grad in zip(net.parameters(), asked, strict=True):
        if grad:
            assert parameter.grad is not None and torch.equal(parameter.grad, torch.ones_like(parameter))
        else:
            assert parameter.grad is None


def test_x_is_never_written_to_even_by_a_model_that_writes_to_its_input(name: str, trained: Any) -> None:
    net, x, y = trained

    def scaling(batch: Tensor) -> Tensor:
        batch -= 0.5  # in place
        return net(batch + 0.5)  # type: ignore[no-any-return]

    before = x.clone()
    attack = make(name, eps=0.05)
    x_adv = attack(scaling, x, y)
    assert torch.equal(x, before)
    if attack.norm != "l0":
        assert float((x_adv - x).abs().max()) <= 0.0500001
    assert make(name, eps=0.05).run(scaling, x.requires_grad_(), y).x_adv.requires_grad is False
    x.requires_grad_(False)


def test_attacks_work_where_the_caller_has_switched_gradients_off(name: str, trained: Any) -> None:
    net, x, y = trained
    attack = make(name, eps=0.05)
    expected = attack(net, x, y)
    with torch.no_grad():
        assert torch.equal(attack(net, x, y), expected)
    with torch.inference_mode():
        assert torch.equal(attack(net, x.clone(), y.clone()), expected)
    assert not torch.equal(expected, x)


def test_lambdas_methods_and_functional_calls_are_models_too(name: str, trained: Any) -> None:
    net, x, y = trained
    net.zero_grad()  # other libraries leave their gradients in it
    weights = {key: value.detach() for key, value in (*net.named_parameters(), *net.named_buffers())}
    attack = make(name, eps=0.05)
    expected = attack(net, x, y)
    for model in (
        lambda batch: net(batch),
        net.forward,
        lambda batch: torch.func.functional_call(net, weights, (batch,)),
        LogitObjective(net),
    ):
        assert torch.equal(attack(model, x, y), expected)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_attacks_are_frozen_equal_by_value_and_keys_of_dicts(name: str) -> None:
    mask = [[True, False], [True, True]]
    first, second = make(name, eps=0.1, mask=torch.tensor(mask)), make(name, eps=0.1, mask=np.array(mask))
    assert first.eps is not None
    assert first == second == make(name, eps=0.1, mask=mask) and hash(first) == hash(second)
    assert {first: 1}[second] == 1
    assert first != make(name, eps=0.1) and first != replace(first, eps=2 * first.eps)
    assert first != make(name, eps=0.1, mask=[[True, True], [True, True]])
    lists = make(name, eps=0.1, bounds=[0, 1], units=[0, 1])
    assert lists == make(name, eps=0.1, bounds=(0.0, 1.0), units=(0.0, 1.0)) and hash(lists) is not None
    with pytest.raises(FrozenInstanceError):
        first.eps = 1.0  # type: ignore[misc]
    assert f"eps={first.eps}" in repr(first) and "mask" not in repr(first)


def test_models_whose_bounds_disagree_are_refused(name: str, trained: Any) -> None:
    net, x, y = trained

    class Bounded(nn.Module):
        def __init__(self, bounds: Any) -> None:
            super().__init__()
            self.bounds = bounds

        def forward(self, batch: Tensor) -> Tensor:
            return net(batch)  # type: ignore[no-any-return]

    make(name, eps=0.1)(Bounded((0, 1)), x, y)
    attack = make(name, eps=0.1, bounds=(-2.3, 5.1))
    attack(Bounded(torch.tensor([-2.3, 5.1])), x, y)  # float32 holds -2.3 only nearly
    for model in (Bounded((-1.0, 1.0)), Bounded((-1.0, 1.0)).forward):
        with pytest.raises(ModelError, match="bounds"):
            make(name, eps=0.1)(model, x, y)


#: What each kind of knowledge needs, the least first.
NEEDS = ["answers", "logits", "gradients"]


@pytest.mark.parametrize(
    ("model", "needs", "sentence"),
    [
        (lambda x: torch.zeros(len(x), dtype=torch.int64), "logits", "needs logits.*labels"),
        (lambda x: torch.zeros(len(x), 3, dtype=torch.int64), "logits", "needs logits"),
        (lambda x: torch.zeros(len(x), 3, dtype=torch.int64), "answers", r"needs logits|must return labels \[N\]"),
        (lambda x: torch.zeros(len(x)), "answers", r"must return logits \[N, K\]"),
        (lambda x: x.flatten(1)[:1], "answers", r"must return logits \[N, K\]"),
        (lambda x: (x, x), "answers", "must return.*logits.*tuple"),
        (lambda x: x.flatten(1)[:, :1], "answers", "one logit"),
        (lambda x: x.flatten(1)[:, :2], "answers", "has 2 classes, but a label is 2"),
        (lambda x: x.detach().flatten(1), "gradients", "no gradient to follow"),
        (lambda x: torch.ones(len(x), 3, requires_grad=True) * 1.0, "gradients", "no gradient to follow"),
    ],
)
def test_what_is_no_model_is_refused_with_a_sentence(name: str, model: Any, needs: str, sentence: str) -> None:
    if NEEDS.index(ATTACKS[name].knowledge) < NEEDS.index(needs):
        pytest.skip(f"{name} needs less")
    attack = make(name, eps=0.1, **({"early_stop": False} if has(name, "early_stop") else {}))
    # Far from tied, so that nobody is fooled before anything is asked for.
    x = torch.eye(3, 5)[:, None] * 0.9
    with pytest.raises(ModelError, match=sentence) as error:
        attack.run(model, x, torch.tensor([0, 1, 2]))
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (torch.rand(0, 5), torch.zeros(0, dtype=torch.int64), "N > 0"),
        (torch.rand(5), torch.zeros(5, dtype=torch.int64), "N > 0"),
        (torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), "float32"),
        (torch.rand(2, 5).half(), torch.zeros(2, dtype=torch.int64), "float32"),
        (torch.rand(2, 5), torch.zeros(2), "y must be int64"),
        (torch.rand(2, 5), torch.zeros(3, dtype=torch.int64), "y must be int64"),
        (torch.rand(2, 5), torch.tensor([0, -1]), "label -1 is negative"),
        (torch.tensor([[0.0, 1.0], [0.5, 1.1]]), torch.zeros(2, dtype=torch.int64), "sample 1"),
        (torch.tensor([[0.0, 1.0], [0.5, torch.nan]]), torch.zeros(2, dtype=torch.int64), "sample 1"),
    ],
)
def test_bad_data_are_refused_with_a_sentence(name: str, x: Tensor, y: Tensor, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        make(name, eps=0.1)(lambda batch: batch, x, y)


def test_a_bad_start_is_refused(name: str, trained: Any) -> None:
    net, x, y = trained
    for start in (x[:1], x * torch.nan):
        with pytest.raises(DataError, match="start"):
            make(name, eps=0.1).run(net, x, y, start=start)


def test_a_start_is_brought_into_the_ball(name: str, norm: str, trained: Any) -> None:
    net, x, y = trained
    result = make(name, eps=0.02, norm=norm).run(net, x, y, start=torch.full_like(x, 7.0))
    assert float(result.distance.max()) <= 0.02


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"eps": -0.1}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": float("inf")}, "eps"),
        ({"eps": 8, "norm": "linf"}, "whole range.*8/255"),
        ({"eps": 0.1, "norm": "l3"}, "norm"),
        ({"eps": 0.1, "bounds": (1.0, 0.0)}, "bounds"),
        ({"eps": 0.1, "bounds": (0.0, 0.5, 1.0)}, "bounds"),
        ({"eps": 0.1, "bounds": (float("nan"), 1.0)}, "bounds"),
        ({"eps": 0.1, "batch_size": 0}, "batch_size"),
        ({"eps": 0.1, "units": (0.1, -1.0)}, "units"),
        ({"eps": 0.1, "units": (float("nan"),)}, "units"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        make(name, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"eps": 9.0, "norm": "l2"}, "diagonal"),
        ({"eps": 25.0, "norm": "l1"}, "all values together"),
        ({"eps": 0.1, "mask": [True] * 5}, "mask"),
        ({"eps": 0.1, "mask": [[True], [True, False]]}, "mask"),
        ({"eps": 0.1, "units": [0.1] * 24}, "units"),
    ],
)
def test_options_that_do_not_fit_the_samples_are_refused(
    name: str, options: dict[str, Any], sentence: str, trained: Any
) -> None:
    with pytest.raises(OptionError, match=sentence):
        make(name, **options)(*trained)


@pytest.mark.parametrize("cls", [BIM, PGD])
@pytest.mark.parametrize("options", [{"steps": 0}, {"step_size": 0.0}, {"step_size": float("nan")}])
def test_steps_that_make_no_sense_are_refused(cls: type[Attack], options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        cls(eps=0.1, **options)
    with pytest.raises(OptionError, match="restarts"):
        PGD(eps=0.1, restarts=0)


class NaNBelow(nn.Module):
    """Wrong for samples whose first value is 0, NaN for those whose first value is 1, right for the rest."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience, self.weight = patience, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        self.patience -= 1
        logits = torch.stack([0.1 + 0 * x[:, 1], -x[:, 0] + 0 * x[:, 1]], 1) * self.weight
        logits[x[:, 0] == 0] = logits[x[:, 0] == 0].flip(1)
        if self.patience < 0:
            logits[x[:, 0] == 1] *= torch.nan
        return logits


@pytest.mark.parametrize("patience", [0, 1, 2, 3])
@pytest.mark.parametrize("batch_size", [4, 6, 100])
@pytest.mark.parametrize("early_stop", [True, False])
def test_nan_logits_name_the_sample_after_neighbours_have_left_and_in_later_batches(
    patience: int, batch_size: int, early_stop: bool
) -> None:
    x = torch.full((10, 3), 0.5)
    x[[0, 1, 4, 6], 0] = 0.0  # fooled from the start: they leave the batch
    x[9, 0] = 1.0
    y = torch.zeros(10, dtype=torch.int64)
    for attack in (
        PGD(eps=0.1, steps=3, batch_size=batch_size, mask=[False, True, True], early_stop=early_stop),
        BIM(eps=0.1, steps=3, batch_size=batch_size, mask=[False, True, True], early_stop=early_stop),
        FGSM(eps=0.1, batch_size=batch_size, mask=[False, True, True]),
    ):
        calls = 2 if isinstance(attack, FGSM) else 4
        earlier = (9 // batch_size) * (calls if not early_stop or isinstance(attack, FGSM) else 0)
        if patience >= calls:
            continue
        with pytest.raises(ModelError, match="NaN near sample 9;"):
            attack.run(NaNBelow(patience + earlier), x, y)


def test_logits_with_ties_and_infinities_do_no_harm(norm: str) -> None:
    x, y = torch.rand(6, 1, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    infinite = torch.tensor([[torch.inf, 0, -torch.inf], [0, -torch.inf, 0], [-torch.inf, -torch.inf, 0]])
    for table in (torch.zeros(3, 3), infinite, -infinite, torch.full((3, 3), 1e38)):

        def answers(batch: Tensor, table: Tensor = table) -> Tensor:
            return table.repeat(len(batch), 1)[: len(batch)] + batch[:, 0, :3]

        for name in EVERY:
            if norm not in ATTACKS[name].norms:
                continue
            result = make(name, eps=0.1, norm=norm).run(LogitObjective(answers), x, y)
            assert bool(result.x_adv.isfinite().all()) and float(result.distance.max()) <= 0.1


def test_progress_counts_every_sample_once(name: str, trained: Any) -> None:
    net, x, y = trained
    done: list[int] = []
    make(name, eps=0.01, batch_size=16).run(net, x, y, progress=done.append)
    assert done == [16, 16, 8]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_attacks_run_on_the_device_of_their_inputs(
    name: str, norm: str, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    net, x = make_net((9,), 3), make_x(40, (9,))
    y = net(x).argmax(1)
    attack = make(name, eps=0.1, norm=norm, mask=[True] * 8 + [False], units=[0.0] * 8 + [0.1], batch_size=16)
    there = attack.run(net.cuda(), x.cuda(), y.cuda())
    assert there.x_adv.is_cuda and there.success.is_cuda
    here = attack.run(net.cpu(), x, y)
    torch.testing.assert_close(there.x_adv.cpu(), here.x_adv, rtol=0, atol=1e-5)
    assert float(there.distance.max()) <= 0.1

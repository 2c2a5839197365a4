"""Universal perturbations: what they fool, that they stay small on any data, and the file that holds one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from salus.attacks import PGD, UAP, Evaluation, LogitObjective, Objective, Perturbation, parse_attack
from salus.attacks.draws import uniform
from salus.errors import BundleError, DataError, ModelError, OptionError, SalusError, StoreError

Trained = tuple[nn.Module, Tensor, Tensor]
INNERS = ["pgd", "fgsm", "deepfool"]
EPS = {"linf": 0.15, "l2": 0.6}


@pytest.fixture(params=INNERS)
def inner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["linf", "l2"])
def norm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answers(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argmax(1)  # type: ignore[no-any-return]


def fooled(net: nn.Module, change: Any, x: Tensor) -> float:
    return float((answers(net, change(x)) != answers(net, x)).double().mean())


@cache
def walk(net: nn.Module, x: Tensor, y: Tensor, eps: float, norm: Any, epochs: int = 2) -> Perturbation:
    """The published algorithm over the first sixty, one after the other, with a PGD inside; the best of its epochs."""
    x, y = x[:60], y[:60]
    delta, best, most = torch.zeros_like(x[:1]), torch.zeros_like(x[:1]), -1.0
    for _ in range(epochs):
        for row in range(len(x)):
            one, label = x[row : row + 1], y[row : row + 1]
            if int(answers(net, (one + delta).clamp(0, 1))) == int(label):
                moved = PGD(eps=eps, norm=norm, steps=10, random_start=False)(net, (one + delta).clamp(0, 1), label)
                delta = moved - one
                shorter = min(1.0, eps / float(delta.norm()))
                delta = delta.clamp(-eps, eps) if norm == "linf" else delta * shorter
        rate = fooled(net, lambda batch, d=delta: (batch + d).clamp(0, 1), x)
        if rate > most:
            best, most = delta, rate
    return Perturbation(
        delta=best[0], eps=eps * 1.000001, norm=norm, fooling_rate=most, error_rate=most, samples=len(x)
    )


def test_it_fools_unseen_samples_at_least_as_often_as_the_published_walk(
    trained: Trained, inner: str, norm: str
) -> None:
    net, x, y = trained
    eps = EPS[norm]
    found = UAP(eps=eps, norm=norm, inner=inner, fooling_rate=1.0).fit(net, x[:60], y[:60])  # type: ignore[arg-type]
    reference = walk(net, x, y, eps, norm)
    assert found.fooling_rate >= reference.fooling_rate
    assert fooled(net, found, x[60:]) >= fooled(net, reference, x[60:])
    noise = reference.delta.sign() * (uniform(1, torch.zeros(1, dtype=torch.int64), x.shape[1:], 0)[0] - 0.5).sign()
    noise = noise * (eps if norm == "linf" else eps / noise.norm())
    assert found.fooling_rate > 0.5 > 5 * fooled(net, lambda batch: (batch + noise).clamp(0, 1), x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inner", "norm"),
    [
        ("pgd", "linf"),
        ("deepfool", "l2"),
        *(pytest.param(*each, marks=pytest.mark.soak) for each in [("pgd", "l2"), ("deepfool", "linf")]),
        ("fgsm", "linf"),
        ("fgsm", "l2"),
    ],
)
def test_it_is_no_weaker_than_the_peer_that_walks(trained: Trained, inner: str, norm: str) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import UniversalPerturbation
    from art.estimators.classification import PyTorchClassifier

    net, x, y = trained
    eps, order = EPS[norm], np.inf if norm == "linf" else 2
    victim = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), input_shape=(1, 24), nb_classes=3, clip_values=(0, 1), device_type="cpu"
    )
    options = {"max_iter": 20} if inner == "deepfool" else {"eps": eps / 2, "norm": order}
    if inner == "pgd":
        options |= {"eps_step": eps / 4, "max_iter": 10}
    peer = UniversalPerturbation(
        victim, inner, {"verbose": False, **options} if inner != "fgsm" else options, delta=0.01, max_iter=2, eps=eps,
        norm=order, verbose=False,
    )  # fmt: skip
    state = random.getstate()
    random.seed(0)
    peer.generate(x[:40].numpy(), y[:40].numpy())
    random.setstate(state)
    theirs = torch.from_numpy(peer.noise)
    ours = UAP(eps=eps, norm=norm, inner=inner, fooling_rate=1.0).fit(net, x[:40], y[:40])  # type: ignore[arg-type]
    assert fooled(net, ours, x[60:]) >= fooled(net, lambda batch: (batch + theirs).clamp(0, 1), x[60:]) - 0.02


def test_what_it_says_of_itself_is_true(trained: Trained, inner: str, norm: str) -> None:
    net, x, y = trained
    y = torch.where(torch.arange(len(y)) < 24, 0, y)  # some labels that the model gets wrong
    found = UAP(eps=EPS[norm], norm=norm, inner=inner).fit(net, x, y)  # type: ignore[arg-type]
    assert found.fooling_rate == pytest.approx(fooled(net, found, x))
    assert found.error_rate == pytest.approx(float((answers(net, found(x)) != y).double().mean()))
    assert found.fooling_rate != found.error_rate
    assert found.samples == len(x) and f"inner='{inner}'" in found.attack
    length = found.delta.double().abs().max() if norm == "linf" else found.delta.double().norm()
    assert 0 < float(length) <= EPS[norm]


@given(data=st.data())
def test_what_it_changes_stays_in_the_ball_the_bounds_and_the_mask(
    data: st.DataObject, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    shape = data.draw(st.sampled_from([(1,), (7,), (2, 9), (3, 4, 4)]), "shape")
    bounds = data.draw(st.sampled_from([(0.0, 1.0), (-2.3, 5.1), (0.1, 0.7), (100.0, 100.5)]), "bounds")
    norm: Any = data.draw(st.sampled_from(["linf", "l2"]), "norm")
    width = bounds[1] - bounds[0]
    eps = data.draw(st.sampled_from([0.0, 1e-12, 1e-7, 8 / 255 * width, 0.3 * width]), "eps")
    mask = data.draw(st.none() | st.lists(st.booleans(), min_size=shape[-1], max_size=shape[-1]), "mask")
    units = data.draw(st.none() | st.just((0.01,) * shape[0]), "units") if len(shape) == 1 else None
    classes = data.draw(st.sampled_from([2, 3, 12]), "classes")
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]), "dtype")
    attack = UAP(
        eps=eps, norm=norm, bounds=bounds, mask=mask, units=units, epochs=2, batch_size=4,
        inner=data.draw(st.sampled_from(INNERS), "inner"), targeted=data.draw(st.booleans(), "targeted"),
    )  # fmt: skip
    n = data.draw(st.integers(1, 6), "n")
    net = make_net(shape, classes, scale=data.draw(st.sampled_from([0.0, 30.0]), "scale")).to(dtype)
    found = attack.fit(net, make_x(n, shape, bounds).to(dtype), torch.arange(n) % classes)
    for x in (
        make_x(20, shape, bounds, seed=1),
        torch.full((1, *shape), bounds[0]),
        torch.full((1, *shape), bounds[1]),
    ):
        for kind in (torch.float32, torch.float64):
            fresh = x.to(kind)
            before = fresh.clone()
            changed = found(fresh)
            assert changed.dtype == kind and torch.equal(fresh, before) and bool(changed.isfinite().all())
            change = (changed.double() - fresh.double()).flatten(1)
            assert float((change.abs().amax(1) if norm == "linf" else change.norm(dim=1)).max()) <= eps
            assert float(changed.double().min()) >= min(bounds[0], float(fresh.double().min()))
            assert float(changed.double().max()) <= max(bounds[1], float(fresh.double().max()))
            if mask is not None:
                still = ~torch.tensor(mask).broadcast_to(shape)
                assert torch.equal(changed[:, still], fresh[:, still])
            if units is not None:
                assert bool(((change / 0.01 - (change / 0.01).round()).abs() < 2e-3).all())


def test_it_stops_when_enough_are_fooled(trained: Trained) -> None:
    net, x, y = trained
    attack = UAP(eps=0.2, fooling_rate=0.4)
    few, all_of_them = attack.run(net, x, y), replace(attack, fooling_rate=1.0).run(net, x, y)
    assert attack.fit(net, x, y).fooling_rate >= 0.4
    assert int(few.passes.max()) < int(all_of_them.passes.max()) == 10 * attack.inner_steps
    assert all_of_them.success.double().mean() >= few.success.double().mean()


def test_as_an_attack_it_is_fitted_to_what_it_is_applied_to(trained: Trained, inner: str) -> None:
    net, x, y = trained
    attack = UAP(eps=0.1, inner=inner, epochs=3)  # type: ignore[arg-type]
    found, result = attack.fit(net, x, y), attack.run(net, x, y)
    assert torch.equal(result.x_adv, found(x)) and torch.equal(attack(net, x, y), found(x))
    assert result.success.double().mean() == found.error_rate
    assert bool((result.passes > 0).all()) and bool((result.passes < result.queries).all())
    assert parse_attack(f"uap:eps=0.1,inner={inner},epochs=3") == attack


def test_the_seed_decides_the_order_and_nothing_else_does(trained: Trained) -> None:
    net, x, y = trained
    attack = UAP(eps=0.1, epochs=3, fooling_rate=1.0)
    delta = attack.fit(net, x, y).delta
    torch.manual_seed(5)
    assert torch.equal(attack.fit(net, x, y).delta, delta)
    assert not torch.equal(replace(attack, seed=1).fit(net, x, y).delta, delta)


def test_a_targeted_one_calls_for_its_class(trained: Trained, inner: str, norm: str) -> None:
    net, x, y = trained
    others = y != 2
    attack = UAP(eps=2 * EPS[norm], norm=norm, inner=inner, targeted=True)  # type: ignore[arg-type]
    found = attack.fit(net, x[others], torch.full_like(y[others], 2))
    hit = float((answers(net, found(x[others])) == 2).double().mean())
    assert found.fooling_rate == found.error_rate == pytest.approx(hit)
    assert hit > 0.6


class Watched(Objective):
    """A guard: rejects inputs whose mean has moved away from 0.5; wrong answers count where it accepts."""

    def __init__(self, net: nn.Module, slack: float) -> None:
        self.net, self.slack = net, slack

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return (self.net,)

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        seen = Evaluation(self.net(x), y)
        acceptance = self.slack - (x.flatten(1).mean(1) - 0.5).abs()
        return Evaluation(
            seen.logits,
            y,
            loss=seen.loss + 100 * acceptance.clamp_max(0),
            margin=torch.maximum(seen.margin, -100 * acceptance),
            success=seen.success & (acceptance >= 0),
            class_margins=torch.maximum(seen.class_margins, -100 * acceptance[:, None]),
        )


def test_it_turns_on_a_guard_by_its_objective(trained: Trained, inner: str) -> None:
    net, x, y = trained
    guard = Watched(net, slack=0.06)
    attack = UAP(eps=0.15, inner=inner, fooling_rate=1.0)  # type: ignore[arg-type]
    unaware, aware = attack.fit(net, x, y), attack.fit(guard, x, y)
    assert aware.fooling_rate == aware.error_rate == pytest.approx(float(guard.success(aware(x), y).double().mean()))
    assert aware.error_rate > 0.3
    assert aware.error_rate >= float(guard.success(unaware(x), y).double().mean()) - 0.02


@pytest.mark.parametrize("queries", [1, 2, 3, 4, 7])
def test_no_sample_is_asked_more_often_than_allowed(trained: Trained, inner: str, queries: int) -> None:
    net, x, y = trained
    attack = UAP(eps=0.1, inner=inner, fooling_rate=1.0, queries=queries)  # type: ignore[arg-type]
    result = attack.run(net, x, y)
    assert int(result.queries.max()) <= queries
    found = attack.fit(net, x, y)
    assert found.fooling_rate == pytest.approx(fooled(net, found, x))
    assert bool(found.delta.any()) == (queries > 1)


def test_the_best_so_far_is_what_is_left_when_time_is_up(trained: Trained) -> None:
    net, x, y = trained
    found = UAP(eps=0.1, time_limit=1e-9).fit(net, x, y)
    assert not bool(found.delta.any()) and found.fooling_rate == 0.0
    assert UAP(eps=0.15, time_limit=60.0).fit(net, x, y).fooling_rate > 0.5


def test_a_model_that_nothing_fools_gets_its_perturbation_all_the_same() -> None:
    x, y = torch.rand(9, 4), torch.zeros(9, dtype=torch.int64)
    found = UAP(eps=0.1).fit(lambda batch: torch.stack([5 + batch.mean(1), batch[:, 0]], 1), x, y)
    assert found.fooling_rate == 0.0 and bool(found.delta.any())
    with pytest.raises(ModelError, match="no gradient to follow"):
        UAP(eps=0.1).fit(lambda batch: batch.detach(), x, y)


def test_samples_out_of_reach_and_samples_fooled_long_ago_do_not_outweigh_the_rest() -> None:
    # Nine of ten can be won along the first value; one in ten has a slope a thousand times steeper along the other.
    steep = (torch.arange(100) % 10 == 0)[:, None]

    def model(batch: Tensor) -> Tensor:
        far = batch[:, 2:] > 0.5
        lead = torch.where(far, 1e6 - 1e3 * (batch[:, 1:2] - batch[:, :1]), 0.55 - batch[:, :1])
        return torch.cat([lead, torch.zeros_like(lead)], 1)

    x = torch.full((100, 3), 0.5)
    x[:, 2:] = torch.where(steep, 1.0, 0.0)
    found = UAP(eps=0.1, mask=[True, True, False]).fit(model, x, torch.zeros(100, dtype=torch.int64))
    assert found.fooling_rate == pytest.approx(0.9)


def test_progress_counts_every_epoch(trained: Trained) -> None:
    net, x, y = trained
    done: list[int] = []
    UAP(eps=1e-4, epochs=2).fit(net, x, y, progress=done.append)
    assert done == [30] * 8


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"inner": "pdg"}, "UAP: inner must be 'pgd', 'fgsm' or 'deepfool', not 'pdg'"),
        ({"inner_steps": 0}, "inner_steps must be a whole number from 1 up, not 0"),
        ({"epochs": 0}, "epochs must be a whole number from 1 up, not 0"),
        ({"fooling_rate": 0.0}, r"fooling_rate must be a number above 0 and up to 1, not 0\.0"),
        ({"fooling_rate": 1.1}, r"fooling_rate must be a number above 0 and up to 1, not 1\.1"),
        ({"step_size": 0.0}, "step_size must be a number above 0 or none, not"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        UAP(**{"eps": 0.1, **options})


def test_samples_of_another_shape_are_refused(trained: Trained) -> None:
    net, x, y = trained
    with pytest.raises(DataError, match=r"shape \[1, 24\], not \[24\]"):
        UAP(eps=0.1, epochs=1).fit(net, x, y)(x[:, 0])


MADE = Perturbation(
    delta=torch.tensor([[0.25, -0.5], [0.0, 0.125]]),
    eps=0.5,
    norm="linf",
    bounds=(-1.0, 2.0),
    mask=torch.tensor([[True, True], [False, True]]),
    fooling_rate=0.75,
    error_rate=0.5,
    samples=8,
    attack="UAP(eps=0.5)",
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    x = torch.rand(5, 2, 2)
    table = replace(MADE, delta=torch.tensor([0.25, 0.5]), mask=None, units=(0.25, 0.0), norm="l2", eps=0.7)
    for made, batch in ((MADE, x), (table, x[:, 0])):
        made.save(tmp_path / "deep" / "uap.safetensors")
        found = Perturbation.load(tmp_path / "deep" / "uap.safetensors")
        assert torch.equal(found.delta, made.delta) and torch.equal(found(batch), made(batch))
        assert (found.mask is None) == (made.mask is None)
        for name in ("eps", "norm", "bounds", "units", "fooling_rate", "error_rate", "samples", "attack"):
            assert getattr(found, name) == getattr(made, name)
        made.save(tmp_path / "deep" / "uap.safetensors")  # over the old one
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["uap.safetensors"]


def rewrite(path: Path, **changes: Any) -> None:
    """Save a file that fits its own SHA-256, with other facts."""
    from salus.attacks.perturbation import _digest

    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()["salus"])
        tensors = {name: file.get_tensor(name) for name in ("delta", "mask")}
    tensors |= {name: changes.pop(name) for name in ("delta", "mask") if name in changes}
    tensors = {name: value for name, value in tensors.items() if value is not None}
    card |= {"sha256": _digest(tensors), **changes}
    path.write_bytes(safetensors.torch.save(tensors, {"salus": json.dumps(card)}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "other"}, "does not hold a Salus perturbation"),
        ({"version": 2}, "version 2; this Salus reads version 1"),
        ({"sha256": "0"}, "changed after it was saved"),
        ({"delta": None, "mask": None}, "delta must hold numbers"),
        ({"delta": torch.ones(2, 2, dtype=torch.int64), "mask": None}, "delta must hold numbers"),
        ({"delta": torch.full((2, 2), torch.nan), "mask": None}, "NaN"),
        ({"delta": torch.full((2, 2), 0.6), "mask": None}, "more than eps=0.5"),
        ({"delta": torch.full((2, 2), 0.4), "mask": None, "norm": "l2"}, "0.8 long, more than eps"),
        ({"delta": torch.full((2, 2), 0.4)}, "its mask forbids"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, "its mask forbids"),
        ({"norm": "l1"}, "norm 'l1' is unknown"),
        ({"eps": "big"}, "must be numbers"),
        ({"fooling_rate": -1.0}, "must be numbers"),
        ({"samples": True}, "must be numbers"),
        ({"bounds": [1.0, 0.0]}, "lower first"),
        ({"bounds": None}, "lower first"),
        ({"units": [0.1] * 3}, "one unit for each feature"),
        ({"attack": None}, "attack must be words"),
    ],
)
def test_a_file_that_says_nonsense_is_refused_with_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "uap.safetensors"
    MADE.save(path)
    rewrite(path, **changes)
    with pytest.raises(BundleError, match=sentence) as error:
        Perturbation.load(path)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_damaged_or_missing_file_is_refused_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "uap.safetensors"
    MADE.save(path)
    whole = path.read_bytes()
    damaged = [whole[:-3], whole[:20], b"", b"\x80\x04K\x01.", whole[:-1] + bytes([whole[-1] ^ 1])]
    damaged.append(safetensors.torch.save({"delta": torch.zeros(2)}))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(BundleError) as error:
            Perturbation.load(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value) and str(error.value).endswith(".")
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BundleError, match="cannot be read"):
            Perturbation.load(place)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Cannot write"):
        MADE.save(tmp_path / "file" / "uap.safetensors")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize("shape", [(5,), (1, 30), (3, 30), (1, 6, 6), (3, 6, 6)])
def test_it_is_drawn_as_what_it_is(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    made = replace(MADE, delta=torch.rand(shape) / 2, mask=None)
    names = [f"name {number}" for number in range(shape[0])]
    path = tmp_path / f"uap{suffix}"
    made.draw(path, names=names)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    made.draw(path)
    replace(made, delta=torch.zeros(shape)).draw(path)


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    errors: list[tuple[type[SalusError], str, Path, tuple[str, ...]]] = [
        (OptionError, "suffix must be one of", tmp_path / "uap.txt", ()),
        (OptionError, "suffix must be one of", tmp_path / "uap", ()),
        (OptionError, "3 names for 2", tmp_path / "uap.png", ("a", "b", "c")),
    ]
    for kind, sentence, path, names in errors:
        with pytest.raises(kind, match=sentence):
            MADE.draw(path, names=names)


def test_it_takes_an_objective_of_a_bare_model_as_the_model_itself(trained: Trained) -> None:
    net, x, y = trained
    attack = UAP(eps=0.1, epochs=3)
    assert torch.equal(attack.fit(LogitObjective(net), x, y).delta, attack.fit(net, x, y).delta)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_is_fitted_on_one_device_and_applied_on_another(trained: Trained, inner: str) -> None:
    net, x, y = trained
    found = UAP(eps=0.1, inner=inner, mask=[True] * 24).fit(net.cuda(), x.cuda(), y.cuda())  # type: ignore[arg-type]
    net.cpu()
    assert found.delta.is_cuda and fooled(net, found, x) > 0.3

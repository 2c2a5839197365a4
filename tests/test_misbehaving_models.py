"""Models that do what they should not: Salus keeps its word all the same, or says in one sentence what to change."""

from __future__ import annotations

import copy
import functools
import math
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import ATTACKS, FGSM, PGD, Attack, HopSkipJump, LogitObjective
from salus.classifier import Classifier, as_logits, check_classifier
from salus.conduct.modules import hidden_modules, modules_of
from salus.conduct.recurrent import is_recurrent
from salus.data import Dataset
from salus.detectors import IDefender
from salus.errors import ModelError
from salus.guard import Guard
from salus.training import TrainingOptions, train

if TYPE_CHECKING:
    from conftest import Toy

#: What makes attacks quick; what they do to a model is the same.
QUICK: dict[str, dict[str, Any]] = {
    "apgd": {"steps": 3},
    "auto-attack": {"steps": 3, "square_queries": 5},
    "bim": {"steps": 3},
    "boundary": {"queries": 30, "start_tries": 5},
    "carlini-wagner-l2": {"steps": 3, "searches": 2},
    "carlini-wagner-linf": {"steps": 3, "searches": 2},
    "deepfool": {"steps": 3},
    "fab": {"steps": 3},
    "cgba": {"queries": 30, "evaluations": 5, "start_tries": 5},
    "nes": {"queries": 20, "pairs": 3},
    "hop-skip-jump": {"queries": 30, "initial_evaluations": 5, "start_tries": 5},
    "pgd": {"steps": 3},
    "sparse-rs": {"queries": 10},
    "square": {"queries": 10},
    "uap": {"epochs": 1},
}
#: Those that take tables, and one of each kind of knowledge.
OWN = sorted(name for name in ATTACKS.own if (name in QUICK or name == "fgsm"))
SOME = ["deepfool", "hop-skip-jump", "pgd", "square"]


def make(name: str) -> Attack:
    return ATTACKS[name](eps=2 if ATTACKS[name].norms == ("l0",) else 0.1, **QUICK.get(name, {}))


def classifier_of(module: nn.Module, toy: Toy) -> Classifier:
    return Classifier(module, toy.classifier.classes, shape=(8,))


def few(toy: Toy, n: int = 12) -> tuple[Tensor, Tensor]:
    return toy.test.x[:n].clone(), toy.test.y[:n]


class Around(nn.Module):
    """A module around the toy's."""

    def __init__(self, toy: Toy) -> None:
        super().__init__()
        self.body = copy.deepcopy(toy.classifier.module)


class InPlace(Around):
    """Normalises its input in place: scaled here and scaled back in the body's eyes."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(0.25)
        x *= 0.25
        x += 0.5
        return self.body(x)  # type: ignore[no-any-return]


class ThroughData(Around):
    """Writes behind autograd's back."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(1.0 * x)
        x.data.fill_(7.0)
        return logits


class ThroughAView(Around):
    """Writes to a part of its input through a view."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(1.0 * x)
        x.detach().view(-1)[0] = 5.0
        return logits


@pytest.mark.parametrize("kind", [InPlace, ThroughData, ThroughAView])
def test_nothing_that_a_model_does_reaches_the_callers_data(kind: Callable[[Toy], nn.Module], toy: Toy) -> None:
    module = kind(toy)
    model, (x, y) = classifier_of(module, toy), few(toy)
    before = x.clone()
    expected = toy.classifier.predict(x)
    torch.testing.assert_close(model.predict(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.states(x, ["body.0"]).logits, expected, rtol=1e-4, atol=1e-4)
    objective = LogitObjective(module)
    objective.success(x, y), objective.loss(x, y), objective.margin(x, y)
    guard = Guard(model, [IDefender()]).fit(toy.train, toy.calibration, 0.05)
    verdict = guard(x)
    assert torch.equal(verdict.labels, expected.argmax(1))
    guard.chances(x), guard.view(x)
    check_classifier(model, toy.test)
    assert torch.equal(x, before)
    assert torch.equal(toy.test.x[:12], before)
    for name in OWN if kind is InPlace else SOME:
        make(name)(module, x, y)
        assert torch.equal(x, before), name


def test_gradients_flow_through_a_model_that_writes_to_its_input(toy: Toy) -> None:
    x, y = few(toy)
    leaf = x.clone().requires_grad_()
    classifier_of(InPlace(toy), toy)(leaf).sum().backward()
    plain = x.clone().requires_grad_()
    toy.classifier(plain).sum().backward()
    assert leaf.grad is not None and plain.grad is not None
    torch.testing.assert_close(leaf.grad, plain.grad, rtol=1e-3, atol=1e-4)
    attack = PGD(eps=0.1, steps=3)
    torch.testing.assert_close(attack(InPlace(toy), x, y), attack(toy.classifier, x, y), rtol=0, atol=1e-3)


def test_training_does_not_change_the_samples_by_a_model_that_writes_to_its_input(toy: Toy) -> None:
    data = replace(toy.test, x=toy.test.x.clone())
    train(InPlace(toy), data, data, TrainingOptions(epochs=1))
    assert torch.equal(data.x, toy.test.x)


class Half(Around):
    """Answers in half precision."""

    def __init__(self, toy: Toy, dtype: torch.dtype) -> None:
        super().__init__(toy)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).to(self.dtype)  # type: ignore[no-any-return]


class Autocast(Half):
    """Computes in half precision where PyTorch deems it good."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", self.dtype):
            return self.body(x)  # type: ignore[no-any-return]


class AllHalf(Half):
    """Has half-precision weights."""

    def __init__(self, toy: Toy, dtype: torch.dtype) -> None:
        super().__init__(toy, dtype)
        self.body.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.to(self.dtype))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Half, Autocast, AllHalf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_works_with_every_attack_and_in_a_guard(
    kind: Callable[[Toy, torch.dtype], nn.Module], dtype: torch.dtype, toy: Toy
) -> None:
    module, (x, y) = kind(toy, dtype), few(toy)
    model = classifier_of(module, toy)
    assert module(x).dtype == dtype
    assert model.predict(x).dtype == torch.float32
    assert check_classifier(model, toy.test) == ()
    for name in OWN if kind is Half else SOME:
        result = make(name).run(module, x, y)
        assert bool(result.x_adv.isfinite().all()) and result.x_adv.dtype == torch.float32, name
    loss = LogitObjective(module).evaluate(x, y).loss
    assert loss.dtype == torch.float64 and bool(loss.isfinite().all())
    guard = Guard(model, [IDefender()]).fit(toy.train, toy.calibration, 0.05)
    verdict = guard(x)
    assert verdict.probabilities.dtype == torch.float32 and bool(verdict.suspicion.isfinite().all())  # type: ignore[union-attr]
    assert float((verdict.labels == toy.classifier.predict(x).argmax(1)).float().mean()) > 0.9


def test_half_precision_gives_the_gradient_of_full_precision(toy: Toy) -> None:
    x, y = few(toy)
    found = PGD(eps=0.1, steps=5)(Half(toy, torch.bfloat16), x, y)
    assert float((found - PGD(eps=0.1, steps=5)(toy.classifier, x, y)).abs().mean()) < 0.01


def test_attacks_and_guards_keep_their_digits_where_the_caller_computes_in_half_precision(toy: Toy) -> None:
    x, y = few(toy)
    guard = toy.guard()
    expected = guard(x)
    with torch.autocast("cpu", torch.bfloat16):
        for name in OWN:
            attack = make(name)
            result = attack.run(toy.classifier, x, y)
            assert result.x_adv.dtype == torch.float32 and bool(result.x_adv.isfinite().all()), name
            if attack.norm == "linf":
                assert float((result.x_adv.double() - x.double()).abs().max()) <= 0.1, name
        verdict, seen, chances = guard(x), guard.view(x), guard.chances(x)
        again = toy.guard()(x)
    assert torch.equal(verdict.accepted, expected.accepted) and torch.equal(again.accepted, expected.accepted)
    assert all(torch.equal(verdict.scores[name], score) for name, score in expected.scores.items())
    assert torch.equal(seen.logits, guard.view(x).logits) and torch.equal(chances, guard.chances(x))


def test_half_precision_softmax_is_found_and_its_log_is_finite(toy: Toy) -> None:
    class Probabilities(Half):
        def forward(self, x: Tensor) -> Tensor:
            return (40 * self.body(x)).softmax(1).to(self.dtype)  # type: ignore[no-any-return]

    for dtype in (torch.float16, torch.bfloat16):
        model = classifier_of(Probabilities(toy, dtype), toy)
        assert any("softmax" in remark for remark in check_classifier(model, toy.test))
        assert bool(as_logits(model).predict(toy.test.x).isfinite().all())


def test_weights_in_half_precision_that_take_no_float32_are_refused_with_the_remedy(toy: Toy) -> None:
    module = copy.deepcopy(toy.classifier.module).half()
    with pytest.raises(
        ModelError, match=r"its weights are torch\.float16: let its forward begin with x = x\.to\(torch\.float16\)"
    ):
        check_classifier(classifier_of(module, toy), toy.test)


class BatchNormalised(Around):
    """Normalises over the batch by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - x.mean(0)) / (x.std(0) + 1e-3) * 0.2 + 0.5)  # type: ignore[no-any-return]


class WrongSoftmax(Around):
    """Takes the softmax over the samples."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).softmax(0).log() + 20  # type: ignore[no-any-return]


class TrainingForEver(Around):
    """Has a BatchNorm that no eval mode reaches."""

    def __init__(self, toy: Toy) -> None:
        super().__init__(toy)
        self.norm = nn.BatchNorm1d(8, affine=False)
        self.norm.running_mean.fill_(0.5)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.norm.running_mean, self.norm.running_var
        seen = nn.functional.batch_norm(x, mean, var, training=True)
        return self.body(0.15 * seen + 0.5)  # type: ignore[no-any-return]


class Relative(Around):
    """Measures every sample by the largest value of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x / x.abs().max()) * x[:1].sum()  # type: ignore[no-any-return]


class Drawing(Around):
    """Draws for each sample."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + torch.rand(len(x), 3)  # type: ignore[no-any-return]


DRAWS, MIXES = "differently each time", "depends on the other inputs of its batch"


@pytest.mark.parametrize("kind", [BatchNormalised, WrongSoftmax, TrainingForEver, Relative])
def test_an_answer_that_depends_on_the_other_rows_is_said(kind: Callable[[Toy], nn.Module], toy: Toy) -> None:
    remarks = " ".join(check_classifier(classifier_of(kind(toy), toy), toy.test))
    assert MIXES in remarks and DRAWS not in remarks


def test_draws_are_told_from_an_answer_that_depends_on_the_other_rows(toy: Toy) -> None:
    remarks = " ".join(check_classifier(classifier_of(Drawing(toy), toy), toy.test))
    assert DRAWS in remarks and MIXES not in remarks

    class Both(BatchNormalised):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 0.05 * torch.rand(len(x), 3)

    remarks = " ".join(check_classifier(classifier_of(Both(toy), toy), toy.test))
    assert DRAWS in remarks and MIXES in remarks


def test_a_model_that_minds_its_own_rows_gets_no_remark(toy: Toy) -> None:
    assert check_classifier(toy.classifier, toy.test) == ()
    assert check_classifier(toy.classifier, toy.test.subset(torch.arange(3))) == ()


def test_buffers_that_a_model_writes_to_are_put_back_and_said(toy: Toy) -> None:
    module, (x, y) = TrainingForEver(toy), few(toy)
    model = classifier_of(module, toy)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    remarks = " ".join(check_classifier(model, toy.test))
    assert "writes to its buffers" in remarks and "BatchNorm1d.running_mean" in remarks
    PGD(eps=0.1, steps=2)(module, x, y)
    model.predict(x)
    Guard(model)(x)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())

    class Counting(Around):
        def __init__(self, toy: Toy) -> None:
            super().__init__(toy)
            self.calls: Tensor
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls = self.calls + 1  # another tensor each time
            return self.body(x)  # type: ignore[no-any-return]

    counting = Counting(toy)
    PGD(eps=0.1, steps=2)(counting, x, y)
    assert float(counting.calls) == 0.0


class Normed:
    """A plain object with a layer in it."""

    def __init__(self, norm: nn.Module) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


class Slotted:
    """An object without a ``__dict__``."""

    __slots__ = ("norm",)

    def __init__(self, norm: nn.Module) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


class Keeping(Around):
    """Keeps its first layers where PyTorch does not look, in training mode."""

    def __init__(self, toy: Toy, keep: Callable[[nn.Module], Any], use: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__(toy)
        norm = nn.BatchNorm1d(8)
        norm.running_mean.fill_(0.1)  # type: ignore[union-attr]
        self.kept, self.use = keep(nn.Sequential(norm, nn.Dropout(0.3))), use

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.use(self.kept, x))  # type: ignore[no-any-return]


GLOBAL = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.3))


def through_a_global(x: Tensor) -> Tensor:
    return GLOBAL(x)  # type: ignore[no-any-return]


PLACES: dict[str, tuple[Callable[[nn.Module], Any], Callable[[Any, Tensor], Tensor]]] = {
    "a list": (lambda norm: [norm], lambda kept, x: kept[0](x)),
    "a dict of tuples": (lambda norm: {"first": (norm,)}, lambda kept, x: kept["first"][0](x)),
    "a closure": (lambda norm: lambda x: norm(x), lambda kept, x: kept(x)),
    "a partial": (lambda norm: functools.partial(lambda layer, x: layer(x), norm), lambda kept, x: kept(x)),
    "a bound method": (lambda norm: norm.forward, lambda kept, x: kept(x)),
    "a plain object": (Normed, lambda kept, x: kept(x)),
    "an object with slots": (Slotted, lambda kept, x: kept(x)),
    "an object in a list in an object": (lambda norm: SimpleNamespace(a=[Normed(norm)]), lambda kept, x: kept.a[0](x)),
    "a default": (lambda norm: lambda x, layer=norm: layer(x), lambda kept, x: kept(x)),
    "a cached function": (lambda norm: functools.cache(lambda: norm), lambda kept, x: kept()(x)),
    "a global": (lambda norm: None, lambda kept, x: through_a_global(x)),
}  # fmt: skip


def inside(module: Keeping, place: str) -> nn.Sequential:
    if place == "a global":
        return GLOBAL
    (norm,) = (part for part in modules_of(module.kept) if isinstance(part, nn.BatchNorm1d))
    found = [part for part in modules_of(module.kept) if isinstance(part, nn.Sequential)]
    return found[0] if found else nn.Sequential(norm)


@pytest.mark.parametrize("place", PLACES)
def test_layers_are_held_in_eval_mode_wherever_a_model_keeps_them(place: str, toy: Toy) -> None:
    module, (x, y) = Keeping(toy, *PLACES[place]), few(toy)
    layers = list(inside(module, place).modules())
    for layer in layers:
        layer.train()
    buffers = [value for layer in layers for value in layer.buffers(recurse=False)]
    before = [value.clone() for value in buffers]
    seen: list[bool] = []
    layers[1].register_forward_pre_hook(lambda layer, inputs: seen.append(layer.training))
    result = PGD(eps=0.1, steps=2, early_stop=False)
    assert torch.equal(result(module, x, y), result(module, x, y))
    HopSkipJump(eps=0.1, queries=20, initial_evaluations=5, start_tries=2)(module, x, y)
    FGSM(eps=0.1)(lambda batch: module(batch), x, y)
    assert seen and not any(seen)
    assert all(layer.training for layer in layers)  # put back
    assert all(torch.equal(a, b) for a, b in zip(before, buffers, strict=True))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in layers[1].parameters())
    seen.clear()
    model = classifier_of(module, toy)
    assert torch.equal(model.predict(x), model.predict(x))
    Guard(model)(x)
    model.states(x, ["body.0"])
    assert seen and not any(seen)


def test_layers_that_are_not_registered_are_said_and_part_of_the_fingerprint(toy: Toy) -> None:
    module = Keeping(toy, *PLACES["a list"])
    model = classifier_of(module, toy)
    assert list(hidden_modules(module)) == ["kept[0].0"]
    (remark,) = check_classifier(model, toy.test)
    assert "keeps 1 layer that it does not register, the first a BatchNorm1d at kept[0].0" in remark
    before = model.fingerprint()
    module.kept[0][0].running_mean.fill_(0.2)
    assert model.fingerprint() != before


def test_registered_layers_are_not_taken_for_hidden_ones(toy: Toy) -> None:
    class Twice(Around):
        def __init__(self, toy: Toy) -> None:
            super().__init__(toy)
            self.order = list(self.body.children())

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)  # type: ignore[no-any-return]

    assert hidden_modules(Twice(toy)) == {}
    assert modules_of(toy.classifier.module) == list(toy.classifier.module.modules())


class Unseen:
    """Minds being looked at, as proxies without an object do."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("not bound")

    @__class__.setter
    def __class__(self, kind: Any) -> None: ...


def test_a_search_for_layers_ends_in_circles_and_large_lists(toy: Toy) -> None:
    module = Around(toy)
    module.circle = [module, {"again": module}]  # type: ignore[assignment]
    module.numbers = list(range(10**6))  # type: ignore[assignment]
    module.objects = [object() for _ in range(10**5)]  # type: ignore[assignment]
    module.unseen = [Unseen()]  # type: ignore[assignment]
    assert set(modules_of(module)) == set(module.modules())


Outputs = namedtuple("Outputs", ["features", "logits"])


@dataclass
class ModelOutput(OrderedDict[str, Tensor]):
    """As transformers' outputs: a dict whose entries are attributes too."""

    logits: Tensor

    def __post_init__(self) -> None:
        self["logits"] = self.logits


@pytest.mark.parametrize(
    ("answer", "sentence", "code"),
    [
        (
            lambda z: {"loss": z.mean(), "logits": z},
            r'a dict of "loss" \[\], "logits" \[12, 3\]; wrap it',
            'return self.model(x)["logits"]',
        ),
        (lambda z: {"out": z, "aux": z[:, :2]}, r"a dict of ", 'return self.model(x)["out"]'),
        (lambda z: (z, torch.zeros(len(z), 7)), r"a tuple of 0 \[12, 3\], 1 \[12, 7\];", "return self.model(x)[0]"),
        (lambda z: [None, z], "list", "return self.model(x)[1]"),
        (lambda z: Outputs(z[:, :2], z), "Outputs", "return self.model(x).logits"),
        (ModelOutput, "ModelOutput", "return self.model(x).logits"),
        (lambda z: SimpleNamespace(scores=z), "SimpleNamespace", "return self.model(x).scores"),
        (
            lambda z: z[:, 0] * 9,
            r"\[12\]",
            "z = self.model(x); return torch.stack([torch.zeros_like(z), z], 1)",
        ),
        (
            lambda z: z[:, :1] * 9,
            "one logit a sample, where two classes need two",
            "z = self.model(x)[:, 0]; return torch.stack([torch.zeros_like(z), z], 1)",
        ),
        (
            lambda z: z[:, 0].sigmoid(),
            r"\[12\]",
            "z = torch.logit(self.model(x), 1e-6); return torch.stack([torch.zeros_like(z), z], 1)",
        ),
        (
            lambda z: {"logits": z[:, :1] * 9},
            "dict",
            'z = self.model(x)["logits"][:, 0]; return torch.stack([torch.zeros_like(z), z], 1)',
        ),
        (lambda z: z[:, :, None, None], r"\[12, 3, 1, 1\]", "return self.model(x).flatten(1)"),
        (lambda z: None, "returned NoneType: its forward lacks a return", ""),
        (lambda z: z.detach().numpy(), "ndarray", ""),
        (lambda z: "benign", "str", ""),
        (lambda z: z[:1], r"\[1, 3\]", ""),
        (lambda z: z.mean(), r"\[\]", ""),
    ],
)  # fmt: skip
def test_what_is_no_logits_is_refused_with_the_wrapper_to_write(
    answer: Callable[[Tensor], Any], sentence: str, code: str, toy: Toy
) -> None:
    class Odd(Around):
        def forward(self, x: Tensor) -> Any:
            return answer(self.body(x))

    module, (x, y) = Odd(toy), few(toy)
    data = Dataset(x, y, toy.test.classes, toy.test.provenance)
    for call in (
        lambda: PGD(eps=0.1, steps=2)(module, x, y),
        lambda: HopSkipJump(eps=0.1, queries=20, initial_evaluations=5)(module, x, y),
        lambda: check_classifier(classifier_of(module, toy), data),
        lambda: Guard(classifier_of(module, toy))(x),
    ):
        with pytest.raises(ModelError, match=sentence) as error:
            call()
        text = str(error.value)
        assert "must return logits [N, K]" in text and text.endswith(".") and "\n" not in text
        assert ("def forward(self, x): " in text) == bool(code)
        assert code in text
    if code:  # the wrapper does what it is named for
        names: dict[str, Any] = {"torch": torch}
        exec(f"def forward(self, x): {code}", names)
        kind = type("Wrapped", (nn.Module,), {"forward": names["forward"]})
        wrapped = kind()
        wrapped.model = module
        logits = wrapped(x)
        assert logits.ndim == 2 and len(logits) == 12 and logits.shape[1] >= 2
        assert bool(PGD(eps=0.1, steps=2)(wrapped, x, y.clamp_max(1)).isfinite().all())


class Recurrent(nn.Module):
    """Reads the sample as a sequence."""

    def __init__(self, kind: Callable[..., nn.RNNBase], dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.memory = kind(1, 5, num_layers=2, batch_first=True, bidirectional=True, dropout=dropout)
            self.convolution = nn.Conv1d(10, 4, 3)
            self.head = nn.Linear(4, 3)
        self.enabled: list[bool] = []
        self.convolution.register_forward_pre_hook(lambda *_: self.enabled.append(torch.backends.cudnn.enabled))

    def forward(self, x: Tensor) -> Tensor:
        states = self.memory(x[:, :, None])[0]  # [N, L, 2 * 5]
        return self.head(self.convolution(states.transpose(1, 2)).mean(2))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_alone_are_attacked_without_cudnn(
    kind: Callable[..., nn.RNNBase], toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, (x, y) = Recurrent(kind), few(toy)
    inside: list[bool] = []
    forward = module.memory.forward

    def recorded(states: Tensor) -> Any:
        inside.append(torch.backends.cudnn.enabled)
        return forward(states)

    monkeypatch.setattr(module.memory, "forward", recorded)
    assert torch.backends.cudnn.enabled
    PGD(eps=0.1, steps=2, early_stop=False)(module, x, y)
    assert inside and not any(inside)
    assert module.enabled and all(module.enabled)  # convolutions keep it
    assert torch.backends.cudnn.enabled and not module.memory._forward_hooks and not module.memory._forward_pre_hooks
    inside.clear()
    classifier_of(module, toy).predict(x)
    assert inside and all(inside)  # nothing is differentiated


def test_cudnn_is_on_again_when_a_recurrent_layer_fails(toy: Toy) -> None:
    module, (x, y) = Recurrent(nn.LSTM), few(toy)
    module.memory.hidden_size = 7
    with pytest.raises(RuntimeError):
        FGSM(eps=0.1)(module, x, y)
    assert torch.backends.cudnn.enabled and not module.memory._forward_hooks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
def test_recurrent_layers_are_known_in_scripts_and_exported_programs_too() -> None:
    module = Recurrent(nn.LSTM).eval()
    assert is_recurrent(module.memory) and not is_recurrent(module.head) and not is_recurrent(module)
    graph = torch.fx.Graph()  # as torch.export writes it
    graph.call_function(torch.ops.aten.lstm.input, (graph.placeholder("x"),))
    graph.call_function(torch.ops.aten.linear.default)
    assert is_recurrent(torch.fx.GraphModule(nn.Module(), graph))

    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.GRU(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.memory(x)[0]  # type: ignore[no-any-return]

    assert is_recurrent(torch.jit.script(Memory()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_are_attacked_on_a_gpu(kind: Callable[..., nn.RNNBase], toy: Toy) -> None:
    module, (x, y) = Recurrent(kind, dropout=0.2), few(toy)
    here = PGD(eps=0.1, steps=3)(module, x, y)
    for name in OWN:
        make(name)(module.cuda(), x.cuda(), y.cuda())
    there = PGD(eps=0.1, steps=3)(module.cuda(), x.cuda(), y.cuda())
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-3)
    model = classifier_of(module, toy)
    guard = Guard(model, [IDefender()])
    assert math.isfinite(float(guard.view(x.cuda()).logits.sum()))

"""The classifier: states, prediction, fingerprint, and the checks on entry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from salus.classifier import Classifier, as_logits, check_classifier
from salus.data.base import Dataset, Provenance
from salus.errors import ModelError
from salus.models import build_model

SHAPES = {"mlp": (6,), "ecg-cnn": (1, 40), "small-cnn": (1, 8, 8)}


def classifier(name: str = "mlp", classes: int = 3) -> Classifier:
    torch.manual_seed(0)
    module = build_model(name, SHAPES[name], classes)
    names = [f"class {i}" for i in range(classes)]
    return Classifier(module, names, shape=SHAPES[name], architecture={"name": name, "options": {}})


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


class Marks(nn.Module):
    """Reads the label off the first values: a perfect model."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * x[:, :3]


def marked(n: int = 90) -> Dataset:
    y = torch.arange(n) % 3
    x = torch.cat([nn.functional.one_hot(y, 3).float(), torch.rand(n, 3)], dim=1)
    return Dataset(x, y, ("class 0", "class 1", "class 2"), Provenance("marked", "a test"))


def of(module: nn.Module, classes: int = 3) -> Classifier:
    return Classifier(module, [f"class {i}" for i in range(classes)], shape=(6,))


@pytest.mark.parametrize("name", SHAPES)
def test_the_penultimate_state_is_what_the_head_multiplies(name: str) -> None:
    model = classifier(name)
    states = model.states(torch.rand(5, *SHAPES[name]), ["penultimate", "logits"])
    head = model.module.head
    assert isinstance(head, nn.Linear)
    torch.testing.assert_close(head(states.hidden["penultimate"]), states.logits)
    assert torch.equal(states.hidden["logits"], states.logits)
    assert hooks(model) == 0


def test_without_a_linear_layer_it_is_what_the_last_convolution_multiplies_on_average() -> None:
    torch.manual_seed(0)
    module = build_model("all-cnn", (3, 16, 16), 10, {"widths": [4, 8]})
    model = Classifier(module, [f"class {i}" for i in range(10)], shape=(3, 16, 16))
    assert "penultimate" in model.layer_names
    with torch.no_grad():
        states = model.states(torch.rand(5, 3, 16, 16), ["penultimate"])
        head = module.head(states.hidden["penultimate"][:, :, None, None]).flatten(1)  # type: ignore[operator]
    torch.testing.assert_close(head, states.logits)


def test_a_layer_with_positions_is_averaged_and_flat_on_request() -> None:
    model = classifier("small-cnn")
    x = torch.rand(4, 1, 8, 8)
    states = model.states(x, ["trunk.0", "trunk.0/flat"])
    whole = model.module.trunk[0](x)  # type: ignore[index, operator]
    torch.testing.assert_close(states.hidden["trunk.0"], whole.mean(dim=(2, 3)))
    torch.testing.assert_close(states.hidden["trunk.0/flat"], whole.flatten(1))


def test_states_are_those_before_a_later_layer_works_in_place() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    model = of(module)
    x = torch.rand(5, 6)
    torch.testing.assert_close(model.states(x, ["0"]).hidden["0"], module[0](x))


def test_states_need_a_single_forward_pass_and_are_differentiable() -> None:
    calls = 0

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            out: Tensor = self.layer(x)
            return out

    x = torch.rand(2, 6, requires_grad=True)
    states = of(Counted()).states(x, ["layer", "penultimate", "logits"])
    assert calls == 1
    (gradient,) = torch.autograd.grad(states.hidden["layer"].sum(), x)
    assert bool(gradient.abs().sum() > 0)


def test_hooks_are_removed_when_the_forward_pass_fails() -> None:
    model = classifier("mlp")
    with pytest.raises(RuntimeError):
        model.states(torch.rand(2, 7), ["penultimate", "trunk.0"])
    assert hooks(model) == 0


@pytest.mark.parametrize("layer", ["trunk.O", "trunk.0/wide", "head/"])
def test_an_unknown_layer_names_the_nearest(layer: str) -> None:
    model = classifier("mlp")
    with pytest.raises(ModelError, match=r"has no layer .*(did you mean|known)"):
        model.states(torch.rand(2, 6), ["penultimate", layer])
    assert hooks(model) == 0


def test_a_layer_that_does_not_run_is_named() -> None:
    module = nn.Sequential(nn.Linear(6, 3))
    module.add_module("idle", nn.Module())
    module.forward = module[0].forward  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"'idle' .* gave nothing"):
        of(module).states(torch.rand(2, 6), ["idle"])


def test_a_module_without_parts_is_its_own_layer() -> None:
    model = of(nn.Linear(6, 3))
    x = torch.rand(2, 6)
    assert torch.equal(model.states(x, ["penultimate"]).hidden["penultimate"], x)


def test_predict_streams_in_eval_mode_and_restores_every_mode() -> None:
    model = classifier("ecg-cnn")
    model.train()
    model.module.trunk.eval()  # type: ignore[union-attr]
    before = [part.training for part in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    x = torch.rand(7, 1, 40)
    whole, parts = model.predict(x), model.predict(x, batch_size=3)
    assert [part.training for part in model.modules()] == before
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    torch.testing.assert_close(whole, parts)
    assert not whole.requires_grad
    assert model.predict(x[:0]).shape == (0, 3)


def test_the_fingerprint_follows_every_weight_and_the_architecture() -> None:
    first, second = classifier(), classifier()
    assert first.fingerprint() == second.fingerprint()
    with torch.no_grad():
        next(second.parameters()).view(-1)[0] += 1e-6
    assert first.fingerprint() != second.fingerprint()
    assert first.fingerprint() != as_logits(first).fingerprint()


def test_a_good_classifier_passes_without_remarks() -> None:
    assert check_classifier(of(Marks()), marked()) == ()


def test_the_wrong_shape_names_both_shapes() -> None:
    data = Dataset(torch.rand(40, 9), torch.arange(40) % 3, ("a", "b", "c"), Provenance("wide", "a test"))
    with pytest.raises(ModelError, match=r"\[6\].*\[9\]"):
        check_classifier(classifier(), data)


def test_the_wrong_number_of_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="tells 4 classes apart, but the data have 3"):
        check_classifier(classifier(classes=4), marked())


def test_an_output_that_is_no_table_of_logits_is_refused() -> None:
    with pytest.raises(ModelError, match=r"must return logits \[N, K\] for 90"):
        check_classifier(of(nn.Sequential(Marks(), nn.Flatten(0))), marked())


def test_nan_logits_name_the_sample() -> None:
    class Broken(Marks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).masked_fill(x[:, :1] == 1, torch.nan)

    with pytest.raises(ModelError, match="NaN for sample 0"):
        check_classifier(of(Broken()), marked())


def test_softmax_at_the_end_is_found_and_its_log_taken() -> None:
    model = of(nn.Sequential(Marks(), nn.Softmax(dim=1)))
    data = marked()
    assert any("softmax" in remark for remark in check_classifier(model, data))
    admitted = as_logits(model)
    assert any("softmax" in note for note in admitted.notes)
    torch.testing.assert_close(admitted(data.x), model(data.x).log())
    assert admitted.layer_names == model.layer_names
    assert check_classifier(of(Marks()), data) == ()


def test_the_log_of_a_probability_of_zero_is_finite() -> None:
    linear = nn.Linear(6, 3)
    module = nn.Sequential(linear, nn.Softmax(dim=1))
    with torch.no_grad():
        linear.weight.fill_(0)
        linear.bias.copy_(torch.tensor([1000.0, 0.0, 0.0]))
    assert bool(as_logits(of(module))(torch.rand(2, 6)).isfinite().all())


def test_a_classifier_at_chance_is_refused() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(x), 3)

    with pytest.raises(ModelError, match=r"no better than chance.*33.3%.*weights are loaded"):
        check_classifier(of(Constant()), marked())


def test_classes_in_another_order_are_suspected() -> None:
    class Shifted(Marks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).roll(1, dims=1)

    with pytest.raises(ModelError, match=r"another order it would be 100.0%"):
        check_classifier(of(Shifted()), marked())


def test_few_samples_say_nothing_about_chance() -> None:
    check_classifier(of(nn.Linear(6, 3)), marked(12))


def test_a_model_that_draws_at_random_gets_a_remark() -> None:
    class Noisy(Marks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.rand(len(x), 3)

    assert any("differently each time" in remark for remark in check_classifier(of(Noisy()), marked()))


def test_other_class_names_get_a_remark() -> None:
    model = Classifier(Marks(), ["x", "y", "z"], shape=(6,))
    assert any("matched by position" in remark for remark in check_classifier(model, marked()))

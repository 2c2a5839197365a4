"""Transfer learning: networks that begin with pretrained weights, and their training in two phases."""

from __future__ import annotations

import json
import shutil
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from salus.audit import Plan, run_audit
from salus.audit.model import Network, parse_model
from salus.classifier import Classifier
from salus.data.base import Dataset, Provenance
from salus.errors import BundleError, ModelError, OptionError, StoreError
from salus.hardening.adversarial_training import single_step
from salus.models import build_model
from salus.models.pretrained import initial_model
from salus.training import (
    Epoch,
    TrainingOptions,
    TransferOptions,
    fit_classifier,
    seeded,
    seeded_module,
    train,
)

SMALL = {"depth": 10, "width": 1}  # a wide residual network: batch normalisation and a linear head
PHASES = TransferOptions(head_epochs=3, head_learning_rate=5e-3, epochs=2, learning_rate=1e-3, batch_size=16)

needs_torchvision = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")


def squares(n: int = 60, seed: int = 0, classes: int = 3) -> Dataset:
    """Images with a bright square at one of several places."""
    with seeded(seed, 0):
        x, y = 0.3 * torch.rand(n, 1, 12, 12), torch.arange(n) % classes
    for image, label in zip(x, y.tolist(), strict=True):
        image[:, 3 * label : 3 * label + 3, 4:8] += 0.6
    return Dataset(x, y, tuple("abcd"[:classes]), Provenance("squares", "a test"))


def network(classes: int = 3, seed: int = 0) -> nn.Module:
    return seeded_module(lambda: build_model("wrn", (1, 12, 12), classes, SMALL), seed)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    """Name the weights and statistics that are equal in both."""
    return {name for name, value in one.items() if torch.equal(value, other[name])}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights, trained for four classes."""
    module = network(4, seed=9)
    train(module, squares(64, classes=4), squares(32, 1, 4), TrainingOptions(epochs=2, batch_size=16))
    path = tmp_path_factory.mktemp("pretrained") / "four.pth"
    torch.save(module.state_dict(), path)
    return path


def run(checkpoint: Path | None = None, options: TrainingOptions = PHASES, **more: Any) -> tuple[Any, nn.Module]:
    module = network()
    return train(module, squares(), squares(30, 1), options, checkpoint=checkpoint, **more), module


# --- the two phases


@pytest.mark.parametrize("recipe", [None, single_step(0.02)])
def test_in_the_first_phase_the_last_layer_learns_and_not_even_statistics_change_elsewhere(recipe: Any) -> None:
    module = network()
    after = [state(module)]
    keep = after.append
    train(module, squares(), squares(30, 1), PHASES, recipe=recipe, on_epoch=lambda _: keep(state(module)))
    head = {"head.weight", "head.bias"}
    for epoch in (1, 2, 3):
        assert same(after[epoch - 1], after[epoch]) == set(after[0]) - head
    changed = set(after[0]) - same(after[3], after[4])
    assert {"stem.weight", "last.0.running_mean", "last.0.num_batches_tracked", *head} <= changed
    assert not any(part.training for part in module.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in module.parameters())


def test_what_was_frozen_before_stays_frozen() -> None:
    module = network()
    module.stem.requires_grad_(False)
    before = state(module)
    train(module, squares(), squares(30, 1), PHASES)
    assert "stem.weight" in same(before, state(module))
    assert [name for name, weight in module.named_parameters() if not weight.requires_grad] == ["stem.weight"]


def test_each_phase_has_a_one_cycle_rate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    class Recording(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Recording)
    run()
    first, second = rates[:12], rates[12:]  # four steps an epoch
    assert len(second) == 8
    for part, highest in ((first, PHASES.head_learning_rate), (second, PHASES.learning_rate)):
        assert part[0] == pytest.approx(0.04 * highest)
        assert part.index(max(part)) == len(part) // 4
        assert max(part) == pytest.approx(highest)
        assert part[-1] < 0.1 * highest


def test_without_epochs_for_the_last_layer_training_is_the_ordinary_one() -> None:
    usual, ordinary = run(options=TrainingOptions(epochs=2, batch_size=16))
    none, module = run(options=TransferOptions(epochs=2, batch_size=16))
    assert [epoch.loss for epoch in none.epochs] == [epoch.loss for epoch in usual.epochs]
    assert same(state(ordinary), state(module)) == set(module.state_dict())


class Killed(Exception):  # noqa: N818 - what happens to the process, not a mistake
    pass


def killed_after(epoch: int) -> Callable[[Epoch], None]:
    def kill(result: Epoch) -> None:
        if result.epoch == epoch:
            raise Killed

    return kill


@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_killed_in_either_phase_or_between_them_it_resumes_to_the_same_weights(
    tmp_path: Path, epoch: int, averaging: float
) -> None:
    options = replace(PHASES, averaging=averaging)
    whole, module = run(options=options)
    with pytest.raises(Killed):
        run(tmp_path / "training", options, on_epoch=killed_after(epoch))
    history, resumed = run(tmp_path / "training", options)
    assert history.resumed_from == epoch
    assert [e.loss for e in history.epochs] == [e.loss for e in whole.epochs]
    assert same(state(module), state(resumed)) == set(module.state_dict())


def test_patience_does_not_end_the_first_phase_and_counts_from_the_second_on() -> None:
    data = squares()
    wrong = Dataset(data.x, (data.y + 1) % 3, data.classes, data.provenance)  # what is learnt is wrong there
    options = TransferOptions(
        head_epochs=4, head_learning_rate=1e-2, epochs=6, patience=2, batch_size=16, learning_rate=1e-2
    )
    said: list[str] = []
    history = train(network(), data, wrong, options, log=said.append)
    assert history.best <= 2, "the loss on wrong labels rises from the start"
    assert len(history.epochs) == 4 + 2
    assert ["the last layer alone" in line for line in said] == [True] * 4 + [False] * 4  # the last two: why, which


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="Training: head_epochs must be a whole number from 0 up, not -1"):
        TransferOptions(head_epochs=-1)
    with pytest.raises(OptionError, match=r"Training: head_learning_rate must be a number above 0, not 0\.0"):
        TransferOptions(head_learning_rate=0.0)
    with pytest.raises(OptionError, match="Training: epochs must be a whole number from 1 up or none, not 0"):
        TransferOptions(epochs=0)


# --- pretrained weights


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_weights_for_other_classes_are_taken_without_the_last_layer(
    pretrained: Path, tmp_path: Path, suffix: str
) -> None:
    weights = torch.load(pretrained, weights_only=True)
    file = tmp_path / f"four{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file({name: value.contiguous() for name, value in weights.items()}, file)
    else:
        torch.save(weights, file)
    options = {**SMALL, "pretrained": str(file)}
    own = state(seeded_module(lambda: initial_model("wrn", (1, 12, 12), 3, options), 5))
    head = {"head.weight", "head.bias"}
    assert all(torch.equal(own[name], weights[name]) for name in own.keys() - head)
    random = state(network(seed=5))
    assert all(torch.equal(own[name], random[name]) for name in head), "as the seed decides"
    whole = state(initial_model("wrn", (1, 12, 12), 4, options))
    assert all(torch.equal(whole[name], weights[name]) for name in weights), "for as many classes they are taken whole"


def test_counts_of_batches_that_old_files_lack_are_no_misfit(pretrained: Path, tmp_path: Path) -> None:
    weights = torch.load(pretrained, weights_only=True)
    torch.save({name: v for name, v in weights.items() if "num_batches" not in name}, tmp_path / "old.pth")
    module = initial_model("wrn", (1, 12, 12), 3, {**SMALL, "pretrained": tmp_path / "old.pth"})
    assert torch.equal(module.state_dict()["stem.weight"], weights["stem.weight"])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("wrn", {"depth": 10, "width": 2}, r"do not fit 'wrn' with these options: the model needs .* \(.* missing\)"),
        ("small-cnn", {}, "do not fit 'small-cnn' with these options: the model needs"),
    ],
)
def test_weights_that_do_not_fit_otherwise_are_refused_in_one_sentence(
    pretrained: Path, name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        initial_model(name, (1, 12, 12), 3, {**options, "pretrained": str(pretrained)})


def test_weights_of_a_wider_network_are_refused_by_their_shape(tmp_path: Path) -> None:
    wider = build_model("small-cnn", (1, 12, 12), 4, {"widths": [4, 8]})
    torch.save(wider.state_dict(), tmp_path / "wider.pth")
    options = {"widths": [2, 4], "pretrained": tmp_path / "wider.pth"}
    with pytest.raises(ModelError, match=r"'small-cnn' with these options: '.*' has shape \[.*\]; the model needs \["):
        initial_model("small-cnn", (1, 12, 12), 3, options)


def test_weights_that_are_not_there_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no file of pretrained weights .*nowhere\.pth"):
        initial_model("wrn", (1, 12, 12), 3, {**SMALL, "pretrained": str(tmp_path / "nowhere.pth")})
    (tmp_path / "weights.h5").write_text("")
    with pytest.raises(ModelError, match=r"weights\.h5 is empty\. Salus takes a state dict"):
        initial_model("wrn", (1, 12, 12), 3, {**SMALL, "pretrained": str(tmp_path / "weights.h5")})
    with pytest.raises(
        ModelError, match=r"ImageNet for 'wrn', only for inception-v3, resnet50, vgg19, efficientnet-lite0, .*; give"
    ):
        initial_model("wrn", (1, 12, 12), 3, {**SMALL, "pretrained": "imagenet"})


@needs_torchvision
def test_without_a_network_the_local_file_is_named_as_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(url: str, *_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    for name, file in (
        ("resnet50", "resnet50-0676ba61.pth"),
        ("inception-v3", "inception_v3_google-0cc3c7bd.pth"),
        ("vgg19", "vgg19-dcbb9e9d.pth"),
    ):
        with pytest.raises(ModelError) as error, torch.device("meta"):
            initial_model(name, (3, 80, 80), 7, {"pretrained": "imagenet"})
        assert f"cannot be fetched from https://download.pytorch.org/models/{file}" in str(error.value)
        assert "Name or service not known" in str(error.value)
        assert f"give the file: pretrained={file}." in str(error.value)


@needs_torchvision
def test_weights_of_imagenet_that_lie_in_pytorchs_folder_are_taken_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    theirs = build_model("resnet50", (3, 32, 32), 1000, {"width": 0.125})
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(theirs.state_dict(), tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth")
    own = initial_model("resnet50", (3, 32, 32), 7, {"width": 0.125, "stem_stride": 1, "pretrained": "imagenet"})
    assert same(state(theirs), {**state(own), **{f"fc.{n}": torch.zeros(1) for n in ("weight", "bias")}}) == {
        name for name in theirs.state_dict() if not name.startswith("fc.")
    }


# --- a trained classifier, saved and audited


def fitted(file: Path | None, **more: Any) -> Classifier:
    options = {**SMALL, **({} if file is None else {"pretrained": str(file)})}
    return fit_classifier("wrn", squares(), squares(30, 1), PHASES, model_options=options, **more)[0]


def test_a_saved_classifier_needs_the_file_no_more_and_names_it_by_its_content_alone(
    pretrained: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(pretrained, tmp_path / "weights.pth"))
    made = fitted(file)
    made.save(tmp_path / "model")
    file.unlink()
    card = (tmp_path / "model" / "model.json").read_text()
    assert "weights.pth" not in card and str(tmp_path) not in card
    loaded = Classifier.load(tmp_path / "model")
    assert loaded.architecture == {"name": "wrn", "options": SMALL}
    assert "pretrained weights, a file of SHA-256" in loaded.notes[0]
    x = squares(5).x
    assert torch.equal(loaded(x), made(x))
    assert not torch.equal(fitted(None)(x), made(x))


def test_a_saved_model_cannot_ask_for_weights(tmp_path: Path) -> None:
    fitted(None).save(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    card["architecture"]["options"]["pretrained"] = "imagenet"
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="no option 'pretrained'"):
        Classifier.load(tmp_path)


def test_a_checkpoint_of_other_pretrained_weights_is_not_continued(pretrained: Path, tmp_path: Path) -> None:
    fitted(pretrained, checkpoint=tmp_path / "training")
    other = {name: value * 1.01 for name, value in torch.load(pretrained, weights_only=True).items()}
    torch.save(other, tmp_path / "other.pth")
    said: list[str] = []
    fitted(tmp_path / "other.pth", checkpoint=tmp_path / "training", log=said.append)
    assert any("belongs to another training" in line for line in said)


@pytest.mark.parametrize(
    "path", ["resnet50.pth", "/my nets/1e5_v2+b.safetensors", "../a: b #2.pt", "~/nets/2/5.pth", "C:\\nets\\x=1.pth"]
)
def test_a_path_survives_the_command_line(path: str) -> None:
    network = parse_model(f"resnet50:width=0.5,pretrained={path},stem-stride=1")
    assert isinstance(network, Network)
    assert network.options == {"width": 0.5, "pretrained": path, "stem_stride": 1}


def test_an_audit_goes_by_the_content_of_the_weights_and_not_by_where_they_lie(tmp_path: Path) -> None:
    weights = seeded_module(lambda: build_model("small-cnn", (1, 8, 8), 4, {"widths": [8, 16], "hidden": 16}), 1)
    torch.save(weights.state_dict(), tmp_path / "one.pth")

    def plan(name: str, **more: Any) -> Plan:
        model = f"small-cnn:widths=8+16,hidden=16,pretrained={tmp_path / name}"
        fields = {
            "data": "digits", "model": model, "attack": "fgsm", "eps": 0.05, "defence": "none", "samples": 50,
            "threat_model": ["white-box", "transfer"],
            "training": {"head_epochs": 1, "epochs": 4, "learning_rate": 1e-2, "batch_size": 32},
        }  # fmt: skip
        return Plan.of({**fields, **more})

    with pytest.raises(ModelError, match="no file of pretrained weights"):
        run_audit(plan("three.pth"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert run_audit(plan("one.pth"), tmp_path / "run").failed == 0
    (tmp_path / "one.pth").rename(tmp_path / "two.pth")
    assert run_audit(plan("two.pth"), tmp_path / "run").computed == 0
    for folder in (tmp_path / "run", tmp_path / "run" / "substitute"):
        stored = Classifier.load(folder)
        assert stored.architecture == {"name": "small-cnn", "options": {"widths": [8, 16], "hidden": 16}}
        assert "pretrained weights" in stored.notes[0]
    with torch.no_grad():
        next(weights.parameters()).mul_(1.01)
    torch.save(weights.state_dict(), tmp_path / "two.pth")
    with pytest.raises(StoreError, match="another model"):
        run_audit(plan("two.pth"), tmp_path / "run")

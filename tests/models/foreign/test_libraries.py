"""Networks of libraries by name, with weights from this disk."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from salus.audit import Plan, run_audit
from salus.audit.subject import load_splits
from salus.classifier import Classifier, load_user_model
from salus.cli import main
from salus.data import Dataset, load
from salus.errors import ModelError
from salus.jobs import fit_bundle
from salus.models.torchvision_ops import load_torchvision

torchvision = load_torchvision()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits").test


def of(spec: str, data: Dataset, weights: Path | None = None) -> Classifier:
    return load_user_model(spec, weights, classes=data.classes, shape=data.x.shape[1:], bounds=data.bounds, data=data)


def _trained(net: nn.Module, take: Any = lambda answer: answer, epochs: int = 3) -> nn.Module:
    """Train a network for a few passes over the handwritten digits."""
    torch.manual_seed(0)
    train = load("digits").train
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(train)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(take(net(train.x[rows])), train.y[rows]).backward()
            optimiser.step()
    return net.eval()


def test_a_network_of_timms_is_checked_audited_and_guarded(digits: Dataset, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    torch.manual_seed(0)
    net = _trained(timm.create_model("test_resnet", num_classes=10, in_chans=1, drop_rate=0.1))
    torch.save({"state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}}, tmp_path / "w.pt")
    spec = "timm:test_resnet:drop_rate=0.1,mean=0.0,std=1.0"  # the constructor's own options, and how it is read
    classifier = of(spec, digits, tmp_path / "w.pt")
    assert torch.allclose(classifier.predict(digits.x[:20]), net(digits.x[:20]), atol=1e-5)
    assert any("The prefix 'module.' was taken off" in note for note in classifier.notes)
    classifier.save(tmp_path / "saved")
    assert torch.equal(Classifier.load(tmp_path / "saved").predict(digits.x[:9]), classifier.predict(digits.x[:9]))
    words = ["model", "check", spec, "--data", "digits", "--weights", str(tmp_path / "w.pt")]
    looked = CliRunner().invoke(main, words)
    assert looked.exit_code == 0, looked.output
    plan = {"data": "digits", "model": spec, "weights": str(tmp_path / "w.pt")}
    attacked = {"attack": "pgd:steps=3", "eps": [0.1], "samples": 10, "defence": "none", "threat_model": "white-box"}
    assert not run_audit(Plan.of({**plan, **attacked}), tmp_path / "audit").failed
    assert fit_bundle(Plan.of({**plan, "defence": "i-defender"}), tmp_path / "bundle").right > 0.5


def test_what_a_configuration_says_of_images_stands_inside_the_model(digits: Dataset, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=10, in_chans=1).eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    classifier = of("timm:test_resnet", digits, tmp_path / "w.pt")
    mean, std = (sum(net.pretrained_cfg[name]) / 3 for name in ("mean", "std"))
    expected = net((digits.x[:5] - mean) / std)
    assert torch.allclose(classifier.predict(digits.x[:5]), expected, atol=1e-4)
    assert any("so that eps stays in the levels of the image" in note for note in classifier.notes)


def test_images_in_files_are_scaled_and_cropped_as_a_networks_configuration_says(
    tmp_path: Path,
) -> None:
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    from PIL import Image
    from timm.data.transforms_factory import create_transform

    rng = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
        Image.fromarray(small).resize((150 + number, 210 - number), Image.Resampling.BICUBIC).save(path)
    torch.manual_seed(0)
    net = timm.create_model("test_efficientnet", num_classes=2).eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    config = net.pretrained_cfg
    transform = create_transform(
        config["input_size"][1:], interpolation=config["interpolation"], crop_pct=config["crop_pct"],
        mean=config["mean"], std=config["std"],
    )  # fmt: skip
    assert config["interpolation"] == "bicubic" and config["crop_pct"] < 1
    plan = Plan.of(
        {
            "data": str(tmp_path / "pictures"),
            "model": "timm:test_efficientnet",
            "weights": str(tmp_path / "w.pt"),
            "seed": 0,
        }
    )
    data = load_splits(plan).test
    classifier = of("timm:test_efficientnet", data, tmp_path / "w.pt")
    for name, x in zip(data.names[:4], data.x[:4], strict=True):
        theirs = transform(Image.open(tmp_path / "pictures" / name))
        levels = theirs * torch.tensor(config["std"])[:, None, None] + torch.tensor(config["mean"])[:, None, None]
        assert (x - levels).abs().max() <= 1.01 / 255
        with torch.no_grad():
            assert torch.allclose(classifier.predict(x[None]), net(theirs[None]), atol=0.05)
    assert any("scaled bicubic" in note and "as the network's configuration says" in note for note in classifier.notes)
    own = load_splits(Plan.of({**plan.model_dump(exclude_unset=True), "resize": "cover"})).test
    assert any("were made without it" in note for note in of("timm:test_efficientnet", own, tmp_path / "w.pt").notes)


def test_weights_of_other_classes_are_refused_and_what_is_missing_is_listed(digits: Dataset, tmp_path: Path) -> None:
    net = torchvision.models.get_model("squeezenet1_1", num_classes=7)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    colours = Dataset(x=digits.x.repeat(1, 3, 4, 4), y=digits.y, classes=digits.classes, provenance=digits.provenance)
    with pytest.raises(ModelError, match=r"do not fit the model: 'classifier.1.weight' has shape \[7"):
        of("torchvision:squeezenet1_1", colours, tmp_path / "w.pt")
    torch.save({"a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"needs 'classifier.1.bias'.*missing\); they hold 'a', 'b', which the model"):
        of("torchvision:squeezenet1_1", colours, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="needs weights that were trained for these data"):
        of("torchvision:squeezenet1_1", colours)
    with pytest.raises(ModelError, match="torchvision has no classifier 'squeezenet'; did you mean"):
        of("torchvision:squeezenet", colours, tmp_path / "w.pt")


def test_networks_of_monai_are_built_for_as_many_dimensions_as_the_data_have(digits: Dataset, tmp_path: Path) -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="the extra monai is not installed")
    flat = nets.DenseNet(2, 1, 10, init_features=8, growth_rate=4, block_config=(2, 2))
    _trained(flat, epochs=1)
    torch.save(flat.state_dict(), tmp_path / "flat.pt")
    classifier = of("monai:DenseNet:init_features=8,growth_rate=4,block_config=2+2", digits, tmp_path / "flat.pt")
    assert torch.allclose(classifier.predict(digits.x[:30]), flat(digits.x[:30]), atol=1e-5)
    deep = nets.DenseNet(3, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2))
    torch.save(deep.state_dict(), tmp_path / "deep.pt")
    data = Dataset(
        x=torch.rand(4, 1, 16, 16, 16), y=torch.arange(4) % 2, classes=("a", "b"), provenance=digits.provenance
    )
    spec = "monai:DenseNet:init_features=8,growth_rate=4,block_config=2+2"
    classifier = of(spec, data, tmp_path / "deep.pt")
    assert classifier.predict(data.x).shape == (4, 2)
    classifier.save(tmp_path / "saved")
    assert torch.equal(Classifier.load(tmp_path / "saved").predict(data.x), classifier.predict(data.x))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vision transformer of transformers', trained on handwritten digits and saved as it saves itself."""
    transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=8, patch_size=2,
        num_channels=1, id2label={number: str(number) for number in range(10)},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = transformers.ViTForImageClassification(config)
        _trained(net, lambda answer: answer.logits)
        path = tmp_path_factory.mktemp("hf") / "vit"
        net.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": True, "image_mean": [0.0], "image_std": [1.0], "size": {"height": 8, "width": 8}})
    )
    return path


def test_a_folder_of_hugging_faces_is_checked_audited_and_guarded(
    folder: Path, digits: Dataset, tmp_path: Path
) -> None:
    looked = CliRunner().invoke(main, ["model", "check", f"hf:{folder}", "--data", "digits"])
    assert looked.exit_code == 0, looked.output
    plan = {"data": "digits", "model": f"hf:{folder}"}
    attacked = {"attack": "pgd:steps=3", "eps": [0.1], "samples": 10, "defence": "none", "threat_model": "white-box"}
    assert not run_audit(Plan.of({**plan, **attacked}), tmp_path / "audit").failed
    fit_bundle(Plan.of({**plan, "defence": "i-defender:layers=logits"}), tmp_path / "bundle")
    classifier = of(f"hf:{folder}", digits)
    again = Classifier.load(tmp_path / "bundle")
    assert np.allclose(again.predict(digits.x[:9]), classifier.predict(digits.x[:9]), atol=1e-6)


def test_folders_that_bring_code_or_pickles_are_refused(folder: Path, digits: Dataset, tmp_path: Path) -> None:
    for change, sentence in (({"auto_map": {"AutoModel": "evil.Model"}}, "code of its own"), ({}, "pytorch_model.bin")):
        place = tmp_path / sentence.replace(" ", "-")
        place.mkdir()
        config = json.loads((folder / "config.json").read_text())
        (place / "config.json").write_text(json.dumps({**config, **change}))
        (place / "pytorch_model.bin").write_bytes(b"\x80\x04evil")
        with pytest.raises(ModelError, match=sentence):
            of(f"hf:{place}", digits)

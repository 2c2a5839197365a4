"""Real heartbeats and Fashion-MNIST, each with the network that is attacked, trained once; and the file of results."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus import atomic
from salus.classifier import Classifier
from salus.data import Dataset, Provenance, load
from salus.training import TrainingOptions, fit_classifier

FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
STORE = Path(__file__).parents[1] / "runs" / "bench"


@dataclass(frozen=True, eq=False)
class Bench:
    """A trained network and the test samples that it gets right, in an order that the seed decides."""

    name: str
    classifier: Classifier
    x: Tensor
    y: Tensor
    accuracy: float

    def starts(self, count: int) -> Tensor:
        """Give each of the first samples another one, of another class."""
        chosen = [int((self.y != label).nonzero()[place % 64]) for place, label in enumerate(self.y[:count])]
        return self.x[chosen]


def bench(name: str) -> Bench:
    """Load the test samples and the network."""
    classifier = network(name)
    test = _parts(name)[2]
    # The last of this order: the attacks' defaults were chosen on the first.
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[-4000:]
    x, y = test.x[order], test.y[order]
    right = classifier.predict(x).argmax(1) == y
    return Bench(name, classifier, x[right], y[right], float(right.float().mean()))


def network(name: str) -> Classifier:
    """Load the network for these data; where it is missing, train it and keep it."""
    folder = STORE / {"beats": "ecg", "fashion": "fashion"}[name]
    if not (folder / "model.json").exists():
        print(f"training the network for {name}, kept in {folder}", flush=True)
        train, validation, _ = _parts(name)
        architecture, options, widths = {
            "beats": ("ecg-cnn", TrainingOptions(epochs=4), {}),
            "fashion": ("small-cnn", TrainingOptions(epochs=3), {"widths": [16, 32, 64]}),
        }[name]
        fit_classifier(architecture, train, validation, options, model_options=widths, log=print)[0].save(folder)
    return Classifier.load(folder).eval()


def _parts(name: str) -> tuple[Dataset, Dataset, Dataset]:
    return _beats() if name == "beats" else _fashion()


def _beats() -> tuple[Dataset, Dataset, Dataset]:
    splits = load("mitdb")
    return splits.train, splits.validation, splits.test


def _fashion() -> tuple[Dataset, Dataset, Dataset]:
    folder = Path(os.environ["SALUS_DATA"]) / "fashion-mnist"
    source = Provenance("fashion-mnist", "https://github.com/zalandoresearch/fashion-mnist", licence="MIT")
    parts = {}
    for part in ("train", "t10k"):
        x = read_idx(folder / f"{part}-images-idx3-ubyte.gz").float().div(255)[:, None]  # [N, 1, 28, 28]
        y = read_idx(folder / f"{part}-labels-idx1-ubyte.gz").long()
        parts[part] = Dataset(x, y, FASHION, source)
    rows = torch.arange(60000)
    train, test = parts["train"], parts["t10k"]
    return train.subset(rows[:55000]), train.subset(rows[55000:]), test


def read_idx(path: Path) -> Tensor:
    """Read a gzipped idx file of bytes: two zeros, 8 for bytes, the number of dimensions, each as 4 bytes, values."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    kind, dimensions = int.from_bytes(content[:3], "big"), content[3]
    if kind != 8:
        raise ValueError(f"{path} is no idx file of bytes.")
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).reshape(shape)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write results, as compact as studies store them."""
    atomic.write_text(path, json.dumps(content, separators=(",", ":"), ensure_ascii=False) + "\n")

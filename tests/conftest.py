"""What tests of several rooms share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.detectors import IDefender
from salus.guard import Guard

# How many examples a fuzzed test takes: here a few, the same in each run, so that what is red is red for its change;
# in `make soak` the full count, drawn anew (pytest --hypothesis-profile=soak).
settings.register_profile("suite", deadline=None, max_examples=60, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=2000)
settings.load_profile("suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what soaks wherever ``-m`` does not speak of it, with ``-m "not slow"`` too."""
    if "soak" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("soak")])
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SALUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def mitdb_folder() -> Path:
    """The real MIT-BIH records, where the machine has them."""
    folder = Path(os.environ.get("SALUS_DATA", "")) / "mitdb"
    if not (folder / "RECORDS").is_file():
        pytest.skip("SALUS_DATA holds no mitdb")
    return folder


@dataclass(frozen=True)
class Toy:
    """A trained classifier of three overlapping clouds in eight dimensions, and samples it never saw."""

    classifier: Classifier
    train: Dataset
    calibration: Dataset
    test: Dataset

    def guard(self, rate: float = 0.05, **options: object) -> Guard:
        """Fit a fresh I-defender guard."""
        detector = IDefender(**options)  # type: ignore[arg-type]
        return Guard(self.classifier, [detector], name="toy").fit(self.train, self.calibration, rate)


def _clouds(n: int, seed: int) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.tensor([[0.3] * 8, [0.7] * 4 + [0.3] * 4, [0.5] * 4 + [0.8] * 4])
    x = (centres[y] + 0.09 * torch.randn(n, 8, generator=generator)).clamp(0, 1)
    return Dataset(x, y, ("a", "b", "c"), Provenance("clouds", "made here"))


@pytest.fixture(scope="session")
def toy() -> Toy:
    """Train the toy classifier once."""
    train = _clouds(900, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(train.x), train.y).backward()
        optimiser.step()
    classifier = Classifier(module, train.classes, shape=(8,), name="toy")
    return Toy(classifier, train, _clouds(600, 2), _clouds(300, 3))


@pytest.fixture
def accuracy() -> object:
    """Share of right labels."""

    def measure(classifier: Classifier, x: Tensor, y: Tensor) -> float:
        return float((classifier.predict(x).argmax(1) == y).float().mean())

    return measure


#: Samples from one beat to the next, where nobody says.
SPACING = 400


def _signal(length: int, seed: int) -> np.ndarray:
    """A wandering lead in the units of the converter."""
    steps = np.random.default_rng(seed).integers(-9, 10, length)
    return (np.cumsum(steps) % 600 + 700).astype(np.int64)


def _write_record(
    folder: Path,
    name: str,
    symbols: Sequence[str],
    *,
    leads: Sequence[str] = ("MLII", "V1"),
    peaks: Sequence[int] | None = None,
    rate: int = 360,
    length: int | None = None,
    signal: np.ndarray | None = None,
) -> np.ndarray:
    """Write a record in format 212 with its annotations; return its signals ``[T, leads]``."""
    folder.mkdir(parents=True, exist_ok=True)
    if peaks is None:
        peaks = [SPACING * (i + 1) for i in range(len(symbols))]
    if signal is None:
        length = length or max(peaks) + SPACING
        seed = crc32(name.encode())
        signal = np.stack([_signal(length, seed + 1000 * i) for i in range(len(leads))], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb calls pandas in ways that pandas 3 warns of
        import wfdb

        wfdb.wrsamp(
            name,
            fs=rate,
            units=["mV"] * len(leads),
            sig_name=list(leads),
            d_signal=signal,
            fmt=["212"] * len(leads),
            adc_gain=[200.0] * len(leads),
            baseline=[1024] * len(leads),
            write_dir=str(folder),
        )
        if symbols:
            wfdb.wrann(name, "atr", np.array(peaks), symbol=list(symbols), write_dir=str(folder))
    return signal


@pytest.fixture(scope="session")
def write_record() -> Callable[..., np.ndarray]:
    return _write_record


@pytest.fixture(scope="session")
def table_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guard of patients' rows, saved with its preprocessor as ``salus guard fit`` does."""
    from salus.audit.plan import Plan
    from salus.jobs import fit_bundle

    folder = tmp_path_factory.mktemp("bundles") / "patients"
    fit_bundle(
        Plan.of(
            {"data": "breast-cancer", "defence": ["i-defender"], "false_alarm_rate": 0.05, "training": {"epochs": 5}}
        ),
        folder,
    )
    return folder


@pytest.fixture
def ray_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Ray cluster of two nodes, each a process of its own on this machine."""
    pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    store = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **store})
    cluster.add_node(**store)
    yield str(cluster.address)
    cluster.shutdown()

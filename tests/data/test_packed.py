from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from salus.attacks import PGD
from salus.audit import Plan, run_audit
from salus.data import Dataset, Provenance, load
from salus.data.packed import Packed
from salus.data.pixel_rows import pixel_rows
from salus.errors import DataError, StoreError
from salus.guard import Guard
from salus.models import build_model
from salus.training import TrainingOptions, fit_classifier

LEVELS = torch.randint(0, 256, (30, 3, 8, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ROWS = torch.randperm(30, generator=torch.Generator().manual_seed(1))[:20]
PACKED, FLOATS = Packed(LEVELS, ROWS), LEVELS[ROWS].float() / 255

OPERATIONS: dict[str, Callable[[Tensor], Any]] = {
    "one image": lambda x: x[3],
    "one value": lambda x: x[3, 1, 2, 0],
    "a slice": lambda x: x[2:7],
    "every second": lambda x: x[::2],
    "none": lambda x: x[:0],
    "from the end": lambda x: x[-3:],
    "positions": lambda x: x[torch.tensor([5, 1, 5])],
    "a list": lambda x: x[[1, 2]],
    "a mask": lambda x: x[torch.arange(20) % 3 == 0],
    "a channel": lambda x: x[:, 0],
    "a new dimension": lambda x: x[None],
    "index_select": lambda x: x.index_select(0, torch.tensor([4, 2])),
    "arithmetic": lambda x: 2 * x - x / 3,
    "reductions": lambda x: torch.stack([x.mean(), x.amax(), x.quantile(0.3)]),
    "flatten": lambda x: x.flatten(1),
    "view": lambda x: x.view(20, -1),
    "cat": lambda x: torch.cat([x, x.new_zeros(1, 3, 8, 9)]),
    "split along channels": lambda x: x.split(1, 1)[2],
    "float64": lambda x: x.double(),
    "clone": lambda x: x.clone(),
    "where": lambda x: torch.where(torch.ones(20, 1, 1, 1, dtype=torch.bool), x, 0),
    "full_like": lambda x: torch.full_like(x, 0.5),
    "convolution": lambda x: torch.nn.functional.conv2d(x, torch.ones(2, 3, 3, 3)),
    "contiguous": lambda x: x.detach().cpu().contiguous(),
    "numpy": lambda x: torch.from_numpy(x.numpy()),
    "asarray": lambda x: torch.from_numpy(np.asarray(x)),
    "lists": lambda x: torch.tensor(x.tolist()),
    "iteration": lambda x: torch.stack(list(x)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_sees_plain_floats(operation: str) -> None:
    packed, plain = OPERATIONS[operation](PACKED), OPERATIONS[operation](FLOATS)
    assert type(packed) is Tensor
    assert torch.equal(packed, plain)
    with torch.inference_mode():
        assert torch.equal(OPERATIONS[operation](PACKED), plain)


def test_it_looks_like_the_floats() -> None:
    assert isinstance(PACKED, Tensor)
    assert PACKED.shape == FLOATS.shape
    assert (len(PACKED), PACKED.ndim, PACKED.dtype, PACKED.device) == (20, 4, torch.float32, FLOATS.device)
    assert "Packed" in repr(PACKED)


def test_splitting_and_taking_hand_on_the_bytes_without_a_copy() -> None:
    pieces = PACKED.split(7)  # type: ignore[no-untyped-call]  # torch's own, without annotations
    for part in (*torch.split(PACKED, 7), *pieces, PACKED.detach(), PACKED.cpu(), PACKED.take(ROWS.argsort())):
        assert isinstance(part, Packed)
        assert part.levels is LEVELS
    assert torch.equal(torch.cat(torch.split(PACKED, 7)), FLOATS)
    assert torch.equal(PACKED.take(torch.tensor([4, 0])).unpack(), FLOATS[[4, 0]])


def test_on_another_device_it_is_bytes_too() -> None:
    moved = PACKED.to("meta")
    assert isinstance(moved, Packed)
    assert moved.device == moved.levels.device == moved.rows.device == torch.device("meta")
    assert moved.shape == PACKED.shape and moved.levels.dtype == torch.uint8


def test_it_cannot_be_written_to() -> None:
    for write in (lambda: PACKED.add_(1), lambda: PACKED.clamp_(0, 0.5), lambda: PACKED.__setitem__(0, 0.0)):
        with pytest.raises(RuntimeError, match="cannot be written to"):
            write()
    assert torch.equal(PACKED.unpack(), FLOATS)


def test_gradients_of_weights_and_inputs_are_those_of_the_floats() -> None:
    layer = torch.nn.Conv2d(3, 2, 3)
    layer(PACKED).square().sum().backward()
    found = layer.weight.grad
    layer.weight.grad = None
    layer(FLOATS).square().sum().backward()
    assert torch.equal(found, layer.weight.grad)  # type: ignore[arg-type]
    model = build_model("small-cnn", (3, 8, 9), 2)
    y = torch.arange(20) % 2
    attack = PGD(eps=0.03, steps=3)
    assert torch.equal(attack(model, PACKED, y), attack(model, FLOATS, y))


def _dataset(x: Tensor) -> Dataset:
    return Dataset(x, torch.arange(20) % 2, ("a", "b"), Provenance("images", "made here"))


def test_a_dataset_of_bytes_is_one_like_any_other() -> None:
    packed, plain = _dataset(PACKED), _dataset(FLOATS)
    some = packed.subset(torch.tensor([3, 9, 4]))
    assert isinstance(some.x, Packed)
    assert torch.equal(some.x.unpack(), plain.subset(torch.tensor([3, 9, 4])).x)
    assert packed.fingerprint() == _dataset(Packed(LEVELS[ROWS], torch.arange(20))).fingerprint()
    assert packed.fingerprint() != _dataset(Packed(LEVELS, ROWS.flip(0))).fingerprint()
    with pytest.raises(DataError, match=r"sample \d has values from"):
        Dataset(PACKED, packed.y, ("a", "b"), packed.provenance, bounds=(0.0, 0.5))


def test_training_and_guards_come_to_the_same() -> None:
    options = TrainingOptions(epochs=2, batch_size=8)
    made = []
    for x in (PACKED, FLOATS):
        data = _dataset(x)
        classifier, _ = fit_classifier("small-cnn", data, data, options)
        made.append((classifier.fingerprint(), Guard(classifier)(x, batch_size=6).probabilities))
    assert made[0][0] == made[1][0]
    assert torch.equal(made[0][1], made[1][1])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes that a network tells apart at once."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name, base in (("dark", 40), ("light", 160)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(60):
            values = rng.integers(base, base + 60, (8, 8, 3), dtype=np.uint8)
            image.fromarray(values).save(tmp_path / "photos" / name / f"{i:02d}.png")
    return tmp_path / "photos"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the smallest of images count as many."""
    monkeypatch.setattr("salus.data.pixels.MOST_VALUES", 1)
    monkeypatch.setattr("salus.data.pixel_rows.MOST_VALUES", 1)


def test_many_images_are_mapped_from_a_file_that_nobody_finds(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load(photos)
    (photos / "dark" / "broken.png").write_bytes(b"none")
    _from_disk(monkeypatch)
    packed = load(photos)
    for (_, one), (_, other) in zip(plain, packed, strict=True):
        assert isinstance(other.x, Packed)
        assert torch.equal(other.x.unpack(), one.x)
        assert torch.equal(other.y, one.y)
    assert packed.test.provenance.dropped[0].count == 1
    assert list(cache.iterdir()) == []


def test_an_array_of_many_images_is_mapped_from_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = LEVELS.numpy()
    for kind in (np.ndarray, np.memmap):
        with pixel_rows(len(images), (3, 8, 9), name="x") as rows:
            for image in images:
                rows.append(image)
            found = rows.array()
        assert type(found) is kind
        assert (found == images).all()
        _from_disk(monkeypatch)


def test_a_full_or_forbidden_disk_is_said(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _from_disk(monkeypatch)
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=99))
    with pytest.raises(DataError, match=r"120 images of 8x8 need 0 GiB on disk .* has 0; .* SALUS_CACHE"):
        load(photos)
    cache.rmdir()
    cache.write_text("a file")
    with pytest.raises(StoreError, match="Cannot write"):
        load(photos)


@pytest.mark.slow
def test_an_audit_comes_to_the_same(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = Plan.of(
        {
            "data": str(photos), "model": "small-cnn", "training": {"epochs": 3, "batch_size": 16},
            "attack": "pgd:eps=0.1,steps=3", "samples": 10, "queries": 40,
            "defence": ["low-level:quality=50", "i-defender:components=1,threshold=id-95"],
            "threat_model": ["white-box", "oblivious", "adaptive", "transfer"],
        }
    )  # fmt: skip
    plain = run_audit(plan, tmp_path / "plain")
    _from_disk(monkeypatch)
    packed = run_audit(plan, tmp_path / "packed")
    assert (plain.failed, packed.failed) == (0, 0)
    unlike = ("seconds", "cost", "id")
    for one, other in zip(plain.cells, packed.cells, strict=True):
        assert {k: v for k, v in one.items() if k not in unlike} == {k: v for k, v in other.items() if k not in unlike}

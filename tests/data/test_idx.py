from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from salus.data import catalogue, load
from salus.data.idx import read_idx
from salus.data.pinned import FASHION_MNIST, MNIST, PinnedSet
from salus.errors import DataError, OptionError

SIDES = {"train": 240, "t10k": 30}


def _idx(values: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def _contents() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for side, count in SIDES.items():
        files[f"{side}-images-idx3-ubyte"] = _idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{side}-labels-idx1-ubyte"] = _idx(np.arange(count) % 10)
    return files


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a small MNIST in the official format, packed."""
    monkeypatch.delenv("SALUS_DATA", raising=False)
    (tmp_path / "mnist").mkdir()
    for name, content in _contents().items():
        (tmp_path / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def _replace(place: Path, name: str, content: bytes) -> Path:
    path = place / "mnist" / f"{name}.gz"
    path.write_bytes(gzip.compress(content))
    return path


def test_images_and_labels_are_those_of_the_files_and_the_test_part_is_the_official_one(place: Path) -> None:
    splits = load("mnist", data_dir=place)
    files = _contents()
    test = np.frombuffer(files["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(-1, 1, 28, 28)
    assert (splits.test.x.numpy() * 255 == test.astype(np.float32)).all()
    assert splits.test.y.tolist() == [i % 10 for i in range(30)]
    train = np.frombuffer(files["train-images-idx3-ubyte"][16:], np.uint8).reshape(240, -1)
    own = {(i % 10, image.tobytes()) for i, image in enumerate(train)}
    dealt = [
        (int(y), (x.flatten() * 255).round().numpy().astype(np.uint8).tobytes())
        for part in (splits.train, splits.validation, splits.calibration)
        for x, y in zip(part.x, part.y, strict=True)
    ]
    assert len(dealt) == len(set(dealt)) == 240
    assert set(dealt) == own
    assert [len(data) for _, data in splits] == [200, 20, 20, 30]
    assert splits.validation.counts == dict.fromkeys(map(str, range(10)), 2)


def test_files_that_are_not_packed_are_read_alike(place: Path, tmp_path: Path) -> None:
    (tmp_path / "plain" / "mnist").mkdir(parents=True)
    for name, content in _contents().items():
        (tmp_path / "plain" / "mnist" / name).write_bytes(content)
    packed, plain = load("mnist", data_dir=place), load("mnist", data_dir=tmp_path / "plain")
    assert plain.train.fingerprint() == packed.train.fingerprint()
    assert plain.train.provenance.checksum == packed.train.provenance.checksum


def test_the_seed_moves_training_and_never_the_test_part(place: Path) -> None:
    one, two = (load("mnist", data_dir=place, seed=seed) for seed in (0, 1))
    assert one.test.fingerprint() == two.test.fingerprint()
    assert one.train.fingerprint() != two.train.fingerprint()


def test_what_is_not_the_published_content_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = [note for note in load("mnist", data_dir=place).test.provenance.notes if "published" in note]
    assert note.count("ubyte") == 4
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in _contents().items()}
    for wrong in ({}, {"t10k-labels-idx1-ubyte": "0" * 64}):
        monkeypatch.setattr("salus.data.idx.MNIST", replace(MNIST, files=sums | wrong))
        notes = load("mnist", data_dir=place).test.provenance.notes
        said = ["not the published files of mnist: t10k-labels-idx1-ubyte"] if wrong else []
        assert [note for note in notes if "published" in note] == said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin like an IDX file"),
        (_idx(np.zeros(30)), "unsigned bytes in 3 dimensions"),
        (b"\0\0\x0d\x03" + bytes(12), "does not begin like an IDX file"),
        (_idx(np.zeros((30, 28, 28)))[:-1], "truncated or damaged: its header says 30 x 28 x 28 values, but 23519"),
        (_idx(np.zeros((30, 28, 28))) + b"x", "truncated or damaged"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated or damaged: its header says 4294967295 x"),
        (_idx(np.zeros((29, 28, 28))), "holds 29 images, but t10k-labels-idx1-ubyte 30 labels"),
        (_idx(np.zeros((30, 20, 20))), "test images"),
    ],
    ids=["empty", "labels", "floats", "short", "long", "huge", "fewer", "smaller"],
)
def test_a_damaged_file_is_one_sentence_that_names_it(place: Path, content: bytes, message: str) -> None:
    _replace(place, "t10k-images-idx3-ubyte", content)
    with pytest.raises(DataError, match=message) as caught:
        load("mnist", data_dir=place)
    assert str(place / "mnist") in str(caught.value)


def test_labels_that_are_none_and_broken_packing_are_named(place: Path) -> None:
    _replace(place, "t10k-labels-idx1-ubyte", _idx(np.full(30, 11)))
    with pytest.raises(DataError, match="labels go up to 11, but mnist has 10"):
        load("mnist", data_dir=place)
    path = place / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is truncated or broken.*salus data fetch mnist"):
        load("mnist", data_dir=place)
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="truncated or broken"):
        load("mnist", data_dir=place)
    path.unlink()
    with pytest.raises(DataError, match="train-images-idx3-ubyte is missing, packed or not"):
        load("mnist", data_dir=place)


def test_a_file_that_unpacks_to_more_than_the_set_holds_is_refused(place: Path) -> None:
    _replace(place, "train-labels-idx1-ubyte", bytes(MNIST.max_file_bytes + 1))
    with pytest.raises(DataError, match=r"holds over \d+ bytes; it is not of mnist"):
        load("mnist", data_dir=place)


def test_a_set_that_is_nowhere_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    with pytest.raises(DataError, match=r"'fashion-mnist' is not on this machine.*run: salus data fetch fashion-mnist"):
        load("fashion-mnist", data_dir=tmp_path)


def test_the_catalogue_knows_whether_it_is_there(place: Path) -> None:
    at_hand = {entry.name: entry.at_hand for entry in catalogue(place)}
    assert at_hand["mnist"]
    assert not at_hand["fashion-mnist"]


def test_options_of_other_data_are_refused(place: Path) -> None:
    with pytest.raises(OptionError, match="Option split does not apply to the data 'mnist'"):
        load("mnist", data_dir=place, split="beats")


def test_a_one_dimensional_file_is_read_as_it_stands(tmp_path: Path) -> None:
    assert read_idx(_idx(np.array([7, 2, 1])), 1, tmp_path).tolist() == [7, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("published", [MNIST, FASHION_MNIST], ids=lambda published: published.name)
def test_the_real_set_is_the_published_one(published: PinnedSet) -> None:
    name = published.name
    if not (Path(os.environ.get("SALUS_DATA", "")) / name).is_dir():
        pytest.skip(f"SALUS_DATA holds no {name}")
    splits = load(name)
    assert not any("published" in note for note in splits.test.provenance.notes)
    assert [len(data) for _, data in splits] == pytest.approx([50_000, 5_000, 5_000, 10_000], abs=2)
    if name == "mnist":
        assert splits.test.y[:5].tolist() == [7, 2, 1, 0, 4]
        assert splits.test.counts["1"] == 1135
    else:
        assert set(splits.test.counts.values()) == {1000}
        assert splits.test.classes[int(splits.test.y[0])] == "Ankle boot"

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salus.data import catalogue, load
from salus.data.cifar10 import CLASSES, RECORD
from salus.errors import DataError

PER_BATCH = 30


def _records(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.arange(PER_BATCH, dtype=np.uint8)[:, None] % 10
    return np.concatenate([labels, rng.integers(0, 256, (PER_BATCH, RECORD - 1), dtype=np.uint8)], axis=1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a small CIFAR-10 in the official binary format."""
    monkeypatch.delenv("SALUS_DATA", raising=False)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(_records(number).tobytes())
    (folder / "test_batch.bin").write_bytes(_records(0).tobytes())
    return tmp_path


def _write_images(place: Path, suffix: str) -> None:
    """The same images in the layout of folders, one file each."""
    from PIL import Image

    counts: dict[Path, int] = {}
    for side, numbers in {"train": range(1, 6), "test": range(1)}.items():
        for number in numbers:
            for record in _records(number):
                folder = place / "cifar10" / side / CLASSES[record[0]]
                folder.mkdir(parents=True, exist_ok=True)
                counts[folder] = counts.get(folder, -1) + 1
                image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                Image.fromarray(image).save(folder / f"{counts[folder]:04d}{suffix}")


def test_a_record_is_a_label_then_red_green_and_blue_by_rows(place: Path) -> None:
    splits = load("cifar10", data_dir=place)
    assert [len(data) for _, data in splits] == [130, 10, 10, 30]
    record = _records(0)[7]
    image = splits.test.x[7]
    assert int(splits.test.y[7]) == record[0] == 7
    assert float(image[0, 0, 1]) == pytest.approx(record[1 + 1] / 255, abs=1e-7)
    assert float(image[1, 2, 3]) == pytest.approx(record[1 + 1024 + 2 * 32 + 3] / 255, abs=1e-7)
    assert float(image[2, 31, 31]) == pytest.approx(record[-1] / 255, abs=1e-7)


def test_the_folder_of_the_makers_archive_is_found_too(place: Path) -> None:
    plain = load("cifar10", data_dir=place)
    folder = place / "cifar10"
    inside = place / "moved" / "cifar10" / "cifar-10-batches-bin"
    inside.parent.mkdir(parents=True)
    folder.rename(inside)
    assert load("cifar10", data_dir=place / "moved").train.fingerprint() == plain.train.fingerprint()
    assert next(entry for entry in catalogue(place / "moved") if entry.name == "cifar10").at_hand


def test_lossless_images_are_the_same_data(place: Path) -> None:
    binary = load("cifar10", data_dir=place)
    _write_images(place / "images", ".png")
    images = load("cifar10", data_dir=place / "images")
    assert images.name == "cifar10"
    assert sorted(x.numpy().tobytes() for x in images.test.x) == sorted(x.numpy().tobytes() for x in binary.test.x)
    assert [len(data) for _, data in images] == [len(data) for _, data in binary]


def test_jpeg_images_are_called_so_wherever_the_data_are_named(place: Path) -> None:
    _write_images(place / "images", ".jpg")
    splits = load("cifar10", data_dir=place / "images")
    assert splits.name == "cifar10-jpeg"
    assert "close to CIFAR-10, not equal" in splits.test.provenance.notes
    assert splits.test.classes == CLASSES
    assert splits.test.counts == dict.fromkeys(CLASSES, 3)


def test_pickles_are_refused_and_the_binary_version_is_named(place: Path) -> None:
    for path in (place / "cifar10").iterdir():
        path.unlink()
    pickles = place / "cifar10" / "cifar-10-batches-py"
    pickles.mkdir()
    (pickles / "data_batch_1").write_bytes(b"\x80\x02}q\x01.")
    with pytest.raises(DataError, match=r"Python pickles, which are never loaded.*binary version.*data fetch cifar10"):
        load("cifar10", data_dir=place)
    (place / "cifar10" / "test_batch.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"data_batch_1\.bin is missing"):  # what is binary goes first
        load("cifar10", data_dir=place)


def test_a_damaged_batch_is_named(place: Path) -> None:
    path = place / "cifar10" / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"data_batch_3\.bin is truncated or damaged.*no whole number of images"):
        load("cifar10", data_dir=place)
    path.write_bytes(b"\x0b" + whole[1:])
    with pytest.raises(DataError, match=r"data_batch_3\.bin is damaged: image 0 has the label 11"):
        load("cifar10", data_dir=place)


def test_folders_that_are_not_cifar10s_are_refused(place: Path) -> None:
    _write_images(place / "images", ".png")
    (place / "images" / "cifar10" / "train" / "truck").rename(place / "truck")
    with pytest.raises(DataError, match="is of a class that training lacks"):
        load("cifar10", data_dir=place / "images")
    (place / "truck").rename(place / "images" / "cifar10" / "train" / "truck")
    (place / "images" / "cifar10" / "test").rename(place / "test")
    with pytest.raises(DataError, match="must hold train and test"):
        load("cifar10", data_dir=place / "images")

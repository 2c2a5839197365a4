from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from salus.audit import Plan
from salus.data import load
from salus.data.decoding import Decoding, decode_images
from salus.data.image_folder import is_image_folder
from salus.errors import DataError, OptionError

Image = pytest.importorskip("PIL.Image")

SIZE = (10, 12)  # H, W


def _pixels(seed: int, channels: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _write(folder: Path, count: int, *, channels: int = 3, start: int = 0, size: tuple[int, int] = SIZE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        Image.fromarray(_pixels(i, channels, size)).save(folder / f"{i:03d}.png")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two classes of ten images each."""
    _write(tmp_path / "moles" / "benign", 10)
    _write(tmp_path / "moles" / "malignant", 10, start=10)
    return tmp_path / "moles"


def _all(splits: object) -> set[bytes]:
    return {(x * 255).round().numpy().astype(np.uint8).tobytes() for _, data in splits for x in data.x}  # type: ignore[attr-defined]


def test_folders_are_classes_and_every_image_is_dealt_once(place: Path) -> None:
    splits = load(place, positive=("malignant",))
    assert splits.test.classes == ("benign", "malignant")
    assert splits.test.positive == ("malignant",)
    assert splits.name == "moles"
    assert splits.train.x.shape[1:] == (3, *SIZE)
    assert [len(data) for _, data in splits] == [10, 2, 4, 4]
    assert _all(splits) == {_pixels(i).transpose(2, 0, 1).tobytes() for i in range(20)}
    labels = {
        (x * 255).round().numpy().astype(np.uint8).tobytes(): int(y)
        for _, data in splits
        for x, y in zip(data.x, data.y, strict=True)
    }
    assert [labels[_pixels(i).transpose(2, 0, 1).tobytes()] for i in range(20)] == [0] * 10 + [1] * 10
    assert any("patients" in note for note in splits.test.provenance.notes)
    for _, data in splits:
        for x, name in zip(data.x, data.names, strict=True):
            stored = torch.from_numpy(np.array(Image.open(place / name))).permute(2, 0, 1)
            assert torch.equal(x, stored.float().div(255))


def test_the_same_files_and_seed_give_the_same_parts(place: Path) -> None:
    one, again, other = (load(place, seed=seed) for seed in (0, 0, 1))
    assert one.train.fingerprint() == again.train.fingerprint() != other.train.fingerprint()
    assert one.train.provenance.checksum == other.train.provenance.checksum
    Image.fromarray(_pixels(99)).save(place / "benign" / "000.png")
    assert load(place).train.provenance.checksum != one.train.provenance.checksum


@pytest.mark.parametrize(("side", "said"), [("val", "val is the test part"), ("test", "test part as given")])
def test_one_part_that_is_given_is_the_test_part_as_in_imagenet(tmp_path: Path, side: str, said: str) -> None:
    for i, wnid in enumerate(("n01440764", "n01443537")):
        _write(tmp_path / "train" / wnid, 24, start=100 * i)
        _write(tmp_path / side / wnid, 5, start=1000 + 100 * i)
    splits = load(tmp_path)
    assert splits.test.classes == ("n01440764", "n01443537")
    assert [len(data) for _, data in splits] == [40, 4, 4, 10]
    given = {_pixels(1000 + 100 * i + j).transpose(2, 0, 1).tobytes() for i in range(2) for j in range(5)}
    assert {(x * 255).round().numpy().astype(np.uint8).tobytes() for x in splits.test.x} == given
    assert splits.test.provenance.split.startswith(said)


def test_three_parts_are_kept_and_val_is_halved_by_class(tmp_path: Path) -> None:
    for side, count in {"train": 4, "validation": 6, "test": 3}.items():
        for i, name in enumerate("ab"):
            _write(tmp_path / side / name, count, start=100 * i + 10 * count)
    _write(tmp_path / "unlabelled" / "x", 2)
    splits = load(tmp_path)
    counts = {part: data.counts for part, data in splits}
    assert counts == {
        "train": {"a": 4, "b": 4},
        "validation": {"a": 3, "b": 3},
        "calibration": {"a": 3, "b": 3},
        "test": {"a": 3, "b": 3},
    }
    assert len(_all(splits)) == 26
    assert "folders passed over: unlabelled" in splits.test.provenance.notes


def test_every_image_may_be_a_test_image_wherever_it_lies(tmp_path: Path) -> None:
    for i, side in enumerate(("train", "val", "test")):
        _write(tmp_path / side / "benign", 1, start=10 * i)
        _write(tmp_path / side / "malignant", 1, start=10 * i + 5)
    splits = load(tmp_path, split="all")
    assert [len(data) for _, data in splits] == [0, 0, 0, 6]
    assert splits.test.counts == {"benign": 3, "malignant": 3}
    assert "all images are test images" in splits.test.provenance.split
    with pytest.raises(OptionError, match="no split 'al'; did you mean 'all'"):
        load(tmp_path, split="al")


def test_grey_images_have_one_channel_and_three_beside_coloured_ones(place: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _write(tmp_path / "grey" / name, 5, channels=1)
    assert load(tmp_path / "grey").train.x.shape[1:] == (1, *SIZE)
    Image.fromarray(_pixels(77, 1)).save(place / "benign" / "grey.png")
    splits = load(place)
    assert splits.train.x.shape[1:] == (3, *SIZE)
    assert np.repeat(_pixels(77, 1)[None], 3, 0).tobytes() in _all(splits)


def test_sixteen_bits_of_grey_are_kept_all_of_them(tmp_path: Path) -> None:
    values = np.arange(120, dtype=np.uint16).reshape(SIZE) * 500
    Image.fromarray(values).save(tmp_path / "deep.png")
    decoded = decode_images([tmp_path / "deep.png"], Decoding(), name="x")
    assert decoded.white == 65535
    assert (decoded.x[0, 0] == values).all()


def test_transparent_parts_become_white_and_are_counted(place: Path) -> None:
    values = _pixels(5, 4)
    values[..., 3] = 0
    values[0, 0, 3] = 255
    Image.fromarray(values).save(place / "benign" / "clear.png")
    splits = load(place)
    assert "1 images: transparent parts are white" in splits.test.provenance.notes
    expected = np.full((*SIZE, 3), 255, np.uint8)
    expected[0, 0] = values[0, 0, :3]
    assert expected.transpose(2, 0, 1).tobytes() in _all(splits)


def test_other_modes_are_converted(place: Path) -> None:
    for mode, ending in {"P": "png", "CMYK": "tif", "1": "png", "YCbCr": "jpg"}.items():
        Image.fromarray(_pixels(5)).convert(mode).save(place / "benign" / f"{mode}.{ending}")
    splits = load(place)
    assert splits.test.provenance.dropped == ()
    assert sum(len(data) for _, data in splits) == 24


def test_an_image_that_cannot_be_read_is_left_out_named_and_counted(place: Path) -> None:
    whole = (place / "benign" / "000.png").read_bytes()
    (place / "benign" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (place / "benign" / "none.jpg").write_bytes(b"<html>not found</html>")
    (place / "malignant" / "empty.png").write_bytes(b"")
    Image.fromarray(np.zeros(SIZE, np.float32)).save(place / "benign" / "float.tif")
    (place / "benign" / "notes.txt").write_text("seen by Dr X")
    splits = load(place)
    assert sum(len(data) for _, data in splits) == 20
    dropped = {drop.reason: drop.count for drop in splits.test.provenance.dropped}
    assert sum(dropped.values()) == 4
    text = " ".join(dropped)
    for name in ("benign/cut.png", "benign/none.jpg", "malignant/empty.png", "benign/float.tif"):
        assert name in text
    assert "mode F, whose range of values is not known" in text
    assert "1 files passed over that are no images by their names" in splits.test.provenance.notes
    assert _all(splits) == {_pixels(i).transpose(2, 0, 1).tobytes() for i in range(20)}


def test_a_decompression_bomb_is_refused_by_its_head_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (9000, 9000)).save(place / "benign" / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)  # what Pillow itself warns of
    Image.new("1", (1200, 1200)).save(place / "benign" / "wide.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = load(place)
    text = " ".join(drop.reason for drop in splits.test.provenance.dropped)
    assert "benign/large.png" in text
    assert "benign/wide.png" in text
    monkeypatch.undo()
    text = " ".join(drop.reason for drop in load(place, size=SIZE).test.provenance.dropped)
    assert "has 9000x9000 pixels, more than" in text


def test_a_folder_without_a_readable_image_says_why(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of 2 images can be read; the first, .*x\.png, is no image"):
        load(tmp_path)


def test_images_of_several_sizes_ask_for_one(place: Path) -> None:
    _write(place / "malignant", 1, start=50, size=(20, 30))
    with pytest.raises(DataError, match=r"000\.png has 10x12 pixels, 050\.png 20x30.*--size 224"):
        load(place)
    for size in (8, "8x8", "8,8", (8, 8)):
        splits = load(place, size=size)
        assert splits.train.x.shape[1:] == (3, 8, 8)
        assert "scaled to cover 8x8 pixels and cropped in the middle" in splits.test.provenance.notes
    assert load(place, size="6x9").train.x.shape[2:] == (6, 9)


def test_a_plan_reads_the_size_as_the_loader_does() -> None:
    for size in ("150x200", "150,200", (150, 200), [150, 200]):
        assert Plan.of({"data": "images", "size": size}).data_options == {"size": (150, 200)}
    assert Plan.of({"data": "images", "size": 224}).size == (224, 224)
    with pytest.raises(OptionError, match="Option size must be"):
        Plan.of({"data": "images", "size": "large"})


def test_a_size_crops_the_middle_and_squeezes_nothing(tmp_path: Path) -> None:
    stripes = np.zeros((8, 24), np.uint8)
    stripes[:, 8:16] = 200
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    decoded = decode_images([tmp_path / "wide.png"], Decoding(size=(8, 8)), name="x")
    assert (decoded.x == 200).all()


@pytest.mark.parametrize("size", [0, -3, "8x", "8x8x8", 2.5, True, (1, 2, 3), "big"])
def test_a_size_that_is_none_is_refused(place: Path, size: object) -> None:
    with pytest.raises(OptionError, match="Option size must be a number of pixels, HEIGHTxWIDTH or none"):
        load(place, size=size)


def test_classes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "train" / "a", 4)
    _write(tmp_path / "train" / "b", 4)
    _write(tmp_path / "val" / "c", 2)
    with pytest.raises(DataError, match=r"val.c is of a class that training lacks; its classes: a, b"):
        load(tmp_path)
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        load(tmp_path)


def test_images_that_lie_in_no_class_folder_are_explained(tmp_path: Path) -> None:
    _write(tmp_path / "flat", 3)
    with pytest.raises(DataError, match="has no folders in it; put the images of each class"):
        load(tmp_path / "flat")


def test_a_folder_of_records_is_not_taken_for_images(small_mitdb: Path, tmp_path: Path, place: Path) -> None:
    assert is_image_folder(place)
    assert not is_image_folder(small_mitdb / "mitdb")
    assert not is_image_folder(tmp_path / "nowhere")
    (tmp_path / "records").mkdir()
    with pytest.raises(DataError, match="WFDB"):
        load(tmp_path / "records")
    with pytest.raises(OptionError, match="Option size does not apply to a WFDB record or a folder of them"):
        load(small_mitdb / "mitdb", size=8)


def test_more_images_than_the_disk_holds_are_refused_before_any_is_decoded(place: Path) -> None:
    with pytest.raises(DataError, match=r"20 images of 999999x999999 need \d+ GiB on disk .* has \d+; .*SALUS_CACHE"):
        load(place, size=999_999)


def test_without_pillow_the_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"pip install 'salus\[images\]'"):
        load(place)


def test_loading_leaves_the_warning_filters_as_they_were(place: Path) -> None:
    before = list(warnings.filters)
    load(place)
    assert warnings.filters == before

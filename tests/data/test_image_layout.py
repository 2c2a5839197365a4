"""Layouts of folders of images as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salus.data import Splits, load
from salus.data.image_layout import part_of
from salus.errors import DataError

Image = pytest.importorskip("PIL.Image")

SIZE = (4, 5)


def _write(place: Path, *names: str, count: int = 0, size: tuple[int, int] = SIZE) -> None:
    """Write images of random values, other ones in every file."""
    for name in (*names, *(f"{i}.png" for i in range(count))):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = np.frombuffer(str(path).encode(), np.uint8)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(path)


def _parted(place: Path, *parts: str, classes: tuple[str, ...] = ("a", "b"), count: int = 12) -> Path:
    for part in parts:
        for name in classes:
            _write(place / part / name, count=count)
    return place


def _counts(splits: Splits) -> list[int]:
    return [len(data) for _, data in splits]


def _notes(splits: Splits) -> str:
    return "; ".join(splits.test.provenance.notes)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Training", "train"), ("TRAIN", "train"), ("train_set", "train"), ("trainset", "train"),
        ("seg_train", "train"),
        ("Training Images", "train"), ("Testing", "test"), ("TEST", "test"), ("test_data", "test"), ("testSet", "test"),
        ("validation", "val"), ("Valid", "val"), ("val", "val"), ("dev", "val"),
        ("control", None), ("test_positive", None), ("trained", None), ("dataset", None), ("train_test", None),
        ("0", None), ("", None),
    ],
)  # fmt: skip
def test_a_part_is_known_by_its_name(name: str, part: str | None) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize(("train", "test"), [("Training", "Testing"), ("train_set", "test_set"), ("Train", "TEST")])
def test_parts_are_known_by_the_names_that_they_have(tmp_path: Path, train: str, test: str) -> None:
    splits = load(_parted(tmp_path / "brain", train, test))
    assert splits.test.classes == ("a", "b")
    assert splits.test.counts == {"a": 12, "b": 12}
    assert all(name in {f"{label}/{i}.png" for label in "ab" for i in range(12)} for name in splits.test.names)
    assert splits.test.provenance.split.startswith("test part as given")


@pytest.mark.parametrize("above", ["dataset", "brain/dataset"])
def test_folders_above_the_parts_are_gone_through_and_told(tmp_path: Path, above: str) -> None:
    _parted(tmp_path / "data" / above, "Training", "Testing")
    (tmp_path / "data" / "docs").mkdir()
    splits = load(tmp_path / "data")
    assert splits.test.classes == ("a", "b") and splits.name == "data"
    assert f"read from the folder {above} in it" in splits.test.provenance.notes


def test_folders_above_classes_are_gone_through_too(tmp_path: Path) -> None:
    _write(tmp_path / "moles" / "images" / "benign", count=12)
    _write(tmp_path / "moles" / "images" / "malignant", count=12)
    assert load(tmp_path / "moles").test.classes == ("benign", "malignant")


def test_training_and_validation_alone_make_validation_the_test_part(tmp_path: Path) -> None:
    splits = load(_parted(tmp_path, "Training", "Validation"))
    assert splits.test.provenance.split.startswith("val is the test part")


def test_a_training_part_alone_is_dealt(tmp_path: Path) -> None:
    assert sum(_counts(load(_parted(tmp_path, "Train")))) == 24


@pytest.mark.parametrize("parts", [("Testing",), ("val", "test")])
def test_parts_without_one_to_train_on_are_refused_or_all_tested(tmp_path: Path, parts: tuple[str, ...]) -> None:
    _parted(tmp_path, *parts)
    with pytest.raises(DataError, match=r"no folder of training images beside .*--split all"):
        load(tmp_path)
    assert _counts(load(tmp_path, split="all")) == [0, 0, 0, 24 * len(parts)]


@pytest.mark.parametrize("parts", [("Training", "Testing"), ("test",)])
def test_parts_beside_classes_could_be_read_in_two_ways(tmp_path: Path, parts: tuple[str, ...]) -> None:
    _parted(tmp_path, *parts)
    _write(tmp_path / "c", count=12)
    with pytest.raises(DataError, match=rf"{parts[-1]}.*called like parts, and beside them c with images.*classes"):
        load(tmp_path)


def test_two_folders_of_one_part_and_parts_without_classes_are_refused(tmp_path: Path) -> None:
    _parted(tmp_path / "twice", "Train", "training", "test")
    with pytest.raises(DataError, match="Train and training, which could both be the part train"):
        load(tmp_path / "twice")
    _write(tmp_path / "flat" / "train", count=3)
    _write(tmp_path / "flat" / "test", count=3)
    with pytest.raises(DataError, match="holds test, train, with images but without folders of classes"):
        load(tmp_path / "flat")
    _write(tmp_path / "below" / "a" / "train", count=3)
    _write(tmp_path / "below" / "b" / "train", count=3)
    with pytest.raises(DataError, match=r"could be a part of the class a.*put the parts above the classes \(train/a\)"):
        load(tmp_path / "below")


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    _write(tmp_path / "control", count=12)
    _write(tmp_path / "test", count=12)
    assert load(tmp_path).test.classes == ("control", "test")


def test_unlabelled_test_images_and_images_of_no_class_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _parted(tmp_path, "train")
    _write(tmp_path / "test", count=3)
    _write(tmp_path / "train", "cover.png")
    splits = load(tmp_path)
    assert sum(_counts(splits)) == 24
    said = capsys.readouterr().err
    for words in ("3 images in test are left out", "1 images beside the folders of classes are left out: cover.png"):
        assert words in _notes(splits) and words in said


def test_hidden_files_and_folders_are_passed_over_and_told(tmp_path: Path) -> None:
    _parted(tmp_path / "x", "train", "test")
    _write(tmp_path / "x" / "train" / "a" / ".ipynb_checkpoints", "0-checkpoint.png")
    _write(tmp_path / "x" / "train" / "a" / "@eaDir", "0.png")
    _write(tmp_path / "x" / "train" / ".hidden", "0.png")
    _write(tmp_path / "x" / "__MACOSX" / "train" / "a", "._0.png")
    (tmp_path / "x" / "test" / "b" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "x" / "test" / "b" / "._1.png").write_bytes(b"\0")
    splits = load(tmp_path / "x")
    assert splits.test.classes == ("a", "b") and sum(_counts(splits)) == 48
    assert splits.test.provenance.dropped == ()
    assert "6 hidden files and folders passed over: " in _notes(splits)
    for name in (".ipynb_checkpoints", "@eaDir", ".hidden", "__MACOSX", "Thumbs.db", "._1.png"):
        assert name in _notes(splits)


def test_links_to_files_and_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere" / "benign", count=12)
    _write(tmp_path / "elsewhere" / "pool", count=12)
    place = tmp_path / "moles"
    (place / "malignant").mkdir(parents=True)
    (place / "benign").symlink_to(tmp_path / "elsewhere" / "benign", target_is_directory=True)
    for i in range(12):
        (place / "malignant" / f"{i}.png").symlink_to(tmp_path / "elsewhere" / "pool" / f"{i}.png")
    (place / "malignant" / "again").symlink_to(place, target_is_directory=True)
    (place / "benign" / "up").symlink_to(tmp_path / "elsewhere" / "benign", target_is_directory=True)
    (place / "malignant" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    splits = load(place)
    assert splits.test.classes == ("benign", "malignant")
    assert "out of the folder" in _notes(splits)
    assert "links to folders that were read already passed over: benign/up" in _notes(splits)
    assert [(drop.count, drop.reason) for drop in splits.test.provenance.dropped] == [
        (1, "is missing: malignant/gone.png")
    ]


def test_masks_beside_images_are_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("benign", "malignant"):
        for i in range(12):
            _write(tmp_path / label, f"{label} ({i}).png", f"{label} ({i})_mask.png")
        _write(tmp_path / label, f"{label} (0)_mask_1.png", "face_mask.png")
    splits = load(tmp_path)
    assert sum(_counts(splits)) == 26
    assert "26 masks beside images are left out: " in _notes(splits)
    assert "WARNING" in capsys.readouterr().err


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("", "Mask"), ("img", "Ground Truth")])
def test_folders_of_masks_within_a_class_are_left_out(tmp_path: Path, images: str, masks: str) -> None:
    for label in ("COVID", "Normal"):
        _write(tmp_path / label / images, count=12)
        _write(tmp_path / label / masks, count=12)
    splits = load(tmp_path)
    assert splits.test.classes == ("COVID", "Normal") and sum(_counts(splits)) == 24
    assert "24 masks beside images are left out" in _notes(splits)


def test_folders_of_masks_that_could_be_images_are_refused_with_both_ways(tmp_path: Path) -> None:
    _write(tmp_path / "one" / "a", count=4)
    _write(tmp_path / "one" / "b" / "masks", "x.png", "y.png")
    with pytest.raises(DataError, match=r"masks holds masks by its name, but x.png .* if they are masks, rename it if"):
        load(tmp_path / "one")
    _write(tmp_path / "two" / "images", count=4)
    _write(tmp_path / "two" / "masks", "0_segmentation.png", "1.png", "2_seg.png")
    with pytest.raises(
        DataError, match=r"masks holds masks by its name and by the names of its files.*if it is a class"
    ):
        load(tmp_path / "two")


def test_people_with_and_without_masks_are_two_classes(tmp_path: Path) -> None:
    _write(tmp_path / "mask", count=12)
    _write(tmp_path / "no_mask", count=12)
    assert load(tmp_path).test.classes == ("mask", "no_mask")


def test_classes_in_other_letters_are_matched_and_told(tmp_path: Path) -> None:
    _parted(tmp_path, "train", classes=("Benign", "Basal Cell"))
    _parted(tmp_path, "test", classes=("benign", "basal_cell"), count=3)
    splits = load(tmp_path)
    assert splits.test.classes == ("Basal Cell", "Benign")
    assert splits.test.counts == {"Basal Cell": 3, "Benign": 3}
    assert "test/basal_cell is Basal Cell, test/benign is Benign" in _notes(splits)


def test_classes_of_one_part_in_two_spellings_are_refused(tmp_path: Path) -> None:
    for name in ("Benign", "benign", "malignant"):
        _write(tmp_path / name, count=4)
    with pytest.raises(DataError, match=r"Benign and .*benign could be one class or two"):
        load(tmp_path)


def test_a_class_that_only_the_test_part_has_is_one_where_all_are_tested(tmp_path: Path) -> None:
    _parted(tmp_path, "train")
    _parted(tmp_path, "test", classes=("a", "b", "c"))
    with pytest.raises(DataError, match=r"test.c is of a class that training lacks; its classes: a, b\. .*--split all"):
        load(tmp_path)
    assert load(tmp_path, split="all").test.classes == ("a", "b", "c")


def test_the_most_frequent_sizes_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "a", count=3)
    _write(tmp_path / "b", count=5, size=(8, 6))
    with pytest.raises(DataError, match=r"most have 8x6 \(5 images\), 4x5 \(3 images\): .*--size 8x6, or --size 224"):
        load(tmp_path)


def test_numbers_as_classes_keep_the_order_of_torchvision_and_this_is_told(tmp_path: Path) -> None:
    for name in ("0", "2", "10"):
        _write(tmp_path / name, count=12)
    splits = load(tmp_path)
    assert splits.test.classes == ("0", "10", "2")
    assert "classes are in the order of their names as text, as torchvision has them: 0, 10, 2" in _notes(splits)


def _patients(splits: Splits) -> list[set[int]]:
    return [set(data.groups.tolist()) for _, data in splits if data.groups is not None]


def test_images_are_dealt_by_patient_where_a_pattern_says_who_is_who(tmp_path: Path) -> None:
    for label in ("benign", "malignant"):
        _write(tmp_path / label, *(f"p{i % 10}_{i}.png" for i in range(30)))
    splits = load(tmp_path, group_by=r"(p\d+)_")
    patients = _patients(splits)
    assert len(patients) == 4 and sum(map(len, patients)) == len(set.union(*patients)) == 10
    assert splits.test.provenance.split.startswith(r"by patient (the pattern '(p\\d+)_' on names), seed 0")
    assert r"10 patients by the pattern" in _notes(splits) and "independent" not in _notes(splits)
    alone = load(tmp_path, group_by="(.*)")
    assert sum(map(len, _patients(alone))) == 60


def test_folders_of_patients_within_classes_are_pointed_out_and_can_be_named(tmp_path: Path) -> None:
    for label in ("benign", "malignant"):
        for i in range(8):
            _write(tmp_path / label / f"patient {i}", count=2)
    plain = load(tmp_path)
    assert "benign/patient 0); if these are patients, write --group-by '([^/]+)/[^/]+$'" in _notes(plain)
    patients = _patients(load(tmp_path, group_by="([^/]+)/[^/]+$"))
    assert sum(map(len, patients)) == len(set.union(*patients)) == 8


def test_parts_that_were_given_share_no_patient(tmp_path: Path) -> None:
    for label in ("a", "b"):
        _write(tmp_path / "train" / label, *(f"p{i}_0.png" for i in range(8)))
        _write(tmp_path / "val" / label, *(f"p{i}_0.png" for i in range(8, 12)))
        _write(tmp_path / "test" / label, *(f"p{i}_0.png" for i in range(12, 16)))
    splits = load(tmp_path, group_by=r"(p\d+)_")
    assert _counts(splits) == [16, 4, 4, 8]
    patients = _patients(splits)
    assert sum(map(len, patients)) == len(set.union(*patients)) == 16
    assert "val halved by patient" in splits.test.provenance.split
    assert load(tmp_path, group_by=r"(p\d+)_", split="all").test.groups is not None
    _write(tmp_path / "test" / "a", "p3_9.png")
    with pytest.raises(
        DataError, match=r"1 patient \(the first is group p3\) are on both sides; put the images of each"
    ):
        load(tmp_path, group_by=r"(p\d+)_")

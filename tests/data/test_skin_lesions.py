from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from salus.data import load
from salus.data.base import Splits
from salus.errors import DataError, OptionError

if TYPE_CHECKING:
    from data.conftest import SkinFiles

SETS = ("ham10000", "isic2018")


@pytest.fixture
def place(skin: SkinFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with both sets."""
    monkeypatch.delenv("SALUS_DATA", raising=False)
    for name in SETS:
        skin.write(tmp_path / name, getattr(skin, name)())
    return tmp_path


def _images(skin: SkinFiles, splits: Splits) -> dict[str, dict[str, str]]:
    """Image -> class, for each part, found by colour."""
    colours = {skin.colour(image): image for _, image, _ in skin.rows}
    keys = np.array(list(colours))
    found: dict[str, dict[str, str]] = {}
    for part, data in splits:
        seen = (data.x.mean((2, 3)).numpy() * 255)[:, None]
        nearest = np.abs(keys - seen).sum(2).argmin(1)
        names = [colours[tuple(keys[i])] for i in nearest]
        found[part] = dict(zip(names, (data.classes[i] for i in data.y.tolist()), strict=True))
        assert len(found[part]) == len(data)
    return found


@pytest.mark.parametrize("name", SETS)
def test_every_image_is_dealt_once_with_its_class_and_its_lesion(skin: SkinFiles, place: Path, name: str) -> None:
    splits = load(name, data_dir=place)
    assert splits.name == name
    assert splits.test.classes == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    assert splits.train.x.shape[1:] == (3, 12, 16)
    found = _images(skin, splits)
    truth = {image: label for _, image, label in skin.rows}
    assert {image: label for part in found.values() for image, label in part.items()} == truth
    assert sum(map(len, found.values())) == len(truth)
    lesion = {image: lesion for lesion, image, _ in skin.rows}
    for part, data in splits:
        assert data.groups is not None
        by_group = {group: lesion[image] for group, image in zip(data.groups.tolist(), found[part], strict=True)}
        assert [by_group[group] for group in data.groups.tolist()] == [lesion[image] for image in found[part]]


@pytest.mark.parametrize("name", SETS)
def test_no_lesion_stands_on_two_sides_and_every_class_is_dealt_in_its_share(place: Path, name: str) -> None:
    splits = load(name, data_dir=place)
    groups = {part: set(data.groups.tolist()) for part, data in splits}  # type: ignore[union-attr]
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 111
    for part, share in {"train": 0.7, "validation": 0.0875, "calibration": 0.0875, "test": 0.125}.items():
        data = getattr(splits, part)
        for index, label in enumerate(data.classes):
            held = len(set(data.groups[data.y == index].tolist()))
            assert abs(held - share * {"NV": 40, "MEL": 16, "BKL": 16, "BCC": 12}.get(label, 9)) < 1.6
    assert "8.75% calibration, 12.5% test" in splits.test.provenance.split


def test_both_sets_deal_the_same_lesions_alike(skin: SkinFiles, place: Path) -> None:
    one, other = (_images(skin, load(name, data_dir=place, seed=3)) for name in SETS)
    assert {part: set(images) for part, images in one.items()} == {part: set(images) for part, images in other.items()}
    assert set(_images(skin, load("ham10000", data_dir=place, seed=4))["test"]) != set(one["test"])


def test_the_split_of_the_thesis_mixes_pictures_of_a_lesion_and_warns(place: Path) -> None:
    splits = load("ham10000", data_dir=place, split="images")
    both = set(splits.train.groups.tolist()) & set(splits.test.groups.tolist())  # type: ignore[union-attr]
    assert both
    (warning,) = [note for note in splits.test.provenance.notes if "WARNING" in note]
    assert f"of {len(both)} lesions pictures stand in training and in test" in warning
    assert not any("WARNING" in note for note in load("ham10000", data_dir=place).test.provenance.notes)
    with pytest.raises(OptionError, match="no split 'lesion'; did you mean 'lesions'"):
        load("ham10000", data_dir=place, split="lesion")


@pytest.mark.parametrize("name", SETS)
def test_every_image_may_be_a_test_image(skin: SkinFiles, place: Path, name: str) -> None:
    splits = load(name, data_dir=place, split="all")
    assert [len(data) for _, data in splits] == [0, 0, 0, len(skin.rows)]
    assert splits.test.provenance.split == "all images are test images"
    assert not any("WARNING" in note or "no sample" in note for note in splits.test.provenance.notes)


def test_disease_is_what_is_malignant_unless_asked_otherwise(place: Path) -> None:
    def positive(*asked: str) -> tuple[str, ...]:
        return load("ham10000", data_dir=place, positive=asked).test.positive

    assert positive() == positive("malignant") == ("MEL", "BCC", "AKIEC")
    assert positive("thesis") == ("MEL", "NV", "BCC", "AKIEC")
    assert positive("MEL") == ("MEL",)
    with pytest.raises(DataError, match="no class 'MELL'; did you mean 'MEL'"):
        positive("MELL")


def test_images_take_any_size(place: Path) -> None:
    assert load("isic2018", data_dir=place, size="6x8").train.x.shape[1:] == (3, 6, 8)
    assert load("isic2018", data_dir=place, size=20).train.x.shape[1:] == (3, 20, 20)


def test_a_missing_or_damaged_image_is_named_and_counted_and_moves_no_other(skin: SkinFiles, place: Path) -> None:
    before = _images(skin, load("ham10000", data_dir=place))
    gone, cut, empty = (skin.rows[i][1] for i in (3, 50, 90))
    folder = place / "ham10000"
    files = {path.stem: path for path in folder.rglob("*.jpg")}
    files[gone].unlink()
    files[cut].write_bytes(files[cut].read_bytes()[:200])
    files[empty].write_bytes(b"")
    splits = load("ham10000", data_dir=place)
    after = _images(skin, splits)
    lost = {gone, cut, empty}
    assert after == {part: {i: c for i, c in images.items() if i not in lost} for part, images in before.items()}
    dropped = splits.test.provenance.dropped
    assert sum(drop.count for drop in dropped) == 3
    reasons = {image: drop.reason for drop in dropped for image in lost if image in drop.reason}
    assert set(reasons) == lost
    assert reasons[gone].startswith("is missing")


def test_images_may_lie_anywhere_below_the_folder_and_twice(skin: SkinFiles, place: Path) -> None:
    before = load("ham10000", data_dir=place).test.fingerprint()
    folder = place / "ham10000"
    (folder / "images").mkdir()
    for path in folder.glob("HAM10000_images_part_1/*.jpg"):
        path.rename(folder / "images" / path.name)
    for path in list(folder.glob("HAM10000_images_part_2/*.jpg")):
        (folder / "ham10000_images_part_2").mkdir(exist_ok=True)
        (folder / "ham10000_images_part_2" / path.name).write_bytes(path.read_bytes())
    assert load("ham10000", data_dir=place).test.fingerprint() == before


def test_a_table_that_is_not_the_published_one_is_said(place: Path) -> None:
    notes = load("ham10000", data_dir=place).test.provenance.notes
    assert any("not the published table of 10,015 images of 7,470 lesions: MEL 2" in note for note in notes)


def test_isic_without_its_table_of_lesions_asks_for_it(skin: SkinFiles, place: Path) -> None:
    (place / "isic2018" / "ISIC2018_Task3_Training_LesionGroupings.csv").unlink()
    with pytest.raises(DataError, match=r"which pictures show one lesion; get ISIC2018_Task3_Training_LesionGroupings"):
        load("isic2018", data_dir=place)
    splits = load("isic2018", data_dir=place, split="images")
    assert splits.test.groups is None
    assert sum(map(len, _images(skin, splits).values())) == len(skin.rows)
    assert any(note.startswith("WARNING") for note in splits.test.provenance.notes)


TABLES = {
    "ham10000": "HAM10000_metadata.csv",
    "isic2018": "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv",
}

BAD = {
    "another class": ("ham10000", ",bkl,", ",bklx,", r"line \d+ has the class 'bklx'; did you mean 'BKL'"),
    "a column less": ("ham10000", "lesion_id", "lesion", "has no column 'lesion_id'; did you mean 'lesion'"),
    "a row cut short": ("ham10000", "male,back,vienna\n", "male\n", r"line \d+ has too many or too few cells"),
    "an image twice": ("ham10000", "ISIC_0000008", "ISIC_0000004", "names the image ISIC_0000004 twice"),
    "a way out": ("ham10000", "ISIC_0000008", "../../passwd", "names the image '../../passwd', which is no name"),
    "two classes": ("isic2018", "1.0,0.0", "1.0,1.0", r"line 2 marks ISIC_0000004 with .* one class must have a 1"),
    "no number": ("isic2018", "1.0", "yes", "one class must have a 1"),
    "no class": ("isic2018", "1.0", "0.0", "one class must have a 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_table_is_refused_in_one_sentence(place: Path, case: str) -> None:
    name, old, new, message = BAD[case]
    path = place / name / TABLES[name]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message) as caught:
        load(name, data_dir=place)
    assert path.name in str(caught.value)


def test_an_empty_or_binary_table_is_refused(place: Path) -> None:
    path = place / "ham10000" / TABLES["ham10000"]
    header = path.read_text().partition("\n")[0]
    for content, message in {
        b"": "has no column 'lesion_id'",
        f"{header}\n".encode(): "names no images",
        b"lesion_id,image_id,dx\n\xff\xfe\x00": "is no readable CSV",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load("ham10000", data_dir=place)


def test_a_set_that_is_nowhere_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    for name in SETS:
        with pytest.raises(DataError, match=f"'{name}' is not on this machine .* run: salus data fetch {name}"):
            load(name, data_dir=tmp_path)


@pytest.fixture(scope="module")
def real() -> Splits:
    """The real images, made so small that this takes seconds."""
    if not (Path(os.environ.get("SALUS_DATA", "")) / "ham10000" / "HAM10000_metadata.csv").is_file():
        pytest.skip("SALUS_DATA holds no ham10000")
    return load("ham10000", size=8)


@pytest.mark.slow
def test_the_real_set_has_the_published_counts(real: Splits) -> None:
    counts = {label: sum(data.counts[label] for _, data in real) for label in real.test.classes}
    assert counts == {"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142}
    assert real.test.provenance.dropped == ()
    assert not any("not the published" in note for note in real.test.provenance.notes)


@pytest.mark.slow
def test_no_real_lesion_stands_on_two_sides(real: Splits) -> None:
    groups = [set(data.groups.tolist()) for _, data in real]  # type: ignore[union-attr]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 7470
    shares = [len(data) / 10_015 for _, data in real]
    assert np.allclose(shares, [0.70, 0.0875, 0.0875, 0.125], atol=0.005)

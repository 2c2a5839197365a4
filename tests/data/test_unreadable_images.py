"""Images that are damaged, missing or no images: named and counted, and refused where a class would have none."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from salus.cli import main
from salus.data import load
from salus.data.decoding import Decoding, decode_images
from salus.errors import DataError

if TYPE_CHECKING:
    from data.conftest import SkinFiles

Image = pytest.importorskip("PIL.Image")


def _jpeg(seed: int) -> bytes:
    content = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "JPEG", quality=90)
    return content.getvalue()


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in its head": (lambda path: _cut(path, 0.05), "is cut short"),
    "cut in the middle": (lambda path: _cut(path, 0.5), "is cut short"),
    "cut at its end": (lambda path: _cut(path, 0.98), "is cut short"),
    "text": (_text, "is no image of the formats JPEG, PNG"),
    "empty": (lambda path: path.write_bytes(b""), "is no image of the formats JPEG, PNG"),
    "missing": (Path.unlink, "is missing"),
    "a folder": (_folder, "is a folder"),
    "a link to itself": (_link, "cannot be read (Too many levels"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_kind_of_broken_image_is_left_out_with_its_reason(tmp_path: Path, case: str) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(_jpeg(i))
    whole = decode_images(paths, Decoding(), name="x")
    damage, reason = BROKEN[case]
    damage(paths[1])
    decoded = decode_images(paths, Decoding(), name="x")
    assert decoded.kept.tolist() == [0, 2]
    assert list(decoded.failed) == [1]
    assert decoded.failed[1].startswith(reason)
    assert (decoded.x == whole.x[[0, 2]]).all()
    with pytest.raises(DataError, match=r"none of 1 images can be read; the first, .*1\.jpg, "):
        decode_images(paths[1:2], Decoding(), name="x")


@pytest.fixture
def lesions(skin: SkinFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files of a small ham10000 by the names of the images."""
    monkeypatch.delenv("SALUS_DATA", raising=False)
    skin.write(tmp_path / "ham10000", skin.ham10000())
    return {path.stem: path for path in (tmp_path / "ham10000").rglob("*.jpg")}


def test_a_few_are_told_of_when_they_load_and_all_stand_in_the_provenance(
    skin: SkinFiles, lesions: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lost = [skin.rows[i][1] for i in (3, 20, 50, 70, 90)]
    for image, (damage, _) in zip(lost, [BROKEN[name] for name in list(BROKEN)[1:6]], strict=True):
        damage(lesions[image])
    splits = load("ham10000", data_dir=tmp_path)
    assert sum(len(data) for _, data in splits) == len(skin.rows) - 5
    dropped = splits.test.provenance.dropped
    assert {drop.reason.partition(":")[0].partition(" of")[0]: drop.count for drop in dropped} == {
        "is cut short": 2, "is no image": 2, "is missing": 1,
    }  # fmt: skip
    assert all(sum(image in drop.reason for drop in dropped) == 1 for image in lost)
    (warning,) = [note for note in splits.test.provenance.notes if "WARNING" in note]
    assert warning.startswith(f"WARNING: 5 of {len(skin.rows)} images cannot be read and are left out: ")
    assert warning.endswith("; and 2 more")
    assert sum(f"{image}.jpg" in warning for image in lost) == 3
    assert warning in " ".join(capfd.readouterr().err.split())


def test_nothing_is_said_of_images_that_are_all_there(
    lesions: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    splits = load("ham10000", data_dir=tmp_path)
    assert splits.test.provenance.dropped == ()
    assert "cannot be read" not in capfd.readouterr().err


def test_a_class_without_a_readable_image_is_one_sentence(
    skin: SkinFiles, lesions: dict[str, Path], tmp_path: Path
) -> None:
    of_class = [image for _, image, label in skin.rows if label == "DF"]
    for image in of_class:
        _cut(lesions[image], 0.5)
    with pytest.raises(DataError) as caught:
        load("ham10000", data_dir=tmp_path)
    text = str(caught.value)
    assert "images of class 'DF' to train on can be read; the first, " in text
    assert text.endswith(".jpg, is cut short.")
    assert "\n" not in text


def test_a_folders_class_without_a_readable_image_is_named_too(tmp_path: Path) -> None:
    for i, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / place).mkdir(parents=True)
        for j in range(15):
            (tmp_path / place / f"{j}.jpg").write_bytes(_jpeg(20 * i + j))
    for path in (tmp_path / "test" / "b").iterdir():
        _text(path)
    splits = load(tmp_path)
    assert splits.test.counts == {"a": 15, "b": 0}  # nothing is known of b, which the notes and the audit say
    assert "no sample of class b in test" in splits.test.provenance.notes
    for path in (tmp_path / "train" / "b").iterdir():
        _text(path)
    with pytest.raises(
        DataError, match=r"none of the 15 images of class 'b' to train on can be read; .*b.0\.jpg, is no"
    ):
        load(tmp_path)


def test_an_audit_goes_on_and_says_so_on_the_terminal_and_in_the_report(
    skin: SkinFiles, lesions: dict[str, Path], tmp_path: Path
) -> None:
    lost = [skin.rows[i][1] for i in (5, 60)]
    _cut(lesions[lost[0]], 0.5)
    lesions[lost[1]].unlink()
    words = [
        "audit",
        "--data",
        "ham10000",
        "--data-dir",
        str(tmp_path),
        "--model",
        "small-cnn",
        "--training",
        "epochs=1",
    ]
    words += ["--attack", "fgsm:eps=2/255", "--defence", "none", "--samples", "12", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    told = f"WARNING: 2 of {len(skin.rows)} images cannot be read and are left out: "
    assert told in done.stdout
    assert all(f"{image}.jpg is" in done.stdout for image in lost)
    page = " ".join((tmp_path / "run" / "report.html").read_text(encoding="utf-8").split())
    assert told in page
    assert "1 × images: is cut short: " in page
    assert "<th" in page and ">Lesions</th>" in page
    meta = json.loads((tmp_path / "run" / "results.json").read_text())["meta"]
    assert [drop["count"] for drop in meta["data"]["provenance"]["dropped"]] == [1, 1]
    assert meta["data"]["group_word"] == "lesion"

from __future__ import annotations

import hashlib
import importlib
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from salus.data import catalogue, fetch, load
from salus.data.download import Patience
from salus.data.load import SOURCES
from salus.data.skin_sets import HAM10000, ISIC2018
from salus.errors import DataError

if TYPE_CHECKING:
    from data.conftest import Home, SkinFiles


def _zip(files: dict[str, bytes]) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _ham_archives(skin: SkinFiles) -> dict[str, bytes]:
    """What lies at Dataverse: two archives of images without folders, and the table."""
    files = skin.ham10000()
    parts: dict[str, dict[str, bytes]] = {"3172585": {}, "3172584": {}}
    for name, content in files.items():
        folder, _, image = name.rpartition("/")
        if folder:
            parts["3172585" if folder.endswith("1") else "3172584"][image] = content
    parts["3172585"]["LICENSE.txt"] = Random(0).randbytes(200_000)  # long enough to break off in the middle
    table = files["HAM10000_metadata.csv"]
    return {**{path: _zip(content) for path, content in parts.items()}, "4338392?format=original": table}


def _isic_archives(skin: SkinFiles) -> dict[str, bytes]:
    files = skin.isic2018()
    made = {}
    for remote in ISIC2018.files:
        stem = Path(remote.name).stem
        own = {name: content for name, content in files.items() if name.startswith(f"{stem}/")}
        made[remote.path] = _zip(own) if remote.name.endswith(".zip") else files[remote.name]
    return made


@pytest.fixture(autouse=True)
def small(skin: SkinFiles, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sets, small, on 127.0.0.1; and no patience."""
    monkeypatch.delenv("SALUS_DATA", raising=False)
    ham = _ham_archives(skin)
    home.files = {**ham, **_isic_archives(skin)}
    sums = [replace(remote, md5=hashlib.md5(ham[remote.path]).hexdigest()) for remote in HAM10000.files]
    published = replace(HAM10000, files=tuple(sums))
    monkeypatch.setitem(SOURCES.own, "ham10000", replace(SOURCES["ham10000"], published=published))
    monkeypatch.setattr(
        importlib.import_module("salus.data.fetching"), "PATIENCE", Patience(tries=3, backoff=0, read=5)
    )


def _at_hand(place: Path) -> set[str]:
    return {entry.name for entry in catalogue(place) if entry.at_hand} & {"ham10000", "isic2018"}


@pytest.mark.parametrize("name", ["ham10000", "isic2018"])
def test_a_set_is_fetched_unpacked_and_a_second_time_not_at_all(
    skin: SkinFiles, home: Home, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(name, data_dir=tmp_path, base_url=home.url) == tmp_path / name
    said = " ".join(capsys.readouterr().err.split())
    assert ("MD5 that Harvard Dataverse publishes" if name == "ham10000" else "publishes no checksums") in said
    assert not list((tmp_path / name).glob("*.zip"))
    assert sum(len(data) for _, data in load(name, data_dir=tmp_path)) == len(skin.rows)
    assert _at_hand(tmp_path) == {name}
    before = len(home.requests)
    fetch(name, data_dir=tmp_path, base_url=home.url)
    assert len(home.requests) == before


def test_a_download_goes_on_where_it_broke_off(home: Home, tmp_path: Path) -> None:
    home.faults["3172585"] = ["break"]
    fetch("ham10000", data_dir=tmp_path, base_url=home.url)
    first, second = home.asked("3172585")
    assert first is None
    assert second is not None


def test_a_wrong_archive_is_refused_before_it_is_unpacked(home: Home, tmp_path: Path) -> None:
    home.files["3172584"] = _zip({"ISIC_0000004.jpg": b"other"})
    with pytest.raises(DataError, match=r"3172584 from .* is not the published one: its checksum is wrong, twice"):
        fetch("ham10000", data_dir=tmp_path, base_url=home.url)
    assert _at_hand(tmp_path) == set()


def test_images_that_home_does_not_have_are_counted(skin: SkinFiles, home: Home, tmp_path: Path) -> None:
    path = ISIC2018.files[0].path
    files = {name: content for name, content in skin.isic2018().items() if name.endswith(".jpg")}
    home.files[path] = _zip(dict(list(files.items())[2:]))
    with pytest.raises(DataError, match=rf"lacks 2 of the {len(skin.rows)} images that the table of isic2018 names"):
        fetch("isic2018", data_dir=tmp_path, base_url=home.url)


@pytest.mark.parametrize("name", ["ham10000", "isic2018"])
@pytest.mark.parametrize("way", ["folder", "above", "archive"])
def test_what_lies_on_disk_is_copied(
    skin: SkinFiles, home: Home, tmp_path: Path, name: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = getattr(skin, name)()
    if way == "archive":
        source = tmp_path / "all.zip"
        source.write_bytes(_zip(files))
    else:
        source = skin.write(tmp_path / "here" / "raw", files)
    fetch(name, source=source.parent if way == "above" else source, data_dir=tmp_path / "sets")
    assert "whether they are the published ones was not checked" in " ".join(capsys.readouterr().err.split())
    kept = load(name, data_dir=tmp_path / "sets")
    whole = load(name, data_dir=skin.write(tmp_path / "unpacked" / name, files).parent)
    assert kept.test.fingerprint() == whole.test.fingerprint()
    assert kept.test.provenance.dropped == ()
    assert home.requests == []


def test_a_folder_that_lacks_something_is_refused_and_nothing_is_copied(skin: SkinFiles, tmp_path: Path) -> None:
    source = skin.write(tmp_path / "raw", skin.ham10000())
    gone = next(source.rglob("*.jpg"))
    gone.unlink()
    with pytest.raises(DataError, match=rf"lacks 1 of the {len(skin.rows)} images .* such as {gone.name}"):
        fetch("ham10000", source=source, data_dir=tmp_path / "sets")
    (source / "HAM10000_metadata.csv").unlink()
    with pytest.raises(DataError, match=r"does not hold ham10000: there is no table HAM10000_metadata\.csv"):
        fetch("ham10000", source=source, data_dir=tmp_path / "sets")
    assert not list((tmp_path / "sets").iterdir())

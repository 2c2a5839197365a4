from __future__ import annotations

import gzip
import hashlib
import importlib
import os
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from salus.data import fetch
from salus.data.download import Patience
from salus.data.load import SOURCES
from salus.data.pinned import CIFAR10, FASHION_MNIST, MNIST, PinnedSet
from salus.errors import DataError

if TYPE_CHECKING:
    from data.conftest import Home

CONTENTS = {name: Random(name).randbytes(400_000) for name in MNIST.files}
BATCHES = {name: f"{name} ".encode() * 300 for name in CIFAR10.files}


def _sums(contents: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _archive(contents: dict[str, bytes]) -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in {**contents, "readme.html": b"<p>"}.items():
            info = tarfile.TarInfo(f"{CIFAR10.inside}/{name}")
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
    return packed.getvalue()


ARCHIVE = _archive(BATCHES)


@pytest.fixture(autouse=True)
def small(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets at home on 127.0.0.1, and no patience."""
    home.files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
    home.files[CIFAR10.archive] = ARCHIVE
    mnist = replace(MNIST, files=_sums(CONTENTS), max_file_bytes=10**6)
    cifar = replace(
        CIFAR10, files=_sums(BATCHES), archive_sha256=hashlib.sha256(ARCHIVE).hexdigest(), max_file_bytes=10**5
    )
    for published in (mnist, cifar):
        name = published.name
        monkeypatch.setitem(SOURCES.own, name, replace(SOURCES[name], published=published))
    patience = Patience(tries=3, backoff=0, read=5)
    monkeypatch.setattr(importlib.import_module("salus.data.fetching"), "PATIENCE", patience)


def _held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_file_is_fetched_packed_and_a_second_time_none(home: Home, tmp_path: Path) -> None:
    assert fetch("mnist", data_dir=tmp_path, base_url=home.url) == tmp_path / "mnist"
    unpacked = {name: gzip.decompress(content) for name, content in _held(tmp_path / "mnist").items()}
    assert unpacked == {f"{name}.gz": content for name, content in CONTENTS.items()}
    before = len(home.requests)
    fetch("mnist", data_dir=tmp_path, base_url=home.url)
    assert len(home.requests) == before


def test_only_what_is_missing_or_wrong_is_fetched(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    first, second, *_ = CONTENTS
    (folder / first).write_bytes(CONTENTS[first])
    (folder / second).write_bytes(b"wrong")
    fetch("mnist", data_dir=tmp_path, base_url=home.url)
    assert not home.asked(f"{first}.gz")
    assert len(home.requests) == 3
    assert not (folder / second).exists()  # it would be read before the right one
    assert gzip.decompress((folder / f"{second}.gz").read_bytes()) == CONTENTS[second]


def test_the_same_content_packed_otherwise_is_accepted(home: Home, tmp_path: Path) -> None:
    home.files = {f"{name}.gz": gzip.compress(content, 1, mtime=7) for name, content in CONTENTS.items()}
    fetch("mnist", data_dir=tmp_path, base_url=home.url)
    assert len(_held(tmp_path / "mnist")) == 4


def test_a_download_that_breaks_off_goes_on_where_it_was(home: Home, tmp_path: Path) -> None:
    name = f"{next(iter(CONTENTS))}.gz"
    home.faults[name] = ["break"]
    fetch("mnist", data_dir=tmp_path, base_url=home.url)
    first, second = home.asked(name)
    assert first is None
    assert second is not None


def test_a_file_that_is_wrong_every_time_is_refused_and_not_kept(home: Home, tmp_path: Path) -> None:
    last = list(CONTENTS)[-1]
    home.files[f"{last}.gz"] = gzip.compress(b"other")
    with pytest.raises(DataError, match=rf"File {last}\.gz from .* is not the published one"):
        fetch("mnist", data_dir=tmp_path, base_url=home.url)
    assert sorted(_held(tmp_path / "mnist")) == sorted(f"{name}.gz" for name in CONTENTS if name != last)
    home.files[f"{last}.gz"] = gzip.compress(bytes(10**7))  # more than any file of the set
    with pytest.raises(DataError, match="is not the published one"):
        fetch("mnist", data_dir=tmp_path, base_url=home.url)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("above", [True, False])
def test_a_folder_on_disk_is_copied_and_verified(home: Home, tmp_path: Path, packed: bool, above: bool) -> None:
    source = tmp_path / "here" / "raw"
    source.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (source / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    fetch("mnist", source=source.parent if above else source, data_dir=tmp_path / "sets")
    assert _held(tmp_path / "sets" / "mnist") == CONTENTS
    assert home.requests == []


def test_what_is_wrong_on_disk_is_named_and_nothing_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    source.mkdir()
    for name, content in CONTENTS.items():
        (source / name).write_bytes(content)
    first, *_, last = CONTENTS
    (source / first).write_bytes(b"changed")
    with pytest.raises(DataError, match=f"{first} is not the published one"):
        fetch("mnist", source=source, data_dir=tmp_path / "sets")
    (source / first).unlink()
    with pytest.raises(DataError, match=f"lacks the file {first} of mnist, packed or not"):
        fetch("mnist", source=source, data_dir=tmp_path / "sets")
    (source / last).unlink()
    with pytest.raises(DataError, match="does not hold mnist"):
        fetch("mnist", source=source, data_dir=tmp_path / "sets")
    assert not list((tmp_path / "sets").iterdir())


def test_an_archive_at_home_is_verified_unpacked_and_not_kept(home: Home, tmp_path: Path) -> None:
    fetch("cifar10", data_dir=tmp_path, base_url=home.url)
    assert _held(tmp_path / "cifar10") == BATCHES
    before = len(home.requests)
    fetch("cifar10", data_dir=tmp_path, base_url=home.url)
    assert len(home.requests) == before


def test_a_wrong_archive_at_home_is_never_unpacked(home: Home, tmp_path: Path) -> None:
    home.files[CIFAR10.archive] = _archive(BATCHES | {"test_batch.bin": b"other"})
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz from .* is not the published one"):
        fetch("cifar10", data_dir=tmp_path, base_url=home.url)
    assert not (tmp_path / "cifar10").exists()


@pytest.mark.parametrize("way", ["archive", "unpacked", "above"])
def test_the_archive_may_lie_on_disk_packed_or_not(home: Home, tmp_path: Path, way: str) -> None:
    source = tmp_path / "here" / CIFAR10.archive
    source.parent.mkdir()
    source.write_bytes(ARCHIVE)
    if way != "archive":
        with tarfile.open(source) as archive:
            archive.extractall(source.parent, filter="data")
        source = source.parent / CIFAR10.inside if way == "unpacked" else source.parent
    fetch("cifar10", source=source, data_dir=tmp_path / "sets")
    assert _held(tmp_path / "sets" / "cifar10") == BATCHES
    assert home.requests == []


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "other.tar.gz"
    source.write_bytes(_archive(BATCHES | {"data_batch_1.bin": b"other"}))
    with pytest.raises(DataError, match=r"data_batch_1\.bin is not the published one"):
        fetch("cifar10", source=source, data_dir=tmp_path / "sets")
    assert not list((tmp_path / "sets").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("published", [MNIST, FASHION_MNIST], ids=lambda published: published.name)
def test_the_real_files_are_those_whose_sums_stand_here(published: PinnedSet) -> None:
    folder = Path(os.environ.get("SALUS_DATA", "")) / published.name
    if not folder.is_dir():
        pytest.skip(f"SALUS_DATA holds no {published.name}")
    assert published.strangers(published.read(folder)) == []

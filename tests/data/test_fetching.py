from __future__ import annotations

import errno
import hashlib
import importlib
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from salus.data import fetch
from salus.data.download import Patience
from salus.data.load import SOURCES
from salus.data.published import MITDB, PublishedSet, parse_sums
from salus.errors import DataError, OptionError, StoreError

if TYPE_CHECKING:
    from data.conftest import Home

FILES = {
    "RECORDS": b"100\n101\n",
    "100.dat": bytes(range(256)) * 2000,
    "100.hea": b"100 2 360",
    "100.atr": b"abc",
    "101.dat": b"z" * 5000,
}


def _listing(files: dict[str, bytes]) -> bytes:
    lines = [f"{hashlib.sha256(content).hexdigest()} {name}" for name, content in files.items()]
    return "\n".join([*lines, f"{'0' * 64} x_mitdb/x_100.dat", f"{'0' * 64} index.shtml.shtml"]).encode()


def _publish(monkeypatch: pytest.MonkeyPatch, listing: bytes) -> None:
    published = replace(MITDB, sums_sha256=hashlib.sha256(listing).hexdigest(), max_file_bytes=10**6)
    monkeypatch.setitem(SOURCES.own, "mitdb", replace(SOURCES["mitdb"], published=published))


@pytest.fixture(autouse=True)
def small(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small mitdb at home on 127.0.0.1, and no patience."""
    listing = _listing(FILES)
    home.files = {**FILES, MITDB.sums: listing}
    _publish(monkeypatch, listing)
    monkeypatch.setattr(
        importlib.import_module("salus.data.fetching"), "PATIENCE", Patience(tries=3, backoff=0, read=5)
    )


def _whole(folder: Path) -> bool:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return found.pop(MITDB.sums) == _listing(FILES) and found == FILES


def test_only_the_needed_files_are_fetched_and_a_second_time_none(home: Home, tmp_path: Path) -> None:
    folder = fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert folder == tmp_path / "mitdb"
    assert _whole(folder)
    assert not home.asked("x_mitdb/x_100.dat")
    before = len(home.requests)
    fetch("mitdb", data_dir=tmp_path, base_url=home.url.rstrip("/"))
    assert len(home.requests) == before + 1  # the list alone


def test_a_download_that_breaks_off_goes_on_where_it_was(home: Home, tmp_path: Path) -> None:
    home.faults["100.dat"] = ["break", "break"]
    fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert _whole(tmp_path / "mitdb")
    first, *later = home.asked("100.dat")
    starts = [int(wanted[len("bytes=") : -1]) for wanted in later if wanted]
    assert first is None
    assert len(later) == 2
    assert 0 < starts[0] < starts[1]


def test_a_part_from_an_earlier_run_is_gone_on_with(home: Home, tmp_path: Path) -> None:
    (tmp_path / "mitdb").mkdir()
    (tmp_path / "mitdb" / "100.dat.part").write_bytes(FILES["100.dat"][:1234])
    fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert _whole(tmp_path / "mitdb")
    assert home.asked("100.dat") == ["bytes=1234-"]


@pytest.mark.parametrize(
    "part", [b"wrong" * 200, FILES["100.dat"], FILES["100.dat"] + b"more"], ids=["wrong", "whole", "too long"]
)
def test_a_part_that_does_not_fit_is_thrown_away(home: Home, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "mitdb").mkdir()
    (tmp_path / "mitdb" / "100.dat.part").write_bytes(part)
    fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert _whole(tmp_path / "mitdb")


@pytest.mark.parametrize("fault", ["ignore-range", "wrong-piece", "corrupt", "500", "503", "429"])
def test_a_server_that_misbehaves_once_is_borne(home: Home, tmp_path: Path, fault: str) -> None:
    home.faults["100.dat"] = ["break", fault]
    fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert _whole(tmp_path / "mitdb")


def test_a_file_that_is_corrupt_every_time_is_refused_and_not_kept(home: Home, tmp_path: Path) -> None:
    home.faults["100.dat"] = ["corrupt"] * 9
    with pytest.raises(DataError, match=r"File 100\.dat from .* is not the published one"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert sorted(path.name for path in (tmp_path / "mitdb").iterdir()) == ["100.atr"]


def test_an_interrupted_set_is_not_taken_for_whole_and_is_completed_later(home: Home, tmp_path: Path) -> None:
    home.faults["101.dat"] = ["500"] * 9
    with pytest.raises(DataError, match=r"answers 500; run the same command again later"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert not (tmp_path / "mitdb" / "RECORDS").exists()
    home.faults.clear()
    fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert _whole(tmp_path / "mitdb")
    assert len(home.asked("100.dat")) == 1


def test_a_changed_list_is_refused_before_anything_is_kept(home: Home, tmp_path: Path) -> None:
    home.files[MITDB.sums] += b"\n"
    with pytest.raises(DataError, match="is not the one published with mitdb"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../100.dat", "/100.dat", "a/../../b", "..\\100.dat", "C:\\x", "c:x"])
def test_a_list_that_names_a_file_outside_is_refused(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home.files[MITDB.sums] = _listing({**FILES, name: b""})
    _publish(monkeypatch, home.files[MITDB.sums])
    with pytest.raises(DataError, match="leads out of its folder"):
        fetch("mitdb", data_dir=tmp_path / "sets", base_url=home.url)
    assert list(tmp_path.rglob("*.dat")) == []


def test_more_bytes_than_expected_are_not_taken(home: Home, tmp_path: Path) -> None:
    home.faults["100.dat"] = ["endless"]
    with pytest.raises(DataError, match="more than the 1000000 bytes expected"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert not (tmp_path / "mitdb" / "100.dat.part").exists()


def test_redirects_on_the_same_server_are_followed_and_name_no_file(home: Home, tmp_path: Path) -> None:
    home.files["moved"] = FILES["100.dat"]
    home.faults["100.dat"] = ["redirect /set/../set/moved", "redirect /set/moved"]
    fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert _whole(tmp_path / "mitdb")


@pytest.mark.parametrize(
    "target", ["http://192.0.2.1/100.dat", "file:///etc/passwd", "ftp://192.0.2.1/x", "//192.0.2.1/x"]
)
def test_redirects_elsewhere_without_https_are_not_followed(home: Home, tmp_path: Path, target: str) -> None:
    home.faults["100.dat"] = [f"redirect {target}"]
    with pytest.raises(DataError, match="neither https nor the same server"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)


def test_https_is_never_left() -> None:
    follow = importlib.import_module("salus.data.download")._follow
    assert follow("https://a.org/x", "https://b.org/y") == "https://b.org/y"
    assert follow("http://a.org/x", "/y") == "http://a.org/y"
    for target in ("http://a.org/x", "http://b.org/y", "//b.org/y"):
        if target.startswith("//"):
            assert follow("https://a.org/x", target) == "https://b.org/y"
        else:
            with pytest.raises(DataError, match="not followed"):
                follow("https://a.org/x", target)


def test_redirects_without_end_are_given_up(home: Home, tmp_path: Path) -> None:
    home.faults["100.dat"] = ["redirect /set/100.dat"] * 20
    with pytest.raises(DataError, match="redirects more than 5 times"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)


def test_a_missing_file_and_a_silent_server_are_one_sentence(home: Home, tmp_path: Path) -> None:
    del home.files["100.dat"]
    with pytest.raises(DataError, match=r"100\.dat: the server answers 404"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert len(home.asked("100.dat")) == 1
    home.close()
    with pytest.raises(DataError, match="no connection to the server"):
        fetch("mitdb", data_dir=tmp_path / "other", base_url=home.url)
    assert not (tmp_path / "other" / "mitdb").exists()
    home.server.server_close()


def test_a_link_in_the_place_of_a_part_is_not_followed(home: Home, tmp_path: Path) -> None:
    (tmp_path / "mitdb").mkdir()
    (tmp_path / "precious").write_text("keep")
    for name in ("100.dat.part", "100.hea"):
        (tmp_path / "mitdb" / name).symlink_to(tmp_path / "precious")
    fetch("mitdb", data_dir=tmp_path, base_url=home.url)
    assert (tmp_path / "precious").read_text() == "keep"
    assert not (tmp_path / "mitdb" / "100.hea").is_symlink()
    assert _whole(tmp_path / "mitdb")


def test_waiting_doubles_and_starts_anew_after_progress(home: Home, tmp_path: Path) -> None:
    import requests

    from salus.data.download import download

    home.faults["100.dat"] = ["500", "500", "break", "500", "500"]
    waits: list[float] = []
    with requests.Session() as session:
        download(
            home.url + "100.dat",
            tmp_path / "part",
            session=session,
            max_bytes=10**6,
            patience=Patience(tries=3, backoff=0.5),
            sleep=waits.append,
        )
    assert waits == [0.5, 1.0, 0.5, 0.5, 1.0]
    assert (tmp_path / "part").read_bytes() == FILES["100.dat"]


def test_a_full_disk_is_one_sentence(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match=r"The disk .* is full"):
        fetch("mitdb", data_dir=tmp_path, base_url=home.url)


# From what is on disk.


@pytest.fixture
def on_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk" / "mit-bih-arrhythmia-database-1.0.0"
    folder.mkdir(parents=True)
    for name, content in {**FILES, MITDB.sums: _listing(FILES), "notes.html": b"<p>"}.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("way", ["folder", "folder above", "zip", "tar.gz"])
def test_a_set_on_disk_is_copied_and_verified(home: Home, tmp_path: Path, on_disk: Path, way: str) -> None:
    source = {"folder": on_disk, "folder above": on_disk.parent}.get(way, tmp_path / f"a.{way}")
    if way == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for path in on_disk.iterdir():
                archive.write(path, f"mitdb-1.0.0/{path.name}")
    elif way == "tar.gz":
        with tarfile.open(source, "w:gz") as packed:
            packed.add(on_disk, "mitdb-1.0.0")
    folder = fetch("mitdb", source=source, data_dir=tmp_path / "sets")
    assert folder is not None
    assert _whole(folder)
    assert home.requests == []


def test_what_is_wrong_on_disk_is_named_and_nothing_is_copied(tmp_path: Path, on_disk: Path) -> None:
    (on_disk / "101.dat").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"101\.dat is not the published one"):
        fetch("mitdb", source=on_disk, data_dir=tmp_path / "sets")
    (on_disk / "101.dat").unlink()
    with pytest.raises(DataError, match=r"lacks the file 101\.dat"):
        fetch("mitdb", source=on_disk, data_dir=tmp_path / "sets")
    (on_disk / MITDB.sums).unlink()
    with pytest.raises(DataError, match=r"lacks SHA256SUMS\.txt"):
        fetch("mitdb", source=on_disk, data_dir=tmp_path / "sets")
    (on_disk / "RECORDS").unlink()
    with pytest.raises(DataError, match="does not hold mitdb"):
        fetch("mitdb", source=on_disk, data_dir=tmp_path / "sets")
    assert not list((tmp_path / "sets").iterdir())


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder or archive"):
        fetch("mitdb", source=tmp_path / "nowhere.zip", data_dir=tmp_path / "sets")
    (tmp_path / "set.rar").write_bytes(b"x")
    with pytest.raises(DataError, match="no archive that Salus unpacks"):
        fetch("mitdb", source=tmp_path / "set.rar", data_dir=tmp_path / "sets")
    (tmp_path / "set.zip").write_bytes(b"x")
    with pytest.raises(DataError, match="truncated or broken"):
        fetch("mitdb", source=tmp_path / "set.zip", data_dir=tmp_path / "sets")
    assert not list((tmp_path / "sets").iterdir())


# Around it.


def test_the_set_goes_where_it_will_be_looked_for(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SALUS_DATA", raising=False)
    assert fetch("mitdb", base_url=home.url) == tmp_path / "cache" / "data" / "mitdb"
    monkeypatch.setenv("SALUS_DATA", str(tmp_path / "sets"))
    assert fetch("mitdb", base_url=home.url) == tmp_path / "sets" / "mitdb"


def test_embedded_sets_need_no_fetching_and_unknown_ones_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fetch("digits") is None
    assert "nothing needs to be fetched" in capsys.readouterr().err
    with pytest.raises(OptionError, match="Unknown data set 'mitbd'; did you mean 'mitdb'"):
        fetch("mitbd")


def test_a_place_that_cannot_be_written_is_one_sentence(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Cannot write"):
        fetch("mitdb", data_dir=tmp_path / "file", base_url=home.url)


def test_a_line_that_is_no_sum_is_named() -> None:
    with pytest.raises(DataError, match="Line 2 of the list is not"):
        parse_sums(b"0" * 64 + b" a\nnonsense\n", where="the list")


def test_the_real_list_is_the_pinned_one(mitdb_folder: Path) -> None:
    wanted = MITDB.wanted_sums((mitdb_folder / MITDB.sums).read_bytes(), where="here")
    assert len(wanted) == 1 + 48 * 3
    assert isinstance(MITDB, PublishedSet)


@pytest.mark.slow
def test_the_real_set_is_copied_and_verified(
    mitdb_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES.own, "mitdb", replace(SOURCES["mitdb"], published=MITDB))
    folder = fetch("mitdb", source=mitdb_folder, data_dir=tmp_path)
    assert folder is not None
    assert len(list(folder.iterdir())) == 48 * 3 + 2
    shutil.rmtree(folder)

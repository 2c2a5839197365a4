from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from salus.data.archive import unpack
from salus.errors import DataError

UNSAFE = ["../out", "/out", "a/../../out", "..\\out", "C:\\out", "c:out", "a\nb"]


def _zip(path: Path, files: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # ZipInfo tidies names that the reader must not trust
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def _tar(path: Path, files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return path


def _everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_plain_files_are_unpacked(tmp_path: Path, suffix: str) -> None:
    make = _zip if suffix == "zip" else _tar
    archive = make(tmp_path / f"a.{suffix}", {"set/RECORDS": b"100", "set/100.dat": b"\0" * 99})
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/set/RECORDS").read_bytes() == b"100"
    assert (tmp_path / "out/set/100.dat").read_bytes() == b"\0" * 99


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    make = _zip if suffix == "zip" else _tar
    archive = make(tmp_path / f"a.{suffix}", {name: b"x"})
    with pytest.raises(DataError, match="leads out of its folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert _everything_below(tmp_path) == [archive.name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = _tar(tmp_path / "a.tar.gz", {"set/RECORDS": b""}, kind)
    with pytest.raises(DataError, match="a link or device"):
        unpack(archive, tmp_path / "out")
    assert _everything_below(tmp_path) == ["a.tar.gz"]


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"RECORDS": b"/etc/passwd"}, stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="a link or device"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_bomb_is_stopped(tmp_path: Path, suffix: str) -> None:
    make = _zip if suffix == "zip" else _tar
    archive = make(tmp_path / f"a.{suffix}", {"big": b"\0" * 2_000_000})
    with pytest.raises(DataError, match="over 100000 bytes"):
        unpack(archive, tmp_path / "out", max_bytes=100_000)
    assert (tmp_path / "out/big").stat().st_size <= 100_000
    many = make(tmp_path / f"b.{suffix}", {str(i): b"" for i in range(9)})
    with pytest.raises(DataError, match="more than 5 files"):
        unpack(many, tmp_path / "out", max_files=5)


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
@pytest.mark.parametrize("keep", [0, 20, -30])
def test_a_broken_archive_is_one_sentence(tmp_path: Path, suffix: str, keep: int) -> None:
    make = _zip if suffix == "zip" else _tar
    archive = make(tmp_path / f"a.{suffix}", {"x": bytes(range(256)) * 40})
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"Archive .* get it again"):
        unpack(archive, tmp_path / "out")

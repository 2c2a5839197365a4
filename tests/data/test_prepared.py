from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from salus.data import load
from salus.data.prepared import prepared

Prepared = tuple[dict[str, Tensor], dict[str, Any]]


class Kitchen:
    """Counts how often it was asked to prepare."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Prepared:
        self.count += 1
        return {"x": torch.arange(6.0).view(2, 3)}, {"leads": {"100": "MLII"}, "dropped": [["N", 1]]}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


def test_what_was_prepared_is_read_the_next_time(cache: Path) -> None:
    kitchen = Kitchen()
    first, again = (prepared("d", {"source": "a"}, kitchen) for _ in range(2))
    assert kitchen.count == 1
    assert torch.equal(first[0]["x"], again[0]["x"])
    assert first[1] == again[1]
    assert len(list(cache.iterdir())) == 2


def test_another_source_or_option_is_another_key(cache: Path) -> None:
    kitchen = Kitchen()
    for key in ({"source": "a"}, {"source": "b"}, {"source": "a", "window": 1}):
        prepared("d", key, kitchen)
    assert kitchen.count == 3


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".json", b""),
        (".json", b"{}"),
        (".json", b"[1]"),
        (".json", b"\xff\xfe"),
        (".json", json.dumps({"sha256": "0" * 64, "facts": {}}).encode()),
        (".safetensors", b""),
        (".safetensors", b"\0" * 90),
        (".safetensors", None),
    ],
)
def test_a_broken_cache_is_made_anew_and_said(
    cache: Path, capsys: pytest.CaptureFixture[str], suffix: str, content: bytes | None
) -> None:
    kitchen = Kitchen()
    prepared("d", {}, kitchen)
    (broken,) = cache.glob(f"*{suffix}")
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content)
    tensors, _ = prepared("d", {}, kitchen)
    assert tensors["x"].shape == (2, 3)
    assert "is broken" in capsys.readouterr().err
    prepared("d", {}, kitchen)
    assert kitchen.count == 2
    assert capsys.readouterr().err == ""


def test_arrays_without_their_page_are_no_cache_and_no_fault(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kitchen = Kitchen()
    prepared("d", {}, kitchen)
    next(cache.glob("*.json")).unlink()
    prepared("d", {}, kitchen)
    assert kitchen.count == 2
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_is_said_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path / "file"))
    tensors, _ = prepared("d", {}, Kitchen())
    assert tensors["x"].shape == (2, 3)
    assert "is not kept for the next time: Cannot write" in capsys.readouterr().err


def test_a_full_disk_does_not_break_loading_and_leaves_nothing(
    cache: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("salus.atomic.os.fsync", full)
    assert len(load("mitdb", data_dir=small_mitdb).test)
    assert "is full" in capsys.readouterr().err
    assert list(cache.iterdir()) == []


def test_mitdb_is_the_same_from_the_records_from_the_cache_and_after_a_broken_one(
    cache: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cold = load("mitdb", data_dir=small_mitdb)
    with monkeypatch.context() as patch:
        patch.setattr("salus.data.mitdb.read_lead", None)  # nobody reads a record now
        cached = load("mitdb", data_dir=small_mitdb)
    (arrays,) = cache.glob("mitdb-*.safetensors")
    arrays.write_bytes(arrays.read_bytes()[:-7])
    rebuilt = load("mitdb", data_dir=small_mitdb)
    assert "is broken" in capsys.readouterr().err
    for splits in (cached, rebuilt):
        assert splits.describe() == cold.describe()
        for part, data in splits:
            assert data.fingerprint() == getattr(cold, part).fingerprint()
